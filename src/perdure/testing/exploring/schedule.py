"""Schedules: what a runtime, a network and an event loop do to a handler, as a short text.

A schedule says only what is unlike the plainest run. The plainest run has one attempt after another as needed, the
first on asyncio, the second on trio and so on; answers come one by one, the oldest first, when the handler can do
nothing else; nothing crashes. Each word of the text changes one thing:

=====================  ==============================================================================================
word                   what it does
=====================  ==============================================================================================
``crash=4``            the connection breaks when the journal has 4 entries; what was sent behind them is lost
``crash=4+2``          the same, after two more rounds of the event loop
``stop=4+2``           the process is told to stop there (the host cancels the attempt)
``lose=1``             the second result of a step is lost on its way, and the connection breaks
``cancel=4``           the invocation is cancelled when the journal has 4 entries; ``cancel=4:2`` cancels it twice
``suspend=2``          the input ends when the handler is idle for the third time
``order=3:1``          the fourth time that something may happen next, it is the second of all that may
``slow=*``             a step that has its result keeps it until nothing else can run; then it is one of those that may
``closed=1``           the second attempt gets no input but the journal (request/response)
``asyncio=0 trio=0``   the first attempt runs there
``noise=0:77``         seed of all the small things in the first attempt: the order in which the loop runs what is
                       ready, rounds that anything takes, how input is cut in pieces, answers that come early or in
                       bursts, steps that resist being cancelled, protocol 7 instead of 6
``protocol=*:5``       the version in all attempts
=====================  ==============================================================================================

``*`` stands for all attempts. Counting begins at 0; the journal's first entry is the input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from perdure.exceptions import UsageError

__all__ = ["ALL", "Schedule", "Word"]

ALL: Final = -1
"""In place of the number of an attempt: every attempt."""

_KINDS: Final = (
    "protocol",
    "slow",
    "asyncio",
    "trio",
    "closed",
    "noise",
    "order",
    "suspend",
    "lose",
    "cancel",
    "stop",
    "crash",
)
_DELAYED: Final = frozenset({"crash", "stop"})
_PLAIN: Final[dict[str, int]] = {"cancel": 1}
_WORD: Final = re.compile(r"(?P<kind>[a-z]+)=(?P<at>\d+|\*)(?:(?P<sign>[:+])(?P<value>\d+))?")


class Word(NamedTuple):
    """One thing that is unlike the plainest run."""

    kind: str
    at: int
    value: int

    def __str__(self) -> str:
        at = "*" if self.at == ALL else str(self.at)
        if self.value == _PLAIN.get(self.kind, 0):
            return f"{self.kind}={at}"
        return f"{self.kind}={at}{'+' if self.kind in _DELAYED else ':'}{self.value}"


class Schedule:
    """Words, at most one of each kind for each place.

    Args:
        words: what is unlike the plainest run.
    """

    __slots__ = ("_words",)

    def __init__(self, words: Iterable[Word] = ()) -> None:
        self._words: dict[tuple[str, int], int] = {(word.kind, word.at): word.value for word in words}

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Read a schedule.

        Raises:
            UsageError: the text is none.
        """
        words: list[Word] = []
        for part in text.split():
            match = _WORD.fullmatch(part)
            if (
                match is None
                or match["kind"] not in _KINDS
                or (match["sign"] == "+") != (match["kind"] in _DELAYED and match["sign"] is not None)
            ):
                raise UsageError(f"{part!r} is no word of a schedule; there are {', '.join(_KINDS)}, as in crash=4")
            value = int(match["value"]) if match["value"] else _PLAIN.get(match["kind"], 0)
            words.append(Word(match["kind"], ALL if match["at"] == "*" else int(match["at"]), value))
        return cls(words)

    def __str__(self) -> str:
        return " ".join(map(str, self))

    def __repr__(self) -> str:
        return f"Schedule.parse({str(self)!r})"

    def __len__(self) -> int:
        return len(self._words)

    def __iter__(self) -> Iterator[Word]:
        return iter(
            sorted(
                (Word(kind, at, value) for (kind, at), value in self._words.items()),
                key=lambda word: (_KINDS.index(word.kind), word.at),
            )
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self._words == other._words

    def __hash__(self) -> int:
        return hash(frozenset(self._words.items()))

    def get(self, kind: str, at: int) -> int | None:
        """The value of the word of that kind for that place, `None` without one. A place of its own beats `*`."""
        value = self._words.get((kind, at))
        return value if value is not None else self._words.get((kind, ALL))

    def has(self, kind: str) -> bool:
        """Whether there is any word of that kind."""
        return any(key[0] == kind for key in self._words)

    def plus(self, *words: Word) -> Schedule:
        """This schedule with more words."""
        return Schedule([*self, *words])

    def without(self, words: Iterable[Word]) -> Schedule:
        """This schedule with fewer words."""
        gone = set(words)
        return Schedule(word for word in self if word not in gone)
