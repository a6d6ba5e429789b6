"""Columns that hold more than a number or a text: MessagePack, by the type of the column.

Journal entries are messages of the wire and have their own codec (`perdure.wire.msgpack`). Structs are arrays, so an
attribute that is appended with a default can be read from rows written before it was there.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import msgspec

from perdure.engine.rows import Awaited, HandlerOptions, PutDeployment, StateEdit, Summary
from perdure.exceptions import EngineFailed
from perdure.wire.messages import ErrorMessage, Failure, Value

__all__ = ["AWAITED", "DEPLOYMENT", "EDIT", "HANDLERS", "REASON", "RESULT", "SUMMARY", "BlobColumn", "maybe", "pack"]

T = TypeVar("T")

pack: Final = msgspec.msgpack.Encoder().encode
"""A value as it is stored."""


class BlobColumn(Generic[T]):
    """A column of one type; NULL is `None`.

    Args:
        name: for the message about bytes that cannot be read.
        type: what it holds.
    """

    __slots__ = ("_decode", "_name")

    def __init__(self, name: str, type: Any) -> None:  # noqa: A002 (msgspec's word)
        self._name = name
        self._decode = msgspec.msgpack.Decoder(type).decode

    def read(self, stored: bytes) -> T:
        """The value that was stored.

        Raises:
            EngineFailed: the bytes are not such a value.
        """
        try:
            value: T = self._decode(stored)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise EngineFailed(
                f"the column {self._name} holds {len(stored)} bytes that cannot be read: {error}; the file was changed "
                "by something else, or it is damaged: perdure doctor looks at it"
            ) from error
        return value

    def maybe(self, stored: bytes | None) -> T | None:
        """The value that was stored, where the column may be NULL."""
        return None if stored is None else self.read(stored)


AWAITED: Final[BlobColumn[Awaited]] = BlobColumn("invocations.awaited", Awaited)
REASON: Final[BlobColumn[ErrorMessage]] = BlobColumn("invocations.reason", ErrorMessage)
SUMMARY: Final[BlobColumn[Summary]] = BlobColumn("invocations.summary", Summary)
RESULT: Final[BlobColumn[Value | Failure]] = BlobColumn("result", Value | Failure)
EDIT: Final[BlobColumn[StateEdit]] = BlobColumn("queue.edit", StateEdit)
HANDLERS: Final[BlobColumn[dict[str, HandlerOptions]]] = BlobColumn("services.handlers", dict[str, HandlerOptions])
DEPLOYMENT: Final[BlobColumn[PutDeployment]] = BlobColumn("deployments.whole", PutDeployment)
"""The whole row, attributes by name: nothing is looked up by them, and there will be more."""


def maybe(value: object) -> bytes | None:
    """A value as it is stored, `None` as NULL."""
    return None if value is None else pack(value)
