"""The directive ``state-diagram``: the states of an attempt, drawn from the table that the machine runs on.

States stand in a column in the order of their declaration, the final one beside them. What moves an attempt from one to
the next is an arrow; what leaves it where it is stands in its box. A table that this cannot draw fails the build.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, ClassVar, Final

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from perdure.machine.states import INPUT, TRANSITIONS, Event, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sphinx.application import Sphinx

FINAL: Final = State.CLOSED
WIDTH, BOX, HEIGHT, GAP = 700, 330, 78, 44
RIGHT, FINAL_WIDTH = 520, 170
LINE: Final = 15


def draw() -> str:
    """Return the diagram as SVG."""
    column = [state for state in State if state is not FINAL]
    tops = {state: 10 + number * (HEIGHT + GAP) for number, state in enumerate(column)}
    bottom = tops[column[-1]] + HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 10}" role="img"',
        ' aria-label="States of an attempt" style="max-width: 100%" font-family="sans-serif" font-size="13"',
        ' stroke="currentColor" fill="none">',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8"',
        ' orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="currentColor" stroke="none"/></marker></defs>',
    ]
    for number, state in enumerate(column):
        top = tops[state]
        targets: dict[State, list[Event]] = {}
        for event, target in TRANSITIONS[state].items():
            targets.setdefault(target, []).append(event)
        parts += _box((10, top, BOX, HEIGHT), state, targets.pop(state, []))
        following = column[number + 1] if number + 1 < len(column) else None
        if events := targets.pop(FINAL, []):
            parts += _arrow(10 + BOX, top + HEIGHT / 2, RIGHT, top + HEIGHT / 2)
            parts += _text(25 + BOX, top + HEIGHT / 2 - 8, _words(events))
        if following is not None and (events := targets.pop(following, [])):
            parts += _arrow(10 + BOX / 2, top + HEIGHT, 10 + BOX / 2, tops[following])
            parts += _text(22 + BOX / 2, top + HEIGHT + GAP / 2 + 5, _words(events))
        if targets:
            raise ValueError(f"no arrow is drawn from {state.value} to {', '.join(one.value for one in targets)}")
    final = TRANSITIONS[FINAL]
    if set(final.values()) != {FINAL}:
        raise ValueError(f"{FINAL.value} is left again")
    parts += _box((RIGHT, 10, FINAL_WIDTH, bottom - 10), FINAL, list(final))
    parts.append("</svg>")
    return "\n".join(parts)


def _box(place: tuple[float, float, float, float], state: State, stays: list[Event]) -> Iterable[str]:
    x, y, width, height = place
    yield f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
    yield from _text(x + 12, y + 22, escape(state.value), bold=True)
    if stays:
        yield from _text(x + 12, y + 22 + LINE * 1.4, "stays at:")
        limit = int((width - 24) / 6.2)
        for number, line in enumerate(_wrapped(stays, limit)):
            yield from _text(x + 12, y + 22 + LINE * (2.4 + number), line)


def _wrapped(events: list[Event], limit: int) -> list[str]:
    """The events in lines of at most so many characters."""
    lines: list[list[Event]] = [[]]
    for event in events:
        if lines[-1] and len(", ".join(one.value for one in [*lines[-1], event])) > limit:
            lines.append([])
        lines[-1].append(event)
    return [_words(line) for line in lines]


def _words(events: Iterable[Event]) -> str:
    """Events in words; what the runtime causes is in italics."""
    return ", ".join(
        f'<tspan font-style="italic">{escape(event.value)}</tspan>' if event in INPUT else escape(event.value)
        for event in events
    )


def _text(x: float, y: float, markup: str, *, bold: bool = False) -> Iterable[str]:
    weight = ' font-weight="bold"' if bold else ""
    yield f'<text x="{x:g}" y="{y:g}" fill="currentColor" stroke="none"{weight}>{markup}</text>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> Iterable[str]:
    yield f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" marker-end="url(#tip)"/>'


class StateDiagram(SphinxDirective):
    """The diagram, inline, in the colour of the text around it."""

    has_content: ClassVar[bool] = False

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", draw(), format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("state-diagram", StateDiagram)
    return {"parallel_read_safe": True}
