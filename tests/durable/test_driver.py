"""Turns and pieces: what leaves together, what is delivered when, and what it costs the event loop."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from perdure.durable.driver import BREATHE_EVERY, YIELD_EVERY, End
from perdure.durable.future import JournalFuture
from perdure.machine.awaiting import Leaf
from perdure.wire.messages import (
    AwaitingOnMessage,
    CallCommand,
    CallCompletion,
    CallInvocationIdCompletion,
    CombinatorType,
    EndMessage,
    Future,
    InvocationId,
    OutputCommand,
    ProposeRunCompletionAckMessage,
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
from tests.durable.attempts import V6, V7, Peer, StandingClock, attempt, ticks

pytestmark = pytest.mark.anyio

VOID = Void()
END = [OutputCommand(Value(b"")), EndMessage()]


async def quick() -> int:
    return 1


# --- one turn, one piece -------------------------------------------------------------------------------------------


async def test_a_handler_that_waits_for_nothing_answers_in_one_piece() -> None:
    async def handler(ctx: Any) -> int:
        ctx.set("a", 1)
        ctx.set("b", 2)
        return 3

    peer = Peer()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.ENDED
    assert peer.turns == [
        [
            SetStateCommand(b"a", Value(b"1")),
            SetStateCommand(b"b", Value(b"2")),
            OutputCommand(Value(b"3")),
            EndMessage(),
        ]
    ]


async def test_all_that_a_turn_writes_leaves_in_one_piece() -> None:
    async def handler(ctx: Any) -> None:
        ctx.set("a", 1)
        first = ctx.sleep(1)
        second = ctx.generic_call("S", "h", b"")
        await first
        ctx.set("b", 1)
        await second

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(CallCommand)
        peer.tells(SleepCompletion(1, VOID))
        await peer.hears(SetStateCommand)
        peer.tells(CallInvocationIdCompletion(2, InvocationId("inv_1x")), CallCompletion(3, Value(b"")))
    assert [[type(message).__name__ for message in turn] for turn in peer.turns] == [
        ["SetStateCommand", "SleepCommand", "CallCommand"],
        ["SetStateCommand"],
        ["OutputCommand", "EndMessage"],
    ]


async def test_a_step_that_waits_for_nothing_leaves_with_its_result() -> None:
    async def handler(ctx: Any) -> int:
        return await ctx.run(quick)  # type: ignore[no-any-return]  # the context is any

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, Value(b"1")))
    assert peer.turns[0] == [RunCommand(1, "quick"), ProposeRunCompletionMessage(1, Value(b"1"))]


async def test_the_command_of_a_step_leaves_before_the_step_waits() -> None:
    go = anyio.Event()

    async def slow() -> int:
        await go.wait()
        return 1

    async def handler(ctx: Any) -> None:
        await ctx.run(slow)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(RunCommand)
        assert peer.kinds == ["RunCommand"]
        go.set()
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(RunCompletion(1, Value(b"1")))


@pytest.mark.parametrize("version", [V6, V7], ids=["V6", "V7"])
async def test_no_piece_is_ever_empty(version: Any) -> None:
    async def handler(ctx: Any) -> None:
        await ctx.run(quick)
        await ctx.sleep(1)
        await ctx.gather(ctx.run(quick), ctx.run(quick))

    peer = Peer()
    async with attempt(handler, peer, version=version):
        for id in (1, 3, 4):
            await peer.hears(ProposeRunCompletionMessage)
            ack = ProposeRunCompletionAckMessage(id) if version is V7 else RunCompletion(id, Value(b"1"))
            peer.tells(ack)
            if id == 1:
                await peer.hears(SleepCommand)
                peer.tells(SleepCompletion(2, VOID))
    assert all(peer.turns)


# --- delivery ------------------------------------------------------------------------------------------------------


async def test_a_future_that_is_here_but_not_delivered_is_not_done() -> None:
    async def handler(ctx: Any) -> list[bool]:
        first, second = ctx.sleep(1), ctx.sleep(2)
        seen = [first.done, second.done]
        await first
        seen += [first.done, second.done]
        await second
        return [*seen, second.done]

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.tells(SleepCompletion(1, VOID), SleepCompletion(2, VOID))
    assert peer.output == "[false,false,true,false,true]"


async def test_what_arrived_during_a_plain_await_is_not_delivered_before_the_handler_waits_durably() -> None:
    here = anyio.Event()

    async def handler(ctx: Any) -> list[bool]:
        first, second = ctx.sleep(1), ctx.sleep(2)
        await first
        await here.wait()
        before = second.done
        ctx.set("still", 1)
        await second
        return [before, second.done]

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.tells(SleepCompletion(1, VOID))
        await ticks()
        peer.tells(SleepCompletion(2, VOID))
        await ticks()
        here.set()
    assert peer.output == "[false,true]"


async def test_the_journal_decides_a_race_not_the_arrival() -> None:
    async def handler(ctx: Any) -> str:
        one, two = ctx.sleep(1), ctx.sleep(2)
        return await ctx.first(one.map(lambda _: "one"), two.map(lambda _: "two"))  # type: ignore[no-any-return]  # as above

    for order, winner in (((1, 2), '"one"'), ((2, 1), '"two"')):
        peer = Peer()
        async with attempt(handler, peer):
            await peer.hears(SleepCommand)
            peer.tells(*(SleepCompletion(id, VOID) for id in order))
        assert peer.output == winner


async def test_input_is_read_while_the_handler_waits_natively() -> None:
    go = anyio.Event()

    async def handler(ctx: Any) -> None:
        future = ctx.sleep(1)
        await go.wait()
        await future

    peer = Peer()
    async with attempt(handler, peer):
        await ticks()
        reads = peer.receives
        peer.tells(SleepCompletion(1, VOID))
        await ticks()
        assert peer.receives > reads
        go.set()


async def test_input_is_read_while_the_peer_takes_no_output() -> None:
    async def handler(ctx: Any) -> None:
        ctx.set("a", 1)
        await ctx.sleep(1)

    peer = Peer()
    peer.blocks()
    async with attempt(handler, peer):
        await ticks()
        reads = peer.receives
        peer.tells(SleepCompletion(1, VOID))
        await ticks()
        assert peer.receives > reads
        assert peer.turns == []
        peer.unblocks()
    assert peer.kinds == ["SetStateCommand", "SleepCommand", "OutputCommand", "EndMessage"]


async def test_the_input_may_come_in_pieces() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer(SleepCommand(0, 1))
    rest = [peer._inbox.pop()]
    async with attempt(handler, peer):
        await ticks()
        assert peer.turns == []
        peer.tells(*rest)
        await ticks()
        peer.tells(SleepCompletion(1, VOID))
    assert peer.sent == END


# --- suspending ----------------------------------------------------------------------------------------------------


async def test_a_closed_input_suspends_where_the_handler_waits() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer()
    peer.closes()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.SUSPENDED
    assert peer.kinds == ["SleepCommand", "SuspensionMessage"]
    assert peer.sent[-1] == SuspensionMessage((1,), (1,))


async def test_an_input_that_closes_later_suspends_a_parked_handler() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        peer.closes()
        assert await running.ended() is End.SUSPENDED


async def test_a_step_that_runs_is_finished_before_the_attempt_suspends() -> None:
    go = anyio.Event()

    async def slow() -> int:
        await go.wait()
        return 1

    async def handler(ctx: Any) -> None:
        await ctx.gather(ctx.run(slow), ctx.run(quick))

    peer = Peer()
    peer.closes()
    async with attempt(handler, peer) as running:
        await ticks()
        assert "SuspensionMessage" not in peer.kinds
        go.set()
        assert await running.ended() is End.SUSPENDED
    assert peer.kinds == [
        "RunCommand",
        "RunCommand",
        "ProposeRunCompletionMessage",
        "ProposeRunCompletionMessage",
        "SuspensionMessage",
    ]


async def test_the_suspension_leaves_although_another_task_is_sending() -> None:
    started, go = anyio.Event(), anyio.Event()

    async def slow() -> int:
        started.set()
        await go.wait()
        return 1

    async def handler(ctx: Any) -> None:
        await ctx.run(slow)

    peer = Peer()
    async with attempt(handler, peer) as running:
        peer.blocks()
        await started.wait()
        await ticks()
        go.set()
        peer.closes()
        await ticks()
        peer.unblocks()
        assert await running.ended() is End.SUSPENDED
    assert peer.kinds == ["RunCommand", "ProposeRunCompletionMessage", "SuspensionMessage"]


async def test_the_output_leaves_although_another_task_is_sending() -> None:
    go = anyio.Event()

    async def slow() -> int:
        await go.wait()
        return 1

    async def handler(ctx: Any) -> str:
        run = ctx.run(slow)
        await ctx.sleep(1)
        ctx.set("a", 1)
        go.set()
        await ctx.sleep(2)
        return str(await run)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        peer.blocks()
        peer.tells(SleepCompletion(2, VOID), SleepCompletion(3, VOID), RunCompletion(1, Value(b"1")))
        await ticks()
        peer.unblocks()
        assert await running.ended() is End.ENDED
    assert peer.kinds[-2:] == ["OutputCommand", "EndMessage"]


async def test_waiting_for_nothing_is_told_by_name() -> None:
    async def handler(ctx: Any) -> None:
        await JournalFuture(ctx.driver, Leaf(0), lambda _: None)

    peer = Peer()
    peer.closes()
    async with attempt(handler, peer, version=V7) as running:
        assert await running.ended() is End.FAILED
    message = peer.sent[-1].message  # type: ignore[attr-defined]  # an error message
    assert "nothing can bring about" in message
    assert f"{__file__}:" in message
    assert "in handler" in message


# --- telling version 7 what is waited for ---------------------------------------------------------------------------


async def test_a_wait_that_lasts_is_told_to_version_7() -> None:
    go = anyio.Event()

    async def slow() -> None:
        await go.wait()

    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)
        await ctx.gather(ctx.run(slow), ctx.sleep(2))

    peer = Peer()
    async with attempt(handler, peer, version=V7):
        hint = await peer.hears(AwaitingOnMessage)
        assert hint == AwaitingOnMessage(Future((1,), (1,), (), (), CombinatorType.FIRST_COMPLETED))
        peer.tells(SleepCompletion(1, VOID))
        hint = await peer.hears(AwaitingOnMessage)
        nested = Future((2, 3), (), (), (), CombinatorType.ALL_SUCCEEDED_OR_FIRST_FAILED)
        assert hint == AwaitingOnMessage(
            Future((), (1,), (), (nested,), CombinatorType.FIRST_COMPLETED), executing_side_effects=True
        )
        go.set()
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(ProposeRunCompletionAckMessage(2), SleepCompletion(3, VOID))


async def test_a_short_wait_is_not_told() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer, version=V7):
        await peer.hears(SleepCommand)
        peer.tells(SleepCompletion(1, VOID))
    assert peer.kinds == ["SleepCommand", "OutputCommand", "EndMessage"]


# --- what it costs -------------------------------------------------------------------------------------------------


class Counted(StandingClock):
    """A clock that moves a little each time it is read."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def monotonic(self) -> float:
        self.time += self.step
        return self.time


async def trips(handler: Any, peer: Peer, clock: StandingClock) -> int:
    """How often the event loop went round while an attempt ran."""
    count = 0
    over = False

    async def count_trips() -> None:
        nonlocal count
        while not over:
            await anyio.lowlevel.checkpoint()
            count += 1

    async with anyio.create_task_group() as tasks:
        async with attempt(handler, peer, clock=clock) as running:
            tasks.start_soon(count_trips)
            assert await running.ended() is End.ENDED
        over = True
    return count


def steps(count: int) -> list[Any]:
    """A journal of steps that are all done."""
    return [entry for id in range(1, count + 1) for entry in (RunCommand(id, "quick"), RunCompletion(id, Value(b"1")))]


async def test_a_replay_of_ten_thousand_steps_costs_a_handful_of_trips_through_the_loop() -> None:
    async def handler(ctx: Any) -> None:
        for _ in range(10_000):
            await ctx.run(quick)

    assert await trips(handler, Peer(*steps(10_000)), StandingClock()) < 20


async def test_a_long_replay_lets_the_loop_run_now_and_then() -> None:
    async def handler(ctx: Any) -> None:
        for _ in range(10 * BREATHE_EVERY):
            await ctx.run(quick)

    peer = Peer(*steps(10 * BREATHE_EVERY))
    assert 10 <= await trips(handler, peer, Counted(YIELD_EVERY)) < 30


async def test_a_long_replay_that_is_fast_does_not_stop_for_the_loop() -> None:
    async def handler(ctx: Any) -> None:
        for _ in range(10 * BREATHE_EVERY):
            await ctx.run(quick)

    peer = Peer(*steps(10 * BREATHE_EVERY))
    assert await trips(handler, peer, Counted(YIELD_EVERY / 20)) < 10


async def test_reading_known_state_for_ever_lets_the_loop_run_now_and_then() -> None:
    async def handler(ctx: Any) -> None:
        for _ in range(10 * BREATHE_EVERY):
            await ctx.get("k")

    assert 10 <= await trips(handler, Peer(), Counted(YIELD_EVERY)) < 30


async def test_a_parked_handler_costs_the_loop_nothing() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.gather(ctx.sleep(1), ctx.run(quick))

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(ProposeRunCompletionMessage)
        await ticks(10)
        reads, turns = peer.receives, len(peer.turns)
        await ticks(200)
        assert (peer.receives, len(peer.turns)) == (reads, turns)
        peer.tells(RunCompletion(2, Value(b"1")), SleepCompletion(1, VOID))
