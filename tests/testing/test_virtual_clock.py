"""A clock that moves only when nothing else can happen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from perdure.exceptions import UsageError
from perdure.testing import VirtualClock

pytestmark = pytest.mark.anyio

DAY = 86_400.0


@asynccontextmanager
async def moving(clock: VirtualClock) -> AsyncIterator[anyio.abc.TaskGroup]:
    """Somebody who moves the clock, as an open engine does."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.move)
        await anyio.lowlevel.checkpoint()
        yield tasks
        tasks.cancel_scope.cancel()


async def test_a_sleep_of_three_months_returns_at_once() -> None:
    clock = VirtualClock(start=1000.0)
    async with moving(clock):
        with anyio.fail_after(5):
            await clock.sleep(90 * DAY)
    assert clock.now() == 1000.0 + 90 * DAY


async def test_sleepers_wake_in_the_order_of_their_moments() -> None:
    clock = VirtualClock()
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(clock.now() - start)

    start = clock.now()
    async with moving(clock), anyio.create_task_group() as tasks:
        for seconds in (3.0, 1.0, 2.0):
            tasks.start_soon(sleeper, seconds)
    assert woken == [1.0, 2.0, 3.0]


async def test_it_stands_still_while_an_engine_is_not_quiet() -> None:
    clock = VirtualClock()
    busy = True
    clock.join(lambda: not busy)
    start = clock.now()
    async with moving(clock), anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, 5.0)
        for _ in range(50):
            clock.poke()
            await anyio.lowlevel.checkpoint()
        assert clock.now() == start
        busy = False
        clock.poke()
    assert clock.now() == start + 5.0


async def test_it_stands_still_while_it_is_held() -> None:
    clock = VirtualClock()
    start = clock.now()
    async with moving(clock), anyio.create_task_group() as tasks:
        with clock.hold():
            tasks.start_soon(clock.sleep, 5.0)
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
            assert clock.now() == start
    assert clock.now() == start + 5.0


async def test_it_does_not_move_while_somebody_it_woke_has_not_run() -> None:
    clock = VirtualClock()
    seen: list[float] = []

    async def ticking() -> None:
        for _ in range(3):
            await clock.sleep(1.0)
            seen.append(clock.now())

    start = clock.now()
    async with moving(clock), anyio.create_task_group() as tasks:
        tasks.start_soon(ticking)
        tasks.start_soon(clock.sleep, 10.0)
    assert seen == [start + 1, start + 2, start + 3]


async def test_a_wait_ends_with_its_event_without_moving_the_clock() -> None:
    clock = VirtualClock()
    start = clock.now()
    changed = anyio.Event()
    async with moving(clock) as tasks:
        with clock.hold():
            tasks.start_soon(clock.wait, start + 5.0, changed)
            await anyio.lowlevel.checkpoint()
            changed.set()
            await anyio.wait_all_tasks_blocked()
    assert clock.now() == start


async def test_a_cancelled_sleeper_does_not_move_the_clock() -> None:
    clock = VirtualClock()
    start = clock.now()
    async with moving(clock):
        with clock.hold(), anyio.CancelScope() as scope:
            scope.cancel()
            await clock.sleep(5.0)
        await clock.sleep(9.0)
    assert (clock.now(), clock.moves) == (start + 9.0, 1)


async def test_advancing_stops_at_every_moment_that_somebody_waits_for() -> None:
    clock = VirtualClock()
    start = clock.now()
    ticks: list[float] = []

    async def ticking() -> None:
        while True:
            await clock.sleep(1.0)
            ticks.append(clock.now() - start)

    async with moving(clock), anyio.create_task_group() as tasks:
        tasks.start_soon(ticking)
        await anyio.lowlevel.checkpoint()
        await clock.advance(2.5)
        tasks.cancel_scope.cancel()
    assert ticks == [1.0, 2.0]
    assert clock.now() == start + 2.5


async def test_two_movers_lose_no_wake_up() -> None:
    clock = VirtualClock()
    async with moving(clock), moving(clock):
        for _ in range(5):
            with anyio.fail_after(5):
                await clock.sleep(1.0)
    assert clock.moves == 5


async def test_time_goes_forward_only() -> None:
    with pytest.raises(UsageError, match="forward"):
        await VirtualClock().advance(-1)


async def test_advancing_without_an_engine_is_told() -> None:
    with pytest.raises(UsageError, match="no engine"):
        await VirtualClock().advance(1)


async def test_waiting_for_ever_moves_nothing() -> None:
    clock = VirtualClock()
    start = clock.now()
    changed = anyio.Event()
    async with moving(clock) as tasks:
        tasks.start_soon(clock.wait, float("inf"), changed)
        await clock.sleep(1.0)
        for _ in range(50):
            clock.poke()
            await anyio.lowlevel.checkpoint()
        changed.set()
    assert clock.now() == start + 1.0
