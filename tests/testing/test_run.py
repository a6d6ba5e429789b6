"""Handlers in memory: results, commands, state, and what is said when something was not given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import pytest

from perdure import (
    Case,
    Context,
    InvocationCancelled,
    JournalMismatchError,
    Middleware,
    ObjectContext,
    RetryableError,
    RetryPolicy,
    Service,
    StateKey,
    Succeeded,
    TerminalError,
    UsageError,
    VirtualObject,
    Workflow,
    WorkflowContext,
)
from perdure.handlers.registry import Registry
from perdure.testing import run
from perdure.wire.messages import (
    AwaitingOnMessage,
    CallCommand,
    InputCommand,
    OutputCommand,
    RunCommand,
    RunCompletion,
    SetStateCommand,
    SleepCommand,
)
from perdure.wire.versions import ProtocolVersion

pytestmark = pytest.mark.anyio

shop = Service("Shop")
stock = VirtualObject("Stock")
order = Workflow("Order")
left = StateKey("left", int, default=10)


@dataclass
class Item:
    name: str
    count: int


class Answered(Case[str]):
    pass


class Late(Case[None]):
    pass


@stock.handler
async def reserve(ctx: ObjectContext, count: int) -> int:
    remaining = await ctx.get(left)
    if remaining < count:
        raise TerminalError("sold out", code=409)
    ctx.set(left, remaining - count)
    return remaining - count


@stock.handler
async def audit(ctx: ObjectContext) -> list[str]:
    return await ctx.state_keys()


@stock.handler
async def forget(ctx: ObjectContext) -> None:
    ctx.clear(left)
    ctx.clear_all()


async def double(number: int) -> int:
    return 2 * number


@shop.handler
async def steps(ctx: Context, number: int) -> int:
    first = await ctx.run(double, number)
    await ctx.sleep(days=2)
    return await ctx.run(double, first)


@shop.handler
async def buy(ctx: Context, item: Item) -> int:
    return await ctx.call(reserve, item.count, key=item.name)


@shop.handler
async def buy_later(ctx: Context, item: Item) -> int:
    return await ctx.send(reserve, item.count, key=item.name, delay=5).attach()


@shop.handler
async def wait(ctx: Context) -> str:
    answer = ctx.awakeable(str)
    match await ctx.select(Answered(answer), Late(ctx.sleep(60))):
        case Answered(text):
            return text
        case Late():
            return "nobody answered"


@shop.handler
async def listen(ctx: Context) -> list[str]:
    return [await ctx.signal("a", str), await ctx.signal("b", str)]


@shop.handler
async def echo_headers(ctx: Context) -> dict[str, str]:
    return dict(ctx.headers)


@order.main
async def main(ctx: WorkflowContext) -> int:
    waiting = ctx.promise("paid", int).value()
    await ctx.promise("paid", int).resolve(5)
    return await waiting


@order.handler
async def peek(ctx: Any) -> Any:
    return repr(await ctx.promise("paid", int).peek())


# --- results -------------------------------------------------------------------------------------------------------


async def test_a_run_gives_result_commands_journal_and_attempts() -> None:
    ran = await run(steps, 3)
    assert ran.result == 12
    assert ran.failure is None
    assert [type(command) for command in ran.commands] == [
        InputCommand,
        RunCommand,
        SleepCommand,
        RunCommand,
        OutputCommand,
    ]
    assert [type(entry).__name__ for entry in ran.journal][1:5] == [
        "RunCommand",
        "RunCompletion",
        "SleepCommand",
        "SleepCompletion",
    ]
    assert ran.attempts == 1


async def test_a_failure_is_told_and_raised_by_the_result() -> None:
    ran = await run(reserve, 11, key="book")
    assert ran.failure == TerminalError("sold out", code=409)
    with pytest.raises(TerminalError, match="sold out"):
        _ = ran.result


async def test_the_input_is_written_by_its_annotation() -> None:
    ran = await run(buy, Item("book", 2), calls={reserve: 8})
    assert ran.result == 8


async def test_headers_come_with_the_request() -> None:
    assert (await run(echo_headers, headers={"X-A": "1"})).result == {"x-a": "1"}


@pytest.mark.parametrize("protocol", list(ProtocolVersion))
@pytest.mark.parametrize("always_replay", [False, True])
async def test_every_version_gives_the_same_result(protocol: ProtocolVersion, always_replay: bool) -> None:
    ran = await run(steps, 3, protocol=protocol, always_replay=always_replay)
    assert ran.result == 12
    assert ran.attempts == (4 if always_replay else 1)


async def test_always_replay_suspends_at_every_await_and_runs_each_step_once() -> None:
    runs: list[int] = []

    async def noted(number: int) -> int:
        runs.append(number)
        return number

    service = Service("Noted")

    @service.handler
    async def handler(ctx: Context) -> int:
        return sum([await ctx.run(noted, number) for number in range(4)])

    ran = await run(handler, always_replay=True)
    assert (ran.result, runs, ran.attempts) == (6, [0, 1, 2, 3], 5)


async def test_time_jumps_and_no_time_passes() -> None:
    ran = await run(steps, 1)
    assert ran.runtime.now - 1_700_000_000 == timedelta(days=2).total_seconds()


async def test_timers_fire_in_their_order_whatever_the_order_of_setting() -> None:
    service = Service("Timers")

    @service.handler
    async def handler(ctx: Context) -> list[int]:
        pending = ctx.unordered(ctx.sleep(seconds) for seconds in (30, 10, 20))
        return [index async for index, _ in pending]

    for always_replay in (False, True):
        assert (await run(handler, always_replay=always_replay)).result == [1, 2, 0]


# --- state ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lazy_state", [False, True])
@pytest.mark.parametrize("always_replay", [False, True])
async def test_state_is_given_and_read_back(lazy_state: bool, always_replay: bool) -> None:
    ran = await run(reserve, 3, key="book", state={"left": 5}, lazy_state=lazy_state, always_replay=always_replay)
    assert (ran.result, ran.state) == (2, {"left": b"2"})


@pytest.mark.parametrize("lazy_state", [False, True])
async def test_keys_are_listed(lazy_state: bool) -> None:
    ran = await run(audit, key="book", state={"b": 1, "a": 2}, lazy_state=lazy_state)
    assert ran.result == ["a", "b"]


async def test_cleared_state_is_gone() -> None:
    assert (await run(forget, key="book", state={"left": 1, "other": 2})).state == {}


# --- others --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [8, lambda count: 10 - count])
async def test_calls_get_the_results_given(given: Any) -> None:
    ran = await run(buy, Item("book", 2), calls={reserve: given})
    assert ran.result == 8
    (call,) = (command for command in ran.commands if isinstance(command, CallCommand))
    assert (call.service_name, call.handler_name, call.key, call.parameter) == ("Stock", "reserve", "book", b"2")


@pytest.mark.parametrize("given", [TerminalError("gone", code=410), lambda _: TerminalError("gone", code=410)])
async def test_calls_fail_with_the_errors_given(given: Any) -> None:
    assert (await run(buy, Item("book", 2), calls={reserve: given})).failure == TerminalError("gone", code=410)


@pytest.mark.parametrize("always_replay", [False, True])
async def test_a_send_can_be_attached_to(always_replay: bool) -> None:
    ran = await run(buy_later, Item("book", 2), calls={reserve: lambda count: 10 - count}, always_replay=always_replay)
    assert ran.result == 8


async def test_awakeables_get_the_values_given() -> None:
    assert (await run(wait, awakeables=["yes"])).result == "yes"


async def test_without_a_value_the_timer_beside_an_awakeable_fires() -> None:
    assert (await run(wait)).result == "nobody answered"


async def test_a_rejected_awakeable_fails() -> None:
    assert (await run(wait, awakeables=[TerminalError("no", code=418)])).failure == TerminalError("no", code=418)


@pytest.mark.parametrize("always_replay", [False, True])
async def test_signals_arrive_in_the_order_given(always_replay: bool) -> None:
    ran = await run(listen, signals=[("b", "two"), ("a", "one")], always_replay=always_replay)
    assert ran.result == ["one", "two"]


@pytest.mark.parametrize("always_replay", [False, True])
async def test_a_promise_that_the_handler_completes_ends_its_own_wait(always_replay: bool) -> None:
    ran = await run(main, key="k", always_replay=always_replay)
    assert ran.result == 5


async def test_promises_have_the_values_given() -> None:
    assert (await run(peek, key="k", promises={"paid": 3})).result == repr(Succeeded(3))
    assert (await run(peek, key="k")).result == "None"


async def test_a_promise_that_is_complete_cannot_be_completed() -> None:
    ran = await run(main, key="k", promises={"paid": 3})
    assert ran.failure is not None
    assert ran.failure.code == 409


async def test_the_app_is_given() -> None:
    service = Service("App")

    @service.handler
    async def handler(ctx: Context) -> str:
        return str(ctx.app)

    assert (await run(handler, app="the app")).result == "the app"


async def test_middleware_is_entered() -> None:
    moves: list[str] = []

    class Noting(Middleware):
        @asynccontextmanager
        async def attempt(self, ctx: Context) -> AsyncIterator[None]:
            moves.append("in")
            yield
            moves.append("out")

    await run(steps, 1, middleware=[Noting()])
    assert moves == ["in", "out"]


async def test_a_registry_with_a_codec_is_used() -> None:
    class Reversing:
        content_type = "application/json"
        stable = True

        def encode(self, data: bytes, /) -> bytes:
            return data[::-1]

        def decode(self, data: bytes, /) -> bytes:
            return data[::-1]

    ran = await run(reserve, 3, key="book", state={"left": 15}, registry=Registry([stock], codec=Reversing()))
    assert (ran.result, ran.state) == (12, {"left": b"21"})


# --- cancelling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("always_replay", [False, True])
async def test_a_cancelled_invocation_ends_with_409(always_replay: bool) -> None:
    assert (await run(wait, cancel=True, always_replay=always_replay)).failure == TerminalError("cancelled", code=409)


async def test_a_cancelled_handler_may_clean_up() -> None:
    service = Service("Cleaning")

    @service.handler
    async def handler(ctx: Context) -> str:
        try:
            await ctx.sleep(1)
        except InvocationCancelled:
            await ctx.run(double, 1)
            return "cleaned"
        return "?"

    assert (await run(handler, cancel=True)).result == "cleaned"


# --- failing -------------------------------------------------------------------------------------------------------


async def test_the_error_of_a_failed_attempt_is_raised() -> None:
    service = Service("Failing")

    @service.handler
    async def handler(ctx: Context) -> None:
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        await run(handler)


async def test_failed_attempts_are_tried_again_when_asked() -> None:
    service = Service("Retried")
    tries = 0

    @service.handler
    async def handler(ctx: Context) -> int:
        nonlocal tries
        tries += 1
        await ctx.run(double, tries)
        if tries < 3:
            raise ValueError("bad")
        return tries

    ran = await run(handler, max_retries=2)
    assert (ran.result, ran.attempts) == (3, 3)
    assert sum(isinstance(entry, RunCompletion) for entry in ran.journal) == 1
    assert [error.message for error in ran.runtime.errors] == ["ValueError: bad"] * 2


async def test_tries_are_counted_since_the_last_stored_entry() -> None:
    service = Service("Counting")
    tries: dict[str, int] = {"a": 0, "b": 0}

    async def restarts(name: str) -> str:
        tries[name] += 1
        if tries[name] <= 2:
            raise RetryableError(name, retry_after=5)
        return name

    @service.handler
    async def handler(ctx: Context) -> str:
        policy = RetryPolicy(initial_interval=5, max_attempts=3)
        return await ctx.run(restarts, "a", retry=policy) + await ctx.run(restarts, "b", retry=policy)

    ran = await run(handler, max_retries=10)
    assert (ran.result, tries) == ("ab", {"a": 3, "b": 3})


async def test_the_time_of_earlier_attempts_counts_for_the_duration_of_a_step() -> None:
    service = Service("Lasting")
    tries = 0

    async def restarts() -> None:
        nonlocal tries
        tries += 1
        raise RetryableError("again", retry_after=5)

    @service.handler
    async def handler(ctx: Context) -> None:
        await ctx.run(restarts, retry=RetryPolicy(max_duration=12))

    ran = await run(handler, max_retries=10)
    assert (tries, ran.failure) == (4, TerminalError("again"))


async def test_a_step_that_runs_out_of_tries_is_terminal() -> None:
    service = Service("Exhausted")

    async def fails() -> None:
        raise ValueError("bad")

    @service.handler
    async def handler(ctx: Context) -> None:
        await ctx.run(fails, retry=RetryPolicy(max_attempts=3))

    assert (await run(handler)).failure == TerminalError("bad")


async def test_code_that_does_not_repeat_itself_is_found_by_always_replay() -> None:
    service = Service("Random")
    attempts = 0

    @service.handler
    async def handler(ctx: Context) -> None:
        nonlocal attempts
        attempts += 1
        await ctx.run(double, 1, name=f"attempt {attempts}")

    with pytest.raises(JournalMismatchError, match="attempt 1") as raised:
        await run(handler, always_replay=True)
    assert f"{__file__}:" in raised.value.location
    await run(handler)


@pytest.mark.parametrize("always_replay", [False, True])
async def test_waiting_for_what_was_not_given_says_what(always_replay: bool) -> None:
    service = Service("Waiting")

    @service.handler
    async def handler(ctx: Context) -> None:
        await ctx.gather(ctx.call(reserve, 1, key="k"), ctx.awakeable(), ctx.signal("go"), ctx.attach("inv_1x"))

    for protocol in ProtocolVersion:
        with pytest.raises(UsageError, match="Waiting/handler waits for what nobody gave it") as raised:
            await run(handler, always_replay=always_replay, protocol=protocol)
        for part in ("CallCommand(service_name='Stock', handler_name='reserve'", "awakeable number 1", "signal 'go'"):
            assert part in str(raised.value)
        assert "AttachInvocationCommand" in str(raised.value)


async def test_an_input_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(Exception, match="the input of Shop/steps"):
        await run(steps, object())


async def test_hints_of_version_7_do_not_disturb() -> None:
    service = Service("Hinting")

    @service.handler
    async def handler(ctx: Context) -> None:
        await ctx.gather(ctx.sleep(1), ctx.run(double, 1))

    ran = await run(handler, protocol=ProtocolVersion.V7)
    assert all(isinstance(hint, AwaitingOnMessage) for hint in ran.runtime.hints)
    assert ran.result is None


async def test_nothing_survives_a_run() -> None:
    service = Service("Survivor")
    stopped = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    @service.handler
    async def handler(ctx: Context) -> None:
        await ctx.first(ctx.run(slow), ctx.run(double, 1))

    await run(handler)
    assert stopped.is_set()


async def test_the_state_of_a_run_is_that_of_its_commands() -> None:
    ran = await run(reserve, 4, key="k")
    assert SetStateCommand in map(type, ran.commands)
    assert ran.state == {"left": b"6"}
