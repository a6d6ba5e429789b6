"""An attempt that is over: nothing that unwinds writes, hangs or comes alive again."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from perdure import TerminalError, UsageError
from perdure.durable.driver import End
from perdure.wire.messages import (
    ErrorMessage,
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
from tests.durable.attempts import Attempt, Peer, attempt, ticks

pytestmark = pytest.mark.anyio

VOID = Void()


BROKEN_OFF = ["disconnected", "host cancelled"]


@pytest.fixture(params=["suspended", *BROKEN_OFF])
def over(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def end(how: str, peer: Peer, running: Attempt) -> None:
    """Make an attempt be over that is parked."""
    match how:
        case "suspended":
            peer.closes()
        case "disconnected":
            peer.hangs_up()
        case _:
            running.host.cancel()


def check_last(how: str, peer: Peer) -> None:
    assert (peer.kinds[-1] == "SuspensionMessage") is (how == "suspended")


async def quick() -> int:
    return 1


# --- unwinding -----------------------------------------------------------------------------------------------------


async def test_durable_operations_in_finally_do_nothing(over: str) -> None:
    unwound = anyio.Event()

    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        finally:
            ctx.set("a", 1)
            ctx.clear("a")
            ctx.clear_all()
            ctx.run(quick)
            ctx.generic_call("S", "h", b"")
            ctx.generic_send("S", "h", b"").cancel()
            ctx.awakeable()
            ctx.signal("go")
            ctx.resolve_awakeable("sign_1x", 1)
            ctx.promise("p").resolve(1)
            ctx.cancel_invocation("inv_1x")
            ctx.invocation("inv_1x").signal("go").resolve(1)
            ctx.invocation("inv_1x").attach()
            ctx.get("a")
            ctx.state_keys()
            ctx.gather(ctx.sleep(1), ctx.sleep(2))
            ctx.unordered([ctx.sleep(1)])
            unwound.set()

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        end(over, peer, running)
    assert unwound.is_set()
    assert peer.kinds in (["SleepCommand"], ["SleepCommand", "SuspensionMessage"])
    check_last(over, peer)


@pytest.mark.parametrize("shielded", [False, True])
async def test_a_durable_await_in_finally_raises_the_cancellation_of_the_loop(over: str, shielded: bool) -> None:
    raised: list[BaseException] = []

    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        finally:
            for wait in (ctx.sleep(2), ctx.run(quick), ctx.get("k"), ctx.gather(ctx.sleep(1)), ctx.awakeable()):
                try:
                    with anyio.CancelScope(shield=shielded):
                        await wait
                except BaseException as error:  # noqa: BLE001 - the test looks at it
                    raised.append(error)
            await anyio.lowlevel.checkpoint()

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        end(over, peer, running)
    assert [type(error) for error in raised] == [anyio.get_cancelled_exc_class()] * 5
    check_last(over, peer)


async def test_suspending_is_true_while_unwinding_and_false_before(over: str) -> None:
    seen: list[bool] = []

    async def handler(ctx: Any) -> None:
        seen.append(ctx.suspending)
        try:
            await ctx.sleep(1)
        finally:
            seen.append(ctx.suspending)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        end(over, peer, running)
    assert seen == [False, True]


async def test_plain_awaits_in_a_shielded_finally_are_finished(over: str) -> None:
    go, done = anyio.Event(), anyio.Event()

    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        finally:
            with anyio.CancelScope(shield=True):
                await go.wait()
                done.set()

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        end(over, peer, running)
        await ticks()
        check_last(over, peer)
        assert not done.is_set()
        go.set()
        await running.ended()
    assert done.is_set()


async def test_the_suspension_leaves_before_user_code_unwinds() -> None:
    left: list[str] = []

    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        finally:
            left.extend(peer.kinds)

    peer = Peer()
    async with attempt(handler, peer):
        await peer.hears(SleepCommand)
        peer.closes()
    assert left == ["SleepCommand", "SuspensionMessage"]


async def test_an_except_for_exceptions_does_not_see_the_end_of_the_attempt(over: str) -> None:
    seen: list[Exception] = []

    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        except Exception as error:  # noqa: BLE001 - there must be none
            seen.append(error)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        end(over, peer, running)
    assert seen == []


async def test_a_handler_that_swallows_the_cancellation_is_reported_and_writes_nothing(
    over: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ctx: Any) -> str:
        try:
            await ctx.sleep(1)
        except BaseException:  # noqa: BLE001 - the mistake under test
            ctx.set("a", 1)
        return "swallowed"

    peer = Peer()
    with caplog.at_level(logging.ERROR, "perdure.attempt"):
        async with attempt(handler, peer) as running:
            await peer.hears(SleepCommand)
            end(over, peer, running)
    assert [
        record.message for record in caplog.records if "Tested/handler swallowed the cancellation" in record.message
    ]
    assert "OutputCommand" not in peer.kinds
    assert "SetStateCommand" not in peer.kinds


async def test_an_error_while_unwinding_is_logged_and_is_no_outcome(
    over: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        finally:
            raise ValueError("clumsy")

    peer = Peer()
    with caplog.at_level(logging.WARNING, "perdure.attempt"):
        async with attempt(handler, peer) as running:
            await peer.hears(SleepCommand)
            end(over, peer, running)
            assert await running.ended() in {End.SUSPENDED, End.DISCONNECTED, End.CANCELLED, None}
    assert any("raised ValueError while its attempt was being unwound" in record.message for record in caplog.records)
    assert "ErrorMessage" not in peer.kinds
    assert "OutputCommand" not in peer.kinds


async def test_an_error_of_a_native_task_group_while_unwinding_is_logged(
    over: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("clumsy")

    async def handler(ctx: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails)
            await ctx.sleep(1)

    peer = Peer()
    with caplog.at_level(logging.WARNING, "perdure.attempt"):
        async with attempt(handler, peer) as running:
            await peer.hears(SleepCommand)
            await ticks()
            end(over, peer, running)
    assert any(
        "raised ExceptionGroup while its attempt was being unwound" in record.message for record in caplog.records
    )
    check_last(over, peer)


async def test_a_terminal_error_while_unwinding_is_no_outcome(over: str) -> None:
    async def handler(ctx: Any) -> None:
        try:
            await ctx.sleep(1)
        finally:
            raise TerminalError("too late")

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        end(over, peer, running)
    assert "OutputCommand" not in peer.kinds


@pytest.mark.parametrize("how", BROKEN_OFF)
async def test_a_step_that_the_fence_stops_proposes_nothing(how: str) -> None:
    stopped = anyio.Event()

    async def slow() -> int:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()
        return 1

    async def handler(ctx: Any) -> None:
        await ctx.first(ctx.run(slow), ctx.sleep(1))

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(RunCommand)
        await ticks()
        end(how, peer, running)
    assert stopped.is_set()
    assert "ProposeRunCompletionMessage" not in peer.kinds


@pytest.mark.parametrize("how", BROKEN_OFF)
async def test_a_step_that_returns_in_spite_of_the_fence_proposes_nothing(how: str) -> None:
    async def stubborn() -> int:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return 1
        return 0

    async def handler(ctx: Any) -> None:
        await ctx.run(stubborn)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(RunCommand)
        await ticks()
        end(how, peer, running)
    assert peer.kinds == ["RunCommand"]


@pytest.mark.parametrize("how", BROKEN_OFF)
@pytest.mark.parametrize("home", [False, True], ids=["own group", "group of the process"])
async def test_a_plain_await_is_interrupted(how: str, home: bool) -> None:
    waiting, interrupted = anyio.Event(), anyio.Event()

    async def handler(ctx: Any) -> None:
        waiting.set()
        try:
            await anyio.sleep_forever()
        finally:
            interrupted.set()
            ctx.set("a", 1)

    peer = Peer()
    async with attempt(handler, peer, home=home) as running:
        with anyio.fail_after(5):
            await waiting.wait()
        await ticks()
        end(how, peer, running)
    assert interrupted.is_set()
    assert peer.kinds == []


@pytest.mark.parametrize("how", BROKEN_OFF)
async def test_nothing_follows_a_piece_that_may_be_lost(how: str) -> None:
    async def handler(ctx: Any) -> None:
        ctx.set("a", 1)
        try:
            await ctx.sleep(1)
        finally:
            peer.unblocks()

    peer = Peer()
    peer.blocks()
    async with attempt(handler, peer) as running:
        await ticks()
        end(how, peer, running)
    assert peer.sent == []


# --- errors of steps and journals -----------------------------------------------------------------------------------


async def test_other_steps_may_end_while_the_error_of_one_is_being_sent() -> None:
    go = anyio.Event()

    async def wrong() -> int:
        await go.wait()
        raise UsageError("wrong")

    async def slow() -> int:
        await go.wait()
        await ticks(5)
        return 1

    async def handler(ctx: Any) -> None:
        await ctx.gather(ctx.run(wrong), ctx.run(slow))

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(RunCommand)
        await peer.hears(RunCommand)
        await ticks()
        peer.blocks()
        go.set()
        await ticks()
        peer.unblocks()
        assert await running.ended() is End.FAILED
    assert peer.kinds[-1] == "ErrorMessage"
    assert "ProposeRunCompletionMessage" not in peer.kinds


async def test_the_handler_may_go_on_while_the_error_of_a_step_is_being_sent() -> None:
    go, seen = anyio.Event(), anyio.Event()

    async def wrong() -> int:
        await go.wait()
        raise UsageError("wrong")

    async def handler(ctx: Any) -> None:
        ctx.run(wrong)
        await ctx.sleep(1)
        go.set()
        await ticks(10)
        ctx.set("a", 1)
        seen.set()
        await ctx.sleep(2)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        await ticks()
        peer.blocks()
        peer.tells(SleepCompletion(2, VOID))
        with anyio.fail_after(5):
            await seen.wait()
        peer.unblocks()
        assert await running.ended() is End.FAILED
    assert peer.kinds == ["RunCommand", "SleepCommand", "ErrorMessage"]


async def test_a_mismatch_that_is_swallowed_ends_the_attempt_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ctx: Any) -> str:
        try:
            ctx.set("a", 1)
        except Exception:  # noqa: BLE001 - the mistake under test
            ctx.set("b", 1)
        return "swallowed"

    peer = Peer(SleepCommand(0, 1))
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.FAILED
    (error,) = peer.sent
    assert isinstance(error, ErrorMessage)
    assert error.code == 570
    assert f"{__file__}:" in error.message
    assert "in handler" in error.message


async def test_a_mismatch_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ctx: Any) -> None:
        ctx.set("a", 1)

    peer = Peer(SleepCommand(0, 1))
    with caplog.at_level(logging.WARNING, "perdure.attempt"):
        async with attempt(handler, peer):
            pass
    assert [record.message for record in caplog.records if "being unwound" in record.message] == []


async def test_waiting_where_the_journal_goes_on_is_a_mismatch_with_the_line_of_the_wait() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer(SleepCommand(0, 1), RunCommand(2, "charge"))
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.FAILED
    (error,) = peer.sent
    assert isinstance(error, ErrorMessage)
    assert "recorded: run named 'charge'" in error.message
    assert "now:      waiting for sleep" in error.message
    assert f"at:       {__file__}:" in error.message


async def test_a_protocol_error_while_parked_is_told_to_the_runtime() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        peer.tells(RunCommand(9))
        assert await running.ended() is End.FAILED
    error = peer.sent[-1]
    assert isinstance(error, ErrorMessage)
    assert (error.code, "sent entry while the attempt was processing" in error.message) == (571, True)


async def test_a_protocol_error_during_a_plain_await_interrupts_it() -> None:
    waiting = anyio.Event()

    async def handler(ctx: Any) -> None:
        waiting.set()
        await anyio.sleep_forever()

    peer = Peer()
    async with attempt(handler, peer) as running:
        with anyio.fail_after(5):
            await waiting.wait()
        await ticks()
        peer.tells(RunCommand(9))
        assert await running.ended() is End.FAILED
    assert peer.kinds == ["ErrorMessage"]


async def test_a_completion_of_what_the_handler_did_not_do_fails_the_attempt() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        peer.tells(SleepCompletion(7, VOID))
        assert await running.ended() is End.FAILED
    assert peer.kinds == ["SleepCommand", "ErrorMessage"]


async def test_a_mismatch_that_the_reader_hears_names_the_line_of_the_wait() -> None:
    async def handler(ctx: Any) -> None:
        await anyio.lowlevel.checkpoint()
        await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        await ticks()
        peer.tells(SleepCompletion(7, VOID))
        assert await running.ended() is End.FAILED
    error = peer.sent[-1]
    assert isinstance(error, ErrorMessage)
    assert (error.code, f"at:       {__file__}:" in error.message) == (570, True)


async def test_a_second_attempt_to_end_an_attempt_does_nothing() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer()
    peer.closes()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.SUSPENDED
        await running.environment.drain()
        await running.driver.drain()
    assert peer.kinds == ["SleepCommand", "SuspensionMessage"]


async def test_late_input_after_the_end_is_ignored() -> None:
    async def handler(ctx: Any) -> None:
        step = ctx.run(quick)
        await ctx.sleep(1)
        await step

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(ProposeRunCompletionMessage)
        peer.tells(
            SleepCompletion(2, VOID), RunCompletion(1, Value(b"1")), SleepCompletion(2, VOID), SleepCompletion(2, VOID)
        )
        assert await running.ended() is End.ENDED


async def test_a_cut_journal_is_told_to_the_runtime() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer(SleepCommand(0, 1))
    peer._inbox.pop()
    peer.closes()
    async with attempt(handler, peer) as running:
        assert await running.ended() is End.FAILED
    (error,) = peer.sent
    assert isinstance(error, ErrorMessage)
    assert "the journal is cut off" in error.message


async def test_a_peer_that_is_gone_before_the_journal_is_here_ends_the_attempt() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer(SleepCommand(0, 1))
    peer._inbox.pop()
    async with attempt(handler, peer) as running:
        await ticks()
        peer.hangs_up()
        assert await running.ended() is End.DISCONNECTED
    assert peer.sent == []


# --- what cannot be written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("awaited", [True, False], ids=["handler sends", "task sends"])
async def test_a_name_that_cannot_be_written_fails_the_attempt_and_nothing_follows(awaited: bool) -> None:
    async def waits() -> None:
        await ticks(3)

    async def handler(ctx: Any) -> None:
        try:
            step = ctx.run(waits, name="file \udcff")
            ctx.set("lost", 1)
            await (step if awaited else ctx.gather(step, ctx.sleep(1)))
        except Exception:  # noqa: BLE001 - must not matter
            ctx.set("b", 1)
        await ctx.sleep(2)

    peer = Peer()
    async with attempt(handler, peer, as_bytes=True) as running:
        assert await running.ended() is End.FAILED
    (error,) = peer.sent
    assert isinstance(error, ErrorMessage)
    assert "udcff" in error.message


async def test_a_header_that_cannot_be_written_fails_the_attempt() -> None:
    async def handler(ctx: Any) -> None:
        ctx.generic_send("S", "h", b"", headers={"x": "\udcff"})

    peer = Peer()
    async with attempt(handler, peer, as_bytes=True) as running:
        assert await running.ended() is End.FAILED
    assert peer.kinds == ["ErrorMessage"]


async def test_an_attempt_in_bytes_is_like_one_in_objects() -> None:
    async def handler(ctx: Any) -> int:
        ctx.set("a", 1)
        await ctx.sleep(1)
        return await ctx.run(quick)  # type: ignore[no-any-return]  # the context is any

    said = []
    for as_bytes in (True, False):
        peer = Peer()
        async with attempt(handler, peer, as_bytes=as_bytes):
            await peer.hears(SleepCommand)
            peer.tells(SleepCompletion(1, VOID))
            await peer.hears(ProposeRunCompletionMessage)
            peer.tells(RunCompletion(2, Value(b"1")))
        said.append(peer.turns)
    assert said[0] == said[1]


# --- a drain -------------------------------------------------------------------------------------------------------


async def test_a_drain_suspends_what_is_parked() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        await ticks()
        await running.environment.drain()
        assert await running.ended() is End.SUSPENDED
    assert peer.kinds == ["SleepCommand", "SuspensionMessage"]


async def test_a_drain_lets_what_runs_go_on_to_its_next_wait() -> None:
    go, waiting = anyio.Event(), anyio.Event()

    async def handler(ctx: Any) -> None:
        waiting.set()
        await go.wait()
        ctx.set("a", 1)
        await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer) as running:
        with anyio.fail_after(5):
            await waiting.wait()
        await running.environment.drain()
        await ticks()
        assert peer.sent == []
        go.set()
        assert await running.ended() is End.SUSPENDED
    assert peer.kinds == ["SetStateCommand", "SleepCommand", "SuspensionMessage"]


async def test_a_drain_lets_a_step_finish() -> None:
    go = anyio.Event()

    async def slow() -> int:
        await go.wait()
        return 1

    async def handler(ctx: Any) -> None:
        await ctx.run(slow)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(RunCommand)
        await running.environment.drain()
        await ticks()
        assert peer.kinds == ["RunCommand"]
        go.set()
        assert await running.ended() is End.SUSPENDED
    assert peer.kinds == ["RunCommand", "ProposeRunCompletionMessage", "SuspensionMessage"]


async def test_a_drain_while_the_journal_is_being_read_waits_for_the_rest_of_it() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    peer = Peer(SleepCommand(0, 1))
    rest = peer._inbox.pop()
    async with attempt(handler, peer) as running:
        await ticks()
        await running.environment.drain()
        await ticks()
        assert peer.sent == []
        peer.tells(rest)
        assert await running.ended() is End.SUSPENDED
    assert peer.sent == [SuspensionMessage((1,), (1,))]


async def test_one_peer_that_takes_no_output_does_not_keep_others_from_being_drained() -> None:
    async def handler(ctx: Any) -> None:
        await ctx.sleep(1)

    stuck, other = Peer(), Peer()
    async with attempt(handler, stuck) as first, attempt(handler, other) as second:
        await stuck.hears(SleepCommand)
        await other.hears(SleepCommand)
        await ticks()
        first.environment.running |= second.environment.running
        stuck.blocks()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.environment.drain)
            assert await second.ended() is End.SUSPENDED
            stuck.unblocks()


async def test_what_is_written_beside_a_late_error_is_nothing() -> None:
    async def handler(ctx: Any) -> None:
        ctx.set("a", 1)
        await ctx.sleep(1)

    peer = Peer()
    async with attempt(handler, peer) as running:
        await peer.hears(SleepCommand)
        peer.tells(SleepCompletion(9, VOID), SleepCompletion(1, VOID))
        assert await running.ended() is End.FAILED
    assert peer.kinds == ["SetStateCommand", "SleepCommand", "ErrorMessage"]
    assert peer.sent[0] == SetStateCommand(b"a", Value(b"1"))
