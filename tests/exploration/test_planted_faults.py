"""Faults planted into the turn rules are found, each within 500 generated programs."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from perdure.durable.driver import Driver
from perdure.durable.future import DurableFuture
from perdure.durable.runs import Runs
from perdure.durable.turns import Turns
from perdure.machine.awaiting import Leaf
from perdure.testing.explore import ExplorationError, Explorer
from perdure.testing.exploring.search import Search
from tests.exploration.generated import programs
from tests.exploration.interpreter import Program
from tests.exploration.programs import Block

MOST = 500


class _Found(Exception):  # noqa: N818 - what is looked for
    pass


def programs_until_a_fault() -> tuple[int, ExplorationError]:
    """How many programs it takes, and what is found."""
    count = 0
    found: list[ExplorationError] = []

    @seed(2)
    @settings(
        max_examples=MOST,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(programs(), st.integers(0, 2**32 - 1))
    def look(program: Block, chance: int) -> None:
        nonlocal count
        if found:
            raise _Found
        count += 1
        try:
            explorer: Explorer[Any] = Explorer(Program(program).subject, shrink=False)
            explorer.many(Search(2, Random(chance), cancel=True, listed=False), progress=False)
        except ExplorationError as error:
            found.append(error)
            raise _Found from error

    with pytest.raises(_Found):
        look()
    return count, found[0]


def last_in_first_out(monkeypatch: pytest.MonkeyPatch) -> None:
    grant = Turns.grant

    def last(self: Turns[Any]) -> Any:
        self._ready.rotate(1)
        return grant(self)

    monkeypatch.setattr(Turns, "grant", last)


def done_before_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    done: Callable[[DurableFuture[Any]], bool] = vars(DurableFuture)["done"].fget

    def arrived(self: DurableFuture[Any]) -> bool:
        node = self._node
        queue = self._driver.machine._completions._queue
        here = isinstance(node, Leaf) and any(getattr(each, "completion_id", None) == node.id for each in queue)
        return done(self) or here

    monkeypatch.setattr(DurableFuture, "done", property(arrived))


def steps_that_start_in_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    add = Runs.add

    def at_once(self: Runs, *args: Any, **options: Any) -> None:
        add(self, *args, **options)
        driver = self._host
        assert isinstance(driver, Driver)
        driver.execution.start(None)

    monkeypatch.setattr(Runs, "add", at_once)


def a_fence_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Driver, "seal", lambda self, end: setattr(self, "end", self.end or end))


@pytest.mark.parametrize(
    "plant", [last_in_first_out, done_before_delivery, steps_that_start_in_a_replay, a_fence_left_open]
)
def test_a_planted_fault_is_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    count, found = programs_until_a_fault()
    print(f"{plant.__name__}: found in program {count}: {found.kind}")  # noqa: T201 - shown with -s
    assert count <= MOST
