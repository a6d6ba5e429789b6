from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any, Generic, TypeVar

import msgspec
import pydantic
import pytest

from perdure.durable.pydantic_serde import PydanticSerde
from perdure.durable.serde import decode_value, encode_value, serde_for
from perdure.exceptions import SerdeError, UsageError

T = TypeVar("T")


class Item(pydantic.BaseModel):
    sku: str
    count: int = pydantic.Field(default=1, alias="howMany")

    @pydantic.computed_field
    def label(self) -> str:
        return f"{self.count} x {self.sku}"


class Page(pydantic.BaseModel, Generic[T]):
    entries: list[T]


class Tagged(pydantic.BaseModel):
    tags: set[str]


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    password: int


@pydantic.dataclasses.dataclass
class Validated:
    count: pydantic.PositiveInt


@dataclasses.dataclass
class Order:
    items: list[Item]


class Struct(msgspec.Struct):
    item: Item


class Opaque:
    pass


class Holder(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    opaque: Opaque


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Item, Item(sku="a", howMany=3)),
        (list[Item], [Item(sku="a", howMany=3)]),
        (Item | None, None),
        (int | Item, 5),
        (Item | Tagged, Tagged(tags={"x"})),
        (Order, Order([Item(sku="a")])),
        (Page[Item], Page(entries=[Item(sku="a")])),
        (Validated, Validated(3)),
        (dict[str, Validated], {"a": Validated(3)}),
    ],
    ids=str,
)
def test_types_that_contain_a_pydantic_model_are_written_by_pydantic(annotation: Any, value: object) -> None:
    serde = serde_for(annotation)
    assert isinstance(serde, PydanticSerde)
    assert serde.decode(serde.encode(value)) == value


def test_pydantic_validates_what_it_reads() -> None:
    with pytest.raises(SerdeError, match="greater than 0"):
        decode_value(serde_for(Validated), b'{"count":0}', "the input of Shop/take")


def test_aliases_are_used_both_ways_and_computed_fields_left_out() -> None:
    assert serde_for(Item).encode(Item(sku="a", howMany=3)) == b'{"sku":"a","howMany":3}'


def test_errors_name_the_fields_and_quote_no_values() -> None:
    with pytest.raises(SerdeError) as raised:
        decode_value(serde_for(list[Strict]), b'[{"password":"hunter2","more":"hunter3"}]', "the input of Shop/log_in")
    text = str(raised.value)
    assert "Input should be a valid integer, unable to parse string as an integer - at `$[0].password`" in text
    assert "Extra inputs are not permitted - at `$[0].more`" in text
    assert "hunter" not in text


def test_a_value_of_another_type_is_refused_and_not_quoted() -> None:
    with pytest.raises(SerdeError) as raised:
        encode_value(serde_for(Strict), "hunter2", "the output of Shop/log_in")
    assert "the output of Shop/log_in cannot be written as Strict" in str(raised.value)
    assert "hunter" not in str(raised.value)


def test_nothing_is_read_as_null_where_none_belongs_to_the_type() -> None:
    assert serde_for(Item | None).decode(b"") is None
    assert serde_for(Item | None).accepts_empty
    assert not serde_for(Item).accepts_empty


def test_the_schema_is_that_of_pydantic() -> None:
    assert serde_for(Validated).schema() == {
        "properties": {"count": {"exclusiveMinimum": 0, "title": "Count", "type": "integer"}},
        "required": ["count"],
        "title": "Validated",
        "type": "object",
    }


def test_a_type_with_a_part_that_has_no_schema_has_none() -> None:
    serde = serde_for(Holder)
    assert serde.schema() is None
    assert not serde.stable


def test_sets_make_the_bytes_unstable() -> None:
    assert not serde_for(Tagged).stable
    assert serde_for(Item).stable


def test_a_struct_that_holds_a_model_is_refused() -> None:
    with pytest.raises(
        UsageError, match="contain a pydantic model, so pydantic would have to write them, and it cannot"
    ):
        serde_for(Struct)


def test_pydantic_is_not_imported_for_other_types() -> None:
    program = (
        "import sys; from perdure.durable.serde import serde_for; serde_for(dict[str, int]); "
        "assert not any(name.startswith('pydantic') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
