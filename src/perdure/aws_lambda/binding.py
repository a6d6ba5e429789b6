"""Functions as services: which arguments a handler takes, and how JSON becomes its payload and its result JSON.

Payloads are read as the annotation says, by the rules of `perdure.durable.serde`: builtin types, dataclasses,
`msgspec.Struct`, attrs, typed dicts, pydantic models; `bytes` are the payload as it came. Without an annotation any
JSON is read.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, Final, TypeAlias, get_args, get_origin

import anyio.to_thread
import msgspec

from perdure.aws_lambda.failures import FunctionError, PayloadError
from perdure.aws_lambda.invocation import Invocation, LambdaEvent
from perdure.aws_lambda.response import (
    OCTET_STREAM,
    BufferedResponse,
    PushedResponse,
    Response,
    StreamingResponse,
)
from perdure.aws_lambda.service import LambdaService
from perdure.durable.annotations import evaluate, function_of
from perdure.exceptions import UsageError

__all__ = ["FunctionService", "Handler", "service_fn"]

Handler: TypeAlias = Callable[..., Any]
"""A function that answers events::

    async def handler(event: LambdaEvent[Order]) -> Receipt: ...
    async def handler(order: Order, context: LambdaContext) -> Receipt: ...
    async def handler(order: Order) -> Receipt: ...
    async def handler(event): ...                     # a LambdaEvent of any JSON
    async def handler(event: LambdaEvent[Order]) -> AsyncIterator[bytes]: yield ...      # a stream

A plain `def` runs in a worker thread.
"""

_PAYLOAD_AND_CONTEXT: Final = 2


class _Shape(msgspec.Struct, frozen=True):
    """How a handler is called."""

    takes: type  # LambdaEvent, or object for the payload itself
    with_context: bool
    payload: Any


class FunctionService(LambdaService):
    """A handler function as a service.

    Args:
        handler: the function.
        threads: how many calls of a plain `def` may run at the same time.

    Raises:
        UsageError: it takes other arguments than a handler does, or its annotation cannot be evaluated or read.
    """

    def __init__(self, handler: Handler, *, threads: int = 1) -> None:
        if not callable(handler):
            raise UsageError(f"{handler!r} is no handler: a handler is a function that takes a LambdaEvent")
        self.name: str = getattr(handler, "__qualname__", type(handler).__qualname__)
        shape = _shape_of(handler, self.name)
        self._decode: Callable[[bytes], Any] = _decoder(shape.payload)
        self._event = shape.takes is LambdaEvent
        self._with_context = shape.with_context
        function = function_of(handler) or handler
        self._call: Callable[..., Awaitable[Any]]
        if inspect.isasyncgenfunction(function):
            self._call = _streaming(handler)
        elif inspect.iscoroutinefunction(function):
            self._call = handler
        elif inspect.isgeneratorfunction(function):
            raise UsageError(f"{self.name}() is a plain generator; write a stream as `async def` with `yield`")
        else:
            self._call = _in_thread(handler, threads)

    async def invoke(self, invocation: Invocation) -> Response:
        """Read the payload, call the handler, write its result.

        Raises:
            PayloadError: the payload is none of the annotated type; the handler was not called.
            FunctionError: the result cannot be written as JSON (`Runtime.MarshalError`).
        """
        try:
            payload = self._decode(invocation.body)
        except (ValueError, msgspec.MsgspecError) as exc:
            raise PayloadError(f"the event does not fit {self.name}(): {exc}") from exc
        if self._event:
            result = await self._call(LambdaEvent(payload, invocation.context))
        elif self._with_context:
            result = await self._call(payload, invocation.context)
        else:
            result = await self._call(payload)
        return self._response(result)

    def _response(self, result: object) -> Response:
        if isinstance(result, BufferedResponse | StreamingResponse | PushedResponse):
            return result
        if isinstance(result, bytes | bytearray | memoryview):
            return BufferedResponse(bytes(result), OCTET_STREAM)
        if isinstance(result, AsyncIterable):
            return StreamingResponse(result)
        if (own := getattr(result, "__lambda_encode__", None)) is not None and not isinstance(result, type):
            return BufferedResponse(own())
        try:
            return BufferedResponse(_ENCODER.encode(result))
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as exc:
            raise FunctionError(
                f"what {self.name}() returned cannot be written as JSON: {exc}", error_type="Runtime.MarshalError"
            ) from exc


def service_fn(handler: Handler | LambdaService, *, threads: int = 1) -> LambdaService:
    """Make a service of a handler; a service is returned as it is.

    Args:
        handler: the function, or the service.
        threads: how many calls of a plain `def` may run at the same time.

    Raises:
        UsageError: it is none.
    """
    return handler if isinstance(handler, LambdaService) else FunctionService(handler, threads=threads)


def _shape_of(handler: Handler, name: str) -> _Shape:
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError) as exc:
        raise UsageError(f"{name} tells nothing about its arguments ({exc}); wrap it in an `async def`") from exc
    positional = [each for each in parameters if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}]
    others = [each for each in parameters if each.kind is each.KEYWORD_ONLY and each.default is each.empty]
    needed = [each for each in positional if each.default is each.empty]
    spread = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    if others or len(needed) > _PAYLOAD_AND_CONTEXT or not (positional or spread):
        raise UsageError(
            f"{name}() takes other arguments than a handler does: a LambdaEvent, or the payload, or the payload and "
            "the context"
        )
    # Further arguments with a default are the handler's own business.
    with_context = len(needed) == _PAYLOAD_AND_CONTEXT or (not positional and spread)
    annotation = positional[0].annotation if positional else inspect.Parameter.empty
    kind = _evaluated(annotation, handler, name)
    if kind is LambdaEvent or get_origin(kind) is LambdaEvent:
        if with_context:
            raise UsageError(f"{name}() takes a LambdaEvent, which has the context; drop the second argument")
        return _Shape(LambdaEvent, with_context=False, payload=next(iter(get_args(kind)), Any))
    if kind is inspect.Parameter.empty:
        return _Shape(object if with_context else LambdaEvent, with_context=with_context, payload=Any)
    return _Shape(object, with_context=with_context, payload=kind)


def _evaluated(annotation: Any, handler: Handler, name: str) -> Any:
    function = function_of(handler)
    if not isinstance(annotation, str) or function is None:
        return annotation
    try:
        return evaluate(annotation, function)
    except (NameError, AttributeError, SyntaxError, TypeError) as exc:
        raise UsageError(
            f"{name}() takes {annotation!r}, which cannot be evaluated in module {function.__module__}: {exc}. Make "
            "the name known at run time (not below `if TYPE_CHECKING:`, not local to a function)"
        ) from exc


def _streaming(handler: Handler) -> Callable[..., Awaitable[Any]]:
    async def call(*args: object) -> StreamingResponse:
        return StreamingResponse(handler(*args))

    return call


def _in_thread(handler: Handler, threads: int) -> Callable[..., Awaitable[Any]]:
    limiter: anyio.CapacityLimiter | None = None

    async def call(*args: object) -> object:
        nonlocal limiter
        if limiter is None:
            limiter = anyio.CapacityLimiter(threads)
        # Held in a tuple: the loops refuse a coroutine as the result of a thread.
        (result,) = await anyio.to_thread.run_sync(lambda: (handler(*args),), abandon_on_cancel=True, limiter=limiter)
        # A wrapper written as a plain `def` may hand back what a coroutine function does.
        return await result if inspect.isawaitable(result) else result

    return call


def _write_other(value: object) -> object:
    """What msgspec does not know: models of pydantic, and whatever else has their method."""
    dump = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        raise TypeError(f"{type(value).__name__} is no type that JSON has a form for")
    return dump(mode="json")


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_write_other)
_ANY: Final = msgspec.json.Decoder()


def _decoder(payload: Any) -> Callable[[bytes], Any]:
    """Return what reads the payload; a class may read itself (`__lambda_decode__`), as those of events do."""
    if payload is Any:
        return _decode_any
    own: Callable[[bytes], Any] | None = getattr(payload, "__lambda_decode__", None)
    if own is not None:
        return own
    from perdure.durable.serde import serde_for  # noqa: PLC0415 - a function that needs it not starts sooner

    return serde_for(payload).decode


def _decode_any(data: bytes) -> Any:
    return _ANY.decode(data or b"null")
