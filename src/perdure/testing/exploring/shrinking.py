"""The shortest schedule that still shows a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from perdure.testing.exploring.schedule import ALL, Schedule, Word

__all__ = ["shrunk"]

MOST_TRIES: Final = 250


def shrunk(schedule: Schedule, shows: Callable[[Schedule], bool], tries: int = MOST_TRIES) -> Schedule:
    """Take words away, and make the others plainer, as long as the fault shows.

    Args:
        schedule: shows the fault.
        shows: plays a schedule and tells whether it shows the same one.
        tries: how many may be played.
    """
    best = schedule
    while True:
        for candidate in _simpler(best):
            if not tries:
                return best
            tries -= 1
            if shows(candidate):
                best = candidate
                break
        else:
            return best


def _simpler(schedule: Schedule) -> Iterator[Schedule]:
    words = list(schedule)
    size = len(words)
    while size > 1:
        size = (size + 1) // 2 if size > 2 else 1  # noqa: PLR2004 - down to single words
        for begin in range(0, len(words), size):
            yield schedule.without(words[begin : begin + size])
    if len(words) == 1:
        yield Schedule()
    for word in words:
        for other in _plainer(word):
            yield schedule.without([word]).plus(*other)


def _plainer(word: Word) -> Iterator[tuple[Word, ...]]:
    if word.at == ALL and word.kind in {"noise", "closed", "slow"}:
        for number in range(3):
            yield (word._replace(at=number),)
    if word.kind == "stop":
        yield (word._replace(kind="crash"),)
    if word.kind in {"crash", "stop", "order"} and word.value > (word.kind == "order"):
        yield (word._replace(value=word.value // 2),)
        yield (word._replace(value=word.value - 1),)
    if word.kind == "cancel" and word.value > 1:
        yield (word._replace(value=1),)
    if word.kind == "noise" and word.value > 3:  # noqa: PLR2004 - as good as any other seed, and shorter
        for value in (1, 2, 3):
            yield (word._replace(value=value),)
