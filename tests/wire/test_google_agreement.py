"""Google's protobuf runtime and the compiled codec read and write the same bytes in the same way."""

from __future__ import annotations

import msgspec
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.exceptions import ProtocolError
from perdure.wire import messages as wire
from perdure.wire import protobuf
from perdure.wire.messages import (
    AttachInvocationCommand,
    AwaitingOnMessage,
    CallCompletion,
    CombinatorType,
    ErrorBehavior,
    ErrorMessage,
    Failure,
    FailureMetadata,
    Future,
    IdempotentRequestTarget,
    InvocationId,
    ProposeRunCompletionMessage,
    RunCommand,
    SendSignalCommand,
    SignalNotification,
    StartMessage,
    SuspensionMessage,
    Value,
)
from perdure.wire.varint import MAX_DEPTH, encode_varint
from tests.protocol_table import SHAPES
from tests.strategies import message_of
from tests.wire.google_messages import GOOGLE, from_google, to_google


def struct(name: str) -> type[msgspec.Struct]:
    found: type[msgspec.Struct] = getattr(wire, name)
    return found


def without_flags(message: msgspec.Struct) -> msgspec.Struct:
    """Flags are in the frame header, of which protobuf knows nothing."""
    return msgspec.structs.replace(
        message, **{attribute: False for _, attribute in SHAPES[type(message).__name__].flags}
    )


any_struct = st.sampled_from(sorted(SHAPES)).flatmap(lambda name: message_of(struct(name))).map(without_flags)


@given(any_struct)
def test_google_reads_what_we_write(message: msgspec.Struct) -> None:
    assert GOOGLE[type(message).__name__].FromString(protobuf.encode(message)) == to_google(message)


@given(any_struct)
def test_we_read_what_google_writes(message: msgspec.Struct) -> None:
    assert protobuf.decode(type(message), to_google(message).SerializeToString()) == message


@given(any_struct)
def test_we_write_the_very_bytes_that_google_writes(message: msgspec.Struct) -> None:
    assert protobuf.encode(message) == to_google(message).SerializeToString(deterministic=True)


# --- anything that is protobuf, or nearly ----------------------------------------------------------------------------


def field(number: int, wire_type: int, content: bytes) -> bytes:
    return encode_varint(number << 3 | wire_type) + content


def run(content: bytes) -> bytes:
    return encode_varint(len(content)) + content


varints = (st.integers(0, 300) | st.sampled_from([2**31, 2**32 - 1, 2**32 + 1, 2**63, 2**64 - 1])).map(encode_varint)
# Longer than it needs to be, too long, cut.
odd_varints = st.sampled_from(
    [b"\x81\x00", b"\x80\x80\x80\x00", b"\xff" * 9 + b"\x01", b"\xff" * 9 + b"\x7f", b"\xff" * 10 + b"\x01", b"\x80"]
)


def fields_of(name: str, depth: int = 3) -> st.SearchStrategy[bytes]:
    """Fields of a message of the table, in any order and number, with foreign and broken ones between."""
    return st.lists(st.deferred(lambda: known_field(name, depth)) | unknown_field, max_size=6).map(b"".join)


def known_field(name: str, depth: int) -> st.SearchStrategy[bytes]:
    lines = SHAPES[name].fields
    if not lines:
        return st.just(b"")

    def one(index: int) -> st.SearchStrategy[bytes]:
        line = lines[index]
        number = st.just(line.number)
        runs: st.SearchStrategy[bytes] = st.binary(max_size=6) | st.text(max_size=4).map(str.encode)
        if line.type in SHAPES and depth:
            runs = fields_of(line.type, depth - 1)
        if line.type.startswith("uint"):
            runs = st.lists(varints | odd_varints, max_size=3).map(b"".join)
        if line.type in {"uint32", "uint64", "bool", "CombinatorType", "ErrorBehavior"}:
            numbers = st.builds(field, number, st.just(0), varints | odd_varints)
            return (
                numbers
                if line.presence != "repeated"
                else numbers | st.builds(field, number, st.just(2), runs.map(run))
            )
        return st.builds(field, number, st.just(2), runs.map(run))

    return st.integers(0, len(lines) - 1).flatmap(one)


unknown_field = st.one_of(
    st.builds(field, st.integers(1, 40), st.just(0), varints | odd_varints),
    st.builds(field, st.integers(1, 40), st.just(1), st.just(b"12345678")),
    st.builds(field, st.integers(1, 40), st.just(2), st.binary(max_size=4).map(run)),
    st.builds(field, st.integers(1, 40), st.just(5), st.just(b"1234")),
    st.integers(1, 40).map(lambda number: field(number, 3, b"\x08\x01" + field(number, 4, b""))),
    st.builds(field, st.integers(0, 40), st.sampled_from([3, 4, 6, 7]), st.just(b"")),
    st.sampled_from([2**29 - 1, 2**29, 2**40]).map(lambda number: field(number, 0, b"\0")),
    st.just(b"\x88\x00\x01"),  # field 1, its number in two bytes
    st.binary(max_size=2),
)


def google(name: str, data: bytes) -> msgspec.Struct | None:
    try:
        return from_google(GOOGLE[name].FromString(data))
    except DecodeError:
        return None


def read(name: str, data: bytes) -> msgspec.Struct | ProtocolError:
    try:
        return protobuf.decode(struct(name), data)
    except ProtocolError as error:
        return error


@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(SHAPES)).flatmap(lambda name: st.tuples(st.just(name), fields_of(name))))
def test_both_accept_the_same_bytes_and_read_the_same_in_them(case: tuple[str, bytes]) -> None:
    theirs, ours = google(*case), read(*case)
    if isinstance(ours, ProtocolError):
        # Google skips over a field 0 inside of an unknown group, where nothing depends on it.
        assert theirs is None or "number 0" in str(ours)
    else:
        assert theirs == ours


FAILURE_A = field(1, 0, b"\x05") + field(2, 2, run(b"a")) + field(3, 2, run(field(1, 2, run(b"k"))))
FAILURE_B = field(2, 2, run(b"b")) + field(3, 2, run(field(2, 2, run(b"v"))))
METADATA = (FailureMetadata("k", ""), FailureMetadata("", "v"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", SuspensionMessage(), id="nothing"),
        pytest.param(field(1, 2, run(b"\x01\x81\x01")), SuspensionMessage((1, 129)), id="packed"),
        pytest.param(field(1, 0, b"\x01") + field(1, 0, b"\x81\x01"), SuspensionMessage((1, 129)), id="unpacked"),
        pytest.param(
            field(1, 2, run(b"\x01\x02"))
            + field(2, 0, b"\x11")
            + field(1, 0, b"\x03")
            + field(1, 2, run(b""))
            + field(1, 2, run(b"\x04")),
            SuspensionMessage((1, 2, 3, 4), (17,)),
            id="packed in pieces and unpacked",
        ),
        pytest.param(
            field(1, 2, run(encode_varint(2**33 + 7))), SuspensionMessage((7,)), id="packed number cut to its width"
        ),
        pytest.param(field(12, 2, run(b"a")) + field(12, 2, run(b"b")), RunCommand(0, "b"), id="last scalar wins"),
        pytest.param(field(12, 2, run(b"a")) + field(11, 0, b"\x03"), RunCommand(3, "a"), id="fields out of order"),
        pytest.param(field(11, 0, encode_varint(2**33 + 7)), RunCommand(7), id="number cut to its width"),
        pytest.param(b"\xd8\x00\x03", RunCommand(3), id="tag in more bytes than it needs"),
        pytest.param(field(11, 2, run(b"\x03")), RunCommand(), id="known number, foreign wire type"),
        pytest.param(
            field(1, 0, b"\x01")
            + field(2, 1, b"12345678")
            + field(3, 2, run(b"xyz"))
            + field(4, 3, field(5, 3, field(5, 4, b"")) + field(6, 0, b"\x01") + field(4, 4, b""))
            + field(11, 0, b"\x03")
            + field(7, 5, b"1234"),
            RunCommand(3),
            id="unknown fields of every wire type",
        ),
        pytest.param(field(5, 0, encode_varint(2**40)), StartMessage(partial_state=True), id="bool from a big number"),
        pytest.param(field(9, 0, b"\x63"), ErrorMessage(behavior=ErrorBehavior.RETRY), id="unknown member"),
        pytest.param(field(9, 0, encode_varint(2**64 - 1)), ErrorMessage(), id="negative member"),
        pytest.param(
            field(9, 0, encode_varint(2**32 + 2)), ErrorMessage(behavior=ErrorBehavior.FAIL), id="wide member"
        ),
        pytest.param(field(4, 0, b"\x00"), ErrorMessage(related_command_index=0), id="explicit zero"),
        pytest.param(field(5, 2, run(b"")), CallCompletion(0, Value(b"")), id="empty arm"),
        pytest.param(
            field(6, 2, run(FAILURE_A)) + field(6, 2, run(FAILURE_B)),
            CallCompletion(0, Failure(5, "b", METADATA)),
            id="same arm twice merges",
        ),
        pytest.param(
            field(6, 2, run(FAILURE_A)) + field(5, 2, run(b"")) + field(6, 2, run(FAILURE_B)),
            CallCompletion(0, Failure(0, "b", METADATA[1:])),
            id="another arm in between starts anew",
        ),
        pytest.param(
            field(6, 2, run(FAILURE_A)) + field(6, 2, run(FAILURE_B)) + field(5, 2, run(field(1, 2, run(b"v")))),
            CallCompletion(0, Value(b"v")),
            id="last arm wins over a merged one",
        ),
        pytest.param(
            field(15, 2, run(FAILURE_A))
            + field(14, 2, run(b"x"))
            + field(15, 2, run(b""))
            + field(15, 2, run(FAILURE_B)),
            ProposeRunCompletionMessage(0, Failure(0, "b", METADATA[1:])),
            id="merged arm wins over a scalar arm",
        ),
        pytest.param(
            field(15, 2, run(FAILURE_A)) + field(15, 2, run(FAILURE_B)) + field(14, 2, run(b"x")),
            ProposeRunCompletionMessage(0, Value(b"x")),
            id="scalar arm wins over a merged arm",
        ),
        pytest.param(
            field(1, 2, run(field(1, 0, b"\x01"))) + field(2, 0, b"\x01") + field(1, 2, run(field(1, 0, b"\x02"))),
            AwaitingOnMessage(Future((1, 2)), executing_side_effects=True),
            id="nested message in two pieces",
        ),
        pytest.param(
            field(3, 2, run(field(3, 2, run(b"h")))) + field(1, 2, run(b"inv_1")),
            AttachInvocationCommand(InvocationId("inv_1")),
            id="bare arm after a nested one",
        ),
        pytest.param(
            field(1, 2, run(b"inv_1")) + field(3, 2, run(field(2, 2, run(b"")))),
            AttachInvocationCommand(IdempotentRequestTarget(service_key="")),
            id="nested arm after a bare one",
        ),
        pytest.param(field(2, 0, b"\x00"), SignalNotification(0), id="arm holding zero"),
        pytest.param(field(2, 0, b"\x11") + field(3, 2, run(b"")), SendSignalCommand("", ""), id="arm holding no text"),
        pytest.param(
            field(1, 2, run(b"\x01" * 130)), SuspensionMessage((1,) * 130), id="packed, its length in two bytes"
        ),
    ],
)
def test_odd_bytes_mean_what_they_mean_to_google(data: bytes, expected: msgspec.Struct) -> None:
    name = type(expected).__name__
    assert google(name, data) == expected
    assert protobuf.decode(type(expected), data) == expected


def tower(height: int) -> Future:
    future = Future(combinator_type=CombinatorType.ALL_COMPLETED)
    for _ in range(height - 1):
        future = Future(nested_futures=(future,))
    return future


def test_both_read_await_points_nested_as_deep_as_we_write_them() -> None:
    message = SuspensionMessage(awaiting_on=tower(MAX_DEPTH))
    data = protobuf.encode(message)
    assert google("SuspensionMessage", data) == read("SuspensionMessage", data) == message


def test_both_refuse_await_points_that_are_nested_deeper() -> None:
    data = to_google(SuspensionMessage(awaiting_on=tower(MAX_DEPTH + 1))).SerializePartialToString()
    assert google("SuspensionMessage", data) is None
    with pytest.raises(ProtocolError, match=r"malformed SuspensionMessage .*nested more than 100 deep"):
        protobuf.decode(SuspensionMessage, data)
