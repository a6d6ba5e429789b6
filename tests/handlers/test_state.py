from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import pytest

from perdure.durable.codec import CodedSerde
from perdure.durable.serde import serde_for
from perdure.exceptions import SerdeError, UsageError
from perdure.handlers.state import StateKey


@dataclass
class Cart:
    items: list[str]


class Zlib:
    content_type = ""
    stable = True

    def encode(self, data: bytes, /) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes, /) -> bytes:
        return zlib.decompress(data)


def test_a_key_has_a_name_and_a_type() -> None:
    key = StateKey("left", int, default=10)
    assert (key.name, key.type, key.serde) == ("left", int, None)
    assert repr(key) == "StateKey('left', <class 'int'>, default=10)"
    assert repr(StateKey("note", str)) == "StateKey('note', <class 'str'>)"


@pytest.mark.parametrize(("type_", "default"), [(int, 0), (str, ""), (bytes, b"x"), (bool, False), (int | None, None)])
def test_the_default_is_read_while_nothing_is_stored(type_: Any, default: object) -> None:
    assert StateKey("x", type_, default=default).default() == default


def test_without_a_default_nothing_reads_as_none() -> None:
    assert StateKey("x", list[int]).default() is None


def test_every_read_has_a_default_of_its_own() -> None:
    key = StateKey("cart", Cart, default=Cart([]))
    first = key.default()
    first.items.append("apple")
    assert key.default() == Cart([])


def test_changing_the_object_given_as_default_changes_nothing() -> None:
    given: list[int] = [1]
    key = StateKey("x", list[int], default=given)
    given.append(2)
    assert key.default() == [1]


def test_a_default_comes_through_the_serde_of_the_key() -> None:
    key = StateKey("x", tuple[int, ...], default=(1, 2), serde=CodedSerde(serde_for(tuple[int, ...]), Zlib()))
    assert key.default() == (1, 2)


@pytest.mark.parametrize(("type_", "default"), [(int, "ten"), (list[int], ["x"]), (str, None), (Cart, 5)])
def test_a_default_of_another_type_is_refused(type_: Any, default: object) -> None:
    with pytest.raises(UsageError, match=r"StateKey\('x', .*\): the default of state 'x' cannot be"):
        StateKey("x", type_, default=default)


def test_a_default_of_a_type_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(UsageError, match="values of type complex cannot be written"):
        StateKey("x", complex, default=1j)


@dataclass
class Early:
    later: list[Later]


EARLY = StateKey("early", Early, default=Early([]))
"""Made before `Later` is known."""


@dataclass
class Later:
    count: int


def test_a_type_that_is_not_known_yet_is_tried_when_the_default_is_read() -> None:
    assert EARLY.default() == Early([])
    assert EARLY.default() is not EARLY.default()


@dataclass
class Other:
    much_later: list[MuchLater]


WRONG = StateKey("other", Other, default=Other(["x"]))  # type: ignore[list-item]  # that is the point


@dataclass
class MuchLater:
    count: int


def test_a_wrong_default_that_could_not_be_tried_before_is_told_when_it_is_read() -> None:
    with pytest.raises(SerdeError, match="the default of state 'other' cannot be read as Other"):
        WRONG.default()


@pytest.mark.parametrize("name", ["", 5, None])
def test_a_key_needs_a_name(name: Any) -> None:
    with pytest.raises(UsageError, match="a state key needs a name"):
        StateKey(name, int)
