"""The engine's time."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.clock import TOLERANCE, EngineClock


class Machine:
    """The clocks of a machine, as a test sets them."""

    def __init__(self, wall: float, monotonic: float = 50.0) -> None:
        self.wall = wall
        self.since_boot = monotonic

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.since_boot

    async def sleep(self, seconds: float) -> None:
        self.pass_by(seconds)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.since_boot += seconds


def test_time_begins_with_the_wall_clock_and_runs_with_the_monotonic_one() -> None:
    machine = Machine(1000.0)
    clock = EngineClock(machine)
    machine.since_boot += 5.0
    assert clock.now() == 1005.0


def test_a_wall_clock_that_was_set_back_is_ignored() -> None:
    machine = Machine(10_000.0)
    clock = EngineClock(machine)
    machine.pass_by(5.0)
    machine.wall -= 3600.0
    assert clock.compare() == 0.0
    assert clock.now() == 10_005.0


def test_a_wall_clock_that_jumped_ahead_is_followed() -> None:
    machine = Machine(10_000.0)
    clock = EngineClock(machine)
    machine.wall += 3600.0
    assert clock.compare() == 3600.0
    assert clock.now() == 13_600.0


def test_a_wall_clock_a_little_behind_the_stored_mark_begins_at_the_mark() -> None:
    assert EngineClock(Machine(1000.0), mark=1000.0 + TOLERANCE - 1).now() == 1000.0 + TOLERANCE - 1


def test_a_wall_clock_far_behind_the_stored_mark_is_believed_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "perdure.engine"):
        assert EngineClock(Machine(1000.0), mark=1000.0 + TOLERANCE).now() == 1000.0
    assert "behind" in caplog.text


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-5000, 5000))))
def test_time_never_goes_back(script: list[tuple[float, float]]) -> None:
    machine = Machine(1_700_000_000.0)
    clock = EngineClock(machine)
    last = clock.milliseconds()
    for passes, is_set in script:
        machine.pass_by(passes)
        machine.wall += is_set
        assert clock.milliseconds() >= last
        clock.compare()
        last = clock.milliseconds()


@given(st.integers(0, 4_000_000_000_000))
def test_a_due_time_survives_the_way_through_seconds(due: int) -> None:
    machine = Machine(due / 1000, monotonic=due / 1000)
    assert EngineClock(machine).milliseconds() >= due
