"""A stream of bytes, split anywhere, gives the messages that were written to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import ProtocolError, UsageError
from perdure.wire import decoder as module
from perdure.wire.decoder import Decoder
from perdure.wire.frames import HEADER_SIZE, FrameHeader, encode_frame, encode_frames
from perdure.wire.messages import EndMessage, Message, ProposeRunCompletionMessage, RunCommand, RunCompletion, Value
from tests.strategies import messages, pieces

STEP = RunCommand(3, "step")
FRAME = encode_frame(STEP)


def drain(decoder: Decoder) -> list[Message]:
    return list(decoder.messages())


# --- splitting -------------------------------------------------------------------------------------------------------


@given(st.lists(messages(), max_size=5), st.data(), st.booleans())
def test_however_the_bytes_are_split_the_messages_are_the_same(
    sequence: list[Message], data: st.DataObject, at_the_end: bool
) -> None:
    decoder = Decoder()
    received = []
    for piece in data.draw(pieces(encode_frames(sequence))):
        decoder.receive_data(piece)
        if not at_the_end:
            received += drain(decoder)
    received += drain(decoder)
    assert received == sequence
    assert decoder.buffered == 0


@given(st.lists(messages(), min_size=1, max_size=3))
def test_bytes_may_come_one_at_a_time(sequence: list[Message]) -> None:
    decoder = Decoder()
    received = []
    for byte in encode_frames(sequence):
        decoder.receive_data(bytes((byte,)))
        received += drain(decoder)
    assert received == sequence


def test_next_message_gives_one_message_and_then_none() -> None:
    decoder = Decoder()
    decoder.receive_data(FRAME + FRAME[:-1])
    assert [decoder.next_message(), decoder.next_message(), decoder.next_message()] == [STEP, None, None]


def test_bytes_may_come_while_one_iterates() -> None:
    decoder = Decoder()
    decoder.receive_data(FRAME)
    received = []
    for message in decoder.messages():
        received.append(message)
        if len(received) < 4:
            decoder.receive_data(FRAME)
    assert received == [STEP] * 4


def test_messages_that_were_not_asked_for_stay() -> None:
    decoder = Decoder()
    decoder.receive_data(FRAME + encode_frame(EndMessage()))
    assert next(iter(decoder.messages())) == STEP
    assert drain(decoder) == [EndMessage()]


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_buffer_that_changes_later_does_not_change_messages(kind: Any) -> None:
    buffer = bytearray(encode_frame(RunCompletion(1, Value(b"abc"))))
    decoder = Decoder()
    decoder.receive_data(kind(buffer))
    buffer[:] = bytes(len(buffer))
    assert drain(decoder) == [RunCompletion(1, Value(b"abc"))]


def test_flags_of_the_header_are_read() -> None:
    message = ProposeRunCompletionMessage(1, None, requested_ack=True)
    decoder = Decoder()
    decoder.receive_data(encode_frame(message))
    assert drain(decoder) == [message]


def test_flags_that_are_not_known_are_ignored() -> None:
    decoder = Decoder()
    decoder.receive_data(FrameHeader(0x0005, 0x7FFF, 0).encode() + FrameHeader(0x0003, 0xFFFF, 0).encode())
    assert drain(decoder) == [ProposeRunCompletionMessage(), EndMessage()]


# --- the end ---------------------------------------------------------------------------------------------------------


def test_the_end_between_frames_is_fine() -> None:
    decoder = Decoder()
    decoder.receive_data(FRAME)
    decoder.receive_eof()
    assert drain(decoder) == [STEP]
    assert decoder.next_message() is None


def test_a_stream_of_no_bytes_may_end() -> None:
    decoder = Decoder()
    decoder.receive_data(b"")
    decoder.receive_eof()
    assert decoder.next_message() is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (FRAME[:3], "ended inside the header of a message: 3 of 8 bytes came, 5 are missing"),
        (FRAME[:8], "ended inside RunCommand: 8 of 16 bytes came, 8 are missing"),
        (FRAME + FRAME[:-1], "ended inside RunCommand: 15 of 16 bytes came, 1 are missing"),
    ],
)
def test_the_end_inside_a_frame_says_how_many_bytes_are_missing(data: bytes, reason: str) -> None:
    decoder = Decoder()
    decoder.receive_data(data)
    whole = drain(decoder)
    assert decoder.buffered == len(data) - len(whole) * len(FRAME) > 0
    decoder.receive_eof()
    for _ in range(2):
        with pytest.raises(ProtocolError, match=reason):
            decoder.next_message()


def test_messages_in_front_of_the_end_are_given_out_first() -> None:
    decoder = Decoder()
    decoder.receive_data(FRAME + FRAME[:5])
    decoder.receive_eof()
    assert decoder.next_message() == STEP
    with pytest.raises(ProtocolError, match="ended inside"):
        decoder.next_message()


def test_bytes_after_the_end_are_the_callers_mistake() -> None:
    decoder = Decoder()
    decoder.receive_eof()
    with pytest.raises(UsageError, match="after receive_eof"):
        decoder.receive_data(FRAME)


# --- faults ----------------------------------------------------------------------------------------------------------


def refused(decoder: Decoder, data: bytes) -> str:
    decoder.receive_data(data)
    with pytest.raises(ProtocolError) as caught:
        drain(decoder)
    assert type(caught.value) is ProtocolError
    return str(caught.value)


def test_a_payload_above_the_limit_is_refused_by_type_size_and_limit_before_it_comes() -> None:
    reason = refused(Decoder(max_message_size=7), FRAME[:HEADER_SIZE])
    assert reason.startswith("the peer sent a RunCommand (0x0411) of 8 bytes, and the limit is 7;")


def test_a_payload_at_the_limit_is_read() -> None:
    decoder = Decoder(max_message_size=8)
    decoder.receive_data(FRAME)
    assert drain(decoder) == [STEP]


def test_a_whole_payload_above_the_limit_is_refused_too() -> None:
    assert "(0x0411) of 8 bytes, and the limit is 7" in refused(Decoder(max_message_size=7), FRAME)


def test_the_default_limit_is_64_mib() -> None:
    limit = 64 * 1024 * 1024
    decoder = Decoder()
    decoder.receive_data(FrameHeader(0x0411, 0, limit).encode())
    assert decoder.next_message() is None
    assert f"of {limit + 1} bytes" in refused(Decoder(), FrameHeader(0x0411, 0, limit + 1).encode())


def test_an_oversized_message_of_an_unknown_type_is_refused_for_its_size() -> None:
    assert "message of an unknown type (0x1234)" in refused(Decoder(), FrameHeader(0x1234, 0, 2**32 - 1).encode())


def test_an_unknown_type_is_refused_by_its_code_before_its_payload_comes() -> None:
    reason = refused(Decoder(), FrameHeader(0xFC01, 0, 5).encode())
    assert reason.startswith("the peer sent a message of the unknown type 0xFC01 (5 bytes)")


def test_a_malformed_payload_is_refused_by_the_name_of_its_message() -> None:
    reason = refused(Decoder(), FrameHeader(0x0411, 0, 1).encode() + b"\x62" + FRAME)
    assert reason.startswith("the peer sent a malformed RunCommand of 1 bytes:")


def test_a_payload_does_not_read_into_the_next_frame() -> None:
    # The varint of the first frame would go on in the header of the second.
    assert "past the end" in refused(Decoder(), FrameHeader(0x0411, 0, 2).encode() + b"\x58\x80" + FRAME)


def test_messages_in_front_of_a_fault_are_given_out_first() -> None:
    decoder = Decoder()
    decoder.receive_data(FRAME + b"\xff" * 8)
    received: list[Message] = []
    with pytest.raises(ProtocolError):
        received.extend(decoder.messages())
    assert received == [STEP]


def test_after_a_fault_every_call_raises_the_same() -> None:
    decoder = Decoder()
    reason = refused(decoder, FrameHeader(0x1234, 0, 0).encode() + FRAME)
    for call in (decoder.next_message, lambda: drain(decoder), lambda: decoder.receive_data(FRAME)):
        with pytest.raises(ProtocolError) as caught:
            call()
        assert str(caught.value) == reason


def test_after_a_fault_no_bytes_are_kept() -> None:
    decoder = Decoder()
    refused(decoder, FrameHeader(0x1234, 0, 0).encode() + bytes(1000))
    assert decoder.buffered == 0


def outcome(chunks: Iterable[bytes]) -> tuple[list[Message], str]:
    """The messages of a whole stream, and the fault that ended it."""
    decoder = Decoder()
    received: list[Message] = []
    try:
        for chunk in chunks:
            decoder.receive_data(chunk)
            received.extend(decoder.messages())
        decoder.receive_eof()
        received.extend(decoder.messages())
    except ProtocolError as error:
        # Which message is at fault is the same however the bytes are split. How far it runs over its end is not: in one
        # piece the bytes of the next message are there to be read.
        return received, str(error).partition(": ")[0]
    return received, ""


@given(st.lists(st.binary(max_size=30), max_size=6))
def test_garbage_is_messages_or_ends_in_a_protocol_error(chunks: list[bytes]) -> None:
    received, fault = outcome(chunks)
    assert fault or HEADER_SIZE * len(received) <= sum(map(len, chunks))


@given(st.lists(messages(), min_size=1, max_size=3), st.data())
def test_damage_gives_the_same_messages_and_error_however_the_bytes_are_split(
    sequence: list[Message], data: st.DataObject
) -> None:
    stream = bytearray(encode_frames(sequence))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    assert outcome(data.draw(pieces(bytes(stream)))) == outcome([bytes(stream)])


# --- cost ------------------------------------------------------------------------------------------------------------


class Copies:
    """Counts the bytes that a decoder copies."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, parts: tuple[bytes | memoryview, ...]) -> bytes:
        joined = b"".join(parts)
        self.bytes += len(joined)
        return joined


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Copies:
    counter = Copies()
    monkeypatch.setattr(module, "_concatenate", counter)
    return counter


def test_a_long_frame_in_small_pieces_is_copied_once(copies: Copies) -> None:
    message = RunCompletion(1, Value(bytes(20_000_000)))
    frame = encode_frame(message)
    decoder = Decoder()
    for start in range(0, len(frame), 1024):
        decoder.receive_data(frame[start : start + 1024])
        received = drain(decoder)
    assert received == [message]
    assert copies.bytes == len(frame)


def test_many_small_frames_in_one_piece_are_not_copied(copies: Copies) -> None:
    decoder = Decoder()
    decoder.receive_data(FRAME * 100_000)
    assert sum(1 for _ in decoder.messages()) == 100_000
    assert copies.bytes == 0


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 15, 16, 17, 100, 1000])
def test_pieces_of_any_size_cost_at_most_three_copies_of_each_byte(size: int, copies: Copies) -> None:
    stream = encode_frames([STEP, RunCompletion(1, Value(bytes(300)))] * 20)
    decoder = Decoder()
    for start in range(0, len(stream), size):
        decoder.receive_data(stream[start : start + size])
        drain(decoder)
    assert decoder.buffered == 0
    assert copies.bytes <= 3 * len(stream)


def test_pieces_that_wait_are_joined_once(copies: Copies) -> None:
    stream = FRAME * 1000
    decoder = Decoder()
    for start in range(0, len(stream), 7):
        decoder.receive_data(stream[start : start + 7])
    assert len(drain(decoder)) == 1000
    assert copies.bytes == len(stream)


def test_empty_pieces_are_not_kept() -> None:
    decoder = Decoder()
    decoder.receive_data(FRAME[:3])
    for _ in range(5):
        decoder.receive_data(b"")
    assert decoder._later == []
