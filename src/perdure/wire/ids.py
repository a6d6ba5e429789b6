"""Ids as text and as bytes: invocations and awakeables.

An invocation id is 24 bytes on the wire, a partition key (u64) and a unique number (u128), both big-endian. People see
it as ``inv_1`` and 33 characters of base62: 11 for the partition key, 22 for the number, each padded with zeros on the
left. Two things are unlike the usual base62: lower case comes before upper case, and each integer is *byte-swapped*
before it is written, that is, its big-endian bytes are read as a little-endian number. So texts do not sort by time.

An awakeable id is handed to other systems, which complete it by an HTTP call: ``sign_1`` and the url-safe base64 of the
24 bytes of the invocation followed by the index of the signal (u32, big-endian). Before service protocol 5 it was
``prom_1`` with the index of the journal entry in the same place; such ids may still be under way, so they are parsed.

Ids come from users (arguments of handlers, command lines) as often as from a peer, so a bad one is an `InvalidIdError`,
which is a `ValueError` and blames nobody. Who reads an id out of a protocol message knows the culprit and raises
`ProtocolError` from it.

Source: `crates/types/src/id_util.rs`, `base62_util.rs` and `identifiers.rs` in restatedev/restate, checked against ids
of a running server.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from perdure.exceptions import PerdureError
from perdure.wire import base64url

__all__ = [
    "INVOCATION_ID_LENGTH",
    "AwakeableId",
    "AwakeableKind",
    "InvalidIdError",
    "format_awakeable_id",
    "format_deployment_id",
    "format_invocation_id",
    "parse_awakeable_id",
    "parse_invocation_id",
]

INVOCATION_ID_LENGTH: Final = 24
"""Bytes of an invocation id on the wire."""

_INVOCATION_PREFIX: Final = "inv_1"
_PARTITION_KEY_BYTES: Final = 8
_PARTITION_KEY_CHARS: Final = 11
_NUMBER_CHARS: Final = 22
_INVOCATION_CHARS: Final = len(_INVOCATION_PREFIX) + _PARTITION_KEY_CHARS + _NUMBER_CHARS

_INDEX_BYTES: Final = 4
_MAX_INDEX: Final = 2 ** (8 * _INDEX_BYTES) - 1
_AWAKEABLE_BYTES: Final = INVOCATION_ID_LENGTH + _INDEX_BYTES

_BASE62: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BASE62_VALUES: Final = {character: value for value, character in enumerate(_BASE62)}

_SHOWN: Final = 64  # characters of a refused text that its error repeats


class InvalidIdError(PerdureError, ValueError):
    """A text or a byte string is not an id of the kind it is used as."""


class AwakeableKind(enum.Enum):
    """What the index in an awakeable id counts; the value is the prefix of the text."""

    SIGNAL = "sign_1"
    """A signal of the invocation (service protocol 5 and newer)."""
    ENTRY = "prom_1"
    """An entry of the journal (older)."""


class AwakeableId(msgspec.Struct, frozen=True):
    """The parts of an awakeable id.

    Attributes:
        invocation_id: the invocation that waits, 24 bytes.
        index: of its signal or of its journal entry, see `kind`.
        kind: what the index counts.
    """

    invocation_id: bytes
    index: int
    kind: AwakeableKind = AwakeableKind.SIGNAL


def format_invocation_id(raw: bytes) -> str:
    """Return the text of an invocation id, `inv_1` and 33 characters.

    Raises:
        InvalidIdError: `raw` is not 24 bytes long.
    """
    _check_length(raw)
    partition_key = _encode_base62(raw[:_PARTITION_KEY_BYTES], _PARTITION_KEY_CHARS)
    number = _encode_base62(raw[_PARTITION_KEY_BYTES:], _NUMBER_CHARS)
    return f"{_INVOCATION_PREFIX}{partition_key}{number}"


def format_deployment_id(raw: bytes) -> str:
    """Return the text of a deployment id, `dp_1` and the 22 characters of its 16 bytes (a ULID)."""
    return f"dp_1{_encode_base62(raw, _NUMBER_CHARS)}"


def parse_invocation_id(text: str) -> bytes:
    """Return the 24 bytes of an invocation id given as text.

    Raises:
        InvalidIdError: `text` is no invocation id; the message says why.
    """
    if not text.startswith(_INVOCATION_PREFIX):
        raise InvalidIdError(f"not an invocation id: {_shown(text)} does not start with {_INVOCATION_PREFIX!r}")
    if len(text) != _INVOCATION_CHARS:
        raise InvalidIdError(
            f"not an invocation id: {_shown(text)} has {len(text)} characters, an invocation id has {_INVOCATION_CHARS}"
        )
    middle = len(_INVOCATION_PREFIX) + _PARTITION_KEY_CHARS
    try:
        partition_key = _decode_base62(text[len(_INVOCATION_PREFIX) : middle], _PARTITION_KEY_BYTES)
        number = _decode_base62(text[middle:], INVOCATION_ID_LENGTH - _PARTITION_KEY_BYTES)
    except ValueError as error:
        raise InvalidIdError(f"not an invocation id: {_shown(text)} {error}") from error
    return partition_key + number


def format_awakeable_id(invocation_id: bytes, signal_index: int) -> str:
    """Return the id under which other systems complete signal `signal_index` of an invocation.

    Raises:
        InvalidIdError: `invocation_id` is not 24 bytes long, or the index is not a u32.
    """
    _check_length(invocation_id)
    if not 0 <= signal_index <= _MAX_INDEX:
        raise InvalidIdError(f"a signal index is a number from 0 to {_MAX_INDEX}, not {signal_index}")
    index = signal_index.to_bytes(_INDEX_BYTES, "big")
    return AwakeableKind.SIGNAL.value + base64url.encode(invocation_id + index)


def parse_awakeable_id(text: str) -> AwakeableId:
    """Return the parts of an awakeable id, of the current (`sign_1`) or the older form (`prom_1`).

    The base64 may be padded, as restate-server allows.

    Raises:
        InvalidIdError: `text` is no awakeable id; the message says why.
    """
    for kind in AwakeableKind:
        if text.startswith(kind.value):
            break
    else:
        prefixes = " or ".join(repr(kind.value) for kind in AwakeableKind)
        raise InvalidIdError(f"not an awakeable id: {_shown(text)} does not start with {prefixes}")
    try:
        data = base64url.decode(text.removeprefix(kind.value).removesuffix("=="))
    except ValueError as error:
        raise InvalidIdError(f"not an awakeable id: what follows the prefix of {_shown(text)} is {error}") from error
    if len(data) != _AWAKEABLE_BYTES:
        raise InvalidIdError(
            f"not an awakeable id: {_shown(text)} holds {len(data)} bytes, an awakeable id holds {_AWAKEABLE_BYTES}"
        )
    return AwakeableId(data[:INVOCATION_ID_LENGTH], int.from_bytes(data[INVOCATION_ID_LENGTH:], "big"), kind)


def _check_length(raw: bytes) -> None:
    if len(raw) != INVOCATION_ID_LENGTH:
        raise InvalidIdError(f"an invocation id is {INVOCATION_ID_LENGTH} bytes long, these are {len(raw)}")


def _encode_base62(data: bytes, width: int) -> str:
    value = int.from_bytes(data, "little")  # the byte swap: `data` is a big-endian integer
    digits = []
    for _ in range(width):
        value, digit = divmod(value, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))


def _decode_base62(text: str, size: int) -> bytes:
    value = 0
    for character in text:
        digit = _BASE62_VALUES.get(character)
        if digit is None:
            raise ValueError(f"has the character {character!r}, which is not in 0-9, a-z, A-Z")
        value = value * 62 + digit
    try:
        return value.to_bytes(size, "little")
    except OverflowError:
        raise ValueError(f"has a number that does not fit into {size} bytes") from None


def _shown(text: str) -> str:
    """Return `text` as an error may repeat it: quoted and not long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
