"""Messages become MessagePack and come back; the format is that of journals on disk."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import ProtocolError, UsageError
from perdure.wire import msgpack
from perdure.wire.messages import (
    MESSAGES,
    AwaitingOnMessage,
    CombinatorType,
    Failure,
    Future,
    Message,
    Part,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SignalNotification,
    Value,
    Void,
)
from tests.strategies import messages

# Arrays have no names: what is on disk is read by position. Attributes are appended to a class, never moved.
POSITIONS = {
    "StartMessage": (
        "id debug_id known_entries state_map partial_state key retry_count_since_last_stored_entry "
        "duration_since_last_stored_entry random_seed scope limit_key idempotency_key"
    ),
    "SuspensionMessage": "waiting_completions waiting_signals waiting_named_signals awaiting_on",
    "ErrorMessage": (
        "code message stacktrace related_command_index related_command_name related_command_type "
        "next_retry_delay behavior"
    ),
    "EndMessage": "",
    "CommandAckMessage": "command_index",
    "ProposeRunCompletionMessage": "result_completion_id result requested_ack",
    "AwaitingOnMessage": "awaiting_on executing_side_effects",
    "ProposeRunCompletionAckMessage": "completion_id",
    "InputCommand": "headers value name",
    "OutputCommand": "result name",
    "GetLazyStateCommand": "key result_completion_id name",
    "SetStateCommand": "key value name",
    "ClearStateCommand": "key name",
    "ClearAllStateCommand": "name",
    "GetLazyStateKeysCommand": "result_completion_id name",
    "GetEagerStateCommand": "key result name",
    "GetEagerStateKeysCommand": "value name",
    "GetPromiseCommand": "key result_completion_id name",
    "PeekPromiseCommand": "key result_completion_id name",
    "CompletePromiseCommand": "key completion result_completion_id name",
    "SleepCommand": "wake_up_time result_completion_id name",
    "CallCommand": (
        "service_name handler_name parameter headers key idempotency_key scope limit_key "
        "invocation_id_notification_idx result_completion_id name"
    ),
    "OneWayCallCommand": (
        "service_name handler_name parameter invoke_time headers key idempotency_key scope limit_key "
        "invocation_id_notification_idx name"
    ),
    "SendSignalCommand": "target_invocation_id signal result name",
    "RunCommand": "result_completion_id name",
    "AttachInvocationCommand": "target result_completion_id name",
    "GetInvocationOutputCommand": "target result_completion_id name",
    "CompleteAwakeableCommand": "awakeable_id result name",
    "GetLazyStateCompletion": "completion_id result",
    "GetLazyStateKeysCompletion": "completion_id result",
    "GetPromiseCompletion": "completion_id result",
    "PeekPromiseCompletion": "completion_id result",
    "CompletePromiseCompletion": "completion_id result",
    "SleepCompletion": "completion_id result",
    "CallCompletion": "completion_id result",
    "CallInvocationIdCompletion": "completion_id result",
    "RunCompletion": "completion_id result",
    "AttachInvocationCompletion": "completion_id result",
    "GetInvocationOutputCompletion": "completion_id result",
    "SignalNotification": "signal result",
    "Void": "",
    "Value": "content",
    "FailureMetadata": "key value",
    "Failure": "code message metadata",
    "InvocationId": "id",
    "StateKeys": "keys",
    "WorkflowTarget": "workflow_name workflow_key scope",
    "IdempotentRequestTarget": "service_name service_key handler_name idempotency_key scope",
    "Header": "key value",
    "StateEntry": "key value",
    "Future": "waiting_completions waiting_signals waiting_named_signals nested_futures combinator_type",
}


def test_attributes_stand_where_journals_on_disk_have_them() -> None:
    classes = (*MESSAGES.values(), *Part.__subclasses__())
    assert {cls.__name__: " ".join(cls.__struct_fields__) for cls in classes} == POSITIONS


# A part starts with its number, in journals on disk too, where one of several parts may stand.
NUMBERS = {
    "Void": 1,
    "Value": 2,
    "Failure": 3,
    "InvocationId": 4,
    "StateKeys": 5,
    "WorkflowTarget": 6,
    "IdempotentRequestTarget": 7,
}


def test_parts_have_the_numbers_that_they_have_in_journals_on_disk() -> None:
    numbers = {cls.__name__: cls.__struct_config__.tag for cls in Part.__subclasses__()}
    assert {name: number for name, number in numbers.items() if number is not None} == NUMBERS


@given(messages())
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert msgpack.decode(msgpack.encode(message)) == message


@pytest.mark.parametrize(
    ("message", "data"),
    [
        (RunCommand(3, "step"), "93 cd0411 03 a473746570"),
        (RunCompletion(3, Value(b"x")), "93 cd8011 03 92 02 c40178"),
        (RunCompletion(3, Failure(500, "no")), "93 cd8011 03 94 03 cd01f4 a26e6f 90"),
        (SignalNotification("go", Void()), "93 cdfbff a2676f 91 01"),
        (ProposeRunCompletionMessage(1, None, requested_ack=True), "94 05 01 c0 c3"),
        (
            AwaitingOnMessage(Future((1,), combinator_type=CombinatorType.ALL_COMPLETED)),
            "93 06 95 9101 90 90 90 02 c2",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_bytes_are_these(message: Message, data: str) -> None:
    assert msgpack.encode(message) == bytes.fromhex(data)
    assert msgpack.decode(bytes.fromhex(data)) == message


def test_attributes_that_a_shorter_array_lacks_have_their_defaults() -> None:
    assert msgpack.decode(bytes.fromhex("92 cd0411 03")) == RunCommand(3)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="nothing"),
        pytest.param("93 cd0411 03", id="cut"),
        pytest.param("93 cd0411 03 a0 00", id="more than a message"),
        pytest.param("93 cd1234 03 a0", id="unknown type code"),
        pytest.param("93 cd0411 a0 a0", id="text for a number"),
        pytest.param("93 cd0411 03 a1ff", id="text that is not UTF-8"),
        pytest.param("93 cd8011 03 91 01", id="an arm that this message lacks"),
        pytest.param("92 06 95 90 90 90 90 09", id="unknown member"),
        pytest.param("81 a161 01", id="a map"),
        pytest.param("92 06" + "95 90 90 90 91" * 20_000, id="nested deeper than the stack"),
    ],
)
def test_bytes_that_are_no_message_are_a_protocol_error(data: str) -> None:
    with pytest.raises(ProtocolError, match="bytes are not a message in MessagePack") as caught:
        msgpack.decode(bytes.fromhex(data))
    assert type(caught.value) is ProtocolError


@given(st.binary(max_size=40) | messages().map(msgpack.encode), st.data())
def test_garbage_is_a_message_or_a_protocol_error(data: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(data)
    if damaged:
        damaged[draw.draw(st.integers(0, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        assert isinstance(msgpack.decode(bytes(damaged)), Message)


@pytest.mark.parametrize("message", [RunCommand(2**64), RunCommand(1, "\ud800")])
def test_a_value_that_msgpack_cannot_express_is_a_usage_error(message: Message) -> None:
    with pytest.raises(UsageError, match="a RunCommand cannot be written"):
        msgpack.encode(message)


def test_an_await_point_nested_deeper_than_the_stack_is_a_usage_error() -> None:
    future = Future()
    for _ in range(20_000):
        future = Future(nested_futures=(future,))
    with pytest.raises(UsageError, match="a AwaitingOnMessage cannot be written"):
        msgpack.encode(AwaitingOnMessage(future))
