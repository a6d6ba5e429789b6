"""What a handler, and what a layer gets to see of an invocation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from perdure.aws_lambda.context import LambdaContext

__all__ = ["Invocation", "LambdaEvent"]

T = TypeVar("T")

_NO_CONTEXT: Final = LambdaContext()


class LambdaEvent(msgspec.Struct, Generic[T], frozen=True):
    """An event: its payload, and the context of the invocation. It unpacks into the two.

    ``LambdaEvent(payload)`` is all that a unit test needs.
    """

    payload: T
    context: LambdaContext = _NO_CONTEXT

    def __iter__(self) -> Iterator[Any]:
        return iter((self.payload, self.context))


class Invocation(msgspec.Struct, frozen=True):
    """An invocation as the platform gives it: what layers and services see.

    Attributes:
        body: the payload, before anybody decoded it; JSON, unless the invoker sent something else.
        context: what the platform tells besides.
        headers: as the platform sent them, names in lower case.
    """

    body: bytes
    context: LambdaContext = _NO_CONTEXT
    headers: Mapping[str, str] = {}
