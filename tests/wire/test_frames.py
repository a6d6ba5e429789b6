"""A frame is eight bytes of header and a payload."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import UsageError
from perdure.wire import protobuf, writers
from perdure.wire.frames import HEADER_SIZE, FrameHeader, encode_frame, encode_frames, parse_header
from perdure.wire.messages import (
    EndMessage,
    Message,
    ProposeRunCompletionMessage,
    RunCommand,
    SignalNotification,
    Value,
)
from tests.strategies import messages


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        (EndMessage(), "0003 0000 00000000"),
        (RunCommand(3, "step"), "0411 0000 00000008 5803 6204 73746570"),
        (SignalNotification(1), "fbff 0000 00000002 1001"),
        (ProposeRunCompletionMessage(3, Value(b"x")), "0005 0000 00000005 0803 7201 78"),
        (ProposeRunCompletionMessage(3, Value(b"x"), requested_ack=True), "0005 8000 00000005 0803 7201 78"),
    ],
)
def test_frames_are_these_bytes(message: Message, frame: str) -> None:
    assert encode_frame(message) == bytes.fromhex(frame)


@given(messages())
def test_a_frame_is_its_header_and_the_payload(message: Message) -> None:
    frame, payload = encode_frame(message), protobuf.encode(message)
    header = parse_header(frame)
    assert frame == header.encode() + payload
    assert (header.type_code, header.length) == (type(message).type_code, len(payload))
    assert header.flags == (0x8000 if getattr(message, "requested_ack", False) else 0)


@pytest.mark.parametrize("size", [127, 128, 255, 256, 65535, 65536, 1 << 24])
def test_the_length_is_right_whatever_number_of_bytes_it_needs(size: int) -> None:
    frame = encode_frame(ProposeRunCompletionMessage(0, Value(bytes(size)), requested_ack=True))
    assert parse_header(frame) == (0x0005, 0x8000, len(frame) - HEADER_SIZE)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.binary(max_size=3))
def test_a_header_is_parsed_wherever_it_stands(code: int, flags: int, length: int, before: bytes) -> None:
    header = FrameHeader(code, flags, length)
    assert parse_header(before + header.encode() + b"rest", len(before)) == header


@given(st.lists(messages(), max_size=4))
def test_frames_stand_one_after_the_other(sequence: list[Message]) -> None:
    assert encode_frames(iter(sequence)) == b"".join(map(encode_frame, sequence))


@pytest.mark.parametrize("message", [RunCommand(-1), RunCommand(1, "\udfff")])
def test_a_message_that_cannot_be_written_is_a_usage_error(message: Message) -> None:
    with pytest.raises(UsageError, match="a RunCommand cannot be sent"):
        encode_frame(message)


def test_a_payload_that_is_longer_than_a_frame_can_say_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_MAX_PAYLOAD", 1000)  # 4 GiB less to allocate
    write = writers.frame_writer.__wrapped__(RunCommand).function
    assert len(write(RunCommand(0, "x" * 997))) == HEADER_SIZE + 1000
    with pytest.raises(OverflowError, match="longer than 4 GiB"):
        write(RunCommand(0, "x" * 998))
