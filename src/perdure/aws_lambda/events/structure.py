"""Event: a struct that keeps what it does not know.

AWS adds fields to its events without notice, and documents few of them as always present. A struct drops what it has no
field for, so each struct here has one more field, `extra`, and `Event.decode` puts there

* every key that the struct has no field for, and
* every key whose value is the default of its field (a `null` mostly), so that absent and `null` stay two things.

`encode` writes the fields that differ from their defaults, and then what is in `extra` and not yet written. Decoded and
encoded again, an event is the JSON value that came, whatever AWS put into it.

Decoding has two passes: one over plain JSON, which moves keys to `extra` along a plan that is made once per class, and
one by msgspec, which checks types and makes the structs. Values that a program would want in another form (times,
base64) stay as they came; properties give the other form.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Self, TypeVar

import msgspec

from perdure.aws_lambda.failures import PayloadError

__all__ = ["AwsObject", "Event", "UnknownEventError", "as_object", "convert"]

T = TypeVar("T")

_Step = Callable[[Any], Any]


class UnknownEventError(PayloadError):
    """An event is of no source that is known here, or of none that is accepted."""


class AwsObject(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A JSON object of AWS's.

    Attributes:
        extra: what came and is no field of this class, by its name in JSON. Fields that came with the value that is
            their default are here too, so that `encode` knows that they were there.
    """

    extra: dict[str, Any] = msgspec.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that this was decoded from, as Python's plain types."""
        plain: dict[str, Any] = _restored(self)
        return plain


class Event(AwsObject, kw_only=True):
    """An event that Lambda invokes functions with.

    Attributes:
        source: what the event comes from, as messages name it.
    """

    source: ClassVar[str] = "an unnamed source"

    @classmethod
    def decode(cls, data: bytes | str | Mapping[str, Any]) -> Self:
        """Read an event.

        Args:
            data: JSON, or what JSON was decoded into.

        Raises:
            PayloadError: it is no event of this class; the message names the field.
        """
        return convert(as_object(data), cls, what=f"the event, taken for one of {cls.source},")

    def encode(self) -> bytes:
        """The event as JSON; nothing that came with it is missing."""
        return msgspec.json.encode(self.to_dict())

    # What the binding of handlers looks for, so that it need not import this module.
    __lambda_decode__ = decode
    __lambda_encode__ = encode


def as_object(data: bytes | str | Mapping[str, Any]) -> Mapping[str, Any]:
    """Decode JSON that must be an object.

    Raises:
        PayloadError: it is no JSON, or no object.
    """
    if isinstance(data, (bytes, str)):
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeError) as error:
            raise PayloadError(f"the event is no JSON object: {error}") from error
    if not isinstance(data, Mapping):
        raise PayloadError(f"the event is no JSON object, but of type {type(data).__name__}")
    return data


def convert(value: Any, kind: type[T], *, what: str) -> T:
    """Make plain JSON into a type in which `AwsObject`s keep what they do not know.

    Args:
        value: what JSON was decoded into; it is not changed.
        kind: the type.
        what: what the value is, for the message.

    Raises:
        PayloadError: it does not fit; the message names the field.
    """
    form: Any = kind
    step = _step(form)
    try:
        return msgspec.convert(value if step is None else step(value), kind)
    except msgspec.ValidationError as error:
        raise PayloadError(f"{what} does not fit {getattr(kind, '__name__', kind)}: {error}") from error


_EXTRA: Final = "extra"


@functools.cache
def _step(kind: Any) -> _Step | None:
    """What moves unknown keys away in values of a type; nothing when there are no `AwsObject`s in it."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, AwsObject):
        return _object_step(kind)
    if origin in {typing.Union, types.UnionType}:
        steps = [step for step in map(_step, args) if step is not None]
        assert len(steps) < 2, f"{kind}: JSON cannot tell these apart"  # noqa: PLR2004 - one or none
        return steps[0] if steps else None
    if origin in {list, tuple} and (inner := _step(args[0])):
        return functools.partial(_in_list, inner)
    if origin is dict and (inner := _step(args[1])):
        return functools.partial(_in_dict, inner)
    return None


def _in_list(inner: _Step, value: Any) -> Any:
    return [inner(each) for each in value] if isinstance(value, list) else value


def _in_dict(inner: _Step, value: Any) -> Any:
    return {name: inner(each) for name, each in value.items()} if isinstance(value, dict) else value


_NO_DEFAULT: Final = object()


def _object_step(kind: type[AwsObject]) -> _Step:
    known: dict[str, tuple[_Step | None, Any]] | None = None

    def move(value: Any) -> Any:
        nonlocal known
        if not isinstance(value, Mapping):
            return value
        if known is None:  # at the first event, not at import: it needs the types of all fields
            known = {
                field.encode_name: (_step(field.type), _NO_DEFAULT if field.required else field.default)
                for field in msgspec.structs.fields(kind)
                if field.name != _EXTRA
            }
        kept: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for name, each in value.items():
            found = known.get(name)
            if found is None:
                extra[name] = each
                continue
            step, default = found
            if each is default:
                extra[name] = each
            else:
                kept[name] = each if step is None else step(each)
        if extra:
            kept[_EXTRA] = extra
        return kept

    return move


def _restored(value: Any) -> Any:
    match value:
        case AwsObject():
            plain = {
                name: _restored(getattr(value, attribute))
                for name, attribute, default in _fields(type(value))
                if getattr(value, attribute) is not default
            }
            return {**value.extra, **plain} if value.extra else plain
        case list() | tuple():
            return [_restored(each) for each in value]
        case dict():
            return {name: _restored(each) for name, each in value.items()}
        case _:
            return value


@functools.cache
def _fields(kind: type[AwsObject]) -> tuple[tuple[str, str, Any], ...]:
    return tuple(
        (field.encode_name, field.name, _NO_DEFAULT if field.required else field.default)
        for field in msgspec.structs.fields(kind)
        if field.name != _EXTRA
    )
