"""Durable cancel scopes and deadlines: the journal decides, and they stop what runs in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from perdure import (
    Context,
    DeadlineExceeded,
    InvocationCancelled,
    RunCancelled,
    TerminalError,
    UsageError,
)
from perdure.durable.driver import End
from perdure.durable.outcome import RUN_CANCELLED
from perdure.wire.messages import (
    CallCommand,
    CallCompletion,
    CallInvocationIdCompletion,
    Failure,
    InvocationId,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SetStateCommand,
    SleepCommand,
    SleepCompletion,
    SuspensionMessage,
    Value,
    Void,
)
from tests.durable.attempts import CANCEL, Peer, attempt, ticks
from tests.structured.plays import played, result_of

pytestmark = pytest.mark.anyio

VOID = Void()


async def quick() -> int:
    return 1


# --- deadlines -----------------------------------------------------------------------------------------------------


async def test_a_block_is_left_when_its_deadline_has_passed() -> None:
    async def handler(ctx: Context) -> list[Any]:
        with ctx.move_on_after(timedelta(days=21)) as scope:
            await ctx.sleep(days=30)
        return [scope.cancel_called, scope.cancelled_caught]

    ran = await played(handler)
    assert ran.result == [True, True]
    assert ran.runtime.now - 1_700_000_000 == pytest.approx(21 * 24 * 3600)


async def test_a_block_that_ends_in_time_is_not_cancelled_and_its_timer_holds_nobody_up() -> None:
    async def handler(ctx: Context) -> list[Any]:
        with ctx.move_on_after(1000) as scope:
            await ctx.sleep(1)
        await ctx.sleep(1)
        return [scope.cancel_called, scope.cancelled_caught]

    ran = await played(handler)
    assert ran.result == [False, False]
    assert ran.runtime.now - 1_700_000_000 == pytest.approx(2)


async def test_a_timer_of_a_scope_that_was_left_is_ignored() -> None:
    async def handler(ctx: Context) -> str:
        with ctx.move_on_after(5):
            pass
        await ctx.sleep(10)
        return "ended"

    assert await result_of(handler) == "ended"


async def test_fail_after_raises_a_terminal_error_that_is_a_timeout_error() -> None:
    async def handler(ctx: Context) -> str:
        with pytest.raises(TimeoutError) as raised, ctx.fail_after(1):
            await ctx.sleep(10)
        assert type(raised.value) is DeadlineExceeded
        with ctx.fail_after(1):
            await ctx.sleep(10)
        return "never"

    assert await result_of(handler) == "408 the deadline has passed"


async def test_deadlines_at_a_time() -> None:
    at = datetime.fromtimestamp(1_700_000_060, UTC)

    async def handler(ctx: Context) -> list[Any]:
        seen: list[Any] = []
        with ctx.move_on_at(at) as scope:
            seen.append(scope.deadline == at)
            await ctx.sleep(1000)
        seen.append(scope.cancelled_caught)
        with ctx.fail_at(at - timedelta(days=1)):  # passed long ago
            await ctx.sleep(1000)
        return seen

    ran = await played(handler)
    assert ran.failure == TerminalError("the deadline has passed", code=408)
    assert ran.runtime.now == pytest.approx(1_700_000_060)


@pytest.mark.parametrize("seconds", [0, -1, -float("inf")])
async def test_a_deadline_that_has_passed_cancels_at_once_without_a_timer(seconds: float) -> None:
    async def handler(ctx: Context) -> bool:
        with ctx.move_on_after(seconds) as scope:
            await ctx.run(quick)
        return scope.cancelled_caught

    ran = await played(handler)
    assert ran.result is True
    assert [type(command).__name__ for command in ran.commands] == ["InputCommand", "OutputCommand"]


async def test_no_deadline_writes_nothing() -> None:
    async def handler(ctx: Context) -> Any:
        with ctx.move_on_after(float("inf")) as scope:
            pass
        return scope.deadline

    assert len((await played(handler)).commands) == 2


async def test_rescheduling_sets_a_new_timer_and_forgets_the_old_one() -> None:
    async def handler(ctx: Context) -> list[Any]:
        seen: list[Any] = []
        with ctx.move_on_after(10) as scope:
            await ctx.sleep(5)
            scope.reschedule(20)
            await ctx.sleep(15)
            seen.append(scope.cancel_called)
            scope.reschedule(None)
            await ctx.sleep(1000)
            seen.append(scope.deadline)
            scope.reschedule(timedelta(seconds=1))
            await ctx.sleep(1000)
        seen.append(scope.cancelled_caught)
        return seen

    ran = await played(handler)
    assert ran.result == [False, None, True]
    assert ran.runtime.now - 1_700_000_000 == pytest.approx(1021)


async def test_the_recorded_time_of_a_deadline_counts() -> None:
    async def handler(ctx: Any) -> str:
        with ctx.move_on_after(10) as scope:
            return str(scope.deadline)

    peer = Peer(SleepCommand(5_000, 1))
    async with attempt(handler, peer):
        pass
    assert "1970-01-01 00:00:05" in peer.output


@pytest.mark.parametrize(
    "make",
    [
        lambda ctx: ctx.move_on_after(None),
        lambda ctx: ctx.move_on_after("5"),
        lambda ctx: ctx.move_on_after(float("nan")),
        lambda ctx: ctx.move_on_at(datetime(2030, 1, 1)),  # noqa: DTZ001 - the mistake under test
        lambda ctx: ctx.move_on_at(5),
        lambda ctx: ctx.fail_after(datetime(2030, 1, 1, tzinfo=UTC)),
    ],
)
async def test_what_is_no_deadline_is_refused(make: Any) -> None:
    async def handler(ctx: Context) -> str:
        try:
            make(ctx)
        except UsageError:
            return "refused"
        return "taken"

    assert await result_of(handler) == "refused"


# --- what is cancelled ---------------------------------------------------------------------------------------------


async def test_a_running_step_is_stopped_at_once_and_waited_for() -> None:
    stopped = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async def handler(ctx: Any) -> str:
        with ctx.move_on_after(1):
            await ctx.run(slow)
        return "went on"

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        await ticks()
        peer.tells(SleepCompletion(1, VOID))
        assert (await peer.hears(ProposeRunCompletionMessage)).result == RUN_CANCELLED
        assert stopped.is_set()
        await ticks()
        assert "OutputCommand" not in peer.kinds
        peer.tells(RunCompletion(2, RUN_CANCELLED))
    assert peer.output == '"went on"'


async def test_a_value_in_spite_of_the_cancellation_is_returned_and_the_next_await_raises() -> None:
    async def stubborn() -> int:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return 7
        return 0

    async def handler(ctx: Any) -> list[int]:
        seen = []
        with ctx.move_on_after(1):
            seen.append(await ctx.run(stubborn))
            seen.append(await ctx.run(stubborn))
        return seen

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        await ticks()
        peer.tells(SleepCompletion(1, VOID))
        assert (await peer.hears(ProposeRunCompletionMessage)).result == Value(b"7")
        peer.tells(RunCompletion(2, Value(b"7")))
    assert peer.output == "[7]"
    assert peer.kinds.count("RunCommand") == 1


async def test_a_combination_waits_until_its_steps_have_been_stopped() -> None:
    async def slow() -> None:
        await anyio.sleep_forever()

    async def handler(ctx: Any) -> None:
        with ctx.move_on_after(1):
            await ctx.gather(ctx.run(slow), ctx.run(slow))
        ctx.set("after", 1)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        await ticks()
        peer.tells(SleepCompletion(1, VOID))
        await peer.hears(ProposeRunCompletionMessage)
        await ticks()
        peer.tells(RunCompletion(2, RUN_CANCELLED))
        await ticks()
        assert "SetStateCommand" not in peer.kinds
        peer.tells(RunCompletion(3, RUN_CANCELLED))
    assert "SetStateCommand" in peer.kinds


async def test_every_durable_await_in_a_cancelled_scope_raises() -> None:
    async def handler(ctx: Context) -> list[str]:
        seen: list[str] = []
        done = ctx.run(quick)
        await done
        with ctx.CancelScope() as scope:
            scope.cancel()
            for wait in (ctx.sleep(0), ctx.run(quick), done, ctx.gather(done), ctx.awakeable(int)):
                try:
                    await wait
                except anyio.get_cancelled_exc_class():  # noqa: ASYNC103 - the test counts them
                    seen.append("cancelled")
        return seen

    assert await result_of(handler) == ["cancelled"] * 5


async def test_in_a_cancelled_scope_nothing_is_begun_but_what_is_told_is_told() -> None:
    async def handler(ctx: Any) -> str:
        with ctx.CancelScope() as scope:
            scope.cancel()
            step = ctx.run(quick)
            call = ctx.generic_call("S", "h", b"")
            ctx.set("a", 1)
            ctx.generic_send("S", "h", b"")
        with pytest.raises(RunCancelled):
            await step
        try:
            await call
        except TerminalError as error:
            return str(error)
        return "never"

    peer = Peer()
    async with attempt(handler, peer):
        pass
    assert peer.output == '"the step was cancelled"'
    assert peer.kinds == ["SetStateCommand", "OneWayCallCommand", "OutputCommand", "EndMessage"]


async def test_plain_awaits_that_begin_in_a_cancelled_scope_are_cancelled_too() -> None:
    async def handler(ctx: Context) -> list[str]:
        seen: list[str] = []
        with ctx.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                seen.append("cancelled")
                with anyio.CancelScope(shield=True):
                    await ticks(3)
                with ctx.CancelScope(shield=True):
                    seen.append(str(await ctx.run(quick)))
                    await ticks(3)
                seen.append("cleaned up")
        await ticks(3)
        return seen

    assert await result_of(handler) == ["cancelled", "1", "cleaned up"]


async def test_a_branch_of_another_scope_can_cancel_it() -> None:
    async def child(ctx: Context, scopes: list[Any]) -> bool:
        with ctx.CancelScope() as scope:
            scopes.append(scope)
            await ctx.sleep(100)
        return scope.cancelled_caught

    async def handler(ctx: Context) -> bool:
        scopes: list[Any] = []
        async with ctx.open_nursery() as nursery:
            future = nursery.start_soon(child, ctx, scopes)
            await ctx.sleep(1)
            scopes[0].cancel()
        return await future

    assert await result_of(handler) is True


# --- shields and nesting -------------------------------------------------------------------------------------------


async def test_a_shield_keeps_a_cancellation_away_until_it_is_left() -> None:
    async def handler(ctx: Context) -> list[str]:
        seen: list[str] = []
        with ctx.move_on_after(1):
            with ctx.CancelScope(shield=True):
                await ctx.sleep(10)
                seen.append("slept")
            await ctx.sleep(10)
            seen.append("never")
        return seen

    assert await result_of(handler) == ["slept"]


async def test_lifting_a_shield_lets_the_cancellation_in() -> None:
    async def child(ctx: Context, scopes: list[Any]) -> str:
        with ctx.CancelScope(shield=True) as scope:
            scopes.append(scope)
            await ctx.sleep(100)
        return "never"

    async def handler(ctx: Context) -> Any:
        scopes: list[Any] = []
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(child, ctx, scopes)
            await ctx.sleep(1)
            nursery.cancel_scope.cancel()
            with ctx.CancelScope(shield=True):
                await ctx.sleep(1)
            scopes[0].shield = False
        return (await ctx.now()).timestamp()

    assert await result_of(handler) == pytest.approx(1_700_000_002)


async def test_of_two_scopes_that_are_cancelled_the_outer_one_catches() -> None:
    async def handler(ctx: Context) -> list[bool]:
        with ctx.CancelScope() as outer, ctx.CancelScope() as inner:
            inner.cancel()
            outer.cancel()
            await ctx.sleep(1)
        return [inner.cancelled_caught, outer.cancelled_caught]

    assert await result_of(handler) == [False, True]


async def test_a_deadline_over_a_nursery_cancels_its_children() -> None:
    async def child(ctx: Context, seen: list[str]) -> None:
        try:
            await ctx.sleep(100)
        finally:
            if not ctx.suspending:
                with ctx.CancelScope(shield=True):
                    seen.append(str(await ctx.run(quick)))

    async def handler(ctx: Context) -> list[Any]:
        seen: list[Any] = []
        with ctx.move_on_after(1) as scope:
            async with ctx.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(child, ctx, seen)
        return [*seen, scope.cancelled_caught]

    assert await result_of(handler) == ["1", "1", "1", True]


async def test_the_invocations_cancellation_waits_for_the_end_of_a_shield() -> None:
    async def handler(ctx: Any) -> str:
        try:
            with ctx.CancelScope(shield=True):
                await ctx.run(quick)
                await ctx.sleep(1)
                await ctx.run(quick)
            await ctx.sleep(1)
        except InvocationCancelled:
            return "after the shield"
        return "never"

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        peer.tells(CANCEL, RunCompletion(1, Value(b"1")), SleepCompletion(2, VOID))
        await peer.hears(RunCommand)
        peer.tells(RunCompletion(3, Value(b"1")))
    assert peer.output == '"after the shield"'


async def test_a_scope_is_used_once() -> None:
    async def handler(ctx: Context) -> str:
        scope = ctx.CancelScope()
        with scope:
            pass
        try:
            with scope:
                pass
        except UsageError as error:
            return str(error)
        return ""

    assert "once" in await result_of(handler)


async def test_a_scope_cancelled_before_it_is_entered_is_cancelled_from_the_start() -> None:
    async def handler(ctx: Context) -> list[bool]:
        scope = ctx.move_on_after(5)
        scope.cancel()
        with scope:
            await ctx.sleep(1)
        return [scope.cancel_called, scope.cancelled_caught]

    ran = await played(handler)
    assert ran.result == [True, True]
    assert len(ran.commands) == 2


async def test_an_error_in_a_cancelled_scope_is_not_caught_by_it() -> None:
    async def handler(ctx: Context) -> str:
        with ctx.CancelScope() as scope:
            scope.cancel()
            raise TerminalError("mine", code=418)
        return "never"

    assert await result_of(handler) == "418 mine"


# --- the end of the attempt ----------------------------------------------------------------------------------------


async def test_an_open_deadline_is_what_a_suspended_handler_waits_for() -> None:
    async def handler(ctx: Any) -> None:
        with ctx.move_on_after(1), ctx.move_on_after(2):
            await ctx.awakeable()

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.closes()
        suspension = await peer.hears(SuspensionMessage)
    assert suspension.waiting_completions == (1, 2)


async def test_a_deadline_that_was_left_is_waited_for_by_nobody() -> None:
    async def handler(ctx: Any) -> None:
        with ctx.move_on_after(1):
            pass
        await ctx.sleep(2)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.closes()
        suspension = await peer.hears(SuspensionMessage)
    assert suspension.waiting_completions == (2,)


async def test_with_the_input_closed_a_step_is_stopped_at_its_deadline_without_a_result() -> None:
    async def slow() -> None:
        await anyio.sleep_forever()

    async def handler(ctx: Any) -> None:
        with ctx.move_on_after(0.01):
            await ctx.run(slow)

    class Clock:
        start = 0.0

        def now(self) -> float:
            return 1_000 + anyio.current_time() - self.start

        monotonic = now

        async def sleep(self, seconds: float) -> None:
            await anyio.sleep(seconds)

    clock = Clock()
    clock.start = anyio.current_time()
    peer = Peer()
    async with attempt(handler, peer, clock=clock) as running:
        await peer.hears(RunCommand)
        peer.closes()
        assert await running.ended() is End.SUSPENDED
    assert "ProposeRunCompletionMessage" not in peer.kinds


async def test_a_scope_in_an_attempt_that_is_over_does_nothing() -> None:
    seen: list[str] = []

    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        finally:
            with ctx.move_on_after(1) as scope:
                scope.cancel()
                scope.reschedule(5)
                seen.append("entered")

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.closes()
    assert seen == ["entered"]
    assert peer.kinds == ["SleepCommand", "SuspensionMessage"]


# --- losers --------------------------------------------------------------------------------------------------------


async def test_a_step_that_lost_a_race_is_stopped_when_its_scope_is_left() -> None:
    stopped: list[str] = []

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.append("slow")

    async def handler(ctx: Any) -> None:
        with ctx.CancelScope():
            await ctx.first(ctx.run(slow), ctx.sleep(1))
        ctx.set("after", 1)
        await ctx.sleep(2)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(SleepCompletion(2, VOID))
        await peer.hears(SetStateCommand)
        assert (await peer.hears(ProposeRunCompletionMessage)).result == RUN_CANCELLED
        assert stopped == ["slow"]
        peer.tells(RunCompletion(1, RUN_CANCELLED), SleepCompletion(3, VOID))
    assert peer.kinds[-1] == "EndMessage"


@pytest.mark.parametrize("cancel_on_exit", [False, True])
async def test_an_owned_call_is_cancelled_on_the_server_when_its_scope_is_left(cancel_on_exit: bool) -> None:
    async def handler(ctx: Any) -> None:
        with ctx.move_on_after(1):
            await ctx.generic_call("S", "h", b"", cancel_on_exit=cancel_on_exit)

    peer = Peer()
    async with attempt(handler, peer):
        call = await peer.hears(CallCommand)
        peer.tells(SleepCompletion(1, VOID))
        await ticks()
        if cancel_on_exit:
            assert "EndMessage" not in peer.kinds  # the handler's end waits for the callee's id
            peer.tells(_id_of(call.invocation_id_notification_idx))
    assert ("SendSignalCommand" in peer.kinds) is cancel_on_exit


def _id_of(id: int) -> Any:
    return CallInvocationIdCompletion(id, InvocationId("inv_1x"))


async def test_an_owned_call_that_was_answered_is_not_cancelled() -> None:
    async def handler(ctx: Context) -> None:
        with ctx.CancelScope():
            await ctx.generic_call("Other", "h", b"", cancel_on_exit=True)

    peer = Peer()
    async with attempt(handler, peer):
        call = await peer.hears(CallCommand)
        peer.tells(_id_of(call.invocation_id_notification_idx), CallCompletion(2, Value(b"1")))
    assert "SendSignalCommand" not in peer.kinds


async def test_an_owned_call_of_the_handler_itself_is_cancelled_at_its_end() -> None:
    async def handler(ctx: Any) -> str:
        ctx.generic_call("S", "h", b"", cancel_on_exit=True)
        return "ended"

    peer = Peer()
    async with attempt(handler, peer):
        call = await peer.hears(CallCommand)
        peer.tells(_id_of(call.invocation_id_notification_idx))
    assert peer.kinds == ["CallCommand", "SendSignalCommand", "OutputCommand", "EndMessage"]


async def test_steps_of_a_failed_gather_go_on() -> None:
    done: list[str] = []

    async def fails() -> None:
        raise TerminalError("bad")

    async def other() -> None:
        await ticks(5)
        done.append("other")

    async def handler(ctx: Context) -> str:
        with pytest.raises(TerminalError, match="bad"):
            await ctx.gather(ctx.run(fails), ctx.run(other))
        return "ended"

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, Failure(500, "bad")))
        proposal = await peer.hears(ProposeRunCompletionMessage)
        assert proposal.result == Value(b"")
        peer.tells(RunCompletion(2, Value(b"")))
    assert done == ["other"]


async def test_a_deadline_that_passed_unheard_is_still_what_the_attempt_suspends_on() -> None:
    async def slow() -> None:
        await anyio.sleep_forever()

    async def handler(ctx: Any) -> None:
        with ctx.move_on_after(4):
            await ctx.run(slow)

    peer = Peer(SleepCommand(4_000, 1), RunCommand(2, "slow"))  # it passed long ago
    peer.closes()
    async with attempt(handler, peer) as running:
        suspension = await peer.hears(SuspensionMessage)
        assert await running.ended() is End.SUSPENDED
    assert set(suspension.waiting_completions) == {1, 2}
    assert "ProposeRunCompletionMessage" not in peer.kinds
