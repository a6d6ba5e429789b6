"""Compensations run in reverse, durably and shielded, and only when the invocation is going to end."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from perdure import Context, InvocationCancelled, RetryPolicy, TerminalError, UsageError
from perdure.durable.driver import End
from perdure.durable.outcome import RUN_CANCELLED
from perdure.wire.messages import (
    Failure,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SleepCommand,
    SleepCompletion,
    Value,
    Void,
)
from tests.durable.attempts import CANCEL, Peer, attempt, ticks
from tests.structured.plays import played, result_of

pytestmark = pytest.mark.anyio

VOID = Void()


async def undo(value: int = 0) -> int:
    return value


def names(ran: Any) -> list[str]:
    return [command.name for command in ran.commands if isinstance(command, RunCommand)]


async def test_a_terminal_error_undoes_in_reverse_order() -> None:
    async def handler(ctx: Context) -> None:
        async with ctx.compensations() as undoing:
            for number in range(3):
                undoing.push(undo, number, name=f"undo {number}")
            raise TerminalError("no", code=418)

    ran = await played(handler)
    assert ran.failure == TerminalError("no", code=418)
    assert names(ran) == ["undo 2", "undo 1", "undo 0"]


async def test_a_block_that_ends_well_undoes_nothing() -> None:
    async def handler(ctx: Context) -> int:
        async with ctx.compensations() as undoing:
            undoing.push(undo)
            return await ctx.run(undo, 5, name="do")

    ran = await played(handler)
    assert (ran.result, names(ran)) == (5, ["do"])


async def test_a_group_of_terminal_errors_undoes() -> None:
    async def child(ctx: Context, undoing: Any, number: int) -> None:
        undoing.push(undo, name=f"undo {number}")
        await ctx.sleep(number)
        raise TerminalError(f"child {number}", code=410 + number)

    async def handler(ctx: Context) -> None:
        async with ctx.compensations() as undoing, ctx.open_nursery() as nursery:
            for number in (1, 2):
                nursery.start_soon(child, ctx, undoing, number)

    ran = await played(handler)
    assert ran.failure is not None
    assert (ran.failure.code, names(ran)) == (411, ["undo 2", "undo 1"])


async def test_an_error_that_is_tried_again_undoes_nothing() -> None:
    async def handler(ctx: Any) -> None:
        async with ctx.compensations() as undoing:
            undoing.push(undo)
            await ctx.sleep(1)
            raise ValueError("clumsy")

    peer = Peer(SleepCommand(1, 1), SleepCompletion(1, VOID))
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.FAILED
    assert peer.kinds == ["ErrorMessage"]


async def test_a_mixed_group_undoes_nothing() -> None:
    async def handler(ctx: Any) -> None:
        async with ctx.compensations() as undoing:
            undoing.push(undo)
            raise ExceptionGroup("mixed", [TerminalError("no"), ValueError("clumsy")])

    peer = Peer()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.FAILED
    assert peer.kinds == ["ErrorMessage"]


async def test_a_suspension_undoes_nothing() -> None:
    async def handler(ctx: Any) -> None:
        async with ctx.compensations() as undoing:
            undoing.push(undo)
            await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.closes()
    assert peer.kinds == ["SleepCommand", "SuspensionMessage"]


async def test_leaving_by_the_cancellation_of_a_scope_undoes_nothing() -> None:
    async def handler(ctx: Context) -> str:
        with ctx.move_on_after(1):
            async with ctx.compensations() as undoing:
                undoing.push(undo)
                await ctx.sleep(100)
        return "went on"

    ran = await played(handler)
    assert (ran.result, names(ran)) == ("went on", [])


async def test_the_cancellation_of_the_invocation_undoes() -> None:
    async def handler(ctx: Context) -> None:
        async with ctx.compensations() as undoing:
            undoing.push(undo, name="undo")
            await ctx.sleep(100)

    ran = await played(handler, cancel=True)
    assert ran.failure is not None
    assert (ran.failure.code, names(ran)) == (409, ["undo"])


async def test_a_cancellation_during_compensation_does_not_break_it() -> None:
    async def handler(ctx: Any) -> None:
        async with ctx.compensations() as undoing:
            undoing.push(undo, name="first")
            undoing.push(undo, name="second")
            raise TerminalError("no", code=418)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(CANCEL, RunCompletion(1, Value(b"0")))
        assert (await peer.hears(ProposeRunCompletionMessage)).result == Value(b"0")
        peer.tells(RunCompletion(2, Value(b"0")))
    assert peer.output == Failure(418, "no")


async def test_a_deadline_during_compensation_does_not_break_it() -> None:
    async def handler(ctx: Any) -> None:
        with ctx.move_on_after(1):
            async with ctx.compensations() as undoing:
                undoing.push(undo, name="first")
                undoing.push(undo, name="second")
                raise TerminalError("no", code=418)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(SleepCompletion(1, VOID), RunCompletion(2, Value(b"0")))
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(3, Value(b"0")))
    assert peer.output == Failure(418, "no")


async def test_a_failing_compensation_is_reported_and_the_others_still_run() -> None:
    async def fails() -> None:
        raise TerminalError("undo failed", code=500)

    async def handler(ctx: Context) -> None:
        async with ctx.compensations() as undoing:
            undoing.push(undo, name="last")
            undoing.push(fails)
            undoing.push(undo, name="first")
            raise TerminalError("no", code=418)

    ran = await played(handler)
    assert ran.failure == TerminalError("no", code=418, metadata={"also.1": "[500] undo failed"})
    assert names(ran) == ["first", "fails", "last"]


async def test_a_failing_compensation_of_a_cancelled_invocation_is_its_context() -> None:
    async def fails() -> None:
        raise TerminalError("undo failed")

    async def handler(ctx: Context) -> str:
        try:
            async with ctx.compensations() as undoing:
                undoing.push(fails)
                await ctx.sleep(100)
        except InvocationCancelled as cancelled:
            return repr(cancelled.__context__)
        return "never"

    result = await result_of(handler, cancel=True)
    assert result == "ExceptionGroup('compensations failed', [TerminalError('undo failed', code=500)])"


async def test_a_compensation_is_retried_by_its_policy() -> None:
    tries: list[int] = []

    async def flaky() -> None:
        tries.append(1)
        raise ValueError("again")

    async def handler(ctx: Context) -> None:
        async with ctx.compensations() as undoing:
            undoing.push(flaky, retry=RetryPolicy(max_attempts=3))
            raise TerminalError("no", code=418)

    ran = await played(handler)
    assert ran.failure == TerminalError("no", code=418, metadata={"also.1": "[500] again"})
    assert len(tries) >= 3


async def test_a_step_that_still_runs_is_stopped_before_anything_is_undone() -> None:
    stopped: list[str] = []

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.append("slow")

    async def handler(ctx: Any) -> None:
        async with ctx.compensations() as undoing:
            undoing.push(undo, name="undo")
            ctx.run(slow)
            await ctx.sleep(1)
            raise TerminalError("no", code=418)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(SleepCompletion(2, VOID))
        assert (await peer.hears(ProposeRunCompletionMessage)).result == RUN_CANCELLED
        await ticks()
        assert peer.kinds.count("RunCommand") == 1
        peer.tells(RunCompletion(1, RUN_CANCELLED))
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(3, Value(b"0")))
    assert peer.output == Failure(418, "no")
    assert stopped == ["slow"]


async def test_a_step_of_a_block_that_ends_well_goes_on() -> None:
    async def handler(ctx: Context) -> int:
        async with ctx.compensations():
            step = ctx.run(undo, 3)
        return await step

    assert await result_of(handler) == 3


async def test_nothing_is_pushed_outside_of_the_block() -> None:
    async def handler(ctx: Context) -> str:
        undoing = ctx.compensations()
        try:
            undoing.push(undo)
        except UsageError as error:
            return str(error)
        return ""

    assert "inside their block" in await result_of(handler)


async def test_pushing_while_the_attempt_is_over_does_nothing() -> None:
    async def handler(ctx: Any) -> None:
        async with ctx.compensations() as undoing:
            try:
                await ctx.sleep(1)
            finally:
                undoing.push(undo)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        peer.closes()
        assert await running.ended() is End.SUSPENDED


async def test_a_durable_function_may_be_pushed_with_its_arguments() -> None:
    async def handler(ctx: Context) -> None:
        async def tell(what: str, *, after: float) -> None:
            await ctx.sleep(after)
            await ctx.run(undo, name=f"tell {what}")

        async with ctx.compensations() as undoing:
            undoing.push(undo, name="first")
            undoing.push_durable(tell, "second", after=1)
            raise TerminalError("no", code=418)

    ran = await played(handler)
    assert ran.failure == TerminalError("no", code=418)
    assert names(ran) == ["tell second", "first"]
    assert sum(isinstance(command, SleepCommand) for command in ran.commands) == 1


async def test_durable_functions_that_fail_terminally_are_reported_and_others_fail_the_attempt() -> None:
    async def handler(ctx: Context, error: str) -> None:
        async def fail() -> None:
            await ctx.sleep(1)
            raise TerminalError("cannot be undone") if error == "terminal" else ValueError("a bug")

        async with ctx.compensations() as undoing:
            undoing.push(undo, name="first")
            undoing.push_durable(fail)
            raise TerminalError("no", code=418)

    ran = await played(handler, arg="terminal")
    assert ran.failure is not None
    assert (ran.failure.code, names(ran)) == (418, ["first"])
    assert "cannot be undone" in str(ran.failure.metadata)
    with pytest.raises(ValueError, match="a bug"):
        await played(handler, arg="other")
