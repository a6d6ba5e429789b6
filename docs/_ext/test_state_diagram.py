"""The drawing of the states says what the table says."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
import state_diagram
from state_diagram import draw

from perdure.machine.states import INPUT, TRANSITIONS, Event, State

SVG = "{http://www.w3.org/2000/svg}"


def texts() -> list[str]:
    """The texts of the drawing, without their markup."""
    return ["".join(text.itertext()) for text in ET.fromstring(draw()).iter(f"{SVG}text")]  # noqa: S314 - our own


def test_every_state_and_every_event_is_drawn() -> None:
    drawn = ", ".join(texts())
    assert all(state.value in drawn for state in State)
    assert all(event.value in drawn for event in Event)


def test_each_move_is_drawn_once() -> None:
    words = [word for text in texts() for word in text.split(", ")]
    expected = [event.value for moves in TRANSITIONS.values() for event in moves]
    assert sorted(word for word in words if word in set(expected)) == sorted(expected)


def test_what_the_runtime_causes_is_in_italics() -> None:
    root = ET.fromstring(draw())  # noqa: S314 - our own
    assert {span.text for span in root.iter(f"{SVG}tspan")} == {event.value for event in INPUT}


def test_a_move_that_cannot_be_drawn_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    back = {**TRANSITIONS, State.PROCESSING: {**TRANSITIONS[State.PROCESSING], Event.START: State.AWAITING_START}}
    monkeypatch.setattr(state_diagram, "TRANSITIONS", back)
    with pytest.raises(ValueError, match="no arrow is drawn from processing to awaiting start"):
        draw()
