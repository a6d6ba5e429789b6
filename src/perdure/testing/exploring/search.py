"""Which schedules are played: first every crash, suspension and order that the plainest run has, then any.

The plainest run tells how long the journal is, how often the handler is idle, and so on. What that leaves open one by
one is played completely where the budget allows, and in part where it does not; both are told. What is left of the
budget goes to schedules drawn from a seed, in which many things happen at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from perdure.testing.exploring.plays import Play
from perdure.testing.exploring.schedule import ALL, Schedule, Word

__all__ = ["Phase", "Search"]

SHARE: Final = 0.6
"""How much of the budget goes to what can be listed."""


@dataclass
class Phase:
    """Schedules of one sort.

    Attributes:
        one: what is varied, in the singular.
        many: and in the plural.
        total: how many there are; `None` where that is not known.
        played: how many of them were played.
    """

    one: str
    many: str
    total: int | None
    played: int = 0

    def __str__(self) -> str:
        if self.total is None:
            return f"{self.played} {self.one if self.played == 1 else self.many}"
        if self.played == self.total:
            return f"all {self.total} {self.many}" if self.total > 1 else f"the one {self.one}"
        return f"{self.played} of {self.total} {self.many}"


@dataclass
class _Shape:
    """The most that any play so far has shown."""

    entries: int = 1
    idles: int = 0
    proposals: int = 0
    picks: int = 0
    attempts: int = 1

    def see(self, played: Play) -> None:
        world = played.world
        self.entries = max(self.entries, len(world.journal))
        self.idles = max(self.idles, world.idles)
        self.proposals = max(self.proposals, world.proposals)
        self.picks = max(self.picks, len(world.picks))
        self.attempts = max(self.attempts, played.attempts)


@dataclass
class Search:
    """The schedules of one exploration. Tell it what came of each (`saw`) before asking for the next.

    Attributes:
        budget: how many to play.
        random: where choices come from.
        cancel: whether invocations may be cancelled.
        listed: whether to play what can be listed; otherwise one plain run, and the rest drawn at random.
        base: words of every schedule.
        phases: what was played.
    """

    budget: int
    random: Random
    cancel: bool
    listed: bool = True
    base: Schedule = field(default_factory=Schedule)
    phases: list[Phase] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._shape = _Shape()
        self._last: Play | None = None
        self._left = self.budget

    def saw(self, played: Play) -> None:
        """Take note of a play."""
        self._shape.see(played)
        self._last = played

    def schedules(self) -> Iterator[Schedule]:
        """Every schedule to play."""
        if self.listed:
            yield from self._listed()
        else:
            yield from self._of("plain run", "plain runs", [()])
        drawn = Phase("schedule drawn at random", "schedules drawn at random", None)
        self.phases.append(drawn)
        while self._left > 0:
            yield from self._one(drawn, self._drawn())

    def _listed(self) -> Iterator[Schedule]:
        """Every crash, suspension and so on, one by one."""
        yield from self._of("plain run", "plain runs", [(), (Word("trio", 0, 0), Word("asyncio", 1, 0))])
        shape = self._shape
        lists: list[tuple[str, str, list[tuple[Word, ...]]]] = [
            ("run that suspends at every await", "", [(Word("closed", ALL, 0),)]),
            ("crash", "crashes", [(Word("crash", at, 0),) for at in range(2, shape.entries + 1)]),
            ("lost result", "lost results", [(Word("lose", number, 0),) for number in range(shape.proposals)]),
            ("suspension", "suspensions", [(Word("suspend", number, 0),) for number in range(shape.idles)]),
        ]
        if self.cancel:
            lists.append(("cancel", "cancels", [(Word("cancel", at, 1),) for at in range(1, shape.entries)]))
        lists.append(("stop", "stops", [(Word("stop", at, 1),) for at in range(2, shape.entries)]))
        share = max(1, int(self._left * SHARE))
        wanted = sum(len(words) for _, _, words in lists)
        for one, many, words in lists:
            few = words
            if wanted > share:
                count = max(1, len(words) * share // wanted) if words else 0
                few = [words[index] for index in sorted(self.random.sample(range(len(words)), count))]
            yield from self._of(one, many, few, total=len(words))
        yield from self._orders(int(self._left * SHARE))

    def _one(self, phase: Phase, schedule: Schedule) -> Iterator[Schedule]:
        if self._left > 0:
            self._left -= 1
            phase.played += 1
            yield Schedule([*self.base, *schedule])

    def _of(self, one: str, many: str, lists: list[tuple[Word, ...]], total: int | None = None) -> Iterator[Schedule]:
        phase = Phase(one, many, len(lists) if total is None else total)
        if not phase.total:
            return
        self.phases.append(phase)
        for words in lists:
            yield from self._one(phase, Schedule(words))

    def _orders(self, share: int) -> Iterator[Schedule]:
        """Every order in which answers come and steps end, depth first, until the share is used up."""
        phase = Phase("order of completion", "orders of completion", None)
        self.phases.append(phase)
        slow = Word("slow", ALL, 0)
        choices: list[int] = []
        while share > 0 and self._left > 0:
            words = [Word("order", number, chosen) for number, chosen in enumerate(choices) if chosen]
            yield from self._one(phase, Schedule([slow, *words]))
            share -= 1
            assert self._last is not None
            picks = self._last.world.picks
            choices = (choices + [0] * len(picks))[: len(picks)]
            while choices and choices[-1] + 1 >= picks[len(choices) - 1]:
                choices.pop()
            if not choices:
                phase.total = phase.played
                return
            choices[-1] += 1

    def _drawn(self) -> Schedule:
        """Many things at once."""
        random, shape = self.random, self._shape
        words: list[Word] = []

        def chance(of: float) -> bool:
            return random.random() < of

        if chance(0.85):
            words.append(Word("noise", ALL, random.randrange(1, 100_000)))
        if chance(0.3):
            words.append(Word("slow", ALL, 0))
        if chance(0.15):
            words.append(Word("closed", ALL, 0))
        backends = chance(0.6)
        for number in range(min(shape.attempts + 3, 10)):
            if backends and chance(0.5):
                words.append(Word(random.choice(("asyncio", "trio")), number, 0))
            if chance(0.2):
                words.append(Word("closed", number, 0))
        rate = random.choice((0.0, 0.05, 0.15))
        for at in range(2, shape.entries + 3):
            if chance(rate):
                words.append(Word("crash", at, random.choice((0, 0, 1, 2, 4))))
            elif chance(rate / 4):
                words.append(Word("stop", at, random.randrange(4)))
        words += [Word("lose", number, 0) for number in range(shape.proposals) if chance(rate)]
        words += [Word("suspend", number, 0) for number in range(shape.idles) if chance(rate)]
        if chance(0.4):
            words += [Word("order", number, random.randrange(4)) for number in range(shape.picks) if chance(0.4)]
        if self.cancel and chance(0.3):
            words.append(Word("cancel", random.randrange(1, shape.entries + 1), random.choice((1, 1, 2))))
            if chance(0.2):
                words.append(Word("cancel", random.randrange(1, shape.entries + 4), 1))
        return Schedule(words)
