"""Messages become protobuf and come back, and nothing but a ProtocolError comes out of garbage."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import ProtocolError, UsageError
from perdure.wire import protobuf
from perdure.wire.messages import (
    MESSAGES,
    AwaitingOnMessage,
    CallCommand,
    CallCompletion,
    CallInvocationIdCompletion,
    CombinatorType,
    EndMessage,
    Failure,
    Future,
    GetLazyStateKeysCompletion,
    Header,
    InvocationId,
    Message,
    Part,
    ProposeRunCompletionMessage,
    RunCommand,
    RunCompletion,
    SleepCommand,
    SleepCompletion,
    StateKeys,
    SuspensionMessage,
    Value,
    Void,
)
from tests.strategies import message_of, messages

# --- round trip ------------------------------------------------------------------------------------------------------


@given(messages())
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    flags = 0x8000 if getattr(message, "requested_ack", False) else 0
    assert protobuf.decode(type(message), protobuf.encode(message), flags) == message


@given(st.sampled_from([cls for cls in Part.__subclasses__() if cls is not InvocationId]).flatmap(message_of))
def test_a_part_comes_back_as_it_was(part: Part) -> None:
    assert protobuf.decode(type(part), protobuf.encode(part)) == part


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        (EndMessage(), ""),
        (RunCommand(3, "step"), "5803 6204 73746570"),
        (RunCommand(300, ""), "58ac02"),
        (RunCompletion(3, Value(b"x")), "0803 2a03 0a01 78"),
        (RunCompletion(0, Value(b"")), "2a00"),
        (ProposeRunCompletionMessage(3, Value(b"")), "0803 7200"),
        (SleepCompletion(1, Void()), "0801 2200"),
        (CallInvocationIdCompletion(1, InvocationId("a")), "0801 8201 01 61"),
        (GetLazyStateKeysCompletion(1, StateKeys((b"a", b""))), "0801 8a01 05 0a0161 0a00"),
        (CallCommand(headers=(Header("k", "v"),), scope=""), "2206 0a016b 120176 3a00"),
        (SuspensionMessage(awaiting_on=Future((1, 300))), "2205 0a03 01ac02"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_bytes_are_these(message: Message, payload: str) -> None:
    assert protobuf.encode(message) == bytes.fromhex(payload)
    assert protobuf.decode(type(message), bytes.fromhex(payload)) == message


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 129, 16383, 16384, 70_000])
def test_payloads_of_every_length_come_back(size: int) -> None:
    message = RunCompletion(1, Value(bytes(size)))
    assert protobuf.decode(RunCompletion, protobuf.encode(message)) == message


def test_what_is_decoded_is_bytes_of_its_own() -> None:
    completion = protobuf.decode(RunCompletion, protobuf.encode(RunCompletion(1, Value(b"abc"))))
    assert isinstance(completion.result, Value)
    assert type(completion.result.content) is bytes


@pytest.mark.parametrize("payload", ["", "28 63"], ids=["absent", "unknown"])
def test_a_choice_that_is_absent_or_unknown_is_the_first_member(payload: str) -> None:
    assert protobuf.decode(Future, bytes.fromhex(payload)).combinator_type is CombinatorType(0)


# --- garbage ---------------------------------------------------------------------------------------------------------

any_class = st.sampled_from([*MESSAGES.values(), *Part.__subclasses__()])


def read(cls: type[msgspec.Struct], data: bytes) -> msgspec.Struct | ProtocolError:
    try:
        return protobuf.decode(cls, data)
    except ProtocolError as error:
        return error


@given(any_class, st.binary(max_size=40))
def test_random_bytes_are_a_message_or_a_protocol_error(cls: type[msgspec.Struct], data: bytes) -> None:
    result = read(cls, data)
    assert isinstance(result, cls) or f"malformed {cls.__name__} of {len(data)} bytes" in str(result)


@given(messages(), st.data())
def test_a_damaged_message_is_a_message_or_a_protocol_error(message: Message, data: st.DataObject) -> None:
    payload = bytearray(protobuf.encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload)))
        payload[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    assert isinstance(read(type(message), bytes(payload)), type(message) | ProtocolError)


@given(messages(), st.data())
def test_a_message_cut_in_a_field_is_a_protocol_error_or_a_shorter_message(
    message: Message, data: st.DataObject
) -> None:
    payload = protobuf.encode(message)
    cut = payload[: data.draw(st.integers(0, len(payload)))]
    shorter = read(type(message), cut)
    assert isinstance(shorter, ProtocolError) or len(protobuf.encode(shorter)) <= len(cut)


@pytest.mark.parametrize(
    ("cls", "payload", "reason"),
    [
        (RunCommand, "62", "ends in the middle of a field"),
        (RunCommand, "5880", "ends in the middle of a field"),
        (RunCommand, "6205 61", "a field runs 4 bytes past the end of its message"),
        (RunCommand, "6201 ff", "text is not UTF-8"),
        (RunCommand, "6203 eda080", "text is not UTF-8"),
        (RunCommand, "58" + "ff" * 10 + "01", "a varint is longer than 10 bytes"),
        (RunCommand, "00 5801", "a field has the number 0"),
        (RunCommand, "6200 00", "a field has the number 0"),
        (RunCompletion, "2a02 0a01 78", "a field runs 1 bytes past the end of its message"),
        (RunCompletion, "2a01 0a", "ends in the middle of a field"),
        (RunCompletion, "2a01 08 0801", "field 1 runs 1 bytes past the end of its message"),
        (RunCompletion, "2a" + "ff" * 9 + "01", "past the end"),
        (SleepCompletion, "2201 07", "number 0"),
        (SuspensionMessage, "0a02 0180 01", "last varint of a packed field"),
        # Each piece of a merged message must be sound, although together they would be.
        (CallCompletion, "3202 0801 3201 12 3201 00", "ends in the middle|number 0|past the end"),
        (GetLazyStateKeysCompletion, "8a01", "ends in the middle of a field"),
    ],
)
def test_malformed_payloads_say_what_is_wrong_with_them(cls: type[Message], payload: str, reason: str) -> None:
    with pytest.raises(ProtocolError, match=f"the peer sent a malformed {cls.__name__} of .*({reason})"):
        protobuf.decode(cls, bytes.fromhex(payload))


def test_a_nested_message_does_not_read_what_stands_behind_it() -> None:
    # The Value is cut, and what completes it belongs to the completion.
    with pytest.raises(ProtocolError, match="runs 1 bytes past"):
        protobuf.decode(RunCompletion, bytes.fromhex("2a02 0a01 0801"))


# --- what cannot be written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (RunCommand(-1), "a RunCommand cannot be sent: -1 is not between 0 and 4294967295"),
        (RunCommand(2**32), "4294967296 is not between"),
        (SleepCommand(2**64), "is not between 0 and 18446744073709551615"),
        (SuspensionMessage((1, -1)), "-1 is not between"),
        (RunCommand(1, "\ud800"), r"'\\ud800' is not valid Unicode"),
        (RunCompletion(1, Failure(500, "half \udc00")), "is not valid Unicode"),
    ],
)
def test_a_value_that_protobuf_cannot_express_is_a_usage_error(message: Message, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        protobuf.encode(message)


def test_an_await_point_nested_too_deep_is_a_usage_error() -> None:
    future = Future()
    for _ in range(100):
        future = Future(nested_futures=(future,))
    with pytest.raises(UsageError, match="a AwaitingOnMessage cannot be sent: Future is nested more than 100 deep"):
        protobuf.encode(AwaitingOnMessage(future))


def test_an_arm_of_the_wrong_class_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"RunCompletion\.result cannot hold Void\(\)"):
        protobuf.encode(RunCompletion(1, Void()))  # type: ignore[arg-type]  # what the type checker would have told


# --- cost ------------------------------------------------------------------------------------------------------------


def lines_run(function: Callable[..., Any], *args: Any) -> int:
    """How many lines of Python run: the cost of a call, without a clock."""
    count = 0

    def trace(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*args)
    finally:
        sys.settrace(before)
    return count


UNITS: dict[str, tuple[type[Message], str]] = {
    "a repeated field": (CallCommand, "2206 0a016b 120176"),
    "two repeated fields in turn": (SuspensionMessage, "0801 1001"),
    "fields in the wrong order": (CallCommand, "5801 5001 2a0161 1a0161 120161 0a0161"),
    "packed numbers, one at a time": (SuspensionMessage, "0a02 8101 1202 8101"),
    "an unknown field": (RunCommand, "0801"),
    "an unknown group": (RunCommand, "0b 1001 0c"),
    "a nested message that merges": (CallCompletion, "3206 0801 1a02 0a00"),
    "arms that replace one another": (CallCompletion, "2a03 0a0161 3202 0801"),
    "merging arms that replace one another": (CallCompletion, "2a00 2a00 3202 0801 3202 0801"),
}


@pytest.mark.parametrize("unit", UNITS)
def test_twice_the_bytes_cost_twice_the_work(unit: str) -> None:
    cls, data = UNITS[unit]
    once = bytes.fromhex(data) * 200
    protobuf.decode(cls, once)  # compiles
    assert lines_run(protobuf.decode, cls, once + once) <= 2 * lines_run(protobuf.decode, cls, once)


def test_writing_twice_as_many_items_costs_twice_the_work() -> None:
    def message(count: int) -> Message:
        return CallCommand(headers=(Header("k", "v"),) * count)

    protobuf.encode(message(1))
    assert lines_run(protobuf.encode, message(400)) <= 2 * lines_run(protobuf.encode, message(200))


# --- compiling -------------------------------------------------------------------------------------------------------


def test_importing_compiles_nothing() -> None:
    script = (
        "from perdure.wire import protobuf, readers, writers\n"
        "from perdure.wire.messages import RunCommand\n"
        "before = readers.reader.cache_info().currsize + writers.writer.cache_info().currsize\n"
        "protobuf.encode(RunCommand(1, 'a'))\n"
        "print(before, readers.reader.cache_info().currsize, writers.writer.cache_info().currsize)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "0 0 1\n"


def test_the_code_of_a_class_can_be_read() -> None:
    text = protobuf.source(RunCommand)
    compile(text, "source", "exec")
    assert "def write(message, depth=1):" in text
    assert "def read(data, pos, end, flags):" in text
    assert "value = message.result_completion_id" in text
