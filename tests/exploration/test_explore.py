"""What `perdure.testing.explore` says of handlers that are wrong, and that it says the same again."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
import time
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure import Context, ObjectContext, Service, TerminalError, UsageError, VirtualObject
from perdure.testing import Exploration, ExplorationError, explore
from perdure.testing.exploring.loops import LoopReport, TooBusyError, on_loop
from perdure.testing.exploring.progress import Progress
from perdure.testing.exploring.schedule import ALL, Schedule, Word
from perdure.testing.exploring.shrinking import shrunk

shop = Service("Shop")
stock = VirtualObject("Stock")


async def step() -> int:
    return 1


async def long_step() -> int:
    await anyio.sleep(600)
    return 2


@shop.handler
async def fine(ctx: Context) -> int:
    first, second = await ctx.gather(ctx.run(step), ctx.run(long_step))
    await ctx.sleep(days=1)
    return first + second


def summary(found: Exploration[Any]) -> dict[str, Any]:
    return {**dataclasses.asdict(found), "seconds": 0}


def test_the_same_seed_explores_the_same() -> None:
    assert summary(explore(fine, seed=7, budget=25)) == summary(explore(fine, seed=7, budget=25))


def test_another_seed_explores_something_else() -> None:
    assert summary(explore(fine, seed=7, budget=25)) != summary(explore(fine, seed=8, budget=25))


def test_every_crash_suspension_and_order_of_a_small_handler_is_played() -> None:
    found = explore(fine, cancel=False, budget=50)
    assert found.phases[:-1] == [
        "all 2 plain runs",
        "the one run that suspends at every await",
        "all 7 crashes",
        "all 2 lost results",
        "the one suspension",
        "all 6 stops",
        "all 2 orders of completion",
    ]
    assert found.schedules == 50
    assert [result for result, _ in found.results] == [3]


def test_a_summary_is_for_people() -> None:
    text = str(explore(fine, budget=3))
    assert re.match(r"Shop/fine: 3 schedules in \d+ attempts, and \d+ replays of journals with up to 8 entries", text)
    assert text.endswith("3 times: 3")


def test_virtual_time_costs_none() -> None:
    began = time.monotonic()
    explore(fine, budget=5)
    assert time.monotonic() - began < 600


# --- handlers that are wrong ------------------------------------------------------------------------------------------

calls = itertools.count()


@shop.handler
async def asks_the_world(ctx: Context, text: str) -> None:
    if next(calls) % 2:
        await ctx.sleep(1)
    await ctx.run(step, name=text)


@stock.handler
async def acts_on_arrival(ctx: ObjectContext) -> str:
    order: list[str] = []

    async def noted(name: str) -> None:
        order.append(name)  # read by the handler, and in a replay nobody appends

    await ctx.gather(ctx.run(noted, "a"), ctx.run(noted, "b"))
    return ",".join(order)


@shop.handler
async def races(ctx: Context) -> int:
    return await ctx.first(ctx.run(step), ctx.run(long_step))


def test_a_handler_that_asks_the_world_does_not_repeat_its_journal() -> None:
    with pytest.raises(ExplorationError, match="does not repeat what the journal recorded") as raised:
        explore(asks_the_world, "hello", cancel=False)
    assert raised.value.kind == "mismatch"
    assert re.search(
        r"^Play it again: explore\(asks_the_world, 'hello', schedule='.*'\)$", str(raised.value), re.MULTILINE
    )
    assert isinstance(raised.value, AssertionError)


def test_memory_that_steps_share_with_the_handler_is_seen() -> None:
    with pytest.raises(ExplorationError, match="return of the handler") as raised:
        explore(acts_on_arrival, key="tea", cancel=False)
    again = raised.value
    with pytest.raises(ExplorationError) as repeated:
        explore(acts_on_arrival, key="tea", cancel=False, schedule=again.schedule)
    assert repeated.value.kind == again.kind
    assert repeated.value.journal == again.journal


def test_the_shortest_schedule_is_told() -> None:
    with pytest.raises(ExplorationError, match="another result: 2, and before it was 1") as raised:
        explore(races, cancel=False, same_result=True, budget=300)
    assert len(raised.value.schedule.split()) <= 2


def test_a_race_may_give_several_results() -> None:
    assert sorted(
        result for result, _ in explore(races, cancel=False, budget=25).results if isinstance(result, int)
    ) == [1, 2]


@shop.handler
async def waits_for_nobody(ctx: Context) -> None:
    await ctx.signal("go")


def test_a_wait_that_nobody_ends_is_told() -> None:
    with pytest.raises(ExplorationError, match=r"waits for what nobody gave it \(signal 'go'\)"):
        explore(waits_for_nobody, cancel=False)


@shop.handler
async def spins(ctx: Context) -> None:
    while not ctx.suspending:
        await anyio.lowlevel.checkpoint()


def test_a_loop_that_spins_is_stopped() -> None:
    for backend in ("asyncio", "trio"):
        with pytest.raises(ExplorationError) as raised:
            explore(spins, schedule=f"{backend}=0")
        assert raised.value.kind == "spins"


@shop.handler
async def fails(ctx: Context) -> None:
    raise ValueError(await ctx.run(step))


def test_a_handler_that_fails_in_every_attempt_is_told_with_its_error() -> None:
    with pytest.raises(ExplorationError, match="fails every time: ValueError: 1") as raised:
        explore(fails)
    assert isinstance(raised.value.__cause__, ValueError)


@shop.handler
async def ends_with_a_failure(ctx: Context) -> None:
    raise TerminalError("sold out", code=409)


def test_a_terminal_failure_is_a_result() -> None:
    assert explore(ends_with_a_failure, budget=5, cancel=False).results == [(TerminalError("sold out", code=409), 5)]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_exploring_on_a_running_loop_is_refused(backend: str) -> None:
    async def main() -> None:
        explore(fine)

    with pytest.raises(UsageError, match="call it from a plain function"):
        anyio.run(main, backend=backend)


# --- schedules --------------------------------------------------------------------------------------------------------

words = st.builds(
    Word,
    st.sampled_from(["crash", "stop", "order", "noise", "cancel", "closed", "slow", "lose", "suspend", "protocol"]),
    st.integers(ALL, 20),
    st.integers(0, 9),
)


@given(st.lists(words, unique_by=lambda word: (word.kind, word.at)))
def test_a_schedule_is_read_as_it_was_written(drawn: list[Word]) -> None:
    schedule = Schedule(drawn)
    assert Schedule.parse(str(schedule)) == schedule


@pytest.mark.parametrize("text", ["crash", "crash=x", "crash=4:2", "order=1+2", "fly=1", "crash=4 or so"])
def test_a_text_that_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no word of a schedule"):
        Schedule.parse(text)


def test_a_word_of_its_own_beats_the_word_for_all_attempts() -> None:
    schedule = Schedule.parse("noise=*:5 noise=2:7")
    assert [schedule.get("noise", attempt) for attempt in (0, 2)] == [5, 7]


def test_shrinking_keeps_what_matters() -> None:
    schedule = Schedule([Word("crash", at, 3) for at in range(2, 12)])
    shortest = shrunk(schedule, lambda tried: tried.get("crash", 5) is not None and tried.get("crash", 9) is not None)
    assert str(shortest) == "crash=5 crash=9"


# --- loops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_seed_is_an_order(backend: Any) -> None:
    async def order() -> str:
        seen: list[str] = []

        async def task(name: str) -> None:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
                seen.append(name)

        async with anyio.create_task_group() as tasks:
            for name in "abcd":
                tasks.start_soon(task, name)
        return "".join(seen)

    orders = [on_loop(backend, seed, LoopReport(1000), order) for seed in range(1, 11)]
    assert orders == [on_loop(backend, seed, LoopReport(1000), order) for seed in range(1, 11)]
    assert len(set(orders)) > 5


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_cannot_be_cancelled_is_stopped_by_force(backend: Any) -> None:
    async def spin() -> None:
        while True:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()

    with pytest.raises(TooBusyError, match="more than 300 times"):
        on_loop(backend, 1, LoopReport(300), spin)


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_is_shown_where_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(second) for second in range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with Progress(10, "schedules", stream=stream, shown=True) as bar:
        for done in range(5):
            bar.at(done, "Shop/fine")
    assert "4 of 10 schedules" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_progress_is_not_written_into_a_file() -> None:
    stream = io.StringIO()
    with Progress(10, "schedules", stream=stream) as bar:
        bar.at(5)
    assert stream.getvalue() == ""
