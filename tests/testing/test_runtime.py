"""The runtime in memory, move by move."""

from __future__ import annotations

import pytest

from perdure import UsageError
from perdure.durable.transport import Disconnected
from perdure.testing import InMemoryRuntime
from perdure.testing.runtime import AttemptOver
from perdure.wire.messages import (
    CANCEL_SIGNAL,
    AttachInvocationCommand,
    EndMessage,
    ErrorMessage,
    GetInvocationOutputCommand,
    GetInvocationOutputCompletion,
    IdempotentRequestTarget,
    InputCommand,
    InvocationId,
    OutputCommand,
    ProposeRunCompletionAckMessage,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SignalNotification,
    SleepCommand,
    SleepCompletion,
    StartMessage,
    SuspensionMessage,
    Value,
    Void,
)

pytestmark = pytest.mark.anyio

VOID = Void()


@pytest.fixture
def runtime() -> InMemoryRuntime:
    runtime = InMemoryRuntime(b"in")
    runtime.begin()
    return runtime


async def test_an_attempt_begins_with_the_whole_journal(runtime: InMemoryRuntime) -> None:
    batch = await runtime.receive()
    assert batch is not None
    start, entry = batch
    assert isinstance(start, StartMessage)
    assert (start.known_entries, entry) == (1, InputCommand((), Value(b"in")))


async def test_what_is_written_is_there_in_the_next_attempt(runtime: InMemoryRuntime) -> None:
    await runtime.receive()
    await runtime.send([RunCommand(1, "a"), ProposeRunCompletionMessage(1, Value(b"1"))])
    assert await runtime.receive() == [RunCompletion(1, Value(b"1"))]
    runtime.begin()
    assert (runtime.take_pending())[1:] == [
        InputCommand((), Value(b"in")),
        RunCommand(1, "a"),
        RunCompletion(1, Value(b"1")),
    ]


async def test_a_proposal_that_asks_for_an_ack_gets_one(runtime: InMemoryRuntime) -> None:
    runtime.take_pending()
    await runtime.send([RunCommand(1), ProposeRunCompletionMessage(1, Value(b"1"), requested_ack=True)])
    assert await runtime.receive() == [ProposeRunCompletionAckMessage(1)]


async def test_the_end_of_the_input_is_told_once(runtime: InMemoryRuntime) -> None:
    await runtime.receive()
    runtime.close_input()
    assert await runtime.receive() is None
    runtime.cut()
    with pytest.raises(Disconnected):
        await runtime.receive()


async def test_a_broken_connection_takes_nothing(runtime: InMemoryRuntime) -> None:
    runtime.cut()
    with pytest.raises(Disconnected):
        await runtime.send([RunCommand(1)])
    assert len(runtime.journal) == 1


async def test_a_cancel_is_stored_and_sent(runtime: InMemoryRuntime) -> None:
    runtime.take_pending()
    runtime.cancel()
    cancel = SignalNotification(CANCEL_SIGNAL, VOID)
    assert (runtime.take_pending(), runtime.journal[-1]) == ([cancel], cancel)


async def test_what_comes_after_the_end_of_the_input_is_stored_only(runtime: InMemoryRuntime) -> None:
    runtime.take_pending()
    runtime.close_input()
    runtime.cancel()
    assert (runtime.take_pending(), len(runtime.journal)) == ([], 2)


async def test_when_nothing_runs_the_clock_jumps_to_the_next_timer(runtime: InMemoryRuntime) -> None:
    runtime.take_pending()
    at = round(runtime.now * 1000)
    await runtime.send([SleepCommand(at + 2000, 1), SleepCommand(at + 1000, 2)])
    before = runtime.now
    runtime.idle()
    assert (runtime.take_pending(), runtime.now - before) == ([SleepCompletion(2, VOID)], 1)
    assert runtime.fire_timers()
    assert (runtime.journal[-1], runtime.now - before) == (SleepCompletion(1, VOID), 2)
    assert not runtime.fire_timers()


async def test_when_nothing_runs_and_nothing_can_come_the_input_is_closed(runtime: InMemoryRuntime) -> None:
    await runtime.receive()
    runtime.idle()
    assert await runtime.receive() is None


async def test_a_step_that_runs_keeps_the_clock_from_jumping(runtime: InMemoryRuntime) -> None:
    runtime.take_pending()
    await runtime.send([RunCommand(1), SleepCommand(0, 2)])
    runtime.idle()
    assert runtime.take_pending() == []


@pytest.mark.parametrize(
    ("message", "over"),
    [
        (SuspensionMessage((1,)), AttemptOver.SUSPENDED),
        (ErrorMessage(500, "bad"), AttemptOver.FAILED),
    ],
)
async def test_how_an_attempt_ended_is_remembered(
    runtime: InMemoryRuntime, message: SuspensionMessage | ErrorMessage, over: AttemptOver
) -> None:
    await runtime.send([message])
    assert (runtime.over, [*runtime.suspensions, *runtime.errors]) == (over, [message])


async def test_an_end_without_an_output_is_refused(runtime: InMemoryRuntime) -> None:
    with pytest.raises(UsageError, match="without an output"):
        await runtime.send([EndMessage()])
    await runtime.send([OutputCommand(Value(b"out")), EndMessage()])
    assert (runtime.output, runtime.over) == (Value(b"out"), AttemptOver.ENDED)


async def test_outputs_of_others_are_known_by_id_only() -> None:
    runtime = InMemoryRuntime(outputs={"inv_1x": Value(b"out")})
    runtime.begin()
    runtime.take_pending()
    target = IdempotentRequestTarget("S", None, "h", "i")
    await runtime.send(
        [
            GetInvocationOutputCommand(InvocationId("inv_1x"), 1),
            GetInvocationOutputCommand(target, 2),
            AttachInvocationCommand(target, 3),
        ]
    )
    assert runtime.take_pending() == [
        GetInvocationOutputCompletion(1, Value(b"out")),
        GetInvocationOutputCompletion(2, VOID),
    ]
