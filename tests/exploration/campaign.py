"""Many generated programs, one after another: how far it is, what they were made of, what was found."""

from __future__ import annotations

import time
from collections import Counter
from random import Random
from typing import Any, TextIO

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from perdure.testing.explore import Exploration, ExplorationError, Explorer
from perdure.testing.exploring.progress import Progress
from perdure.testing.exploring.search import Search
from perdure.wire.versions import ProtocolVersion
from tests.exploration.generated import programs
from tests.exploration.interpreter import Program
from tests.exploration.programs import Block, branches, constructs

__all__ = ["BRANCHES", "ENTRIES", "RAREST", "Campaign", "Shape", "explored"]

BRANCHES = 3
ENTRIES = 12
RAREST = 0.1
"""The share of programs that every construct must be in."""

BATCH = 200

VERSIONS = st.sampled_from([None, None, None, ProtocolVersion.V5])


def explored(
    program: Block, chance: int, version: ProtocolVersion | None, *, schedules: int = 3, shrink: bool = False
) -> Exploration[Any]:
    """Explore one program under a few schedules.

    Raises:
        ExplorationError: it found something.
    """
    explorer: Explorer[Any] = Explorer(
        Program(program, version).subject, shrink=shrink, line=f"explored({program!r}, {chance}, {version!r})  # {{}}"
    )
    return explorer.many(Search(schedules, Random(chance), cancel=True, listed=False), progress=False)


class Shape:
    """What programs were made of."""

    def __init__(self) -> None:
        self.programs = 0
        self.large = 0
        self.entries: list[int] = []
        self.constructs: Counter[str] = Counter()

    def add(self, program: Block, entries: int) -> None:
        self.programs += 1
        self.entries.append(entries)
        self.large += branches(program) >= BRANCHES and entries >= ENTRIES
        self.constructs.update(name for name, count in constructs(program).items() if count)

    @property
    def share_of_large(self) -> float:
        """How many have so many branches and so many entries."""
        return self.large / max(1, self.programs)

    def share_of(self, construct: str) -> float:
        return self.constructs[construct] / max(1, self.programs)

    @property
    def rarest(self) -> tuple[str, float]:
        name = min(self.constructs, key=self.constructs.__getitem__)
        return name, self.share_of(name)

    def __str__(self) -> str:
        lines = [
            (
                f"{self.share_of_large:.0%} of {self.programs:,} programs have {BRANCHES} branches and {ENTRIES} "
                f"entries or more; the longest journal has {max(self.entries, default=0)}"
            )
        ]
        row = ""
        for name, count in self.constructs.most_common():
            part = f"{name} {count / self.programs:.0%}"
            if len(row) + len(part) > 110:
                lines.append(f"  {row}")
                row = ""
            row = f"{row}, {part}" if row else part
        return "\n".join([*lines, f"  {row}"])


class Campaign:
    """A run over many programs.

    Args:
        count: how many programs.
        seconds: when to stop although there are more.
        seed: of the programs.
        schedules: for each.
        stream: where to show how far it is.
    """

    def __init__(self, count: int, *, seconds: float, seed: int, schedules: int, stream: TextIO | None = None) -> None:
        self._count = count
        self._seconds = seconds
        self._seed = seed
        self._schedules = schedules
        self._stream = stream
        self.shape = Shape()
        self.totals: Counter[str] = Counter()
        self.faults: list[tuple[Block, int, ProtocolVersion | None, ExplorationError]] = []
        self.seconds = 0.0

    def run(self) -> None:
        """Explore them; faults are collected."""
        began = time.monotonic()
        with Progress(self._count, "programs", stream=self._stream) as bar:
            batch = 0
            while self.shape.programs < self._count and time.monotonic() - began < self._seconds:
                self._batch(f"{self._seed} {batch}", began, bar)
                batch += 1
        self.seconds = time.monotonic() - began

    def _batch(self, chance: str, began: float, bar: Progress) -> None:
        """Some programs; in small numbers, since Hypothesis cannot be stopped in the middle."""
        programs_left = self._count - self.shape.programs

        @seeded(chance)
        @settings(
            max_examples=min(BATCH, programs_left),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(programs(), st.integers(0, 2**32 - 1), VERSIONS)
        def one(program: Block, chance: int, version: ProtocolVersion | None) -> None:
            if time.monotonic() - began < self._seconds:
                bar.at(self.shape.programs, f"{len(self.faults)} faults")
                self._explore(program, chance, version)

        one()

    def _explore(self, program: Block, chance: int, version: ProtocolVersion | None) -> None:
        try:
            found = explored(program, chance, version, schedules=self._schedules)
        except ExplorationError as error:
            self.faults.append((program, chance, version, error))
            self.shape.add(program, 0)
            return
        self.shape.add(program, found.entries)
        for name in ("schedules", "attempts", "replays", "crashes", "suspensions", "cancels", "failures"):
            self.totals[name] += getattr(found, name)

    def __str__(self) -> str:
        totals = self.totals
        kinds = Counter(error.kind for *_, error in self.faults)
        lines = [
            str(self.shape),
            (
                f"{totals['schedules']:,} schedules in {totals['attempts']:,} attempts, {totals['replays']:,} replays "
                f"of prefixes, {totals['crashes']:,} crashes, {totals['suspensions']:,} suspensions, "
                f"{totals['cancels']:,} cancels, {totals['failures']:,} failed attempts"
            ),
        ]
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"
        lines.append(f"{self.shape.programs:,} programs in {self.seconds:,.0f} s; faults: {found}")
        return "\n".join(lines)

    def details(self) -> str:
        """The smallest program of each kind of fault, its schedule shrunk."""
        smallest: dict[str, tuple[Block, int, ProtocolVersion | None]] = {}
        for program, chance, version, error in self.faults:
            known = smallest.get(error.kind)
            if known is None or len(repr(program)) < len(repr(known[0])):
                smallest[error.kind] = program, chance, version
        texts: list[str] = []
        for kind, (program, chance, version) in smallest.items():
            try:
                explored(program, chance, version, schedules=self._schedules, shrink=True)
            except ExplorationError as error:
                texts.append(f"--- {kind}\n{error}")
            else:
                texts.append(f"--- {kind}: it does not show again: explored({program!r}, {chance}, {version!r})")
        return "\n".join(texts)
