"""asgi_service: any ASGI application as a Lambda function.

::

    app = Starlette(routes=[...])
    main(asgi_service(app))

Each invocation is one request with its whole body. The answer is sent when the application returns; with `streaming`
it is passed on as the application sends it, where the source takes that: a function URL with the invoke mode
`RESPONSE_STREAM`, and a REST API that streams.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final, Unpack

import anyio

from perdure.aws_lambda.events.api_gateway import ApiGatewayRestEvent
from perdure.aws_lambda.events.function_url import FunctionUrlEvent
from perdure.aws_lambda.failures import FunctionError
from perdure.aws_lambda.http.answers import Answer, prelude
from perdure.aws_lambda.http.lifespan import Lifespan, LifespanMode
from perdure.aws_lambda.http.request import Request
from perdure.aws_lambda.http.service import HttpOptions, HttpService
from perdure.aws_lambda.response import PushedResponse, Response, ResponseStream

__all__ = ["ASGIApp", "asgi_service"]

ASGIApp = Callable[[Any, Any, Any], Any]
"""An ASGI 3 application. Its arguments are `Any` because every framework spells their types differently."""

_Message = MutableMapping[str, Any]
_STREAMING: Final = (FunctionUrlEvent, ApiGatewayRestEvent)

logger: Final = logging.getLogger("perdure.aws_lambda")


def asgi_service(
    app: ASGIApp, *, streaming: bool = False, lifespan: LifespanMode = "auto", **options: Unpack[HttpOptions]
) -> HttpService:
    """Make an ASGI application into a service for `run` and `main`.

    The scope has, besides what ASGI says, `aws.event` and `aws.context`, and below `extensions` the `perdure.request`.

    Args:
        app: the application.
        streaming: pass answers on as they are sent. The function must be deployed so, since the event does not tell;
            answers to sources that cannot stream are sent whole all the same.
        lifespan: `auto` enters the lifespan at init if the application has one; with `on` it must have one; `off` does
            not ask. A lifespan that fails is an init error.
        options: how requests and answers are written.
    """
    return _AsgiService(app, streaming=streaming, lifespan=lifespan, options=options)


class _AsgiService(HttpService):
    def __init__(self, app: ASGIApp, *, streaming: bool, lifespan: LifespanMode, options: HttpOptions) -> None:
        super().__init__(options)
        self._app = app
        self._streaming = streaming
        self._lifespan = Lifespan(app, lifespan)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[object]:
        """Enter the lifespan of the application."""
        async with self._lifespan.running():
            yield self._lifespan.state

    async def respond(self, request: Request) -> Response:
        source = request.source
        if self._streaming and source is not None and issubclass(source, _STREAMING):
            return PushedResponse(functools.partial(self._stream, request))
        exchange = _Exchange(request)
        await self._run(exchange)
        return self.buffered(Answer(exchange.status, exchange.headers, b"".join(exchange.pieces)), request)

    async def _stream(self, request: Request, stream: ResponseStream) -> None:
        await self._run(_StreamedExchange(request, self, stream))

    async def _run(self, exchange: _Exchange) -> None:
        scope = _scope(exchange.request, self._lifespan.state)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            if not exchange.complete:
                raise
            # Frameworks answer 500 and then raise what happened, for the log of the server.
            logger.exception("the application failed after its answer to %s %s", scope["method"], scope["path"])
        if not exchange.complete:
            how = "in the middle of its answer" if exchange.started else "without an answer"
            raise FunctionError(f"the application returned {how} to {scope['method']} {scope['path']}")


def _scope(request: Request, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.raw_path.encode("ascii"),
        "query_string": request.query_string.encode(),
        "root_path": request.root_path,
        "headers": [(_bytes(name), _bytes(value)) for name, value in request.headers],
        "client": None if request.client is None else (request.client, 0),
        "server": request.server,
        "state": state.copy(),
        "extensions": {"perdure.request": request},
        "aws.event": request.event,
        "aws.context": request.context,
    }


def _bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


class _Exchange:
    """One request, as the application sees it; the answer is collected.

    Args:
        request: the request.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.pieces: list[bytes] = []
        self._asked = False
        self._complete: anyio.Event = anyio.Event()

    @property
    def started(self) -> bool:
        return self.status != 0

    @property
    def complete(self) -> bool:
        return self._complete.is_set()

    async def receive(self) -> _Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self.request.body, "more_body": False}
        await self._complete.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: _Message) -> None:
        kind = message["type"]
        if self.complete:
            raise RuntimeError(f"the application sent {kind} after its answer was complete")
        if kind == "http.response.start":
            if self.started:
                raise RuntimeError("the application sent http.response.start twice")
            self.status = message["status"]
            self.headers = [
                (bytes(name).decode("latin-1").lower(), bytes(value).decode("latin-1"))
                for name, value in message.get("headers", ())
            ]
        elif kind == "http.response.body":
            if not self.started:
                raise RuntimeError("the application sent http.response.body before http.response.start")
            await self.take(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                self._complete.set()
        else:
            raise RuntimeError(f"the application sent {kind}, which is no message of an HTTP answer")

    async def take(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.pieces.append(data)


class _StreamedExchange(_Exchange):
    """One request whose answer is passed on as it is sent.

    Args:
        request: the request.
        service: what checks the head of the answer.
        stream: where the answer goes.
    """

    def __init__(self, request: Request, service: HttpService, stream: ResponseStream) -> None:
        super().__init__(request)
        self._service = service
        self._stream = stream

    async def take(self, data: bytes) -> None:
        if not self._stream.started:  # with the first piece: ASGI lets a server wait for it
            answer = self._service.checked(Answer(self.status, self.headers))
            await self._stream.start(prelude(answer, self.request))
        await self._stream.send(data)
