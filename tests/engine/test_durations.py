"""Lengths of time are read as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.client.targets import milliseconds
from perdure.engine.durations import format_milliseconds, parse_milliseconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2s", 2000),
        ("300ms", 300),
        ("1m 30s", 90_000),
        ("1m30s", 90_000),
        ("2 hours", 7_200_000),
        ("1.5 s", 1500),
        ("1 day, 2 hours", 93_600_000),
        ("2 WEEKS", 1_209_600_000),
        ("PT2S", 2000),
        ("PT0.5S", 500),
        ("pt30m", 1_800_000),
        ("P1DT12H", 129_600_000),
        ("P1W", 604_800_000),
        ("0s", 0),
        ("0.0001s", 1),
    ],
)
def test_what_people_write_is_read(text: str, expected: int) -> None:
    assert parse_milliseconds(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", " ", "2", "s", "2 fortnights", "-2s", "2s!", "P", "PT", "P2S", "PT2", "P1", "2s PT2S", "9999999999d", "²s"],
)
def test_anything_else_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"length of time|duration|thousand years"):
        parse_milliseconds(text)


@given(st.integers(0, 10**12))
def test_what_is_written_is_read_again(value: int) -> None:
    assert parse_milliseconds(format_milliseconds(value)) == value


@given(st.floats(0, 10**8))
def test_a_delay_of_the_client_is_read_as_it_was_meant(delay: float) -> None:
    assert parse_milliseconds(f"{milliseconds(delay)}ms") == milliseconds(delay)
