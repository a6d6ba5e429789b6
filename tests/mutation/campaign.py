"""Every change of a sample, tried: which of them no test noticed."""

from __future__ import annotations

import enum
import random
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.mutation.operators import Change, changes
from tests.mutation.trial import PASSED, Child, Ground, Reach, record, try_change

__all__ = ["Fate", "Mutant", "mutants_of", "sample", "try_all"]

CPU_FACTOR: Final = 5
"""How many times longer than without a change the tests may take."""

WALL_SECONDS: Final = 600
"""Until a child that waits for nothing is killed."""

_INVALID: Final = 70
_NO_TESTS: Final = 5


class Fate(enum.Enum):
    """What became of a change."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    SURVIVED = "survived"
    UNREACHED = "unreached"
    """It survives, as no test runs these lines."""

    @property
    def noticed(self) -> bool:
        """Whether a test failed, or no longer ended."""
        return self in {Fate.KILLED, Fate.TIMEOUT}


class Mutant(NamedTuple):
    """A module with a change."""

    area: str
    module: str
    path: Path
    change: Change

    @property
    def line(self) -> str:
        """The source line at which the change is."""
        return self.path.read_text().splitlines()[self.change.first - 1].strip()


def mutants_of(area: str, ground: Ground, modules: Iterable[str]) -> list[Mutant]:
    """Everything that can be changed in `modules`."""
    return [
        Mutant(area, module, ground.sources[module], change)
        for module in modules
        for change in changes(ground.sources[module].read_text())
    ]


def sample(mutants: Sequence[Mutant], size: int | None, seed: int) -> list[Mutant]:
    """`size` of them, chosen by `seed`, in their order; all without a size."""
    if size is None or size >= len(mutants):
        return list(mutants)
    chosen = random.Random(seed).sample(range(len(mutants)), size)
    return [mutants[number] for number in sorted(chosen)]


def try_all(
    ground: Ground,
    mutants: Sequence[Mutant],
    *,
    workers: int,
    progress: Callable[[Mutant, Fate], None],
    cpu_seconds: float = 10,
) -> dict[Mutant, Fate]:
    """Try each of them, several at a time.

    Args:
        ground: what is tested, and by what.
        mutants: of its modules.
        workers: how many children run at the same time.
        progress: told of each that is done.
        cpu_seconds: what every child may take, besides `CPU_FACTOR` times what its tests took without a change.
    """
    reach = record(ground)
    waiting: list[tuple[Mutant, list[str]]] = []
    running: dict[Mutant, tuple[Child, list[str]]] = {}
    again: set[Mutant] = set()
    fates: dict[Mutant, Fate] = {}

    def done(mutant: Mutant, fate: Fate) -> None:
        fates[mutant] = fate
        progress(mutant, fate)

    for mutant in reversed(mutants):
        tests = tests_for(mutant, reach)
        if tests:
            waiting.append((mutant, tests))
        else:
            done(mutant, Fate.UNREACHED)
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                mutant, tests = waiting.pop()
                limit = cpu_seconds + CPU_FACTOR * sum(reach.seconds[test] for test in tests)
                child = try_change(ground, mutant.module, mutant.change.number, tests, cpu_seconds=limit)
                running[mutant] = (child, tests)
            time.sleep(0.01)
            for mutant, (child, tests) in list(running.items()):
                status = child.ended()
                if status is None and time.monotonic() - child.since > WALL_SECONDS:
                    child.kill()
                    status = -signal.SIGKILL
                if status is None:
                    continue
                del running[mutant]
                fate = _fate(mutant, status)
                # What a cache holds is made in whichever test comes first, and used by others: all others run too.
                rest = sorted(reach.seconds.keys() - set(tests), key=reach.seconds.__getitem__)
                if fate is Fate.SURVIVED and rest and mutant not in again:
                    again.add(mutant)
                    waiting.append((mutant, rest))
                else:
                    done(mutant, fate)
    finally:
        for child, _ in running.values():
            child.kill()
    return {mutant: fates[mutant] for mutant in mutants}


def _fate(mutant: Mutant, status: int) -> Fate:
    if status in {_INVALID, _NO_TESTS}:
        raise RuntimeError(f"{mutant} could not be tried: the child ended with {status}")
    if status in {-signal.SIGXCPU, -signal.SIGKILL}:
        return Fate.TIMEOUT
    return Fate.SURVIVED if status == PASSED else Fate.KILLED


def tests_for(mutant: Mutant, reach: Reach) -> list[str]:
    """The tests that run the changed lines: first those named after the module, the quick ones first."""
    lines = reach.lines[mutant.module]
    change = mutant.change
    found = {test for line in range(change.first, change.last + 1) for test in lines.get(line, ())}
    if "" in found:  # the import runs them, for all tests
        found = set(reach.seconds)
    name = f"test_{mutant.module.rpartition('.')[2]}"
    return sorted(
        found, key=lambda test: (not Path(test.partition("::")[0]).stem.startswith(name), reach.seconds[test])
    )
