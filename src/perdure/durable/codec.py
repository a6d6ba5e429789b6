"""What stands on top of serdes, and which serde each value of a handler gets.

A `Codec` changes the bytes that a serde wrote: encryption, compression. `Serdes` is the choice for one handler, made of
the options of endpoint, service and handler: a factory that finds the serde of an annotation, and the codec on top. The
rest of the library asks a `Serdes` and nothing else, so no value can slip past the codec.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any, Final, Generic, Protocol, TypeVar

from perdure.durable.annotations import return_annotation
from perdure.durable.serde import NothingSerde, Serde, SerdeFactory, serde_for

__all__ = ["PLAIN", "Codec", "CodedSerde", "Serdes"]

T = TypeVar("T")


class Codec(Protocol):
    """Changes bytes on their way out and changes them back on their way in: encryption, compression.

    A codec stands on top of the serde of every value that leaves a handler or comes into it: input, output, state,
    results of steps, arguments and results of calls, promises, awakeables and signals. Keys, names, headers and error
    messages are not values and stay readable. Empty payloads (`None`) stay empty.

    Bytes that are not its own are told with `SerdeError` or `ValueError`, as `Serde` says.
    """

    content_type: str
    """The media type of what `encode` writes; empty when that of the serde below stays true."""

    stable: bool
    """Whether equal bytes always become equal bytes. False for encryption with a nonce."""

    def encode(self, data: bytes, /) -> bytes:
        """Return what leaves for `data`."""
        ...

    def decode(self, data: bytes, /) -> bytes:
        """Undo `encode`."""
        ...


class _Plain:
    content_type = ""
    stable = True

    def encode(self, data: bytes, /) -> bytes:
        return data

    def decode(self, data: bytes, /) -> bytes:
        return data

    def __repr__(self) -> str:
        return "perdure.PLAIN"


PLAIN: Final[Codec] = _Plain()
"""The codec that changes nothing: `Options(codec=PLAIN)` opts a service out of the codec of its endpoint."""


class CodedSerde(Generic[T]):
    """A serde with a codec on top.

    Given to an operation, it is used as it is: `ctx.awakeable(bool, serde=CodedSerde(serde_for(bool), PLAIN))` is an
    awakeable that a party without the key of the endpoint's codec can resolve.
    """

    __slots__ = ("accepts_empty", "codec", "content_type", "serde", "stable")

    def __init__(self, serde: Serde[T], codec: Codec) -> None:
        self.serde: Serde[T] = serde
        self.codec: Codec = codec
        self.content_type: str = codec.content_type or serde.content_type
        self.stable: bool = serde.stable and codec.stable
        self.accepts_empty: bool = serde.accepts_empty

    def encode(self, value: T, /) -> bytes:
        """Return `value` as bytes of the codec; an empty payload stays empty."""
        data = self.serde.encode(value)
        return self.codec.encode(data) if data else data

    def decode(self, data: bytes, /) -> T:
        """Undo `encode`."""
        return self.serde.decode(self.codec.decode(data) if data else data)

    def schema(self) -> dict[str, Any] | None:
        """Return the schema of the serde below if what leaves is still of its media type."""
        return self.serde.schema() if self.content_type == self.serde.content_type else None

    def __repr__(self) -> str:
        return f"{self.serde!r} in {self.codec!r}"


_COMPLETE: Final = frozenset({CodedSerde, NothingSerde})
"""Serdes that no codec is put on: one has its own already, the other has nothing to change."""


class Serdes:
    """The serdes of one handler: how an annotation gets its serde, and the codec on top.

    Args:
        factory: from an annotation to a serde.
        codec: stands on top of every serde; `None` and `PLAIN` stand for none.
    """

    __slots__ = ("_by_annotation", "_by_code", "codec", "factory")

    def __init__(self, factory: SerdeFactory = serde_for, codec: Codec | None = None) -> None:
        self.factory: SerdeFactory = factory
        self.codec: Codec | None = None if codec is PLAIN else codec
        self._by_annotation: dict[Any, Serde[Any]] = {}
        self._by_code: dict[int, tuple[CodeType, object, Serde[Any]]] = {}

    def of(self, annotation: Any) -> Serde[Any]:
        """Return the serde of an annotation, codec included.

        Raises:
            UsageError: values of this type cannot be written.
        """
        try:
            return self._by_annotation[annotation]
        except KeyError:
            serde = self._by_annotation[annotation] = self.coded(self.factory(annotation))
            return serde
        except TypeError:  # an annotation that cannot be hashed
            return self.coded(self.factory(annotation))

    def coded(self, serde: Serde[T]) -> Serde[T]:
        """Put the codec on top of a serde that the user gave. One that has its codec keeps it."""
        if self.codec is None or type(serde) in _COMPLETE:
            return serde
        return CodedSerde(serde, self.codec)

    def of_result(self, fn: Callable[..., object]) -> Serde[Any]:
        """Return the serde of what `fn` returns, by its annotation; JSON of anything when it has none.

        Raises:
            UsageError: the annotation cannot be evaluated, or values of its type cannot be written.
        """
        # A step is often a closure made anew for each call. Its code object and its annotation are the same ones each
        # time, and looking for them is faster than finding out what the annotation means.
        code = getattr(fn, "__code__", None)
        if code is None:
            return self.of(return_annotation(fn))
        written = fn.__annotations__.get("return", Any)
        known = self._by_code.get(id(code))
        if known is not None and known[0] is code and known[1] is written:
            return known[2]
        serde = self.of(return_annotation(fn))
        # Text may name a variable that the function closes over, and then means something else in each closure.
        if not isinstance(written, str) or not any(name in written for name in code.co_freevars):
            if len(self._by_code) >= _MOST_CODES:
                self._by_code.clear()
            self._by_code[id(code)] = code, written, serde
        return serde

    def of_value(self, value: object) -> Serde[Any]:
        """Return the serde of the class of `value`, for values that come without an annotation."""
        return self.of(type(value) if value is not None else Any)


_MOST_CODES: Final = 4096
"""Programs that make functions of text could fill the memory otherwise."""
