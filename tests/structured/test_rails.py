"""Mistakes that would hang, or make replays differ, are told by branch and line."""

from __future__ import annotations

import functools
import logging
from typing import Any

import anyio
import pytest

from perdure import Endpoint, Patience, UsageError
from perdure.durable.driver import End
from perdure.handlers.environment import Environment
from perdure.wire.messages import (
    AwaitingOnMessage,
    ErrorMessage,
    SignalNotification,
    SleepCommand,
    SleepCompletion,
    SuspensionMessage,
    Value,
    Void,
)
from tests.durable.attempts import V7, Peer, attempt, ticks

pytestmark = pytest.mark.anyio

VOID = Void()


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = functools.partial(Environment, patience=Patience(warn_after=0.02, fail_after=0.05))
    monkeypatch.setattr("tests.durable.attempts.Environment", impatient)


@pytest.mark.usefixtures("short_patience")
async def test_a_branch_that_waits_plainly_for_another_one_is_warned_about_and_then_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def waits(event: anyio.Event) -> None:
        await event.wait()

    async def sets(event: anyio.Event) -> None:
        event.set()

    async def handler(ctx: Any) -> None:
        event = anyio.Event()
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(waits, event)
            nursery.start_soon(sets, event)

    peer = Peer()
    with caplog.at_level(logging.WARNING, "perdure.turns"):
        async with attempt(handler, peer) as running:
            assert await running.ended() is End.FAILED
    [warning] = [record.getMessage() for record in caplog.records if record.name == "perdure.turns"]
    assert "branch 0.0 has kept the turn" in warning
    assert f"{__file__}:" in warning
    assert "in waits" in warning
    error = peer.sent[-1]
    assert isinstance(error, ErrorMessage)
    assert "branch 0.0 kept the turn" in error.message
    assert "in waits" in error.message
    assert isinstance(running.driver.failure, UsageError)


@pytest.mark.usefixtures("short_patience")
async def test_a_long_plain_wait_is_nobodys_business_while_no_other_branch_could_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def slow() -> None:
        await anyio.sleep(0.1)

    async def parked(ctx: Any) -> None:
        await ctx.sleep(1)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(parked, ctx)
            nursery.start_soon(slow)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        peer.tells(SleepCompletion(1, VOID))
        assert await running.ended() is End.ENDED
    assert not [record for record in caplog.records if record.name == "perdure.turns"]


@pytest.mark.parametrize(("warn", "fail"), [(0, 1), (-1, 1), (2, 1)])
async def test_a_patience_that_makes_no_sense_is_refused(warn: float, fail: float) -> None:
    with pytest.raises(UsageError, match="a warning comes after"):
        Patience(warn, fail)


async def test_an_endpoint_says_how_patient_its_attempts_are() -> None:
    patience = Patience(1, 5)
    assert Endpoint(patience=patience).environment.patience is patience
    assert Endpoint().environment.patience == Patience(2, 60)


async def test_when_nothing_can_end_the_wait_every_branch_is_named_with_its_line() -> None:
    async def first(box: list[Any]) -> None:
        await box[1]

    async def second(box: list[Any]) -> None:
        await box[0]

    async def handler(ctx: Any) -> None:
        box: list[Any] = []
        async with ctx.open_nursery() as nursery:
            box.append(nursery.start_soon(first, box))
            box.append(nursery.start_soon(second, box))

    peer = Peer()
    async with attempt(handler, peer) as running:
        await ticks()
        peer.closes()
        assert await running.ended() is End.FAILED
    error = peer.sent[-1]
    assert isinstance(error, ErrorMessage)
    for part in ("branch 0 at", "branch 0.0 at", "in first", "branch 0.1 at", "in second", f"{__file__}:"):
        assert part in error.message


async def test_the_context_cannot_be_used_from_a_foreign_task_of_a_child() -> None:
    seen: list[str] = []

    async def child(ctx: Any) -> None:
        async def foreign() -> None:
            try:
                ctx.set("a", 1)
            except UsageError as error:
                seen.append(str(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(foreign)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(child, ctx)

    peer = Peer()
    async with attempt(handler, peer):
        pass
    assert "ctx.open_nursery" in seen[0]
    assert f"{__file__}:" in seen[0]


async def test_two_branches_may_read_one_set_of_futures() -> None:
    async def reads(pending: Any, seen: list[int]) -> None:
        async for index, _ in pending:
            seen.append(index)

    async def handler(ctx: Any) -> list[int]:
        seen: list[int] = []
        pending = ctx.unordered([ctx.sleep(1), ctx.sleep(2), ctx.sleep(3)])
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(reads, pending, seen)
            nursery.start_soon(reads, pending, seen)
        return seen

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        for id in (2, 1, 3):
            peer.tells(SleepCompletion(id, VOID))
            await ticks()
    assert peer.output == "[1,0,2]"


async def test_one_signal_awaited_by_two_branches_reaches_both() -> None:
    async def waits(ctx: Any, signal: Any, seconds: float) -> str:
        return str(await ctx.first(signal, ctx.sleep(seconds)))

    async def handler(ctx: Any) -> list[str]:
        signal = ctx.signal("go", str)
        async with ctx.open_nursery() as nursery:
            futures = [nursery.start_soon(waits, ctx, signal, 1), nursery.start_soon(waits, ctx, signal, 2)]
        return [await future for future in futures]

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(SleepCompletion(1, VOID))  # the first branch gives up; the second still waits
        await ticks()
        peer.tells(SignalNotification("go", Value(b'"now"')))
    assert peer.output == '["None","now"]'


async def test_a_child_that_swallows_the_end_of_its_attempt_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def child(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        except BaseException:  # noqa: BLE001 - the mistake under test
            ctx.set("a", 1)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            nursery.start_soon(child, ctx)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        peer.closes()
        assert await running.ended() is End.SUSPENDED
    assert "child 'child' swallowed the cancellation" in caplog.text
    assert "SetStateCommand" not in peer.kinds


# --- the await tree ------------------------------------------------------------------------------------------------


async def suspended_on(handler: Any, *entries: Any, version: Any = V7) -> SuspensionMessage:
    peer = Peer(*entries)
    async with attempt(handler, peer, version=version):
        await ticks()
        peer.closes()
        return await peer.hears(SuspensionMessage)


async def test_the_await_tree_names_every_parked_branch_open_deadlines_and_cancel() -> None:
    async def child(ctx: Any, seconds: float) -> None:
        await ctx.gather(ctx.sleep(seconds), ctx.sleep(seconds + 1))

    async def handler(ctx: Any) -> None:
        with ctx.move_on_after(10):
            async with ctx.open_nursery() as nursery:
                nursery.start_soon(child, ctx, 1)
                nursery.start_soon(child, ctx, 3)

    tree = (await suspended_on(handler)).awaiting_on
    assert tree is not None
    assert tree.waiting_completions == (1,)  # the deadline
    assert tree.waiting_signals == (1,)
    assert [nested.waiting_completions for nested in tree.nested_futures] == [(2, 3), (4, 5)]


async def test_a_wait_that_needs_another_branch_is_in_no_tree() -> None:
    async def child(ctx: Any) -> None:
        await ctx.sleep(1)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            future = nursery.start_soon(child, ctx)
            await ctx.settle(future, ctx.sleep(2))

    tree = (await suspended_on(handler)).awaiting_on
    assert tree is not None
    # The timer of the body alone settles nothing: it would wake the invocation for no progress.
    assert (tree.waiting_completions, tree.nested_futures) == ((2,), ())


async def test_a_runtime_of_version_7_is_told_once_what_many_branches_wait_for() -> None:
    async def child(ctx: Any, seconds: float) -> None:
        await ctx.sleep(seconds)

    async def handler(ctx: Any) -> None:
        async with ctx.open_nursery() as nursery:
            for seconds in (1, 2, 3):
                nursery.start_soon(child, ctx, seconds)

    peer = Peer()
    async with attempt(handler, peer, version=V7):
        hint = await peer.hears(AwaitingOnMessage)
        assert hint.awaiting_on is not None
        assert hint.awaiting_on.waiting_completions == (1, 2, 3)
        peer.tells(SleepCompletion(2, VOID))
        hint = await peer.hears(AwaitingOnMessage)
        assert hint.awaiting_on is not None
        assert hint.awaiting_on.waiting_completions == (1, 3)
        peer.tells(SleepCompletion(1, VOID), SleepCompletion(3, VOID))
    assert peer.kinds.count("AwaitingOnMessage") == 2
