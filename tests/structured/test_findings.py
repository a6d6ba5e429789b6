"""Programs by hand for the seven findings that random programs hit too rarely: each replays, and none hangs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from perdure import Context, UsageError
from perdure.durable.driver import End
from perdure.durable.outcome import RUN_CANCELLED
from perdure.wire.messages import (
    Command,
    EndMessage,
    ErrorMessage,
    InputCommand,
    Message,
    OutputCommand,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SetStateCommand,
    SleepCommand,
    SleepCompletion,
    Value,
    Void,
)
from tests.durable.attempts import Handler, Peer, attempt, ticks
from tests.structured.plays import result_of

pytestmark = pytest.mark.anyio

VOID = Void()


async def quick() -> int:
    return 1


async def replays(handler: Handler, journal: Sequence[Message]) -> None:
    """The whole journal is repeated, with nothing new; so is every prefix of it, up to its end."""
    entries = [entry for entry in journal if not isinstance(entry, InputCommand)]
    peer = Peer(*entries)
    async with attempt(handler, peer):
        pass
    assert peer.sent == [EndMessage()]
    whole = [entry for entry in entries if isinstance(entry, Command)]
    for length in range(len(entries)):
        prefix = Peer(*entries[:length])
        prefix.closes()
        async with attempt(handler, prefix):
            await ticks()
            prefix.hangs_up()  # where a step runs for ever
        assert not any(isinstance(message, ErrorMessage) for message in prefix.sent), prefix.sent
        known = len([entry for entry in entries[:length] if isinstance(entry, Command)])
        new = [message for message in prefix.sent if isinstance(message, Command)]
        assert new == whole[known : known + len(new)]


async def test_f1_the_end_of_a_block_waits_for_the_completion_and_not_for_the_task() -> None:
    async def worker(ctx: Any) -> None:
        async with ctx.open_nursery():
            ctx.run(quick)  # not awaited
        ctx.set("after", 1)

    async def other(ctx: Any) -> None:
        await ctx.sleep(1)
        ctx.set("other", 1)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(worker, ctx)
            nursery.start_soon(other, ctx)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(ProposeRunCompletionMessage)  # the step has ended natively
        await ticks()
        peer.tells(SleepCompletion(2, VOID))  # the timer comes first
        await peer.hears(SetStateCommand)
        peer.tells(RunCompletion(1, Value(b"1")))
    commands = [message for message in peer.sent if isinstance(message, Command)]
    assert [command.key for command in commands if isinstance(command, SetStateCommand)] == [b"other", b"after"]
    run, sleep, *rest = commands
    await replays(handler, [run, sleep, SleepCompletion(2, VOID), rest[0], RunCompletion(1, Value(b"1")), *rest[1:]])


async def test_f2_a_cancelled_step_that_needs_time_to_stop() -> None:
    go = anyio.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await go.wait()

    async def worker(ctx: Any) -> None:
        with ctx.move_on_after(1):
            await ctx.run(slow)
        ctx.set("after", 1)

    async def other(ctx: Any) -> None:
        await ctx.sleep(2)
        ctx.set("other", 1)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(worker, ctx)
            nursery.start_soon(other, ctx)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        await ticks()
        ids = {message.result_completion_id for message in peer.sent if isinstance(message, SleepCommand)}
        peer.tells(SleepCompletion(min(ids), VOID))  # the deadline
        await ticks()
        assert "ProposeRunCompletionMessage" not in peer.kinds
        peer.tells(SleepCompletion(max(ids), VOID))
        await peer.hears(SetStateCommand)  # the other branch goes on while the step cleans up
        go.set()
        assert (await peer.hears(ProposeRunCompletionMessage)).result == RUN_CANCELLED
        peer.tells(RunCompletion(2, RUN_CANCELLED))
    commands = [message for message in peer.sent if isinstance(message, Command)]
    assert [command.key for command in commands if isinstance(command, SetStateCommand)] == [b"other", b"after"]
    journal = [
        *commands[:3],
        SleepCompletion(min(ids), VOID),
        SleepCompletion(max(ids), VOID),
        commands[3],
        RunCompletion(2, RUN_CANCELLED),
        *commands[4:],
    ]
    await replays(handler, journal)


async def test_f3_a_child_spawned_by_a_shielded_sibling_of_a_cancelled_nursery_is_cancelled() -> None:
    async def child(ctx: Context, seen: list[str]) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("child")

    async def shielded(ctx: Context, nursery: Any, seen: list[str]) -> None:
        with ctx.CancelScope(shield=True):
            await ctx.sleep(2)
            nursery.start_soon(child, ctx, seen)
            await ctx.sleep(2)
            seen.append("shielded")

    async def handler(ctx: Context) -> list[str]:
        seen: list[str] = []
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(shielded, ctx, nursery, seen)
            await ctx.sleep(1)
            nursery.cancel_scope.cancel()
        return seen

    with anyio.fail_after(5):
        assert await result_of(handler) == ["child", "shielded"]


@pytest.mark.parametrize("home", [False, True])
async def test_f5_parked_branches_hear_of_the_hosts_cancellation(home: bool) -> None:
    ended: list[str] = []

    async def child(ctx: Any, name: str) -> None:
        try:
            with ctx.CancelScope(shield=True):
                await ctx.sleep(1)
        finally:
            ended.append(name)

    async def handler(ctx: Any) -> None:
        with ctx.CancelScope(shield=True):
            async with ctx.open_nursery() as nursery:
                nursery.start_soon(child, ctx, "a")
                nursery.start_soon(child, ctx, "b")

    peer = Peer()
    async with attempt(handler, peer, home=home) as running:
        await peer.hears(SleepCommand)
        await peer.hears(SleepCommand)
        await ticks()
        running.host.cancel()
        await running.ended()
    assert sorted(ended) == ["a", "b"]


async def test_f7_a_native_scope_around_a_durable_await_of_a_child_is_refused() -> None:
    async def child(ctx: Any) -> None:
        with anyio.move_on_after(0.01):
            await ctx.sleep(1)
        ctx.set("never", 1)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(child, ctx)

    peer = Peer()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.FAILED
    error = peer.sent[-1]
    assert isinstance(error, ErrorMessage)
    assert isinstance(running.driver.failure, UsageError)
    assert "a native" in error.message
    assert f"{__file__}:" in error.message


async def test_f8_shielded_unwindings_of_siblings_may_wait_for_each_other() -> None:
    async def first(ctx: Context, box: list[Any], seen: list[str]) -> None:
        try:
            await ctx.sleep(100)
        finally:
            if not ctx.suspending:
                with ctx.CancelScope(shield=True):
                    seen.append(str(await ctx.settle(box[1])))

    async def second(ctx: Context, seen: list[str]) -> str:
        try:
            await ctx.sleep(100)
        finally:
            if not ctx.suspending:
                seen.append("second")
        return "never"

    async def handler(ctx: Context) -> list[str]:
        seen: list[str] = []
        box: list[Any] = []
        async with ctx.open_nursery() as nursery:
            box.append(nursery.start_soon(first, ctx, box, seen))
            box.append(nursery.start_soon(second, ctx, seen))
            await ctx.sleep(1)
            nursery.cancel_scope.cancel()
        return seen

    with anyio.fail_after(5):
        seen = await result_of(handler)
    assert seen[0] == "second"
    assert "was cancelled" in seen[1]


async def test_f9_a_value_that_is_there_beats_a_cancel_that_comes_later() -> None:
    async def taker(ctx: Any, pending: Any, taken: list[Any]) -> None:
        with ctx.CancelScope() as scope:
            taken.append(scope)
            async for _, value in pending:
                taken.append(value)
        taken.append("left")

    async def killer(ctx: Any, timer: Any, taken: list[Any]) -> None:
        await timer
        taken[0].cancel()

    async def handler(ctx: Any) -> list[Any]:
        taken: list[Any] = []
        async with ctx.open_nursery() as nursery:
            timer = ctx.sleep(1)
            pending = ctx.unordered([timer.map(lambda _: "item"), ctx.sleep(100)])
            nursery.start_soon(killer, ctx, timer, taken)  # it gets the turn first
            nursery.start_soon(taker, ctx, pending, taken)
        return taken[1:]

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(SleepCompletion(1, VOID))
    assert peer.output == '["item","left"]'
    output = next(message for message in peer.sent if isinstance(message, OutputCommand))
    sleeps = [message for message in peer.sent if isinstance(message, SleepCommand)]
    await replays(handler, [*sleeps, SleepCompletion(1, VOID), output])
