"""Makes the protobuf codec of one message class: Python source from its table row, compiled once.

Why generated code. A codec that walks the table for every message spends its time on questions whose answers never
change: of which kind is this field, may it be absent, what is its tag. Written out per class those questions are gone,
and what is left is what a person would write by hand for exactly this message, while there is still one table.
`dataclasses` and `attrs` make `__init__` in this way for the same reason. `perdure.wire.protobuf.source` shows the code
of any class.

A class is compiled when it is first used, so that importing perdure stays cheap and an endpoint pays for the dozen
messages that it exchanges.

The goal is one microsecond for a small message. What the code does to get there:

* **One-byte varints** are looked up (writing) or are the byte itself (reading). Ids below 128 and lengths of names and
  small payloads are most of the varints on the wire. A tag and a one-byte varint come out of a table as one piece, and
  so does the header of a frame. Reading takes varints of two bytes without a call as well.
* **Fields in order.** A reader tests for the tags in ascending order, and on behind the one that matched, because every
  encoder writes them so: a message of eleven fields costs eleven comparisons, not sixty-six. A field out of order costs
  another round. Each round eats at least one field, so n bytes cost O(n) in whatever order.
* **Nested messages are read in place**, from the same buffer, without a slice. One whose only field is a run of bytes
  (`Value`, in nearly every notification) does not even cost a call.
* **No `try` per field.** A buffer that is too short raises `IndexError`, bad UTF-8 `UnicodeDecodeError`. The caller of
  the compiled function turns both into a `ProtocolError`, once.
* **Repeated fields** are collected in lists and joined once, never by adding to `bytes` or to tuples.

What it does with the odd things that protobuf allows: unknown fields are skipped; the last occurrence of a field, and
the last arm of a oneof, win; nested messages that occur twice are merged (`varint.merge_repeats`); numbers are cut to
their width; unknown enum numbers read as member 0, which `protocol.proto` makes the harmless one.

`perdure.wire.writers` and `perdure.wire.readers` hold the two directions, this module what they share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from perdure.wire import varint
from perdure.wire.fields import BOOL, BYTES, ENUM, UINT32, UINT64, Field, Flag, Kind, OneOf, Presence, Row, rows

__all__ = [
    "LIMITS",
    "NUMBERS",
    "SMALL",
    "Compiled",
    "Source",
    "StructType",
    "in_wire_order",
    "is_recursive",
    "only_bytes",
    "tag_of",
]

StructType: TypeAlias = type[msgspec.Struct]

NUMBERS: Final = frozenset({UINT32, UINT64, BOOL, ENUM})
"""The kinds that are varints; the others start with their length."""

LIMITS: Final = {UINT32: varint.UINT32_MAX, ENUM: varint.UINT32_MAX, UINT64: varint.UINT64_MAX, BOOL: 1}
"""The largest number of each kind."""

SMALL: Final = 128
"""Numbers below this are varints of one byte."""


class Compiled(NamedTuple):
    """A compiled function and the source that it was made from."""

    function: Callable[..., Any]
    source: str


class Source:
    """The lines of a function under construction, and the names that it uses from outside."""

    def __init__(self, signature: str) -> None:
        self._lines = [f"def {signature}:"]
        self._indent = 1
        self._function = signature.partition("(")[0]
        self._names: dict[str, object] = {}

    def __call__(self, *lines: str) -> None:
        """Add lines to the block at hand."""
        self._lines += ("    " * self._indent + line for line in lines)

    @contextmanager
    def block(self, line: str) -> Iterator[None]:
        """A line that ends in a colon, and what is indented under it."""
        self(line)
        self._indent += 1
        yield
        self._indent -= 1

    def name(self, name: str, value: object) -> str:
        """Make `value` known to the function under `name`."""
        known = self._names.setdefault(name, value)
        assert known == value, f"{name} stands for {known!r} already"
        return name

    def compile(self, title: str) -> Compiled:
        """The function."""
        text = "\n".join(self._lines) + "\n"
        # A namespace of its own, so that looking up one of its names stays the cheap case of CPython: a dictionary that
        # does not change any more. The text is made from class and attribute names of `perdure.wire.messages` and from
        # numbers; nothing that a peer or a user sends gets into it.
        exec(compile(text, f"<{title}>", "exec"), self._names)  # noqa: S102 - the module's docstring says why
        function = self._names[self._function]
        assert callable(function)
        return Compiled(function, text)


def tag_of(number: int, kind: Kind) -> int:
    """The tag of a field: its number, and whether a varint or a length comes behind it."""
    return number << 3 | (varint.VARINT if kind in NUMBERS else varint.RUN)


def in_wire_order(cls: StructType) -> list[Row]:
    """The rows that are in the payload, by field number; a oneof stands at its lowest."""
    return sorted((row for row in rows(cls) if not isinstance(row.rule, Flag)), key=_lowest_number)


def _lowest_number(row: Row) -> int:
    match row.rule:
        case OneOf(arms=arms):
            return min(arm.number for arm in arms)
        case rule:
            assert isinstance(rule, Field)
            return rule.number


def only_bytes(cls: StructType) -> tuple[str, int] | None:
    """Attribute and tag of the only field of a class, if it has one field only and that is a run of bytes."""
    match rows(cls):
        case (Row(attribute=attribute, rule=Field(number, Kind.BYTES, Presence.IMPLICIT)),):
            return attribute, tag_of(number, BYTES)
    return None


def is_recursive(cls: StructType) -> bool:
    """Whether a message of this class can hold messages of this class."""
    return any(row.type is cls for row in rows(cls))
