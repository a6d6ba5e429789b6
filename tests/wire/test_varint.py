"""Varints, tags, and what is skipped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import ProtocolError
from perdure.wire.varint import (
    MAX_DEPTH,
    UINT32_MAX,
    UINT64_MAX,
    encode_varint,
    next_known,
    pack,
    read_packed,
    read_varint,
)
from tests.strategies import EDGES

# From the page "Encoding" of protobuf.dev, and the limits of each length.
SPELLINGS = {
    0: "00",
    1: "01",
    127: "7f",
    128: "8001",
    150: "9601",
    300: "ac02",
    16383: "ff7f",
    16384: "808001",
    2**32 - 1: "ffffffff0f",
    2**64 - 1: "ffffffffffffffffff01",
}


@pytest.mark.parametrize(("value", "spelling"), SPELLINGS.items())
def test_a_number_is_spelled_as_protobuf_spells_it(value: int, spelling: str) -> None:
    assert encode_varint(value).hex() == spelling


@given(st.integers(0, UINT64_MAX) | st.sampled_from(EDGES), st.binary(max_size=3), st.binary(max_size=3))
def test_what_was_written_is_read_wherever_it_stands(value: int, before: bytes, after: bytes) -> None:
    data = before + encode_varint(value) + after
    assert read_varint(data, len(before)) == (value, len(data) - len(after))


@pytest.mark.parametrize("value", [-1, -200, 2**32, 2**64])
def test_a_number_beyond_the_limit_is_not_written(value: int) -> None:
    with pytest.raises(OverflowError, match=f"{value} is not between 0 and {UINT32_MAX}"):
        encode_varint(value, UINT32_MAX)


def test_the_limit_itself_is_written() -> None:
    assert encode_varint(UINT32_MAX, UINT32_MAX).hex() == "ffffffff0f"


def test_bits_above_the_64th_are_dropped() -> None:
    assert read_varint(bytes.fromhex("ffffffffffffffffff7f"), 0) == (UINT64_MAX, 10)


def test_a_varint_of_more_than_10_bytes_is_refused() -> None:
    with pytest.raises(ProtocolError, match="longer than 10 bytes"):
        read_varint(b"\xff" * 10 + b"\x01", 0)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9])
def test_a_varint_that_the_buffer_cuts_is_an_index_error(data: bytes) -> None:
    with pytest.raises(IndexError):
        read_varint(data, 0)


@given(st.lists(st.integers(0, UINT32_MAX) | st.sampled_from(EDGES)))
def test_packed_numbers_are_read_back(values: list[int]) -> None:
    data = b"xx" + pack(values, UINT32_MAX) + b"yy"
    assert read_packed(data, 2, len(data) - 2, UINT32_MAX) == values


def test_packed_numbers_are_cut_to_their_width() -> None:
    data = encode_varint(2**32 + 5) + encode_varint(7)
    assert read_packed(data, 0, len(data), UINT32_MAX) == [5, 7]


def test_a_packed_number_that_runs_past_the_field_is_refused() -> None:
    with pytest.raises(ProtocolError, match="past its end"):
        read_packed(b"\x01\x80\x01", 0, 2, UINT32_MAX)


KNOWN = {8: 8, 130: -130}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("08", (8, 0)),
        ("8201", (-130, 1)),
        ("8800", (8, 1)),  # in more bytes than it needs
        ("1001 08", (8, 2)),  # behind a varint,
        ("11 0102030405060708 08", (8, 9)),  # 8 bytes,
        ("1a 02 0808 08", (8, 4)),  # a run,
        ("15 01020304 08", (8, 5)),  # 4 bytes,
        ("13 0801 1b 1c 14 08", (8, 6)),  # a group in a group
        ("1001", (0, 2)),
        ("", (0, 0)),
    ],
)
def test_skips_to_the_next_known_field(data: str, expected: tuple[int, int]) -> None:
    raw = bytes.fromhex(data)
    assert next_known(raw, 0, len(raw), KNOWN) == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("00 01", "field has the number 0"),
        ("07 01", "field has the number 0"),
        ("16", "field 2 has wire type 6"),
        ("17", "field 2 has wire type 7"),
        ("14", "field 2 has wire type 4"),
        ("8080808010", "longer than 29 bits"),
        ("888080808000", "longer than 29 bits"),
        ("12 03 0000", "field 2 runs 1 bytes past the end"),
        ("11 00", "field 2 runs 7 bytes past the end"),
        ("15 00", "field 2 runs 3 bytes past the end"),
        ("13 0801", "group 2 has no end"),
        ("13 1b 14", "group 2 ends, but another one is open"),
        ("13 00 14", "field has the number 0"),
        ("13" * (MAX_DEPTH + 1) + "14" * (MAX_DEPTH + 1), "nested more than 100 deep"),
    ],
)
def test_what_cannot_be_skipped_is_refused(data: str, reason: str) -> None:
    raw = bytes.fromhex(data)
    with pytest.raises(ProtocolError, match=reason):
        next_known(raw, 0, len(raw), KNOWN)


def test_groups_nested_as_deep_as_allowed_are_skipped() -> None:
    raw = bytes.fromhex("13" * MAX_DEPTH + "14" * MAX_DEPTH)
    assert next_known(raw, 0, len(raw), KNOWN) == (0, len(raw))
