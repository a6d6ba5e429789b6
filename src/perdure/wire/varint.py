"""The primitives of the protobuf wire format: varints, tags, and skipping what is not known.

A varint is an integer in groups of seven bits, lowest first, the high bit of a byte saying that another one follows. A
tag is a varint too: the field number shifted by three, with the wire type in the low bits. Source: the page "Encoding"
of protobuf.dev.

These are the slow paths. Compiled code (`perdure.wire.compiler`) handles short varints and known tags by itself, and
comes here for the rest. Reading beyond the end of the buffer raises `IndexError`; whoever calls a compiled reader turns
that into a `ProtocolError`. Reading beyond the end of a *message* inside a longer buffer is not noticed by
`read_varint`: the position moves past the end, and the caller checks where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from perdure.exceptions import ProtocolError

__all__ = [
    "END_GROUP",
    "FIXED32",
    "FIXED64",
    "MAX_DEPTH",
    "RUN",
    "START_GROUP",
    "UINT32_MAX",
    "UINT64_MAX",
    "VARINT",
    "encode_varint",
    "merge_repeats",
    "next_known",
    "pack",
    "read_packed",
    "read_varint",
]

VARINT: Final = 0
FIXED64: Final = 1
RUN: Final = 2
START_GROUP: Final = 3
END_GROUP: Final = 4
FIXED32: Final = 5

UINT32_MAX: Final = 0xFFFF_FFFF
UINT64_MAX: Final = 0xFFFF_FFFF_FFFF_FFFF

MAX_DEPTH: Final = 100
"""How deep messages and groups may be nested. The same number as in Google's runtimes and in the runtime's own."""

_MAX_VARINT: Final = 10
_MAX_TAG: Final = 5
_CONTINUES: Final = 0x80
_LOW_BITS: Final = 0x7F
_TWO_BYTES: Final = 1 << 14


def encode_varint(value: int, limit: int = UINT64_MAX) -> bytes:
    """The bytes of one varint.

    Raises:
        OverflowError: the value is negative or above `limit`.
    """
    if _CONTINUES <= value < _TWO_BYTES:  # what comes here most often, see `perdure.wire.compiler`
        return bytes((value & _LOW_BITS | _CONTINUES, value >> 7))
    if not 0 <= value <= limit:
        raise OverflowError(f"{value} is not between 0 and {limit}")
    out = bytearray()
    while value > _LOW_BITS:
        out.append(value & _LOW_BITS | _CONTINUES)
        value >>= 7
    out.append(value)
    return bytes(out)


def pack(values: Iterable[int], limit: int) -> bytes:
    """Varints one after the other: the content of a packed repeated field."""
    return b"".join([encode_varint(value, limit) for value in values])


def read_varint(data: bytes, pos: int) -> tuple[int, int]:
    """Read one varint of at most 10 bytes; bits above the 64th are dropped, as protobuf does.

    Returns:
        The value, and the position behind it.
    """
    first = data[pos]
    if first < _CONTINUES:
        return first, pos + 1
    value = first & _LOW_BITS
    for index in range(1, _MAX_VARINT):
        byte = data[pos + index]
        value |= (byte & _LOW_BITS) << 7 * index
        if byte < _CONTINUES:
            return value & UINT64_MAX, pos + index + 1
    raise ProtocolError(f"a varint is longer than {_MAX_VARINT} bytes")


def read_packed(data: bytes, pos: int, stop: int, mask: int) -> list[int]:
    """Read the varints from `pos` to `stop`, each cut to `mask`."""
    chunk = data[pos:stop]
    if chunk.isascii():  # no byte has its high bit set, so each is a varint by itself
        return list(chunk)
    values = []
    while pos < stop:
        value, pos = read_varint(data, pos)
        values.append(value & mask)
    if pos != stop:
        raise ProtocolError("the last varint of a packed field runs past its end")
    return values


def _read_tag(data: bytes, pos: int) -> tuple[int, int]:
    tag, after = read_varint(data, pos)
    if tag > UINT32_MAX or after - pos > _MAX_TAG:
        raise ProtocolError("a field number is longer than 29 bits")
    if tag >> 3 == 0:
        raise ProtocolError("a field has the number 0, which does not exist")
    return tag, after


def _skip_value(data: bytes, tag: int, pos: int, end: int) -> int:
    wire_type = tag & 7
    if wire_type == VARINT:
        _, pos = read_varint(data, pos)
    elif wire_type == FIXED64:
        pos += 8
    elif wire_type == RUN:
        size, pos = read_varint(data, pos)
        pos += size
    elif wire_type == START_GROUP:
        pos = _skip_group(data, tag >> 3, pos, end)
    elif wire_type == FIXED32:
        pos += 4
    else:
        raise ProtocolError(f"field {tag >> 3} has wire type {wire_type}, which cannot stand here")
    if pos > end:
        raise ProtocolError(f"field {tag >> 3} runs {pos - end} bytes past the end of its message")
    return pos


def _skip_group(data: bytes, number: int, pos: int, end: int) -> int:
    """Skip a group: fields up to the matching end tag. A loop and a list, so that depth costs no stack."""
    opened = [number]
    while opened:
        if pos >= end:
            raise ProtocolError(f"group {opened[-1]} has no end")
        tag, pos = _read_tag(data, pos)
        wire_type = tag & 7
        if wire_type == START_GROUP:
            opened.append(tag >> 3)
            if len(opened) > MAX_DEPTH:
                raise ProtocolError(f"groups are nested more than {MAX_DEPTH} deep")
        elif wire_type == END_GROUP:
            if opened.pop() != tag >> 3:
                raise ProtocolError(f"group {tag >> 3} ends, but another one is open")
        else:
            pos = _skip_value(data, tag, pos, end)
    return pos


def next_known(data: bytes, pos: int, end: int, known: Mapping[int, int]) -> tuple[int, int]:
    """Skip fields until one with a known tag comes.

    A known tag may come spelled with more bytes than it needs; it counts all the same.

    Args:
        data: the buffer.
        pos: where a tag starts.
        end: where the message ends.
        known: for each known tag the label by which the caller knows it.

    Returns:
        The label and the position of the *last* byte of the tag, or 0 and `end` when there is none left.
    """
    while pos < end:
        tag, pos = _read_tag(data, pos)
        label = known.get(tag)
        if label is not None:
            return label, pos - 1
        pos = _skip_value(data, tag, pos, end)
    return 0, pos


PartReader: TypeAlias = Callable[[bytes, int, int, int], Any]


def merge_repeats(
    data: bytes, pos: int, end: int, depth: int, singular: Mapping[int, tuple[str, PartReader | None]]
) -> bytes:
    """Rewrite a message so that no nested message that can occur once occurs twice.

    Protobuf says that repeated occurrences of such a field are merged, and that merging is the same as parsing the
    concatenation of their bytes. So the pieces of one field become one piece. In a `oneof` the last arm wins, and only
    the pieces that follow one another without another arm in between are merged.

    No encoder in use writes such messages. This path exists because the format allows them.

    Args:
        data: the buffer.
        pos: where the message starts.
        end: where it ends.
        depth: how deep its nested messages are.
        singular: for the tag of each field that can occur once and is a nested message or an arm of a oneof: the
            attribute it sets, and the decoder of the nested message (`None` when it is a scalar).
    """
    out: list[bytes] = []
    latest: dict[str, tuple[int, list[bytes]]] = {}
    while pos < end:
        start = pos
        tag, value = _read_tag(data, pos)
        pos = _skip_value(data, tag, value, end)
        attribute, decode = singular.get(tag, ("", None))
        if decode is None:
            out.append(data[start:pos])
            latest.pop(attribute, None)
        else:
            _, value = read_varint(data, value)
            decode(data, value, pos, depth)  # each piece must be sound by itself, also one that another arm replaces
            if attribute not in latest or latest[attribute][0] != tag:
                latest[attribute] = (tag, [])
            latest[attribute][1].append(data[value:pos])
    # Behind everything else: where a nested message has won over a scalar arm, it must come last.
    for tag, pieces in latest.values():
        content = b"".join(pieces)
        out += (encode_varint(tag), encode_varint(len(content)), content)
    return b"".join(out)
