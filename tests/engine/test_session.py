"""The engine's side of one attempt."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.session import MOST_BYTES, MOST_COMMANDS, AttemptSession, Due
from perdure.exceptions import ProtocolError
from perdure.wire.messages import (
    AwaitingOnMessage,
    EndMessage,
    ErrorMessage,
    Failure,
    InputCommand,
    Message,
    OutputCommand,
    ProposeRunCompletionAckMessage,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SetStateCommand,
    SleepCommand,
    SleepCompletion,
    StartMessage,
    SuspensionMessage,
    Value,
    Void,
)

START = StartMessage(id=bytes(24), known_entries=1)
INPUT = InputCommand(value=Value(b"1"))


def session(*prefix: Message, inactivity: float = 60.0, abort: float = 600.0, now: float = 0.0) -> AttemptSession:
    made = AttemptSession(7, 3, now=now, inactivity=inactivity, abort=abort)
    made.begin(START, prefix or (INPUT,))
    return made


def fired(completion: int) -> SleepCompletion:
    return SleepCompletion(completion, Void())


def proposal(completion: int, *, ack: bool) -> ProposeRunCompletionMessage:
    return ProposeRunCompletionMessage(completion, Value(b"x"), ack)


# --- to the handler -------------------------------------------------------------------------------------------------


def test_the_start_message_and_the_prefix_go_out_first() -> None:
    attempt = session(INPUT, SleepCommand(5, 1), fired(1))
    assert attempt.messages_to_send() == [START, INPUT, SleepCommand(5, 1), fired(1)]


def test_an_entry_of_the_prefix_is_not_delivered_again() -> None:
    attempt = session(INPUT, SleepCommand(5, 1), fired(1))
    attempt.messages_to_send()
    assert not attempt.deliver(2, fired(1), 0.0)
    assert attempt.messages_to_send() == []


def test_an_entry_is_delivered_once() -> None:
    attempt = session()
    attempt.messages_to_send()
    assert attempt.deliver(4, fired(1), 0.0)
    assert not attempt.deliver(4, fired(1), 0.0)
    assert attempt.messages_to_send() == [fired(1)]


@given(st.lists(st.integers(1, 20)))
def test_whatever_is_offered_goes_out_in_the_order_of_the_journal(indices: list[int]) -> None:
    attempt = session()
    attempt.messages_to_send()
    for index in indices:
        attempt.deliver(index, fired(index), 0.0)
    sent = [message.completion_id for message in attempt.messages_to_send() if isinstance(message, SleepCompletion)]
    assert sent == sorted(set(sent))


def test_the_result_of_a_step_is_echoed_where_no_ack_was_asked_for() -> None:
    attempt = session()
    attempt.messages_to_send()
    attempt.receive(proposal(1, ack=False), 0.0)
    attempt.deliver(2, RunCompletion(1, Value(b"x")), 0.0)
    assert attempt.messages_to_send() == [RunCompletion(1, Value(b"x"))]


def test_the_result_of_a_step_is_acknowledged_where_that_was_asked_for() -> None:
    attempt = session()
    attempt.messages_to_send()
    attempt.receive(proposal(1, ack=True), 0.0)
    attempt.deliver(2, RunCompletion(1, Value(b"x")), 0.0)
    assert attempt.messages_to_send() == [ProposeRunCompletionAckMessage(1)]


def test_nothing_is_sent_behind_the_end_of_the_input() -> None:
    attempt = session()
    attempt.close_input(0.0)
    assert not attempt.deliver(3, fired(1), 0.0)
    assert attempt.messages_to_send() == [START, INPUT]


def test_a_session_that_was_stopped_sends_nothing() -> None:
    attempt = session()
    attempt.stop()
    assert attempt.messages_to_send() == []
    assert not attempt.deliver(3, fired(1), 0.0)


# --- from the handler -----------------------------------------------------------------------------------------------


def test_commands_are_counted_behind_those_of_the_prefix() -> None:
    attempt = session(INPUT, SleepCommand(5, 1), fired(1))
    attempt.receive(RunCommand(2), 0.0)
    assert attempt.commands == 3


def test_hints_do_not_concern_the_journal() -> None:
    attempt = session()
    assert not attempt.receive(AwaitingOnMessage(), 0.0)
    assert attempt.receive(RunCommand(1), 0.0)


@pytest.mark.parametrize("end", [SuspensionMessage((1,)), ErrorMessage(500, "no")])
def test_nothing_is_taken_behind_the_end_of_an_attempt(end: Message) -> None:
    attempt = session()
    assert attempt.receive(end, 0.0)
    assert attempt.over
    assert not attempt.receive(RunCommand(1), 0.0)


def test_an_invocation_ends_with_its_output() -> None:
    attempt = session()
    attempt.receive(OutputCommand(Value(b"1")), 0.0)
    attempt.receive(EndMessage(), 0.0)
    assert attempt.over
    attempt.receive_eof()


@pytest.mark.parametrize(
    "sent",
    [
        [EndMessage()],
        [OutputCommand()],
        [OutputCommand(Value(b"1")), RunCommand(1)],
        [OutputCommand(Value(b"1")), OutputCommand(Value(b"2"))],
        [INPUT],
        [ProposeRunCompletionMessage(1, None)],
        [START],
        [fired(1)],
    ],
    ids=[
        "end without output",
        "empty output",
        "behind the output",
        "two outputs",
        "input",
        "nothing",
        "start",
        "completion",
    ],
)
def test_what_a_handler_may_not_send_is_a_violation(sent: list[Message]) -> None:
    attempt = session()
    *before, last = sent
    for message in before:
        attempt.receive(message, 0.0)
    with pytest.raises(ProtocolError):
        attempt.receive(last, 0.0)


def test_an_attempt_without_an_end_is_a_violation() -> None:
    attempt = session()
    attempt.receive(RunCommand(1), 0.0)
    with pytest.raises(ProtocolError, match="without suspension, error or end"):
        attempt.receive_eof()


# --- credit ---------------------------------------------------------------------------------------------------------


def test_an_attempt_is_overdrawn_by_a_thousand_uncommitted_commands() -> None:
    attempt = session()
    overdrawn: list[bool] = []
    for completion in range(MOST_COMMANDS - 1):
        attempt.receive(RunCommand(completion), 0.0)
    attempt.charge(1)
    overdrawn.append(attempt.overdrawn)
    attempt.receive(RunCommand(MOST_COMMANDS), 0.0)
    attempt.charge(2)
    overdrawn.append(attempt.overdrawn)
    attempt.committed(1)
    overdrawn.append(attempt.overdrawn)
    assert overdrawn == [False, True, False]


@pytest.mark.parametrize(
    "message",
    [
        ProposeRunCompletionMessage(1, Value(bytes(MOST_BYTES))),
        SetStateCommand(b"k", Value(bytes(MOST_BYTES))),
        OutputCommand(Value(bytes(MOST_BYTES))),
    ],
)
def test_an_attempt_is_overdrawn_by_a_mebibyte_that_is_not_committed(message: Message) -> None:
    attempt = session()
    attempt.receive(message, 0.0)
    attempt.charge(1)
    assert attempt.overdrawn
    attempt.committed(1)
    assert not attempt.overdrawn


@given(st.lists(st.one_of(st.none(), st.integers(0, 2))))
def test_credit_comes_back_in_full(script: list[int | None]) -> None:
    attempt = session()
    batch = 1
    for each in script:
        if each is None:
            attempt.committed(batch - 1)
            batch += 1
        else:
            for completion in range(each):
                attempt.receive(ProposeRunCompletionMessage(completion, Failure(500, "x")), 0.0)
            attempt.charge(batch)
    attempt.committed(batch)
    for completion in range(MOST_COMMANDS - 1):
        attempt.receive(RunCommand(completion), 0.0)
    attempt.charge(batch + 1)
    assert not attempt.overdrawn


# --- clocks ---------------------------------------------------------------------------------------------------------


def test_the_input_is_half_closed_after_a_while_without_messages() -> None:
    attempt = session(inactivity=60.0)
    assert [attempt.tick(59.9), attempt.tick(60.0)] == [Due.NOTHING, Due.HALF_CLOSE]
    assert attempt.input_closed


def test_a_message_in_either_direction_restarts_the_clock() -> None:
    attempt = session(inactivity=60.0)
    attempt.receive(RunCommand(1), 50.0)
    assert attempt.tick(100.0) is Due.NOTHING
    attempt.deliver(2, fired(1), 100.0)
    assert attempt.deadline == 160.0


def test_an_attempt_that_does_not_suspend_is_broken_off() -> None:
    attempt = session(inactivity=60.0, abort=600.0)
    attempt.tick(60.0)
    assert attempt.tick(659.9) is Due.NOTHING
    assert attempt.tick(660.0) is Due.ABORT


def test_an_attempt_that_writes_after_the_half_close_gets_more_time() -> None:
    attempt = session(inactivity=60.0, abort=600.0)
    attempt.tick(60.0)
    attempt.receive(RunCommand(1), 500.0)
    assert attempt.tick(700.0) is Due.NOTHING
    assert attempt.tick(1100.0) is Due.ABORT


def test_without_patience_the_input_ends_behind_the_prefix() -> None:
    attempt = session(inactivity=0.0)
    assert attempt.messages_to_send() == [START, INPUT]
    assert attempt.input_closed


def test_a_channel_of_one_direction_at_a_time_ends_the_input_behind_the_prefix() -> None:
    attempt = AttemptSession(7, 3, now=0.0, inactivity=60.0, abort=600.0, bidirectional=False)
    attempt.begin(START, (INPUT,))
    assert attempt.input_closed


def test_an_attempt_that_is_over_has_no_deadline() -> None:
    attempt = session()
    attempt.receive(SuspensionMessage((1,)), 0.0)
    assert attempt.deadline == math.inf
    assert attempt.tick(1e9) is Due.NOTHING


@pytest.mark.parametrize(
    "message", [RunCommand(1, name="\ud800"), SleepCommand(2**63, 1)], ids=["half a surrogate pair", "too far away"]
)
def test_what_cannot_be_stored_is_a_violation(message: Message) -> None:
    with pytest.raises(ProtocolError):
        session().receive(message, 0.0)
