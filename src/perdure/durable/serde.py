"""How values become bytes, and bytes values.

A `Serde` does it for one type. Which one is decided by annotations, once per annotation (`serde_for`): raw bytes for
`bytes`, nothing for `None`, pydantic for what contains a pydantic model, and JSON through msgspec for everything else.
What stands on top of a serde, and the choice for a whole handler, is in `perdure.durable.codec`.

Speed. Every step, call and state access goes through here, so nothing is decided per value: for JSON, `decode` and
`encode` *are* the methods of an msgspec decoder and encoder, not functions around them. They therefore raise what
msgspec raises. `encode_value` and `decode_value` add what only the caller knows, namely which value it was, and turn
that into `SerdeError`.

What JSON through msgspec keeps and loses: sets are written in sorted order when the annotation says that they are
sets (their own order differs between processes, and a replay has to produce equal bytes); `nan` and infinities become
`null`; below an annotation `Any` a tuple comes back as a list and a dataclass as a dict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, Never, NoReturn, Protocol, TypeAlias, TypeVar, get_args

import msgspec
import msgspec.inspect

from perdure.exceptions import SerdeError, UsageError

__all__ = [
    "JSON",
    "OCTET_STREAM",
    "Serde",
    "SerdeFactory",
    "decode_value",
    "encode_value",
    "serde_for",
]

T = TypeVar("T")

JSON: Final = "application/json"
OCTET_STREAM: Final = "application/octet-stream"


class Serde(Protocol[T]):
    """Writes and reads the values of one type.

    Any object of this shape will do. A class that names `Serde` as its base inherits the defaults below.

    What data make impossible is told with `SerdeError`, `ValueError` or `TypeError`: the value, or whoever sent the
    bytes, is at fault and trying again is useless. Any other exception is taken for a failure of the serde itself, and
    the attempt is retried.
    """

    content_type: str
    """The media type of what `encode` writes; empty when it writes nothing."""

    stable: bool = False
    """Whether equal values always become equal bytes. Only then can a replay compare payloads with the journal."""

    accepts_empty: bool = False
    """Whether `decode` takes empty bytes; then a request without a body is valid."""

    def encode(self, value: T, /) -> bytes:
        """Return `value` as bytes."""
        ...

    def decode(self, data: bytes, /) -> T:
        """Return the value that `data` stand for."""
        ...

    def schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of the values, `None` when there is none; it goes into the manifest."""
        return None


SerdeFactory: TypeAlias = Callable[[Any], Serde[Any]]
"""From an annotation to a serde. `serde_for` is one; `Endpoint(serde=...)` and `Options(serde=...)` take another."""


class JsonSerde(Generic[T]):
    """JSON through msgspec."""

    __slots__ = ("_type", "accepts_empty", "decode", "encode", "stable")

    content_type = JSON
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]

    def __init__(self, annotation: Any, *, nullable: bool, sorted_sets: bool) -> None:
        decode = msgspec.json.Decoder(annotation).decode
        self._type = annotation
        self.stable: bool = True
        self.accepts_empty: bool = nullable
        self.encode = (_SORTING_ENCODER if sorted_sets else _ENCODER).encode
        self.decode = _or_none(decode) if nullable else decode

    def schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of the type, `None` for one that allows everything."""
        return msgspec.json.schema(self._type, schema_hook=_anything) or None

    def __repr__(self) -> str:
        return type_name(self._type)


def _anything(cls: type) -> dict[str, Any]:
    """Return the schema of `object`, the one class that is read undescribed; msgspec wants something."""
    assert cls is object
    return {"description": "anything"}


_ENCODER: Final = msgspec.json.Encoder()
_SORTING_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def _or_none(decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Decode nothing as `None`, for types to which `None` belongs."""

    def decode_nullable(data: bytes, /) -> T:
        return decode(data or b"null")

    return decode_nullable


class BytesSerde:
    """Bytes as they are."""

    __slots__ = ()

    content_type = OCTET_STREAM
    stable = True
    accepts_empty = True

    def encode(self, value: bytes, /) -> bytes:
        """Return `value` itself."""
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"expected `bytes`, got `{type(value).__name__}`")
        return bytes(value)

    def decode(self, data: bytes, /) -> bytes:
        """Return `data` itself."""
        return data

    def schema(self) -> None:
        """Bytes have no JSON Schema."""

    def __repr__(self) -> str:
        return "bytes"


class NothingSerde:
    """`None` as an empty payload. A JSON null is read as nothing, too: other SDKs write it."""

    __slots__ = ()

    content_type = ""
    stable = True
    accepts_empty = True

    def encode(self, value: None, /) -> bytes:
        """Return no bytes."""
        if value is not None:
            raise TypeError(f"expected `None`, got `{type(value).__name__}`")
        return b""

    def decode(self, data: bytes, /) -> None:
        """Check that there is nothing."""
        if data and data.strip() != b"null":
            raise ValueError(f"expected nothing, got {len(data)} bytes")

    def schema(self) -> None:
        """Nothing has no JSON Schema."""

    def __repr__(self) -> str:
        return "None"


_BYTES: Final = BytesSerde()
_NOTHING: Final = NothingSerde()


# --- choosing ------------------------------------------------------------------------------------------------------


def serde_for(annotation: Any) -> Serde[Any]:
    """Return the serde of an annotation; the same object each time.

    `bytes` travel raw and `None` as an empty payload, and so does `NoReturn`, the result of a function that always
    raises. Whatever contains a pydantic model is written and read by
    pydantic. Everything else is JSON through msgspec: builtin types, dataclasses, `msgspec.Struct`, attrs classes,
    typed dicts, named tuples, enums, dates, UUIDs, unions, generics; `Any` is any JSON.

    Raises:
        UsageError: values of this type cannot be written; the message says why.
    """
    try:
        return _SERDES[annotation]
    except KeyError:
        serde = _SERDES[annotation] = _choose(annotation)
        return serde
    except TypeError:  # an annotation that cannot be hashed, such as Annotated with a list
        return _choose(annotation)


_SERDES: Final[dict[Any, Serde[Any]]] = {}


def _choose(annotation: Any) -> Serde[Any]:
    if annotation is object:
        return serde_for(Any)
    if annotation is NoReturn or annotation is Never:
        return _NOTHING
    if any(_is_pydantic(part) for part in _arguments(annotation)):
        return _pydantic_serde(annotation)
    try:
        parts = list(_parts(msgspec.inspect.type_info(annotation)))
        classes = [cls for part in parts if isinstance(cls := getattr(part, "cls", None), type)]
        if any(_is_pydantic(cls) for cls in classes):
            return _pydantic_serde(annotation)
        match parts[0]:
            case msgspec.inspect.BytesType(min_length=None, max_length=None):
                return _BYTES
            case msgspec.inspect.NoneType():
                return _NOTHING
        _check_readable(parts)
        sets = any(isinstance(part, _SETS) for part in parts)
        null = _takes_none(parts[0])
        # pyright takes functions in slots for methods, and binds them once more.
        return JsonSerde[Any](annotation, nullable=null, sorted_sets=sets)  # pyright: ignore[reportReturnType]
    except (TypeError, NameError, AttributeError) as error:
        raise UsageError(
            f"values of type {type_name(annotation)} cannot be written as JSON: {error}. Use a builtin type, a "
            "dataclass, a msgspec.Struct, an attrs class or a pydantic model, or give a serde for it"
        ) from error


_SETS: Final = (msgspec.inspect.SetType, msgspec.inspect.FrozenSetType)


def _check_readable(parts: list[msgspec.inspect.Type]) -> None:
    for part in parts:
        if isinstance(part, msgspec.inspect.CustomType) and part.cls is not object:
            raise TypeError(f"{type_name(part.cls)} is none of the types that can be read back")


def _takes_none(info: msgspec.inspect.Type) -> bool:
    members = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    return any(isinstance(member, msgspec.inspect.NoneType | msgspec.inspect.AnyType) for member in members)


def _parts(info: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """Yield a type and every type inside it, each once; types may contain themselves."""
    seen: set[int] = set()
    stack: list[object] = [info]
    while stack:
        part = stack.pop()
        if isinstance(part, tuple):
            stack.extend(part)
        elif isinstance(part, msgspec.inspect.Field):
            stack.append(part.type)
        elif isinstance(part, msgspec.inspect.Type) and id(part) not in seen:
            seen.add(id(part))
            yield part
            stack.extend(getattr(part, field) for field in part.__struct_fields__)


def _arguments(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and, for generics and unions, everything between its brackets."""
    yield annotation
    for argument in get_args(annotation):
        yield from _arguments(argument)


def _is_pydantic(cls: object) -> bool:
    return isinstance(cls, type) and (
        hasattr(cls, "__pydantic_core_schema__") or hasattr(cls, "__get_pydantic_core_schema__")
    )


def _pydantic_serde(annotation: Any) -> Serde[Any]:
    from perdure.durable.pydantic_serde import PydanticSerde  # noqa: PLC0415 - an extra, imported when it is met

    return PydanticSerde(annotation)


# --- with the value's name -----------------------------------------------------------------------------------------

_IMPOSSIBLE: Final = (SerdeError, msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
"""What says that the data, not the serde, are at fault."""


def encode_value(serde: Serde[T], value: T, of: str) -> bytes:
    """Return `value` as bytes.

    Args:
        serde: writes it.
        value: what is written.
        of: which value it is, for the error: `the output of Shop/checkout`.

    Raises:
        SerdeError: this program made a value that its serde cannot write.
    """
    try:
        return serde.encode(value)
    except _IMPOSSIBLE as error:
        raise SerdeError(
            f"{of} cannot be written as {serde!r}: {_reason(error)}. The value is of type {type_name(type(value))}; "
            "make it what the annotation says, or annotate what it is"
        ) from error


def decode_value(serde: Serde[T], data: bytes, of: str, *, blame: str = "") -> T:
    """Return the value that `data` stand for.

    Args:
        serde: reads them.
        data: what was received.
        of: which value it is, for the error: `the input of Shop/checkout`.
        blame: whose fault it is when it cannot be read, and what to do; without it, the fault of whoever wrote it.

    Raises:
        SerdeError: whoever wrote the bytes wrote something else than the type says.
    """
    try:
        return serde.decode(data)
    except _IMPOSSIBLE as error:
        blame = blame or f"Whoever wrote these {len(data)} bytes meant another type"
        raise SerdeError(f"{of} cannot be read as {serde!r}: {_reason(error)}. {blame}") from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def type_name(annotation: Any) -> str:
    """Return a type as a reader would write it."""
    return annotation.__qualname__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
