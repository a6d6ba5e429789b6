"""Durable nurseries: children run concurrently, end with their block, and fail as in trio."""

from __future__ import annotations

import contextvars
from typing import Any

import anyio
import pytest

from perdure import (
    Case,
    Context,
    InvocationCancelled,
    RunCancelled,
    TaskStatus,
    TerminalError,
    UsageError,
)
from perdure.durable.driver import End
from perdure.wire.messages import (
    Failure,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SetStateCommand,
    SleepCommand,
    SleepCompletion,
    Value,
    Void,
)
from tests.durable.attempts import CANCEL, Peer, attempt, ticks
from tests.structured.plays import played, result_of

pytestmark = pytest.mark.anyio

VOID = Void()


async def double(value: int) -> int:
    return 2 * value


async def after(ctx: Any, seconds: float, value: Any) -> Any:
    await ctx.sleep(seconds)
    if isinstance(value, BaseException):
        raise value
    return value


# --- results -------------------------------------------------------------------------------------------------------


async def test_children_run_concurrently() -> None:
    async def handler(ctx: Context) -> list[int]:
        async with ctx.open_nursery() as nursery:
            futures = [nursery.start_soon(after, ctx, 100, number) for number in range(20)]
        return [await future for future in futures]

    ran = await played(handler)
    assert ran.result == list(range(20))
    assert ran.runtime.now - 1_700_000_000 == pytest.approx(100)


async def test_a_child_is_awaited_selected_gathered_and_read_like_any_future() -> None:
    class Fast(Case[Any]): ...

    class Slow(Case[Any]): ...

    async def handler(ctx: Context) -> list[Any]:
        seen: list[Any] = []
        async with ctx.open_nursery() as nursery:
            fast, slow = nursery.start_soon(after, ctx, 1, "fast"), nursery.start_soon(after, ctx, 2, "slow")
            match await ctx.select(Fast(fast), Slow(slow)):
                case Fast(value):
                    seen += [value, fast.done, slow.done]
                case Slow(value):
                    seen.append(value)
            seen += await ctx.gather(slow, fast, ctx.run(double, 4))
            seen += [value async for _, value in ctx.unordered([slow, fast])]
            seen.append(await slow.map(str.upper))
        return seen

    assert await result_of(handler) == ["fast", True, False, "slow", "fast", 8, "slow", "fast", "SLOW"]


async def test_nurseries_nest_and_children_may_start_siblings() -> None:
    async def grandchild(ctx: Context, value: int) -> int:
        return await ctx.run(double, value)

    async def child(ctx: Context, nursery: Any, value: int) -> int:
        nursery.start_soon(grandchild, ctx, value)  # a sibling
        async with ctx.open_nursery() as inner:
            futures = [inner.start_soon(grandchild, ctx, value + more) for more in range(3)]
        return sum([await future for future in futures])

    async def handler(ctx: Context) -> list[int]:
        async with ctx.open_nursery() as nursery:
            futures = [nursery.start_soon(child, ctx, nursery, value) for value in (1, 10)]
        return [await future for future in futures]

    ran = await played(handler)
    assert ran.result == [12, 66]
    assert len([command for command in ran.commands if isinstance(command, RunCommand)]) == 8


async def test_a_child_has_the_context_variables_of_its_start() -> None:
    variable = contextvars.ContextVar("variable", default="none")

    async def child(ctx: Context) -> str:
        await ctx.sleep(1)
        seen = variable.get()
        variable.set("of the child")
        return seen

    async def handler(ctx: Context) -> list[str]:
        async with ctx.open_nursery() as nursery:
            variable.set("first")
            first = nursery.start_soon(child, ctx)
            variable.set("second")
            second = nursery.start_soon(child, ctx)
        return [await first, await second, variable.get()]

    assert await result_of(handler) == ["first", "second", "second"]


async def test_a_branch_is_alone_between_its_durable_awaits() -> None:
    async def child(ctx: Context, seen: list[str], name: str) -> None:
        for _ in range(3):
            seen.append(name)
            await anyio.lowlevel.checkpoint()
            seen.append(name)
            await ctx.sleep(1)

    async def handler(ctx: Context) -> list[str]:
        seen: list[str] = []
        async with ctx.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(child, ctx, seen, name)
        return seen

    seen = await result_of(handler)
    assert all(seen[place] == seen[place + 1] for place in range(0, len(seen), 2))


async def test_the_block_waits_for_the_results_of_steps_that_nobody_awaits() -> None:
    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery():
            ctx.run(double, 1)
        ctx.set("after", 1)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(ProposeRunCompletionMessage)
        await ticks()
        assert "SetStateCommand" not in peer.kinds
        peer.tells(RunCompletion(1, Value(b"2")))
    assert "SetStateCommand" in peer.kinds


async def test_a_step_that_nobody_awaited_fails_the_nursery() -> None:
    async def fails() -> None:
        raise TerminalError("forgotten", code=419)

    async def handler(ctx: Context) -> str:
        try:
            async with ctx.open_nursery():
                ctx.run(fails)
        except ExceptionGroup as group:
            return repr(group.exceptions)
        return "nothing"

    assert await result_of(handler) == "(TerminalError('forgotten', code=419),)"


# --- failures ------------------------------------------------------------------------------------------------------


async def test_a_failing_child_cancels_its_siblings_and_the_body() -> None:
    seen: list[str] = []

    async def sibling(ctx: Context) -> None:
        try:
            await ctx.sleep(100)
        finally:
            if not ctx.suspending:
                seen.append("sibling")

    async def handler(ctx: Context) -> None:
        seen.clear()
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(sibling, ctx)
            nursery.start_soon(after, ctx, 1, TerminalError("bad", code=418))
            try:
                await ctx.sleep(100)
            finally:
                if not ctx.suspending:
                    seen.append("body")

    ran = await played(handler)
    assert ran.failure == TerminalError("bad", code=418)
    assert seen == ["sibling", "body"]
    assert ran.runtime.now - 1_700_000_000 == pytest.approx(1)


async def test_errors_come_in_one_group_the_first_child_first_whoever_failed_first() -> None:
    async def fails_while_unwinding(ctx: Context) -> None:
        try:
            await ctx.sleep(100)
        finally:
            if not ctx.suspending:
                raise TerminalError("first child", code=411)

    async def handler(ctx: Context) -> list[str]:
        try:
            async with ctx.open_nursery() as nursery:
                nursery.start_soon(fails_while_unwinding, ctx)
                nursery.start_soon(after, ctx, 1, TerminalError("second child", code=412))
                try:
                    await ctx.sleep(100)
                finally:
                    if not ctx.suspending:
                        raise TerminalError("body", code=410)
        except ExceptionGroup as group:
            return [str(error) for error in group.exceptions]
        return []

    assert await result_of(handler) == ["body", "first child", "second child"]


async def test_a_group_of_terminal_errors_ends_the_invocation_with_the_first() -> None:
    async def handler(ctx: Context) -> None:
        async with ctx.open_nursery() as nursery:
            for number in (1, 2):
                nursery.start_soon(after, ctx, 0, TerminalError(f"error {number}", code=410 + number))
            await ctx.sleep(0)

    failure = (await played(handler)).failure
    assert failure is not None
    assert (failure.message, failure.code) == ("error 1", 411)


async def test_an_error_that_is_not_terminal_fails_the_attempt() -> None:
    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(after, ctx, 1, ValueError("clumsy"))
            nursery.start_soon(after, ctx, 100, TerminalError("never"))

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        peer.tells(SleepCompletion(1, VOID))
        assert await running.ended() is End.FAILED
    assert "clumsy" in str(peer.sent[-1])


async def test_a_sibling_that_awaits_the_failed_child_is_cancelled_and_somebody_outside_gets_the_error() -> None:
    seen: list[str] = []

    async def waits(ctx: Context, future: Any, name: str) -> None:
        try:
            await future
        except TerminalError as error:
            seen.append(f"{name}: {error}")
        finally:
            if not ctx.suspending:
                seen.append(f"{name} ends")

    async def handler(ctx: Context) -> list[str]:
        seen.clear()
        box: list[Any] = []

        async def inner() -> None:
            async with ctx.open_nursery() as nursery:
                box.append(nursery.start_soon(after, ctx, 1, TerminalError("bad")))
                nursery.start_soon(waits, ctx, box[0], "sibling")

        async with ctx.open_nursery(contain=True) as outer:
            outer.start_soon(inner)
            await ctx.sleep(0)
            outer.start_soon(waits, ctx, box[0], "outsider")
        return seen

    assert await result_of(handler) == ["sibling ends", "outsider: bad", "outsider ends"]


async def test_a_contained_failure_stays_in_its_future_and_cancels_nobody() -> None:
    async def handler(ctx: Context) -> list[Any]:
        async with ctx.open_nursery(contain=True) as nursery:
            bad = nursery.start_soon(after, ctx, 1, TerminalError("bad", code=418))
            good = nursery.start_soon(after, ctx, 2, "good")
        outcomes = await ctx.settle(bad, good)
        return [type(outcome).__name__ for outcome in outcomes] + [await good, await ctx.first_success(bad, good)]

    assert await result_of(handler) == ["Failed", "Succeeded", "good", "good"]


async def test_an_error_that_is_not_terminal_is_not_contained() -> None:
    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery(contain=True) as nursery:
            nursery.start_soon(after, ctx, 1, ValueError("clumsy"))
            await ctx.sleep(100)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(SleepCompletion(2, VOID))
        assert await running.ended() is End.FAILED


async def test_a_nested_group_of_terminal_failures_is_told_by_settle() -> None:
    async def nested(ctx: Context) -> None:
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(after, ctx, 1, TerminalError("deep", code=418))

    async def handler(ctx: Context) -> str:
        async with ctx.open_nursery(contain=True) as nursery:
            future = nursery.start_soon(nested, ctx)
        [outcome] = await ctx.settle(future)
        return repr(outcome)

    assert await result_of(handler) == "Failed(error=TerminalError('deep', code=418))"


# --- cancelling a nursery ------------------------------------------------------------------------------------------


async def test_cancelling_the_scope_ends_body_and_children_and_is_caught_by_the_block() -> None:
    async def handler(ctx: Context) -> list[Any]:
        async with ctx.open_nursery() as nursery:
            future = nursery.start_soon(after, ctx, 100, "never")
            await ctx.sleep(1)
            nursery.cancel_scope.cancel()
            await ctx.sleep(100)
        try:
            await future
        except RunCancelled as error:
            return [nursery.cancel_scope.cancel_called, nursery.cancel_scope.cancelled_caught, str(error)]
        return []

    assert await result_of(handler) == [True, True, "child 'after' was cancelled"]


async def test_cancelled_branches_unwind_children_first_and_siblings_in_order() -> None:
    async def child(ctx: Context, seen: list[str], name: str, depth: int) -> None:
        try:
            async with ctx.open_nursery() as nursery:
                for number in range(2 if depth else 0):
                    nursery.start_soon(child, ctx, seen, f"{name}.{number}", depth - 1)
                await ctx.sleep(100)
        finally:
            if not ctx.suspending:
                seen.append(name)

    async def handler(ctx: Context) -> list[str]:
        seen: list[str] = []
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(child, ctx, seen, "0", 2)
            nursery.start_soon(child, ctx, seen, "1", 1)
            await ctx.sleep(1)
            nursery.cancel_scope.cancel()
        return seen

    assert await result_of(handler) == ["0.0.0", "0.0.1", "0.0", "0.1.0", "0.1.1", "0.1", "0", "1.0", "1.1", "1"]


async def test_a_child_started_in_a_cancelled_nursery_runs_to_its_first_await() -> None:
    async def child(ctx: Context, seen: list[str]) -> None:
        seen.append("begun")
        await ctx.run(double, 1)
        seen.append("never")

    async def handler(ctx: Context) -> list[str]:
        seen: list[str] = []
        async with ctx.open_nursery() as nursery:
            nursery.cancel_scope.cancel()
            nursery.start_soon(child, ctx, seen)
        return seen

    ran = await played(handler)
    assert ran.result == ["begun"]
    assert not any(isinstance(command, RunCommand) for command in ran.commands)


# --- the invocation's cancellation ---------------------------------------------------------------------------------


async def test_the_invocations_cancellation_leaves_a_nursery_bare() -> None:
    seen: list[str] = []

    async def child(ctx: Context) -> None:
        try:
            await ctx.sleep(100)
        finally:
            if not ctx.suspending:
                seen.append("child")
                raise TerminalError("while unwinding")

    async def handler(ctx: Any) -> str:
        try:
            async with ctx.open_nursery() as nursery:
                nursery.start_soon(child, ctx)
        except InvocationCancelled as cancelled:
            seen.append(repr(cancelled.__context__))
        await ctx.sleep(0)
        return "went on"

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.tells(CANCEL)
        await peer.hears(SleepCommand)
        peer.tells(SleepCompletion(2, VOID))
    assert peer.output == '"went on"'
    assert seen == [
        "child",
        (
            "ExceptionGroup('errors while the invocation was being cancelled', "
            "[TerminalError('while unwinding', code=500)])"
        ),
    ]


async def test_a_cancellation_of_the_invocation_caught_in_the_body_leaves_the_children_alone() -> None:
    async def handler(ctx: Any) -> list[str]:
        seen: list[str] = []
        async with ctx.open_nursery() as nursery:
            future = nursery.start_soon(after, ctx, 1, "child")
            try:
                await ctx.sleep(100)
            except InvocationCancelled:
                seen.append("cancelled")
            seen.append(await future)
        return seen

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(CANCEL)
        await ticks()
        peer.tells(SleepCompletion(2, VOID))
    assert peer.output == '["cancelled","child"]'


async def test_the_invocations_cancellation_reaches_steps_of_children() -> None:
    stopped = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async def child(ctx: Any) -> None:
        await ctx.run(slow)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(child, ctx)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        await ticks()
        peer.tells(CANCEL)
        proposal = await peer.hears(ProposeRunCompletionMessage)
        assert stopped.is_set()
        assert proposal.result is not None
        peer.tells(RunCompletion(1, proposal.result))
    assert peer.output == Failure(409, "cancelled")


# --- start ---------------------------------------------------------------------------------------------------------


async def test_start_returns_what_the_child_says_it_has_started_with() -> None:
    async def serve(ctx: Context, port: int, *, task_status: TaskStatus[int]) -> str:
        await ctx.sleep(1)
        task_status.started(port + 1)
        await ctx.sleep(5)
        return "served"

    async def handler(ctx: Context) -> list[Any]:
        async with ctx.open_nursery() as nursery:
            started = await nursery.start(serve, ctx, 80, name="server")
        return [started]

    ran = await played(handler)
    assert ran.result == [81]
    assert ran.runtime.now - 1_700_000_000 == pytest.approx(6)


async def test_a_child_that_fails_before_it_has_started_fails_start_and_nothing_else() -> None:
    async def serve(ctx: Context, *, task_status: TaskStatus[None]) -> None:
        await ctx.sleep(1)
        raise TerminalError("no port", code=418)

    async def handler(ctx: Context) -> list[str]:
        seen: list[str] = []
        async with ctx.open_nursery() as nursery:
            try:
                await nursery.start(serve, ctx)
            except TerminalError as error:
                seen.append(str(error))
            await ctx.sleep(1)
            seen.append("body goes on")
        return seen

    assert await result_of(handler) == ["no port", "body goes on"]


async def test_a_child_that_ends_without_having_started_is_told() -> None:
    async def serve(ctx: Context, *, task_status: TaskStatus[None]) -> None:
        await ctx.sleep(1)

    async def handler(ctx: Context) -> str:
        async with ctx.open_nursery() as nursery:
            try:
                await nursery.start(serve, ctx)
            except UsageError as error:
                return str(error)
        return ""

    assert "ended without having started" in await result_of(handler)


async def test_until_it_has_started_a_child_is_cancelled_with_its_caller() -> None:
    seen: list[str] = []

    async def serve(ctx: Context, *, task_status: TaskStatus[None]) -> None:
        try:
            await ctx.sleep(100)
        finally:
            if not ctx.suspending:
                seen.append("child")

    async def handler(ctx: Context) -> list[str]:
        seen.clear()
        async with ctx.open_nursery() as nursery:
            with ctx.move_on_after(1) as scope:
                await nursery.start(serve, ctx)
            seen.append(str(scope.cancelled_caught))
            await ctx.sleep(1)
        return seen

    assert await result_of(handler) == ["child", "True"]


async def test_once_started_a_child_survives_its_caller() -> None:
    async def serve(ctx: Context, *, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await ctx.sleep(10)
        await ctx.run(double, 2)

    async def handler(ctx: Context) -> None:
        async with ctx.open_nursery() as nursery:
            with ctx.move_on_after(1):
                await nursery.start(serve, ctx)
                await ctx.sleep(100)

    ran = await played(handler)
    assert ran.result is None
    assert any(isinstance(command, RunCommand) for command in ran.commands)


# --- mistakes ------------------------------------------------------------------------------------------------------


async def test_nothing_is_started_in_a_nursery_that_is_not_open() -> None:
    async def handler(ctx: Context) -> list[str]:
        seen: list[str] = []
        nursery = ctx.open_nursery()
        for _ in range(2):
            try:
                nursery.start_soon(after, ctx, 1, 1)
            except UsageError as error:
                seen.append(str(error).split(" (", maxsplit=1)[0])
            if not seen[1:]:
                async with nursery:
                    pass
        return seen

    assert await result_of(handler) == ["child 'after' is started in a nursery that is not open"] * 2


async def test_a_nursery_is_opened_once() -> None:
    async def handler(ctx: Context) -> str:
        nursery = ctx.open_nursery()
        async with nursery:
            pass
        try:
            async with nursery:
                pass
        except UsageError as error:
            return str(error)
        return ""

    assert "opened once" in await result_of(handler)


# --- the end of the attempt ----------------------------------------------------------------------------------------


async def test_a_suspension_unwinds_children_before_the_block_is_left() -> None:
    seen: list[str] = []

    async def child(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        finally:
            with anyio.CancelScope(shield=True):
                await ticks(5)
            seen.append("child")

    async def handler(ctx: Any) -> None:
        try:
            async with ctx.open_nursery() as nursery:
                nursery.start_soon(child, ctx)
        finally:
            seen.append("handler")

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.closes()
    assert seen == ["child", "handler"]
    assert peer.kinds[-1] == "SuspensionMessage"


@pytest.mark.parametrize("home", [False, True])
async def test_the_hosts_cancellation_ends_every_branch(home: bool) -> None:
    seen: list[str] = []

    async def child(ctx: Any, name: str) -> None:
        try:
            await ctx.sleep(1)
        finally:
            ctx.set("a", 1)
            seen.append(name)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            for name in "ab":
                nursery.start_soon(child, ctx, name)

    peer = Peer()
    async with attempt(handler, peer, home=home) as running:
        await peer.hears(SleepCommand)
        await peer.hears(SleepCommand)
        running.host.cancel()
    assert sorted(seen) == ["a", "b"]
    assert SetStateCommand not in map(type, peer.sent)


async def test_an_error_of_a_child_that_unwinds_is_logged_and_is_no_outcome(caplog: pytest.LogCaptureFixture) -> None:
    async def child(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        finally:
            raise ValueError("clumsy")

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(child, ctx)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        peer.closes()
        assert await running.ended() is End.SUSPENDED
    assert any("raised ValueError while its attempt was being unwound" in record.message for record in caplog.records)
