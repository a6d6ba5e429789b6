"""Invocation and awakeable ids, as text and as bytes."""

from __future__ import annotations

import base64
import datetime as dt
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import PerdureError
from perdure.wire import ids
from perdure.wire.ids import (
    AwakeableId,
    AwakeableKind,
    InvalidIdError,
    format_awakeable_id,
    format_invocation_id,
    parse_awakeable_id,
    parse_invocation_id,
)

# Captured from restate-server 1.7.12.
CAPTURED = "inv_106mpCTpo4Ye2Or6CTBjq1xpCiJx3LED8w"
CAPTURED_DEPLOYMENT = "dp_12zDzhNypHEKJDYrDpH0Kit"
CAPTURED_DEPLOYMENT_CREATED = dt.datetime(2026, 11, 21, 2, 19, 2, 51_000, tzinfo=dt.UTC)

RAW = bytes(range(24))

raw_ids = st.binary(min_size=24, max_size=24)
indexes = st.integers(0, 2**32 - 1)


# --- invocations --------------------------------------------------------------------------------------------------


def test_captured_invocation_id_survives_the_round_trip() -> None:
    assert format_invocation_id(parse_invocation_id(CAPTURED)) == CAPTURED


def test_base62_is_byte_swapped_and_lower_case_first() -> None:
    """The number of a deployment is a ULID: read rightly, it begins with the time at which the server made it."""
    number = ids._decode_base62(CAPTURED_DEPLOYMENT.removeprefix("dp_1"), 16)
    made = dt.datetime.fromtimestamp(int.from_bytes(number[:6], "big") / 1000, dt.UTC)
    assert abs(made - CAPTURED_DEPLOYMENT_CREATED) < dt.timedelta(seconds=1)


def test_first_bytes_of_each_half_are_its_least_significant_digits() -> None:
    raw = bytes([61, *[0] * 7, 10, *[0] * 15])
    assert format_invocation_id(raw) == "inv_1" + "0000000000Z" + "000000000000000000000a"


def test_largest_invocation_id_has_the_same_length() -> None:
    text = format_invocation_id(b"\xff" * 24)
    assert (len(text), parse_invocation_id(text)) == (38, b"\xff" * 24)


@given(raw_ids)
def test_every_invocation_id_survives_the_round_trip(raw: bytes) -> None:
    text = format_invocation_id(raw)
    assert re.fullmatch("inv_1[0-9a-zA-Z]{33}", text)
    assert parse_invocation_id(text) == raw


@given(st.text(alphabet=st.sampled_from("0aZ9z_-"), min_size=33, max_size=33).map("inv_1".__add__) | st.text())
def test_no_two_texts_are_the_same_invocation(text: str) -> None:
    try:
        raw = parse_invocation_id(text)
    except InvalidIdError:
        return
    assert format_invocation_id(raw) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not start with 'inv_1'"),
        ("sign_1" + "0" * 33, "does not start with 'inv_1'"),
        ("inv_2" + "0" * 33, "does not start with 'inv_1'"),
        ("inv_1" + "0" * 32, "has 37 characters, an invocation id has 38"),
        ("inv_1" + "0" * 34, "has 39 characters"),
        ("inv_1" + "0" * 32 + "-", "has the character '-'"),
        ("inv_1" + "0" * 32 + "٣", "has the character '٣'"),
        ("inv_1" + "Z" * 11 + "0" * 22, "a number that does not fit into 8 bytes"),
        ("inv_1" + "0" * 11 + "Z" * 22, "a number that does not fit into 16 bytes"),
    ],
)
def test_text_that_is_no_invocation_id_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidIdError, match=re.escape(why)):
        parse_invocation_id(text)


@pytest.mark.parametrize(
    ("length", "shown"),
    [(64, "'" + "x" * 64 + "'"), (65, "'" + "x" * 64 + "...'"), (1_000_000, "'" + "x" * 64 + "...'")],
)
def test_refusal_repeats_a_text_up_to_its_64th_character(length: int, shown: str) -> None:
    with pytest.raises(InvalidIdError, match=re.escape(f"id: {shown} does")):
        parse_invocation_id("x" * length)


@pytest.mark.parametrize("size", [0, 23, 25])
def test_invocation_id_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(InvalidIdError, match=f"24 bytes long, these are {size}"):
        format_invocation_id(bytes(size))


# --- awakeables ---------------------------------------------------------------------------------------------------


@given(raw_ids, indexes)
def test_awakeable_id_is_the_base64_of_invocation_and_index(raw: bytes, index: int) -> None:
    expected = base64.urlsafe_b64encode(raw + index.to_bytes(4, "big")).decode().rstrip("=")
    assert format_awakeable_id(raw, index) == f"sign_1{expected}"


@given(raw_ids, indexes)
def test_every_awakeable_id_survives_the_round_trip(raw: bytes, index: int) -> None:
    assert parse_awakeable_id(format_awakeable_id(raw, index)) == AwakeableId(raw, index, AwakeableKind.SIGNAL)


@given(raw_ids, indexes)
def test_older_awakeable_id_names_a_journal_entry(raw: bytes, index: int) -> None:
    text = format_awakeable_id(raw, index).replace("sign_1", "prom_1", 1)
    assert parse_awakeable_id(text) == AwakeableId(raw, index, AwakeableKind.ENTRY)


def test_awakeable_id_cannot_be_changed() -> None:
    awakeable = AwakeableId(RAW, 17)
    with pytest.raises(AttributeError, match="immutable"):
        awakeable.index = 18  # type: ignore[misc]  # that it is refused is the point


def test_padded_awakeable_id_is_read_too() -> None:
    assert parse_awakeable_id(format_awakeable_id(RAW, 17) + "==") == AwakeableId(RAW, 17)


@given(st.sampled_from(["sign_1", "prom_1", "inv_1", ""]), st.text(alphabet=st.sampled_from("AQ-_=+ ä"), max_size=60))
def test_garbage_is_an_awakeable_id_or_an_invalid_id(prefix: str, rest: str) -> None:
    try:
        parsed = parse_awakeable_id(prefix + rest)
    except InvalidIdError:
        return
    assert format_awakeable_id(parsed.invocation_id, parsed.index)[6:] == rest.removesuffix("==")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not start with 'sign_1' or 'prom_1'"),
        (CAPTURED, "does not start with 'sign_1' or 'prom_1'"),
        ("sign_2" + "A" * 38, "does not start with"),
        ("sign_1" + "A" * 36, "holds 27 bytes, an awakeable id holds 28"),
        ("sign_1" + "A" * 40, "holds 30 bytes"),
        ("sign_1" + "A" * 37, "not url-safe base64"),
        ("sign_1" + "A" * 37 + "B", "not unpadded url-safe base64 in canonical form"),
        ("sign_1" + "A" * 37 + "+", "not unpadded url-safe base64 in canonical form"),
    ],
)
def test_text_that_is_no_awakeable_id_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidIdError, match=why):
        parse_awakeable_id(text)


@pytest.mark.parametrize("index", [-1, 2**32])
def test_signal_index_that_is_no_u32_is_refused(index: int) -> None:
    with pytest.raises(InvalidIdError, match=f"not {index}"):
        format_awakeable_id(RAW, index)


@pytest.mark.parametrize("size", [0, 23, 25])
def test_awakeable_of_an_invocation_id_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(InvalidIdError, match=f"these are {size}"):
        format_awakeable_id(bytes(size), 17)


def test_invalid_id_is_a_value_error_and_an_error_of_perdure() -> None:
    assert issubclass(InvalidIdError, ValueError)
    assert issubclass(InvalidIdError, PerdureError)
