"""How a message's attributes lie on the wire: the vocabulary of the field table.

A message class is its own table row. Every attribute is annotated with a `Field` or a `OneOf`, so the number, the kind
and the presence rule of a field stand beside its Python type and nowhere else::

    class SleepCommand(Command, frozen=True, tag=0x040C):
        wake_up_time: Annotated[int, Field(1, UINT64)] = 0
        result_completion_id: Annotated[int, Field(11, UINT32)] = 0
        name: Annotated[str, Field(12, STRING)] = ""

The protobuf codec (`perdure.wire.protobuf`) is compiled from these rows, the MessagePack codec is msgspec's own (it
uses the order of the attributes, so attributes are only ever appended). Field numbers and kinds are those of the
Restate service protocol, `protocol.proto` in restatedev/sdk-shared-core.
"""

from __future__ import annotations

import enum
import functools
import types
import typing
from typing import Annotated, NamedTuple, Union, get_args, get_origin

import msgspec

__all__ = [
    "BOOL",
    "BYTES",
    "ENUM",
    "MESSAGE",
    "STRING",
    "UINT32",
    "UINT64",
    "Arm",
    "Field",
    "Flag",
    "Kind",
    "OneOf",
    "Presence",
    "Row",
    "rows",
]


class Kind(enum.Enum):
    """The protobuf type of one field."""

    UINT32 = "uint32"
    UINT64 = "uint64"
    BOOL = "bool"
    ENUM = "enum"
    BYTES = "bytes"
    STRING = "string"
    MESSAGE = "message"


UINT32 = Kind.UINT32
UINT64 = Kind.UINT64
BOOL = Kind.BOOL
ENUM = Kind.ENUM
BYTES = Kind.BYTES
STRING = Kind.STRING
MESSAGE = Kind.MESSAGE


class Presence(enum.Enum):
    """When a field is written.

    `IMPLICIT` fields are left out when they hold the default of their kind, `EXPLICIT` ones (proto3 `optional`, and
    message-typed fields) when they are `None`, `REPEATED` ones hold a tuple, empty by default. Repeated numbers are
    written packed and read both ways.
    """

    IMPLICIT = "implicit"
    EXPLICIT = "explicit"
    REPEATED = "repeated"


class Field(NamedTuple):
    """One field of a message: its number, its kind, when it is written, and the protocol version that brought it."""

    number: int
    kind: Kind
    presence: Presence = Presence.IMPLICIT
    since: int = 5


class Arm(NamedTuple):
    """One alternative of a `OneOf`.

    `type` is the Python class that stands for this arm. With `bare` the wire carries the only attribute of that class
    directly (`kind` says as what); otherwise `kind` is `MESSAGE` and the class is written as a nested message. For
    `int` and `str` arms the Python value is the wire value.
    """

    number: int
    kind: Kind
    type: type
    bare: bool = False


class OneOf:
    """A protobuf `oneof`: one attribute in Python, one of several numbered arms on the wire, or `None`."""

    __slots__ = ("arms",)

    def __init__(self, *arms: Arm) -> None:
        self.arms: tuple[Arm, ...] = arms

    def __repr__(self) -> str:
        return f"OneOf({', '.join(map(repr, self.arms))})"


class Flag(NamedTuple):
    """A boolean that travels in the flags of the frame header and not in the payload."""

    mask: int


class Row(NamedTuple):
    """One attribute of a message class as data.

    `type` is the Python class of one value: `str` for `str | None`, `Header` for `tuple[Header, ...]`. For a `OneOf` it
    is `object`; its arms name their classes.
    """

    attribute: str
    rule: Field | OneOf | Flag
    type: type


@functools.cache
def rows(cls: type[msgspec.Struct]) -> tuple[Row, ...]:
    """The table of a message class, in the order of its attributes.

    Raises:
        TypeError: an attribute has no rule. That is a mistake in `perdure.wire.messages`.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    return tuple(_row(cls, attribute, hints[attribute]) for attribute in cls.__struct_fields__)


def _row(cls: type[msgspec.Struct], attribute: str, hint: object) -> Row:
    if get_origin(hint) is Annotated:
        annotated, *metadata = get_args(hint)
        for rule in metadata:
            if isinstance(rule, Field | Flag):
                return Row(attribute, rule, _value_type(annotated))
            if isinstance(rule, OneOf):
                return Row(attribute, rule, object)
    raise TypeError(f"{cls.__name__}.{attribute} has no rule for the wire; annotate it with a Field, a OneOf or a Flag")


def _value_type(hint: object) -> type:
    if get_origin(hint) in {tuple, Union, types.UnionType}:
        (hint,) = (argument for argument in get_args(hint) if argument not in {type(None), Ellipsis})
    assert isinstance(hint, type)
    return hint
