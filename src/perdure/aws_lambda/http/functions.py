"""http_service: a plain function from request to response, as a Lambda function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Unpack

import anyio.to_thread
import msgspec

from perdure.aws_lambda.failures import FunctionError
from perdure.aws_lambda.http.answers import Answer
from perdure.aws_lambda.http.failures import HttpError
from perdure.aws_lambda.http.request import Request
from perdure.aws_lambda.http.service import HttpOptions, HttpService
from perdure.aws_lambda.response import BufferedResponse, PushedResponse, StreamingResponse
from perdure.aws_lambda.response import Response as LambdaResponse

__all__ = ["Response", "http_service"]

_TEXT: Final = "text/plain; charset=utf-8"
_OCTETS: Final = "application/octet-stream"
_JSON: Final = "application/json"
_NO_CONTENT: Final = 204


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of an HTTP function.

    Attributes:
        status: the HTTP status.
        body: bytes and text as they are; everything else as JSON.
        headers: one value each, or pairs when a name comes more than once. A content type is added if there is none.
        cookies: values of `set-cookie`.
    """

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    cookies: Sequence[str] = ()


def http_service(
    function: Callable[[Request], Awaitable[Any]] | Callable[[Request], Any], **options: Unpack[HttpOptions]
) -> HttpService:
    """Make a function into a service for `run` and `main`.

    What it returns is made into an answer: a `Response` as it says; text, bytes, or anything that is JSON, with status
    200; a pair of a status and one of these; `None` with 204. A `StreamingResponse` with a prelude is streamed. An
    `HttpError` is answered with its status; everything else that it raises fails the invocation.

    Args:
        function: called with each request; a plain function runs in a worker thread.
        options: how requests and answers are written.
    """
    return _FunctionService(function, options)


class _FunctionService(HttpService):
    def __init__(self, function: Callable[[Request], Any], options: HttpOptions) -> None:
        super().__init__(options)
        inner = function.func if isinstance(function, functools.partial) else function
        is_async = inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(getattr(inner, "__call__", None))  # noqa: B004 - the method itself is asked whether it is async
        self._is_async = is_async
        self._function = function

    async def respond(self, request: Request) -> LambdaResponse:
        try:
            if self._is_async:
                result = await self._function(request)
            else:
                result = await anyio.to_thread.run_sync(self._function, request)
        except HttpError as error:
            result = Response(status=error.status, body={"message": error.message})
        if isinstance(result, (BufferedResponse, StreamingResponse, PushedResponse)):
            return result
        return self.buffered(_answer(result), request)


def _answer(result: Any) -> Answer:
    status: int | None = None
    headers: list[tuple[str, str]] = []
    body = result
    match result:
        case Response():
            pairs = result.headers.items() if isinstance(result.headers, Mapping) else result.headers
            headers = [(name.lower(), value) for name, value in pairs]
            headers += [("set-cookie", cookie) for cookie in result.cookies]
            status, body = result.status, result.body
        case tuple() if len(result) == 2 and isinstance(result[0], int):  # noqa: PLR2004 - a pair
            status, body = result
    content, content_type = _content(body)
    if content_type and all(name != "content-type" for name, _ in headers):
        headers.append(("content-type", content_type))
    if status is None:
        status = _NO_CONTENT if body is None else 200
    return Answer(status, headers, content)


def _content(body: Any) -> tuple[bytes, str]:
    match body:
        case None | b"":
            return b"", ""
        case str():
            return body.encode(), _TEXT
        case bytes() | bytearray() | memoryview():
            return bytes(body), _OCTETS
        case _ if (own := getattr(body, "__lambda_encode__", None)) is not None:
            return own(), _JSON
    try:
        return msgspec.json.encode(body), _JSON
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise FunctionError(
            f"what the function answered cannot be written as JSON: {error}", error_type="Runtime.MarshalError"
        ) from error
