"""Hypothesis strategies for messages of the wire, derived from the table that the codecs are compiled from."""

from __future__ import annotations

import enum
import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st

from perdure.wire.fields import BOOL, BYTES, ENUM, STRING, UINT32, UINT64, Field, Flag, Kind, OneOf, Presence, Row, rows
from perdure.wire.messages import MESSAGES, Message

S = TypeVar("S", bound=msgspec.Struct)

# Around these a varint needs another byte.
LENGTHS = (1, 2, 123, 124, 125, 126, 127, 128, 129, 130)
EDGES = (*LENGTHS, 16382, 16383, 16384, 16385, 2**21 - 1, 2**21)


def _numbers(limit: int) -> st.SearchStrategy[int]:
    return st.integers(0, 300) | st.sampled_from([*EDGES, limit - 1, limit]) | st.integers(0, limit)


_SCALARS: dict[Kind, st.SearchStrategy[Any]] = {
    UINT32: _numbers(2**32 - 1),
    UINT64: _numbers(2**64 - 1),
    BOOL: st.booleans(),
    BYTES: st.binary(max_size=12) | st.sampled_from(LENGTHS).map(bytes),
    STRING: st.text(max_size=12) | st.sampled_from(LENGTHS).map("x".__mul__),
}


def messages() -> st.SearchStrategy[Message]:
    """Any message of the protocol."""
    return st.sampled_from(sorted(MESSAGES)).flatmap(lambda code: message_of(MESSAGES[code]))


@functools.cache
def message_of(cls: type[S]) -> st.SearchStrategy[S]:
    """Messages of one class, or parts of one."""
    itself = [row.attribute for row in rows(cls) if row.type is cls]
    others = {row.attribute: _attribute(row) for row in rows(cls) if row.type is not cls}
    if not itself:
        return st.builds(cls, **others)
    return st.recursive(
        st.builds(cls, **others),
        lambda children: st.builds(cls, **others, **dict.fromkeys(itself, _tuples(children))),
        max_leaves=6,
    )


def _attribute(row: Row) -> st.SearchStrategy[Any]:
    match row.rule:
        case Flag():
            return st.booleans()
        case OneOf(arms=arms):
            return st.none() | st.one_of(
                *(message_of(arm.type) if issubclass(arm.type, msgspec.Struct) else _SCALARS[arm.kind] for arm in arms)
            )
        case Field(presence=Presence.REPEATED):
            return _tuples(_value(row))
        case Field(presence=Presence.EXPLICIT):
            return st.none() | _value(row)
    return _value(row)


def _value(row: Row) -> st.SearchStrategy[Any]:
    assert isinstance(row.rule, Field)
    if row.rule.kind is ENUM:
        assert issubclass(row.type, enum.Enum)
        return st.sampled_from(row.type)
    if issubclass(row.type, msgspec.Struct):
        return message_of(row.type)
    return _SCALARS[row.rule.kind]


def _tuples(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(elements, max_size=4).map(tuple)


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> Sequence[bytes]:
    """The bytes cut anywhere: put together they are `data`. Pieces may be empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]
