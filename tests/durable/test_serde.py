from __future__ import annotations

import contextlib
import dataclasses
import enum
import math
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Never, NewType, NoReturn, TypedDict, TypeVar

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.durable.serde import (
    JSON,
    OCTET_STREAM,
    Serde,
    decode_value,
    encode_value,
    serde_for,
)
from perdure.exceptions import SerdeError, UsageError

T = TypeVar("T")


@dataclasses.dataclass
class Item:
    sku: str
    count: int = 1


class Order(msgspec.Struct):
    items: list[Item]
    note: str | None = None


@attrs.define
class Address:
    street: str


class Parcel(TypedDict):
    weight: float


class Point(NamedTuple):
    x: int
    y: int


class Color(enum.Enum):
    RED = "red"


class Box(msgspec.Struct, Generic[T]):
    content: T


class Tree(msgspec.Struct):
    children: list[Tree] = []


Blob = NewType("Blob", bytes)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 5),
        (int, 2**80),
        (float, 1.5),
        (bool, True),
        (str, "grüße"),
        (list[int], [1, 2]),
        (dict[str, list[float]], {"a": [1.5]}),
        (dict[int, str], {1: "a"}),
        (tuple[int, str], (1, "a")),
        (set[int], {3, 1, 2}),
        (frozenset[str], frozenset({"b", "a"})),
        (datetime, datetime(2026, 11, 21, 12, 30, tzinfo=UTC)),
        (date, date(2026, 11, 21)),
        (timedelta, timedelta(seconds=90)),
        (uuid.UUID, uuid.UUID(int=7)),
        (Decimal, Decimal("1.10")),
        (Color, Color.RED),
        (Literal["a", "b"], "b"),
        (Item, Item("apple", 3)),
        (Order, Order([Item("apple")], "soon")),
        (Address, Address("Elm")),
        (Parcel, {"weight": 2.5}),
        (Point, Point(1, 2)),
        (Box[Item], Box(Item("apple"))),
        (Tree, Tree([Tree(), Tree([Tree()])])),
        (int | str | None, "x"),
        (int | str | None, None),
        (list[bytes], [b"\x00\xff"]),
        (bytes | None, b"\x00"),
        (Any, {"a": [1, None, "x"]}),
        (object, [1, 2]),
        (list[object], [1, "x"]),
        (bytes, b"\x00\xff"),
        (Blob, b"\x00\xff"),
        (None, None),
    ],
    ids=str,
)
def test_values_come_back_as_they_left(annotation: Any, value: object) -> None:
    serde = serde_for(annotation)
    read = serde.decode(serde.encode(value))
    assert read == value
    assert type(read) is type(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_comes_back_where_there_is_no_annotation(value: Any) -> None:
    serde = serde_for(Any)
    assert serde.decode(serde.encode(value)) == value


@given(st.binary())
def test_bytes_travel_raw(value: bytes) -> None:
    serde = serde_for(bytes)
    assert serde.encode(value) == value
    assert serde.decode(value) is value


@given(st.binary())
def test_garbage_is_a_serde_error_or_a_value(data: bytes) -> None:
    for annotation in (Order, Any, int | None, None, bytes):
        with contextlib.suppress(SerdeError):
            decode_value(serde_for(annotation), data, "the input of Shop/checkout")


def test_bytes_like_values_are_written_too() -> None:
    serde: Serde[Any] = serde_for(bytes)
    assert serde.encode(bytearray(b"ab")) == b"ab"
    assert serde.encode(memoryview(b"ab")) == b"ab"


def test_nothing_is_no_bytes_and_no_media_type() -> None:
    serde = serde_for(None)
    assert serde.encode(None) == b""
    assert serde.content_type == ""


@pytest.mark.parametrize("data", [b"", b"null", b" null\n"])
def test_nothing_is_read_from_no_bytes_and_from_a_json_null(data: bytes) -> None:
    assert serde_for(None).decode(data) is None


def test_a_function_that_always_raises_has_nothing_to_write() -> None:
    assert serde_for(NoReturn) is serde_for(Never) is serde_for(None)


@pytest.mark.parametrize("annotation", [NoReturn, Never])
def test_what_never_returns_returns_nothing(annotation: Any) -> None:
    assert serde_for(annotation) is serde_for(None)


def test_nothing_is_not_read_from_something() -> None:
    with pytest.raises(SerdeError, match="expected nothing, got 1 bytes"):
        decode_value(serde_for(None), b"5", "the output of Shop/ping")


def test_a_value_where_nothing_was_promised_is_refused() -> None:
    with pytest.raises(SerdeError, match="expected `None`, got `int`"):
        encode_value(serde_for(None), 5, "the output of Shop/ping")


@pytest.mark.parametrize(
    ("annotation", "content_type"),
    [(int, JSON), (Order, JSON), (Any, JSON), (bytes, OCTET_STREAM), (bytes | None, JSON)],
)
def test_the_media_type_says_what_is_written(annotation: Any, content_type: str) -> None:
    assert serde_for(annotation).content_type == content_type


def test_a_serde_is_chosen_once_per_annotation() -> None:
    assert serde_for(list[Item]) is serde_for(list[Item])
    assert serde_for(int) is not serde_for(float)


def test_an_annotation_that_cannot_be_hashed_has_a_serde() -> None:
    assert serde_for(Annotated[int, ["not hashable"]]).decode(b"5") == 5


def test_decoding_json_is_the_decoder_of_msgspec_itself() -> None:
    decode: Callable[..., object] = serde_for(list[int]).decode
    assert isinstance(decode.__self__, msgspec.json.Decoder)  # type: ignore[attr-defined]  # a bound method has it


@pytest.mark.parametrize(
    ("annotation", "empty"), [(int | None, True), (Any, True), (bytes, True), (None, True), (int, False)]
)
def test_empty_bytes_are_taken_where_they_mean_something(annotation: Any, empty: bool) -> None:
    serde = serde_for(annotation)
    assert serde.accepts_empty is empty
    if empty:
        assert not serde.decode(b"")
    else:
        with pytest.raises(msgspec.DecodeError):
            serde.decode(b"")


def test_numbers_in_text_are_not_numbers() -> None:
    with pytest.raises(SerdeError, match="Expected `int`, got `str`"):
        decode_value(serde_for(int), b'"5"', "the input of Shop/add")


def test_sets_are_written_in_the_same_order_by_every_process() -> None:
    program = (
        "from perdure.durable.serde import serde_for; import sys; "
        "sys.stdout.buffer.write(serde_for(dict[str, set[str]]).encode({'x': set('abcdefgh')}))"
    )
    written = {
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert written == {b'{"x":["a","b","c","d","e","f","g","h"]}'}


def test_dicts_keep_their_order() -> None:
    assert serde_for(dict[str, int]).encode({"b": 1, "a": 2}) == b'{"b":1,"a":2}'


def test_not_a_number_becomes_null() -> None:
    assert serde_for(list[float]).encode([math.nan, math.inf]) == b"[null,null]"


# --- schemas


def test_the_schema_describes_the_type() -> None:
    assert serde_for(list[Item]).schema() == {
        "type": "array",
        "items": {"$ref": "#/$defs/Item"},
        "$defs": {
            "Item": {
                "title": "Item",
                "type": "object",
                "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "default": 1}},
                "required": ["sku"],
            }
        },
    }


@pytest.mark.parametrize("annotation", [Any, object, bytes, None])
def test_what_allows_everything_has_no_schema(annotation: Any) -> None:
    assert serde_for(annotation).schema() is None


def test_an_object_inside_a_type_is_anything() -> None:
    assert serde_for(list[object]).schema() == {"type": "array", "items": {"description": "anything"}}


# --- errors


def test_a_decoding_error_names_value_type_field_and_fault() -> None:
    with pytest.raises(SerdeError) as raised:
        decode_value(serde_for(Order), b'{"items":[{"sku":"a","count":"x"}]}', "the input of Shop/checkout")
    assert str(raised.value) == (
        "the input of Shop/checkout cannot be read as Order: Expected `int`, got `str` - at `$.items[0].count`. "
        "Whoever wrote these 35 bytes meant another type"
    )
    assert isinstance(raised.value.__cause__, msgspec.ValidationError)


def test_an_encoding_error_names_value_type_and_what_to_do() -> None:
    with pytest.raises(SerdeError) as raised:
        encode_value(serde_for(Any), {"path": Path("x")}, "the output of Shop/checkout")
    assert str(raised.value) == (
        "the output of Shop/checkout cannot be written as Any: Encoding objects of type PosixPath is unsupported. The "
        "value is of type dict; make it what the annotation says, or annotate what it is"
    )


@pytest.mark.parametrize("value", ["\ud800", {(1, 2): 3}])
def test_values_that_json_cannot_hold_are_serde_errors(value: object) -> None:
    with pytest.raises(SerdeError, match="the result of step 'x' cannot be written"):
        encode_value(serde_for(Any), value, "the result of step 'x'")


def test_deeply_nested_input_is_a_serde_error() -> None:
    with pytest.raises(SerdeError):
        decode_value(serde_for(Any), b"[" * 100_000, "the input of Shop/checkout")


class Broken:
    content_type = "application/x-broken"
    stable = False
    accepts_empty = False

    def __init__(self, error: Exception) -> None:
        self.error = error

    def encode(self, value: int, /) -> bytes:
        raise self.error

    def decode(self, data: bytes, /) -> int:
        raise self.error

    def schema(self) -> dict[str, Any] | None:
        return None


@pytest.mark.parametrize("error", [SerdeError("no"), ValueError("no"), TypeError("no"), OverflowError("no")])
def test_what_a_serde_of_the_user_says_about_data_becomes_a_serde_error(error: Exception) -> None:
    with pytest.raises(SerdeError, match=r"state 'x' cannot be read as .*: no\."):
        decode_value(Broken(error), b"", "state 'x'")
    with pytest.raises(SerdeError, match=r"state 'x' cannot be written as .*: no\."):
        encode_value(Broken(error), 5, "state 'x'")


def test_an_error_without_text_is_named_by_its_class() -> None:
    with pytest.raises(SerdeError, match="ValueError"):
        decode_value(Broken(ValueError()), b"", "state 'x'")


@pytest.mark.parametrize("error", [OSError("key service is down"), RuntimeError("bug")])
def test_failures_of_a_serde_itself_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)):
        decode_value(Broken(error), b"", "state 'x'")
    with pytest.raises(type(error)):
        encode_value(Broken(error), 5, "state 'x'")


class Hopeless:
    pass


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (Hopeless, "values of type Hopeless cannot be written as JSON: Hopeless is none of the types"),
        (list[Path], r"values of type list\[pathlib.*Path\] cannot be written as JSON: Path is none of the types"),
        (Box[complex], "complex is none of the types"),
        (int | Hopeless, "cannot be written as JSON"),
        (Item | Address, "may not contain more than one dataclass"),
        ("int", "Type ''int'' is not supported"),
    ],
    ids=str,
)
def test_types_that_cannot_be_read_back_are_refused_before_any_value(annotation: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        serde_for(annotation)


def test_a_field_whose_type_is_not_known_yet_is_refused_by_name() -> None:
    @dataclasses.dataclass
    class Early:
        later: Later  # type: ignore[name-defined]  # noqa: F821 - that is the point

    with pytest.raises(UsageError, match="name 'Later' is not defined"):
        serde_for(Early)


# --- serdes of the user


class Shouting(Serde[str]):
    content_type = "text/plain"

    def encode(self, value: str, /) -> bytes:
        return value.upper().encode()

    def decode(self, data: bytes, /) -> str:
        return data.decode().lower()


def test_a_class_that_names_serde_as_its_base_inherits_careful_defaults() -> None:
    serde = Shouting()
    assert serde.decode(serde.encode("hello")) == "hello"
    assert (serde.stable, serde.accepts_empty, serde.schema()) == (False, False, None)
