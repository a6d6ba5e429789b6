"""Makes the functions that write messages of one class. What they look like, and why: `perdure.wire.compiler`."""

from __future__ import annotations

import functools
from typing import Final

from perdure.wire import varint
from perdure.wire.compiler import (
    LIMITS,
    NUMBERS,
    SMALL,
    Compiled,
    Source,
    StructType,
    in_wire_order,
    is_recursive,
    only_bytes,
    tag_of,
)
from perdure.wire.fields import BYTES, MESSAGE, STRING, Arm, Field, Flag, Kind, OneOf, Presence, rows
from perdure.wire.messages import Message
from perdure.wire.varint import MAX_DEPTH, encode_varint

__all__ = ["frame_writer", "writer"]

_MAX_PAYLOAD: Final = varint.UINT32_MAX


@functools.cache
def writer(cls: StructType) -> Compiled:
    """The function from a message to its payload, `write(message, depth=1) -> bytes`.

    It raises `OverflowError` for a number that does not fit and for nesting deeper than `MAX_DEPTH`, and
    `UnicodeEncodeError` for text that UTF-8 cannot express.
    """
    source = _payload(cls)
    source("return out")
    return source.compile(f"perdure.wire: writes {cls.__name__}")


@functools.cache
def frame_writer(cls: type[Message]) -> Compiled:
    """The function from a message to its frame, header and payload; it raises what `writer` raises."""
    source = _payload(cls)
    source("size = len(out)")
    for row in rows(cls):
        if isinstance(row.rule, Flag):
            with source.block(f"if message.{row.attribute}:"):
                _return_frame(source, cls, row.rule.mask)
    _return_frame(source, cls, 0)
    return source.compile(f"perdure.wire: writes a frame of {cls.__name__}")


def _payload(cls: StructType) -> Source:
    source = Source("write(message, depth=1)")
    source.name("encode_varint", encode_varint)
    source.name("pack", varint.pack)
    if is_recursive(cls):
        with source.block(f"if depth > {MAX_DEPTH}:"):
            source(f'raise OverflowError("{cls.__name__} is nested more than {MAX_DEPTH} deep")')
    source('out = b""')
    for row in in_wire_order(cls):
        source(f"value = message.{row.attribute}")
        match row.rule:
            case OneOf(arms=arms):
                _oneof(source, cls, row.attribute, arms)
            case Field(number, kind, Presence.REPEATED):
                with source.block("if value:"):
                    _repeated(source, cls, number, kind, row.type)
            case Field(number, kind, presence):
                with source.block("if value:" if presence is Presence.IMPLICIT else "if value is not None:"):
                    _single(source, cls, number, kind, row.type)
    return source


def _return_frame(source: Source, cls: type[Message], flags: int) -> None:
    # The header is one big-endian number: 16 bits of type, 16 of flags, 32 of length.
    base = cls.type_code << 48 | flags << 32
    headers = source.name(f"headers_{flags:04x}", tuple((base | size).to_bytes(8, "big") for size in range(SMALL)))
    with source.block(f"if size < {SMALL}:"):
        source(f"return {headers}[size] + out")
    with source.block(f"if size > {_MAX_PAYLOAD}:"):
        source('raise OverflowError("its payload is longer than 4 GiB, the most that a frame can hold")')
    source(f'return ({base:#018x} | size).to_bytes(8, "big") + out')


def _oneof(source: Source, cls: StructType, attribute: str, arms: tuple[Arm, ...]) -> None:
    with source.block("if value is not None:"):
        source("arm = type(value)")
        keyword = "if"
        for arm in arms:
            with source.block(f"{keyword} arm is {source.name(arm.type.__name__, arm.type)}:"):
                if arm.bare:
                    source(f"value = value.{rows(arm.type)[0].attribute}")
                _single(source, cls, arm.number, arm.kind, arm.type)
            keyword = "elif"
        with source.block("else:"):
            source(f'raise TypeError("{cls.__name__}.{attribute} cannot hold " + repr(value))')


def _single(source: Source, cls: StructType, number: int, kind: Kind, of: type) -> None:
    """Write `value`, also if it is the default of its kind."""
    if kind in NUMBERS:
        _number(source, tag_of(number, kind), LIMITS[kind])
    elif kind is MESSAGE and only_bytes(of):
        _nested_bytes(source, tag_of(number, kind), of)
    else:
        if kind is not BYTES:
            source(f"value = {_to_bytes(source, cls, kind, of, 'value')}")
        _run(source, tag_of(number, kind))


def _number(source: Source, tag: int, limit: int) -> None:
    with source.block(f"if 0 <= value < {SMALL}:"):
        source(f"out += {source.name(f'tag_{tag}', _with_one_byte(tag))}[value]")
    with source.block("else:"):
        source(f"out += {encode_varint(tag)!r} + encode_varint(value, {limit})")


def _run(source: Source, tag: int) -> None:
    """Write the bytes in `value` behind their length."""
    source("size = len(value)")
    with source.block(f"if size < {SMALL}:"):
        source(f"out += {source.name(f'tag_{tag}', _with_one_byte(tag))}[size] + value")
    with source.block("else:"):
        source(f'out += b"".join(({encode_varint(tag)!r}, encode_varint(size), value))')


def _nested_bytes(source: Source, tag: int, of: StructType) -> None:
    """Write a nested message that is one run of bytes, without a call."""
    only = only_bytes(of)
    assert only is not None
    attribute, inner_tag = only
    heads = _with_two_lengths(tag, inner_tag)
    source(f"value = value.{attribute}", "size = len(value)")
    with source.block(f"if size < {len(heads)}:"):
        source(f"out += {source.name(f'tag_{tag}_{inner_tag}', heads)}[size] + value")
    with source.block("else:"):
        source(
            f"inner = {encode_varint(inner_tag)!r} + encode_varint(size)",
            f'out += b"".join(({encode_varint(tag)!r}, encode_varint(len(inner) + size), inner, value))',
        )


def _repeated(source: Source, cls: StructType, number: int, kind: Kind, of: type) -> None:
    if kind in NUMBERS:
        source(f"value = pack(value, {LIMITS[kind]})")
        _run(source, tag_of(number, BYTES))
        return
    source("parts = []")
    with source.block("for item in value:"):
        if kind is not BYTES:
            source(f"item = {_to_bytes(source, cls, kind, of, 'item')}")
        source(f"parts += ({encode_varint(tag_of(number, kind))!r}, encode_varint(len(item)), item)")
    source('out += b"".join(parts)')


def _to_bytes(source: Source, cls: StructType, kind: Kind, of: type, value: str) -> str:
    if kind is STRING:
        return f"{value}.encode()"
    if of is cls:
        return f"write({value}, depth + 1)"
    return f"{source.name(f'write_{of.__name__}', writer(of).function)}({value})"


@functools.cache
def _with_one_byte(tag: int) -> tuple[bytes, ...]:
    """A tag followed by each varint of one byte."""
    return tuple(encode_varint(tag) + bytes((value,)) for value in range(SMALL))


@functools.cache
def _with_two_lengths(tag: int, inner_tag: int) -> tuple[bytes, ...]:
    """What stands before n bytes that are all of a nested message, for each n that keeps both lengths short."""
    head, inner = encode_varint(tag), encode_varint(inner_tag)
    rest = len(inner) + 1
    # No bytes are the default of the inner field, which is left out then.
    return (head + b"\0", *(head + bytes((rest + n,)) + inner + bytes((n,)) for n in range(1, SMALL - rest)))
