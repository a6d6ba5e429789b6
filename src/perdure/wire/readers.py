"""Makes the functions that read messages of one class. What they look like, and why: `perdure.wire.compiler`."""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from perdure.exceptions import ProtocolError
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
from perdure.wire.fields import (
    BOOL,
    BYTES,
    ENUM,
    MESSAGE,
    STRING,
    UINT32,
    UINT64,
    Arm,
    Field,
    Flag,
    Kind,
    OneOf,
    Presence,
    Row,
    rows,
)
from perdure.wire.messages import Message
from perdure.wire.varint import MAX_DEPTH, encode_varint

__all__ = ["reader"]

_NEXT: Final = "tag = data[pos] if pos < end else 0"
_DEFAULTS: Final = {UINT32: "0", UINT64: "0", BOOL: "False", BYTES: 'b""', STRING: '""'}


class _Step(NamedTuple):
    """What a reader does for one tag."""

    tag: int
    attribute: str
    kind: Kind
    type: type
    repeated: bool = False
    packed: bool = False
    arm: Arm | None = None

    @property
    def label(self) -> int:
        """What the code compares with: the tag, or its negative if it has two bytes.

        A tag of one byte is compared with the byte at hand. The first byte of a longer one may look like another tag.
        """
        return self.tag if self.tag < SMALL else -self.tag

    @property
    def singular(self) -> bool:
        """Whether a second occurrence replaces the first or merges with it."""
        return not self.repeated and (self.arm is not None or self.kind is MESSAGE)


@functools.cache
def reader(cls: StructType) -> Compiled:
    """The function from bytes to a message, `read(data, pos, end, extra) -> message`.

    It reads `data[pos:end]` in place. `extra` is the flags of the frame header for a `Message`, and for a `Part` how
    deep it is nested, from 1. Bad input raises `ProtocolError`, `IndexError` or `UnicodeDecodeError`.
    """
    extra, inner_depth = ("flags", "1") if issubclass(cls, Message) else ("depth", "depth + 1")
    source = Source(f"read(data, pos, end, {extra})")
    source.name("ProtocolError", ProtocolError)
    source.name("misread", _misread)
    for helper in (varint.merge_repeats, varint.next_known, varint.read_packed, varint.read_varint):
        source.name(helper.__name__, helper)
    steps = [step for row in in_wire_order(cls) for step in _steps(row)]
    source.name("KNOWN", {step.tag: step.label for step in steps})
    source.name("LABELS", frozenset(step.label for step in steps))
    source.name("SINGULAR", {step.tag: (step.attribute, _nested_reader(step)) for step in steps if step.singular})

    if is_recursive(cls):
        with source.block(f"if depth > {MAX_DEPTH}:"):
            source(f'raise ProtocolError("{cls.__name__} is nested more than {MAX_DEPTH} deep")')
    if any(step.singular for step in steps):
        source("start = pos")
    for row in rows(cls):
        if not isinstance(row.rule, Flag):
            source(f"f_{row.attribute} = {_default(source, row)}")
    source(_NEXT)
    with source.block("while tag:"):
        for step in steps:
            if step.label < 0:
                first, second = encode_varint(step.tag)
                with source.block(f"if tag == {first} and data[pos + 1] == {second}:"):
                    source(f"tag = {step.label}", "pos += 1")
            with source.block(f"{'while' if step.repeated else 'if'} tag == {step.label}:"):
                if step.kind in NUMBERS and not step.packed:
                    _number(source, step)
                else:
                    _run(source, cls, step, inner_depth, again=f"read(data, 0, len(data), {extra})")
                source(_NEXT)
        with source.block("if tag and tag not in LABELS:"):
            source("tag, pos = next_known(data, pos, end, KNOWN)")
    with source.block("if pos != end:"):
        source("raise misread(pos, end)")
    source(f"return {source.name(cls.__name__, cls)}({', '.join(map(_argument, rows(cls)))})")
    return source.compile(f"perdure.wire: reads {cls.__name__}")


def _misread(pos: int, end: int) -> ProtocolError:
    if pos < end:  # the loop ends at a zero byte, which no tag is
        return ProtocolError("a field has the number 0, which does not exist")
    return ProtocolError(f"a field runs {pos - end} bytes past the end of its message")


def _steps(row: Row) -> Iterator[_Step]:
    match row.rule:
        case OneOf(arms=arms):
            for arm in arms:
                yield _Step(tag_of(arm.number, arm.kind), row.attribute, arm.kind, arm.type, arm=arm)
        case Field(number, kind, presence):
            repeated = presence is Presence.REPEATED
            if repeated and kind in NUMBERS:
                yield _Step(tag_of(number, BYTES), row.attribute, kind, row.type, repeated=True, packed=True)
            yield _Step(tag_of(number, kind), row.attribute, kind, row.type, repeated=repeated)


def _nested_reader(step: _Step) -> varint.PartReader | None:
    return reader(step.type).function if step.kind is MESSAGE else None


def _default(source: Source, row: Row) -> str:
    if not isinstance(row.rule, Field) or row.rule.presence is not Presence.IMPLICIT:
        return "None"
    if row.rule.kind is ENUM:
        return _member_0(source, row.type)
    return _DEFAULTS[row.rule.kind]


def _member_0(source: Source, of: type) -> str:
    assert issubclass(of, enum.IntEnum)
    return source.name(f"{of.__name__}_0", of(0))


def _argument(row: Row) -> str:
    match row.rule:
        case Flag(mask):
            return f"flags & {mask} != 0"
        case Field(presence=Presence.REPEATED):
            return f"tuple(f_{row.attribute}) if f_{row.attribute} else ()"
    return f"f_{row.attribute}"


def _varint(source: Source, target: str, mask: int = varint.UINT64_MAX) -> None:
    source(f"{target} = data[pos + 1]", "pos += 2")
    with source.block(f"if {target} >= {SMALL}:"):
        # Two bytes without a call: the ids in every journal of more than 127 entries, the lengths of most payloads.
        source("more = data[pos]")
        with source.block(f"if more < {SMALL}:"):
            source(f"{target} += (more - 1) << 7", "pos += 1")
        with source.block("else:"):
            source(f"{target}, pos = read_varint(data, pos - 1)")
            if mask < varint.UINT64_MAX:
                source(f"{target} &= {mask:#x}")


def _number(source: Source, step: _Step) -> None:
    if step.kind is BOOL:
        _varint(source, "value")
        _store(source, step, "value != 0")
        return
    _varint(source, "value", LIMITS[step.kind])
    if step.kind is ENUM:
        assert issubclass(step.type, enum.IntEnum)
        members = source.name(f"{step.type.__name__}_members", {member.value: member for member in step.type})
        _store(source, step, f"{members}.get(value, {_member_0(source, step.type)})")
    else:
        _store(source, step, "value")


def _run(source: Source, cls: StructType, step: _Step, depth: str, *, again: str) -> None:
    """Read a field that starts with its length."""
    _varint(source, "size")
    source("stop = pos + size")
    with source.block("if stop > end:"):
        source("raise misread(stop, end)")
    if step.packed:
        _store(source, step, f"read_packed(data, pos, stop, {LIMITS[step.kind]:#x})")
    elif step.kind is BYTES:
        _store(source, step, "data[pos:stop]")
    elif step.kind is STRING:
        _store(source, step, "data[pos:stop].decode()")
    else:
        if step.singular:
            with source.block(f"if type(f_{step.attribute}) is {source.name(step.type.__name__, step.type)}:"):
                source(f"data = merge_repeats(data, start, end, {depth}, SINGULAR)", f"return {again}")
        _nested(source, cls, step, depth)
    source("pos = stop")


def _nested(source: Source, cls: StructType, step: _Step, depth: str) -> None:
    if step.type is cls:
        _store(source, step, f"read(data, pos, stop, {depth})")
        return
    assert issubclass(step.type, msgspec.Struct)
    name = step.type.__name__
    call = f"{source.name(f'read_{name}', reader(step.type).function)}(data, pos, stop, {depth})"
    if only := only_bytes(step.type):
        # One run of bytes and nothing else, both lengths short: the usual case, read without a call.
        with source.block(f"if 1 < size < {SMALL + 2} and data[pos] == {only[1]} and data[pos + 1] == size - 2:"):
            _store(source, step, f"{source.name(name, step.type)}(data[pos + 2 : stop])")
        with source.block("else:"):
            _store(source, step, call)
    elif not rows(step.type):
        _store(source, step, f"{call} if size else {source.name(f'the_{name}', step.type())}")
    else:
        _store(source, step, call)


def _store(source: Source, step: _Step, expression: str) -> None:
    target = f"f_{step.attribute}"
    if step.arm is not None and step.arm.bare:
        expression = f"{source.name(step.type.__name__, step.type)}({expression})"
    if step.repeated:
        with source.block(f"if {target} is None:"):
            source(f"{target} = []")
        source(f"{target}.{'extend' if step.packed else 'append'}({expression})")
    else:
        source(f"{target} = {expression}")
