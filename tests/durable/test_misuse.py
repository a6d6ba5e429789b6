"""Mistakes in the use of a context are told by name and line, at once, and never as a `TerminalError`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import pytest

from perdure import TerminalError, UsageError
from perdure.durable.driver import End
from perdure.wire.messages import (
    ErrorBehavior,
    ErrorMessage,
    RunCommand,
    SleepCommand,
    SleepCompletion,
    Void,
)
from tests.durable.attempts import V6, V7, Peer, attempt, ticks

pytestmark = pytest.mark.anyio

VOID = Void()
HERE = f"{__file__}:"


async def quick() -> int:
    return 1


async def failed_with(peer: Peer, *parts: str) -> None:
    """The attempt told the runtime, in an error message with these parts."""
    error = await peer.hears(ErrorMessage)
    for part in parts:
        assert part in error.message, error.message
    assert "OutputCommand" not in peer.kinds


# --- the wrong place -----------------------------------------------------------------------------------------------

OPERATIONS: list[tuple[str, Callable[[Any], Any]]] = [
    ("set", lambda ctx: ctx.set("a", 1)),
    ("get", lambda ctx: ctx.get("a")),
    ("run", lambda ctx: ctx.run(quick)),
    ("sleep", lambda ctx: ctx.sleep(1)),
    ("call", lambda ctx: ctx.generic_call("S", "h", b"")),
    ("send", lambda ctx: ctx.generic_send("S", "h", b"")),
    ("awakeable", lambda ctx: ctx.awakeable()),
    ("signal", lambda ctx: ctx.signal("go")),
    ("promise", lambda ctx: ctx.promise("p").value()),
    ("random", lambda ctx: ctx.random),
    ("uuid4", lambda ctx: ctx.uuid4()),
    ("now", lambda ctx: ctx.now()),
    ("resolve", lambda ctx: ctx.resolve_awakeable("sign_1x")),
    ("cancel", lambda ctx: ctx.cancel_invocation("inv_1x")),
    ("state keys", lambda ctx: ctx.state_keys()),
]
ids = [case[0] for case in OPERATIONS]


@pytest.mark.parametrize("operation", [case[1] for case in OPERATIONS], ids=ids)
async def test_the_context_cannot_be_used_inside_a_step(operation: Callable[[Any], Any]) -> None:
    async def handler(ctx: Any) -> None:
        async def step() -> None:
            operation(ctx)

        await ctx.run(step)

    peer = Peer()
    async with attempt(handler, peer, version=V7):
        await failed_with(peer, "inside a step", HERE, "in ")
    error = peer.sent[-1]
    assert isinstance(error, ErrorMessage)
    assert error.behavior is ErrorBehavior.PAUSE
    assert (error.related_command_index, error.related_command_name) == (1, "step")


async def test_a_durable_await_inside_a_step_is_refused() -> None:
    async def handler(ctx: Any) -> None:
        future = ctx.sleep(1)

        async def step() -> None:
            await future

        await ctx.run(step)

    peer = Peer()
    async with attempt(handler, peer):
        await failed_with(peer, "inside a step", HERE)


async def test_the_context_cannot_be_used_inside_a_step_that_runs_beside_the_handler() -> None:
    async def handler(ctx: Any) -> None:
        async def step() -> None:
            await anyio.lowlevel.checkpoint()
            ctx.set("a", 1)

        await ctx.gather(ctx.run(step), ctx.sleep(1))

    peer = Peer()
    async with attempt(handler, peer):
        await failed_with(peer, "inside a step", HERE)


async def test_the_context_cannot_be_used_inside_a_step_in_a_thread() -> None:
    async def handler(ctx: Any) -> None:
        def step() -> None:
            ctx.set("a", 1)

        await ctx.run(step)

    peer = Peer()
    async with attempt(handler, peer):
        await failed_with(peer, "inside a step", HERE)
    assert "SetStateCommand" not in peer.kinds


async def test_a_mistake_in_a_step_is_not_tried_again() -> None:
    tries = 0

    async def handler(ctx: Any) -> None:
        async def step() -> None:
            nonlocal tries
            tries += 1
            ctx.set("a", 1)

        await ctx.run(step)

    async with attempt(handler, Peer()) as running:
        assert await running.ended() is End.FAILED
    assert tries == 1


@pytest.mark.parametrize("operation", [case[1] for case in OPERATIONS], ids=ids)
async def test_the_context_cannot_be_used_from_a_foreign_task(operation: Callable[[Any], Any]) -> None:
    seen: list[BaseException] = []

    async def handler(ctx: Any) -> None:
        async def foreign() -> None:
            try:
                operation(ctx)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                seen.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(foreign)

    async with attempt(handler, Peer()) as running:
        assert await running.ended() is End.ENDED
    (error,) = seen
    assert type(error) is UsageError
    assert "a task that the handler did not start through the context" in str(error)
    assert HERE in str(error)


async def test_a_foreign_task_is_told_while_the_handler_is_parked_too() -> None:
    seen: list[str] = []
    parked = anyio.Event()

    async def handler(ctx: Any) -> None:
        box.append(ctx)
        parked.set()
        await ctx.sleep(1)

    box: list[Any] = []
    peer = Peer()
    async with attempt(handler, peer):
        await parked.wait()
        await ticks()
        with pytest.raises(UsageError, match="did not start through the context"):
            box[0].set("a", 1)
        peer.tells(SleepCompletion(1, VOID))
    assert seen == []


async def test_the_context_cannot_be_used_from_a_thread() -> None:
    async def handler(ctx: Any) -> None:
        await anyio.to_thread.run_sync(ctx.set, "a", 1)

    peer = Peer()
    async with attempt(handler, peer):
        await failed_with(peer, "the context is used from")
    assert "SetStateCommand" not in peer.kinds


@pytest.mark.parametrize("operation", [case[1] for case in OPERATIONS], ids=ids)
async def test_the_context_cannot_be_used_after_the_handler_has_ended(operation: Callable[[Any], Any]) -> None:
    box: list[Any] = []

    async def handler(ctx: Any) -> None:
        box.append(ctx)

    async with attempt(handler, Peer()):
        pass
    with pytest.raises(UsageError, match="after its handler has ended") as raised:
        operation(box[0])
    assert HERE in str(raised.value)


async def test_a_future_cannot_be_awaited_after_the_handler_has_ended() -> None:
    box: list[Any] = []

    async def handler(ctx: Any) -> None:
        box.append(ctx.awakeable())

    async with attempt(handler, Peer()):
        pass
    with pytest.raises(UsageError, match="after its handler has ended"):
        await box[0]


async def test_an_uncaught_mistake_asks_for_a_pause() -> None:
    async def handler(ctx: Any) -> None:
        raise UsageError("wrong")

    for version, behavior in ((V6, ErrorBehavior.RETRY), (V7, ErrorBehavior.PAUSE)):
        peer = Peer()
        async with attempt(handler, peer, version=version):
            error = await peer.hears(ErrorMessage)
        assert (error.message, error.behavior) == ("wrong", behavior)


# --- native scopes around durable awaits ---------------------------------------------------------------------------


async def test_a_native_deadline_around_a_durable_await_is_refused_before_it_fires() -> None:
    async def handler(ctx: Any) -> None:
        with anyio.move_on_after(3600):
            await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer):
        await failed_with(peer, "a native deadline surrounds a durable await", HERE, "in handler")


async def test_a_native_deadline_around_a_step_that_waits_is_refused() -> None:
    async def slow() -> None:
        await anyio.sleep_forever()

    async def handler(ctx: Any) -> None:
        with anyio.fail_after(3600):
            await ctx.gather(ctx.run(slow))

    peer = Peer()
    async with attempt(handler, peer):
        await failed_with(peer, "a native deadline surrounds a durable await", HERE)


async def test_a_native_deadline_around_a_parked_handler_is_refused_though_a_reader_runs() -> None:
    async def handler(ctx: Any) -> None:
        await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(3600):
            await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer):
        await failed_with(peer, "a native deadline surrounds a durable await", HERE)


@pytest.mark.parametrize("reads", [False, True], ids=["handler reads", "reader reads"])
async def test_a_native_scope_that_is_cancelled_around_a_durable_await_is_refused_when_it_is(reads: bool) -> None:
    box: list[anyio.CancelScope] = []
    went_on: list[str] = []

    async def handler(ctx: Any) -> None:
        if reads:
            await anyio.lowlevel.checkpoint()
        with anyio.CancelScope() as scope:
            box.append(scope)
            await ctx.sleep(1)
        went_on.append("after the scope")

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        await ticks()
        box[0].cancel()
        await failed_with(peer, "a native cancel scope or task group surrounds a durable await", HERE)
        assert await running.ended() is End.FAILED


@pytest.mark.parametrize("reads", [False, True], ids=["handler reads", "reader reads"])
async def test_a_failing_task_group_around_a_durable_await_is_refused(reads: bool) -> None:
    go = anyio.Event()

    async def fails() -> None:
        await go.wait()
        raise ValueError("sibling")

    async def handler(ctx: Any) -> None:
        if reads:
            await anyio.lowlevel.checkpoint()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails)
            await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        await ticks()
        go.set()
        await failed_with(peer, "a native cancel scope or task group surrounds a durable await", HERE)
        assert await running.ended() is End.FAILED


async def test_a_native_scope_that_was_cancelled_before_the_durable_await_is_refused() -> None:
    async def handler(ctx: Any) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await failed_with(peer, "surrounds a durable await", HERE)
        assert await running.ended() is End.FAILED


async def test_a_native_scope_that_is_cancelled_around_a_step_is_refused() -> None:
    box: list[anyio.CancelScope] = []

    async def slow() -> None:
        await anyio.sleep_forever()

    async def handler(ctx: Any) -> None:
        with anyio.CancelScope() as scope:
            box.append(scope)
            await ctx.run(slow)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(RunCommand)
        await ticks()
        box[0].cancel()
        await failed_with(peer, "surrounds a durable await", HERE)
        assert await running.ended() is End.FAILED
    assert "ProposeRunCompletionMessage" not in peer.kinds


async def test_native_scopes_inside_a_step_are_fine() -> None:
    async def step() -> str:
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        with anyio.fail_after(3600):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(quick)
        return "fine"

    async def handler(ctx: Any) -> None:
        await ctx.run(step)

    peer = Peer()
    peer.closes()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.SUSPENDED
    assert peer.kinds == ["RunCommand", "ProposeRunCompletionMessage", "SuspensionMessage"]


async def test_native_scopes_around_plain_awaits_are_fine() -> None:
    async def handler(ctx: Any) -> str:
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        try:
            with anyio.fail_after(0):
                await anyio.sleep_forever()
        except TimeoutError:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(quick)
            return "fine"
        return "?"

    peer = Peer()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.ENDED
    assert peer.output == '"fine"'


async def test_native_scopes_around_what_is_known_already_are_fine() -> None:
    async def handler(ctx: Any) -> str:
        with anyio.fail_after(3600):
            await ctx.get("k")
        return "fine"

    peer = Peer()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.ENDED


async def test_a_deadline_of_the_program_around_the_attempt_is_none_of_the_handler() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)
        await anyio.lowlevel.checkpoint()
        await ctx.sleep(2)

    peer = Peer()
    async with attempt(handler, peer) as running:
        running.host.deadline = anyio.current_time() + 3600
        await peer.hears(SleepCommand)
        peer.tells(SleepCompletion(1, VOID))
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(SleepCompletion(2, VOID))
        assert await running.ended() is End.ENDED


async def test_a_durable_future_awaited_in_a_task_of_asyncio_is_refused(anyio_backend: str) -> None:
    if anyio_backend != "asyncio":
        return  # what is meant does not exist there

    async def handler(ctx: Any) -> None:
        await asyncio.ensure_future(ctx.sleep(1))

    peer = Peer()
    async with attempt(handler, peer):
        await failed_with(peer, "did not start through the context")


# --- never terminal ------------------------------------------------------------------------------------------------


async def test_a_mistake_passes_an_except_for_terminal_errors() -> None:
    async def handler(ctx: Any) -> str:
        async def step() -> None:
            ctx.set("a", 1)

        try:
            await ctx.run(step)
        except TerminalError:
            return "swallowed"
        return "?"

    peer = Peer()
    async with attempt(handler, peer):
        await failed_with(peer, "inside a step")
