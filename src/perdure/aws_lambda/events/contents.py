"""What events carry inside of strings: bodies, JSON, base64, times."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any, TypeVar, overload

import msgspec

from perdure.aws_lambda.events.structure import convert
from perdure.aws_lambda.failures import PayloadError

__all__ = ["body_bytes", "decode_base64", "decode_text", "decode_time", "from_milliseconds"]

T = TypeVar("T")


@overload
def decode_text(text: str | bytes, kind: type[T], *, what: str) -> T: ...
@overload
def decode_text(text: str | bytes, kind: Any, *, what: str) -> Any: ...
def decode_text(text: str | bytes, kind: Any, *, what: str) -> Any:
    """Decode JSON into a type; AWS's own structs in it keep what they do not know.

    Args:
        text: the JSON.
        kind: the type; `Any` for plain JSON.
        what: what the text is, for the message.

    Raises:
        PayloadError: it is no JSON, or does not fit the type.
    """
    try:
        plain = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise PayloadError(f"{what} is no JSON: {error}") from error
    return convert(plain, kind, what=what)


def decode_base64(text: str, *, what: str) -> bytes:
    """Decode base64.

    Raises:
        PayloadError: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # also of characters outside of ASCII
        raise PayloadError(f"{what} is no base64: {error}") from error


def decode_time(text: str) -> dt.datetime:
    """Read a time as AWS writes it (ISO 8601, `Z` or an offset, with or without fractions).

    Raises:
        PayloadError: it is none.
    """
    try:
        return msgspec.convert(text, dt.datetime, strict=False)
    except msgspec.ValidationError as error:
        raise PayloadError(f"{text!r} is no time: {error}") from error


def from_milliseconds(text: str | int | None) -> dt.datetime | None:
    """A time in milliseconds since 1970, in UTC; `None` when there is none."""
    return None if text is None else dt.datetime.fromtimestamp(int(text) / 1000, dt.UTC)


def body_bytes(body: str | None, encoded: bool | None) -> bytes:
    """The body of an HTTP request as it was sent: AWS encodes with base64 what it does not take for text.

    Raises:
        PayloadError: it says that it is base64, and is not.
    """
    if not body:
        return b""
    return decode_base64(body, what="the body of the request") if encoded else body.encode()
