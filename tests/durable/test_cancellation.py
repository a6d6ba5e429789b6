"""Cancelling an invocation: once, at the root's next await; running steps at once; open calls by commands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from perdure import InvocationCancelled, RunCancelled, TerminalError, UsageError
from perdure.durable.driver import End
from perdure.durable.outcome import RUN_CANCELLED
from perdure.wire.messages import (
    CANCEL_SIGNAL,
    CallCommand,
    CallCompletion,
    CallInvocationIdCompletion,
    Failure,
    GetPromiseCommand,
    InvocationId,
    Message,
    OneWayCallCommand,
    OutputCommand,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SendSignalCommand,
    SetStateCommand,
    SignalNotification,
    SleepCommand,
    SleepCompletion,
    SuspensionMessage,
    Value,
    Void,
)
from tests.durable.attempts import CANCEL, V7, Peer, attempt, ticks

pytestmark = pytest.mark.anyio

VOID = Void()
CANCELLED = Failure(409, "cancelled")


def cancel_of(id: str) -> SendSignalCommand:
    return SendSignalCommand(id, CANCEL_SIGNAL, VOID)


async def forever() -> int:
    await anyio.sleep_forever()
    return 1


async def quick() -> int:
    return 1


# --- what is awaited at the cancel ---------------------------------------------------------------------------------

WAITS: list[tuple[str, Callable[[Any], Any], type[Message]]] = [
    ("sleep", lambda ctx: ctx.sleep(1), SleepCommand),
    ("call", lambda ctx: ctx.generic_call("S", "h", b""), CallCommand),
    ("id of a call", lambda ctx: ctx.generic_call("S", "h", b"").invocation_id, CallCommand),
    ("gather", lambda ctx: ctx.gather(ctx.sleep(1), ctx.sleep(2)), SleepCommand),
    ("mapped", lambda ctx: ctx.sleep(1).map(lambda _: 1), SleepCommand),
    ("settle", lambda ctx: ctx.settle(ctx.sleep(1)), SleepCommand),
    ("first_success", lambda ctx: ctx.first_success(ctx.sleep(1)), SleepCommand),
    ("promise", lambda ctx: ctx.promise("p").value(), GetPromiseCommand),
]


@pytest.mark.parametrize(("make", "command"), [case[1:] for case in WAITS], ids=[case[0] for case in WAITS])
async def test_a_wait_ends_in_the_cancellation(make: Callable[[Any], Any], command: type[Message]) -> None:
    async def handler(ctx: Any) -> None:
        await make(ctx)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(command)
        peer.tells(CANCEL)
        await ticks()
        if command is CallCommand:
            peer.tells(CallInvocationIdCompletion(1, InvocationId("inv_1x")))
        assert await running.ended() is End.ENDED
    assert peer.output == CANCELLED


@pytest.mark.parametrize("kind", ["awakeable", "signal"])
async def test_waiting_for_a_signal_ends_in_the_cancellation(kind: str) -> None:
    async def handler(ctx: Any) -> None:
        ctx.set("a", 1)
        await (ctx.awakeable() if kind == "awakeable" else ctx.signal("go"))

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SetStateCommand)
        peer.tells(CANCEL)
    assert peer.output == CANCELLED


async def test_a_cancel_before_the_first_await_is_raised_there() -> None:
    async def handler(ctx: Any) -> None:
        ctx.set("a", 1)
        await ctx.sleep(1)

    peer = Peer(CANCEL)
    async with attempt(handler, peer):
        pass
    assert peer.kinds == ["SetStateCommand", "SleepCommand", "OutputCommand", "EndMessage"]


async def test_a_value_that_stands_before_the_cancel_is_seen_first() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)
        ctx.set("a", 1)
        await ctx.sleep(2)

    peer = Peer(SleepCommand(0, 1), SleepCompletion(1, VOID), CANCEL)
    async with attempt(handler, peer):
        pass
    assert peer.kinds == ["SetStateCommand", "SleepCommand", "OutputCommand", "EndMessage"]


async def test_the_cancel_reaches_a_set_of_futures_that_is_being_read() -> None:
    async def handler(ctx: Any) -> None:
        async for _ in ctx.unordered([ctx.sleep(1), ctx.sleep(2)]):
            ctx.set("a", 1)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.tells(SleepCompletion(2, VOID))
        await peer.hears(SetStateCommand)
        peer.tells(CANCEL)
    assert peer.output == CANCELLED


# --- steps ---------------------------------------------------------------------------------------------------------


async def test_a_step_that_is_awaited_is_cancelled_and_its_completion_tells_the_handler() -> None:
    seen: list[str] = []

    async def handler(ctx: Any) -> None:
        try:
            await ctx.run(forever)
        except InvocationCancelled:
            seen.append("told")
            raise

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        peer.tells(CANCEL)
        assert (await peer.hears(ProposeRunCompletionMessage)).result == RUN_CANCELLED
        await ticks()
        assert seen == []
        peer.tells(RunCompletion(1, RUN_CANCELLED))
    assert (seen, peer.output) == (["told"], CANCELLED)


async def test_a_mapped_step_is_cancelled_like_the_step_itself() -> None:
    async def handler(ctx: Any) -> str:
        try:
            await ctx.run(forever).map(str)
        except TerminalError as error:
            return f"swallowed {error!r}"
        return "went on"

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        peer.tells(CANCEL)
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, RUN_CANCELLED))
    assert peer.output == CANCELLED


async def test_a_step_that_resists_is_waited_for() -> None:
    cleaned, go = anyio.Event(), anyio.Event()

    async def resists() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await go.wait()
            cleaned.set()

    async def handler(ctx: Any) -> None:
        try:
            await ctx.run(resists)
        finally:
            ctx.set("cleaned", cleaned.is_set())

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        peer.tells(CANCEL)
        await ticks()
        assert peer.kinds == ["RunCommand"]
        go.set()
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, RUN_CANCELLED))
    assert SetStateCommand(b"cleaned", Value(b"true")) in peer.sent


async def test_a_step_that_returns_in_spite_of_the_cancel_hands_over_its_value_and_the_next_await_is_told() -> None:
    async def stubborn() -> int:
        with anyio.CancelScope() as scope:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                scope.shield = True
                await anyio.lowlevel.checkpoint()
                return 7  # noqa: B012, RUF100 - the point of the test
        return 0

    async def handler(ctx: Any) -> None:
        value = await ctx.run(stubborn)
        ctx.set("value", value)
        await ctx.sleep(1)
        ctx.set("not", "reached")

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        peer.tells(CANCEL)
        assert (await peer.hears(ProposeRunCompletionMessage)).result == Value(b"7")
        peer.tells(RunCompletion(1, Value(b"7")))
    assert peer.kinds[-4:] == ["SetStateCommand", "SleepCommand", "OutputCommand", "EndMessage"]
    assert peer.output == CANCELLED


async def test_a_step_that_fails_in_spite_of_the_cancel_counts_as_cancelled() -> None:
    async def fails() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("while cleaning up")

    async def handler(ctx: Any) -> None:
        await ctx.run(fails)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        peer.tells(CANCEL)
        assert (await peer.hears(ProposeRunCompletionMessage)).result == RUN_CANCELLED
        peer.tells(RunCompletion(1, RUN_CANCELLED))
    assert peer.output == CANCELLED


async def test_a_step_between_two_tries_is_cancelled_at_once() -> None:
    tries = 0
    pausing = anyio.Event()

    class Paused:
        def now(self) -> float:
            return 1.0

        monotonic = now

        async def sleep(self, seconds: float) -> None:
            pausing.set()
            await anyio.sleep_forever()

    async def fails() -> None:
        nonlocal tries
        tries += 1
        raise ValueError("again")

    async def handler(ctx: Any) -> None:
        await ctx.run(fails)

    peer = Peer()
    async with attempt(handler, peer, clock=Paused()):
        with anyio.fail_after(5):
            await pausing.wait()
        peer.tells(CANCEL)
        assert (await peer.hears(ProposeRunCompletionMessage)).result == RUN_CANCELLED
        peer.tells(RunCompletion(1, RUN_CANCELLED))
    assert (tries, peer.output) == (1, CANCELLED)


async def test_a_plain_function_is_waited_for_and_hands_over_its_value() -> None:
    go = threading.Event()

    def blocking() -> int:
        go.wait(5)
        return 7

    async def handler(ctx: Any) -> None:
        ctx.set("value", await ctx.run(blocking))
        await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        await ticks()
        peer.tells(CANCEL)
        await ticks()
        assert peer.kinds == ["RunCommand"]
        go.set()
        assert (await peer.hears(ProposeRunCompletionMessage)).result == Value(b"7")
        peer.tells(RunCompletion(1, Value(b"7")))
    assert SetStateCommand(b"value", Value(b"7")) in peer.sent
    assert peer.output == CANCELLED


async def test_steps_in_a_combination_are_cancelled_and_the_handler_is_told_when_they_have_ended() -> None:
    ended: list[str] = []

    async def noted(name: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(name)

    async def handler(ctx: Any) -> None:
        await ctx.gather(ctx.run(noted, "a"), ctx.run(noted, "b"))

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        await peer.hears(RunCommand)
        await ticks()
        peer.tells(CANCEL)
        assert (await peer.hears(ProposeRunCompletionMessage)).result == RUN_CANCELLED
        peer.tells(RunCompletion(1, RUN_CANCELLED))
        await ticks()
        assert "OutputCommand" not in peer.kinds
        peer.tells(RunCompletion(2, RUN_CANCELLED))
    assert (sorted(ended), peer.output) == (["a", "b"], CANCELLED)


async def test_a_step_that_was_not_started_is_completed_as_cancelled() -> None:
    async def handler(ctx: Any) -> str:
        step = ctx.run(quick)
        try:
            await ctx.sleep(1)
        except InvocationCancelled:
            try:
                await step
            except RunCancelled as error:
                return str(error)
        return "?"

    peer = Peer(RunCommand(1, "quick"), SleepCommand(0, 2), CANCEL)
    async with attempt(handler, peer):
        assert (await peer.hears(ProposeRunCompletionMessage)).result == RUN_CANCELLED
        peer.tells(RunCompletion(1, RUN_CANCELLED))
    assert peer.output == '"the step was cancelled"'


async def test_a_step_whose_result_stands_behind_the_cancel_keeps_it() -> None:
    async def handler(ctx: Any) -> None:
        value = await ctx.run(quick)
        ctx.set("value", value)
        await ctx.sleep(1)

    peer = Peer(RunCommand(1, "quick"), CANCEL, RunCompletion(1, Value(b"1")))
    async with attempt(handler, peer):
        pass
    assert peer.sent[0] == SetStateCommand(b"value", Value(b"1"))
    assert peer.output == CANCELLED


async def test_whoever_else_awaits_a_cancelled_step_gets_a_terminal_error() -> None:
    async def handler(ctx: Any) -> str:
        step = ctx.run(forever)
        try:
            await step
        except InvocationCancelled:
            try:
                await step
            except RunCancelled as error:
                return repr(error)
        return "?"

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        peer.tells(CANCEL)
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, RUN_CANCELLED))
    assert peer.output == "\"RunCancelled('the step was cancelled', code=409)\""


async def test_a_step_that_is_started_after_the_cancel_runs() -> None:
    async def handler(ctx: Any) -> int:
        try:
            await ctx.sleep(1)
        except InvocationCancelled:
            return await ctx.run(quick)  # type: ignore[no-any-return]  # the context is any
        return 0

    peer = Peer(SleepCommand(0, 1), CANCEL)
    async with attempt(handler, peer):
        assert (await peer.hears(ProposeRunCompletionMessage)).result == Value(b"1")
        peer.tells(RunCompletion(2, Value(b"1")))
    assert peer.output == "1"


# --- who hears it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("swallows", [Exception, TerminalError])
async def test_an_except_around_an_await_does_not_swallow_it(swallows: type[Exception]) -> None:
    async def handler(ctx: Any) -> str:
        try:
            await ctx.sleep(1)
        except swallows:
            return "swallowed"
        return "slept"

    peer = Peer(SleepCommand(0, 1), CANCEL)
    async with attempt(handler, peer):
        pass
    assert peer.output == CANCELLED


async def test_code_that_handles_it_by_name_goes_on_durably() -> None:
    async def handler(ctx: Any) -> str:
        try:
            await ctx.sleep(1)
        except InvocationCancelled:
            await ctx.sleep(2)
            ctx.set("undone", 1)
            return "undone"
        return "slept"

    peer = Peer(SleepCommand(0, 1), CANCEL)
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.tells(SleepCompletion(2, VOID))
    assert peer.output == '"undone"'


async def test_a_second_cancel_is_ignored() -> None:
    raised = 0

    async def handler(ctx: Any) -> int:
        nonlocal raised
        for seconds in (1, 2):
            try:
                await ctx.sleep(seconds)
            except InvocationCancelled:
                raised += 1
        return raised

    peer = Peer(SleepCommand(0, 1), CANCEL, CANCEL)
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.tells(CANCEL)
        await ticks()
        peer.tells(SleepCompletion(2, VOID))
    assert (raised, peer.output) == (1, "1")


async def test_a_cancel_that_comes_when_the_handler_has_its_result_is_dropped() -> None:
    async def handler(ctx: Any) -> str:
        ctx.run(forever)
        return "done"

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        peer.tells(CANCEL)
        assert (await peer.hears(ProposeRunCompletionMessage)).result == RUN_CANCELLED
        peer.tells(RunCompletion(1, RUN_CANCELLED))
    assert peer.output == '"done"'


async def test_a_pending_cancel_is_dropped_when_the_handler_ends() -> None:
    async def handler(ctx: Any) -> int:
        return await ctx.run(quick)  # type: ignore[no-any-return]  # the context is any

    peer = Peer(RunCommand(1, "quick"), CANCEL, RunCompletion(1, Value(b"1")))
    async with attempt(handler, peer):
        pass
    assert peer.output == "1"


async def test_a_cancel_that_was_delivered_is_in_no_suspension_any_more() -> None:
    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        except InvocationCancelled:
            await ctx.sleep(2)

    peer = Peer(SleepCommand(0, 1), CANCEL)
    peer.closes()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.SUSPENDED
    assert peer.sent[-1] == SuspensionMessage((2,))


async def test_an_error_raised_while_the_cancel_unwinds_is_what_counts() -> None:
    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        finally:
            raise TerminalError("cannot undo", code=418)

    peer = Peer(SleepCommand(0, 1), CANCEL)
    async with attempt(handler, peer):
        pass
    assert peer.output == Failure(418, "cannot undo")


async def test_a_native_task_group_around_the_await_does_not_hide_it() -> None:
    async def handler(ctx: Any) -> None:
        async with anyio.create_task_group():
            await ctx.sleep(1)

    peer = Peer(SleepCommand(0, 1), CANCEL)
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.ENDED
    assert peer.output == CANCELLED


async def test_an_error_beside_it_in_a_native_task_group_fails_the_attempt() -> None:
    async def handler(ctx: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails)
            await ctx.sleep(1)

    async def fails() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("sibling")

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(CANCEL)
        assert await running.ended() is End.FAILED
    assert peer.kinds == ["SleepCommand", "ErrorMessage"]


# --- open calls ----------------------------------------------------------------------------------------------------


async def test_open_calls_are_cancelled_in_the_order_in_which_they_were_made() -> None:
    async def handler(ctx: Any) -> None:
        calls = [ctx.generic_call("S", name, b"") for name in "abc"]
        await calls[1]
        await ctx.gather(*calls)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(CallCommand)
        peer.tells(
            *(CallInvocationIdCompletion(id, InvocationId(f"inv_1{id}")) for id in (1, 3, 5)),
            CallCompletion(4, Value(b"")),
            CANCEL,
        )
    assert [message for message in peer.sent if isinstance(message, SendSignalCommand)] == [
        cancel_of("inv_11"),
        cancel_of("inv_15"),
    ]
    assert peer.kinds[-2:] == ["OutputCommand", "EndMessage"]


async def test_a_call_whose_callee_is_not_known_yet_is_cancelled_when_it_is_and_the_handler_waits_for_that() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.generic_call("S", "h", b"")

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(CallCommand)
        peer.tells(CANCEL)
        await ticks()
        assert peer.kinds == ["CallCommand"]
        peer.tells(CallInvocationIdCompletion(1, InvocationId("inv_1x")))
    assert peer.sent[1:3] == [cancel_of("inv_1x"), OutputCommand(CANCELLED)]


async def test_a_callee_that_is_told_meanwhile_is_cancelled_before_anybody_runs() -> None:
    async def handler(ctx: Any) -> None:
        call = ctx.generic_call("S", "h", b"")
        try:
            await ctx.sleep(1)
        except InvocationCancelled:
            ctx.set("first", 1)
            await call.invocation_id
            ctx.set("second", 1)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.tells(CANCEL)
        await ticks()
        peer.tells(CallInvocationIdCompletion(1, InvocationId("inv_1x")))
    assert peer.sent[2:5] == [
        SetStateCommand(b"first", Value(b"1")),
        cancel_of("inv_1x"),
        SetStateCommand(b"second", Value(b"1")),
    ]


async def test_one_way_calls_are_not_cancelled() -> None:
    async def handler(ctx: Any) -> None:
        ctx.generic_send("S", "h", b"")
        await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(OneWayCallCommand)
        peer.tells(CallInvocationIdCompletion(1, InvocationId("inv_1x")), CANCEL)
    assert "SendSignalCommand" not in peer.kinds


async def test_calls_made_after_the_cancel_are_not_cancelled() -> None:
    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        except InvocationCancelled:
            await ctx.generic_call("S", "undo", b"")

    peer = Peer(SleepCommand(0, 1), CANCEL)
    async with attempt(handler, peer):
        await peer.hears(CallCommand)
        peer.tells(CallInvocationIdCompletion(2, InvocationId("inv_1x")), CallCompletion(3, Value(b"")))
    assert "SendSignalCommand" not in peer.kinds


async def test_cancels_of_calls_are_repeated_at_their_place() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.generic_call("S", "h", b"")

    peer = Peer(
        CallCommand("S", "h", b"", invocation_id_notification_idx=1, result_completion_id=2),
        CANCEL,
        CallInvocationIdCompletion(1, InvocationId("inv_1x")),
        cancel_of("inv_1x"),
        OutputCommand(CANCELLED),
    )
    async with attempt(handler, peer):
        pass
    assert peer.kinds == ["EndMessage"]


# --- signals by name -----------------------------------------------------------------------------------------------


async def test_a_signal_that_was_awaited_at_the_cancel_is_kept_for_the_next_to_ask() -> None:
    async def handler(ctx: Any) -> str:
        try:
            await ctx.signal("go", str)
        except InvocationCancelled:
            await ctx.sleep(1)
            return await ctx.signal("go", str)  # type: ignore[no-any-return]  # the context is any
        return "?"

    peer = Peer(CANCEL)
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.tells(SignalNotification("go", Value(b'"went"')), SleepCompletion(1, VOID))
    assert peer.output == '"went"'


async def test_a_signal_that_lost_a_race_to_another_is_kept() -> None:
    async def handler(ctx: Any) -> list[str]:
        winner = await ctx.first(ctx.signal("a", str), ctx.signal("b", str))
        await ctx.sleep(1)
        return [winner, await ctx.signal("b", str)]

    peer = Peer(SignalNotification("a", Value(b'"a"')))
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.tells(SignalNotification("b", Value(b'"b"')), SleepCompletion(1, VOID))
    assert peer.output == '["a","b"]'


async def test_a_signal_beside_one_that_is_here_already_is_kept() -> None:
    async def handler(ctx: Any) -> list[str]:
        await ctx.sleep(1)
        winner = await ctx.first(ctx.signal("a", str), ctx.signal("b", str))
        await ctx.sleep(2)
        return [winner, await ctx.signal("b", str)]

    peer = Peer(SleepCommand(0, 1), SignalNotification("a", Value(b'"a"')), SleepCompletion(1, VOID))
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.tells(SignalNotification("b", Value(b'"b"')), SleepCompletion(2, VOID))
    assert peer.output == '["a","b"]'


async def test_a_race_of_two_signals_that_are_here_takes_one_only() -> None:
    async def handler(ctx: Any) -> list[str]:
        await ctx.sleep(1)
        winner = await ctx.first(ctx.signal("a", str), ctx.signal("b", str))
        return [winner, await ctx.signal("b", str)]

    signals = [SignalNotification(name, Value(f'"{name}"'.encode())) for name in "ba"]
    peer = Peer(SleepCommand(0, 1), *signals, SleepCompletion(1, VOID))
    async with attempt(handler, peer):
        pass
    assert peer.output == '["a","b"]'


async def test_a_wait_that_is_refused_leaves_no_signal_waiting() -> None:
    async def handler(ctx: Any) -> str:
        await ctx.signal("used", str)
        try:
            await ctx.first(ctx.signal("a", str), ctx.signal("used", str))
        except UsageError:
            await ctx.sleep(1)
        return await ctx.signal("a", str)  # type: ignore[no-any-return]  # the context is any

    peer = Peer(SignalNotification("used", Value(b'"x"')))
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.tells(SignalNotification("a", Value(b'"a"')), SleepCompletion(1, VOID))
    assert peer.output == '"a"'


async def test_the_tree_of_version_7_names_what_the_cancelled_handler_waits_for() -> None:
    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        except InvocationCancelled:
            await ctx.sleep(2)

    peer = Peer(SleepCommand(0, 1), CANCEL)
    peer.closes()
    async with attempt(handler, peer, version=V7) as running:
        assert await running.ended() is End.SUSPENDED
    suspension = peer.sent[-1]
    assert isinstance(suspension, SuspensionMessage)
    assert suspension.awaiting_on is not None
    assert suspension.awaiting_on.waiting_completions == (2,)
    assert suspension.awaiting_on.waiting_signals == ()
