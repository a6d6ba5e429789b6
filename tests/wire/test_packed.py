"""MessagePack frames: every message survives them, however the bytes are split, and garbage is one error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import ProtocolError
from perdure.wire import packed
from perdure.wire.messages import Message, RunCommand
from perdure.wire.packed import PackedDecoder, encode_packed
from perdure.wire.versions import ProtocolVersion
from tests.strategies import messages


@given(st.lists(messages(), max_size=5), st.data())
def test_messages_survive_however_the_bytes_are_split(sent: list[Message], data: st.DataObject) -> None:
    stream = encode_packed(sent)
    decoder = PackedDecoder()
    received: list[Message] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        decoder.receive_data(stream[:size])
        received += decoder.messages()
        stream = stream[size:]
    decoder.receive_eof()
    assert decoder.next_message() is None
    assert received == sent
    assert decoder.buffered == 0


@given(st.binary(max_size=200))
def test_garbage_is_one_error_that_stays(garbage: bytes) -> None:
    decoder = PackedDecoder(max_message_size=100)
    decoder.receive_data(garbage)
    decoder.receive_eof()
    said: list[str] = []
    for _ in range(2):
        try:
            list(decoder.messages())
        except ProtocolError as error:
            said.append(str(error))
    assert len(set(said)) == 1 if said else decoder.buffered == 0
    assert len(said) in {0, 2}


def test_a_cut_message_is_told() -> None:
    decoder = PackedDecoder()
    decoder.receive_data(encode_packed([RunCommand(1)])[:-1])
    decoder.receive_eof()
    with pytest.raises(ProtocolError, match="ended inside a message"):
        decoder.next_message()


def test_a_message_that_announces_to_be_too_long_is_refused_at_once() -> None:
    decoder = PackedDecoder(max_message_size=10)
    decoder.receive_data(b"\x00\x00\x00\x0b")
    with pytest.raises(ProtocolError, match="11 bytes, and the limit is 10"):
        decoder.next_message()
    with pytest.raises(ProtocolError, match="11 bytes"):
        decoder.receive_data(b"x")


@pytest.mark.parametrize("version", list(ProtocolVersion))
def test_each_version_has_a_content_type_that_names_it(version: ProtocolVersion) -> None:
    assert packed.version_of(packed.content_type(version).upper() + "; q=1") is version
    assert packed.version_of(version.content_type) is None


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, False),
        ("*/*", False),
        ("application/vnd.restate.endpointmanifest.v4+json", False),
        (f"application/vnd.restate.endpointmanifest.v4+json, {packed.MANIFEST};q=1", True),
    ],
)
def test_only_who_names_it_is_answered_with_it(accept: str | None, expected: bool) -> None:
    assert packed.accepted(accept) is expected
