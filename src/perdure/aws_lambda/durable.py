"""Durable services on Lambda: a restate-server that invokes the function itself.

The server calls Lambda's Invoke API with an event that looks like an HTTP request: `path`, `httpMethod`, `headers`,
`body` in base64. One event is one attempt: the whole journal comes in, what the attempt adds goes out, and an attempt
that has to wait suspends. An error of the function would look to the server like a broken deployment, so whatever goes
wrong is answered as an HTTP status.

Bodies may be compressed both ways with zstd, if the server and the extra `perdure[zstd]` are there: the platform's
limit of 6 MiB counts the base64.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from perdure.aws_lambda.failures import PayloadError
from perdure.aws_lambda.invocation import Invocation
from perdure.aws_lambda.response import BufferedResponse
from perdure.aws_lambda.service import LambdaService
from perdure.exceptions import UsageError
from perdure.wire.manifest import LambdaCompression, ProtocolMode

if TYPE_CHECKING:
    from perdure.asgi import Endpoint

__all__ = ["EndpointService"]

_log: Final = logging.getLogger("perdure.aws_lambda")

COMPRESS_FROM: Final = 3 * 1024 * 1024
"""Bytes from which on an answer is compressed: in base64 it would have 4 MiB of the 6 that the platform takes."""

DECOMPRESSED_LIMIT: Final = 256 * 1024 * 1024
"""Bytes that a request may have when it is decompressed: the server is trusted, but not with all of the memory."""

ZSTD: Final = "zstd"
BAD_REQUEST: Final = 400
FAILED: Final = 500


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    """What restate-server puts into its Invoke."""

    path: str
    http_method: str
    headers: dict[str, str]
    body: str | None = None
    is_base64_encoded: bool = False


_decode: Final = msgspec.json.Decoder(_Event).decode


class EndpointService(LambdaService):
    """An endpoint as a service of the runtime.

    Args:
        endpoint: the services; its lifespan lasts as long as the process.
        zstd: whether bodies may be compressed; when it is not given, whether the extra is installed.

    Raises:
        UsageError: compression is asked for, and the extra is not installed.
    """

    def __init__(self, endpoint: Endpoint, *, zstd: bool | None = None) -> None:
        self._endpoint = endpoint
        self._zstd: Any = None if zstd is False else _zstd_module()
        if zstd and self._zstd is None:
            raise UsageError("zstd needs the extra: pip install perdure[zstd]")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[object]:
        """Enter the endpoint's lifespan."""
        async with self._endpoint.running() as app:
            yield app

    async def invoke(self, invocation: Invocation) -> BufferedResponse:
        """Answer one request of a restate-server.

        Raises:
            PayloadError: the event is none of a restate-server.
        """
        try:
            event = _decode(invocation.body)
        except msgspec.MsgspecError as exc:
            raise PayloadError(
                f"the event is no request of a restate-server ({exc}); this function is a durable endpoint: register "
                "its ARN with a restate-server, and call its services there"
            ) from exc
        try:
            exchange = _LambdaExchange(event, self._body(event))
        except ValueError as exc:
            return _answer(BAD_REQUEST, {"content-type": "application/json"}, _failure(BAD_REQUEST, str(exc)))
        compression = LambdaCompression.ZSTD if self._zstd is not None else None
        try:
            await self._endpoint.handle(exchange, ProtocolMode.REQUEST_RESPONSE, lambda_compression=compression)
            if not exchange.finished:
                return _answer(FAILED, {"content-type": "application/json"}, _failure(FAILED, "the attempt broke off"))
        except Exception as exc:  # noqa: BLE001 - it is reported
            _log.exception("a request to %s failed", event.path)
            message = f"{type(exc).__name__}: {exc}"
            return _answer(FAILED, {"content-type": "application/json"}, _failure(FAILED, message))
        return self._response(event, exchange)

    def _body(self, event: _Event) -> bytes:
        if not event.body:
            return b""
        try:
            body = base64.b64decode(event.body, validate=True) if event.is_base64_encoded else event.body.encode()
        except binascii.Error as exc:
            raise ValueError(f"the body is no base64: {exc}") from exc
        encoding = event.headers.get("content-encoding", "").strip().lower()
        if encoding in {"", "identity"}:
            return body
        if encoding != ZSTD or self._zstd is None:
            raise ValueError(f"the body is encoded as {encoding!r}, which this function did not offer to read")
        return self._decompress(body)

    def _decompress(self, body: bytes) -> bytes:
        decompressor = self._zstd.ZstdDecompressor()
        try:
            found: bytes = decompressor.decompress(body, max_length=DECOMPRESSED_LIMIT)
        except self._zstd.ZstdError as exc:
            raise ValueError(f"the body is no zstd: {exc}") from exc
        if not decompressor.eof:
            raise ValueError(f"the body is cut off, or has more than {DECOMPRESSED_LIMIT} bytes")
        return found

    def _response(self, event: _Event, exchange: _LambdaExchange) -> BufferedResponse:
        body = exchange.body()
        headers: dict[str, str | list[str]] = {}
        for name, value in exchange.answered:
            before = headers.get(name)
            if before is None:
                headers[name] = value
            else:
                headers[name] = [*(before if isinstance(before, list) else [before]), value]
        if self._zstd is not None and len(body) >= COMPRESS_FROM and ZSTD in event.headers.get("accept-encoding", ""):
            body = self._zstd.compress(body)
            headers["content-encoding"] = ZSTD
            headers.pop("content-length", None)
        return _answer(exchange.status, headers, body)


def _zstd_module() -> Any:
    """The module that compresses, of the standard library from Python 3.14 on; `None` when there is none."""
    from importlib import import_module  # noqa: PLC0415 - the extra is imported when it is needed

    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
    return None


def _answer(status: int, headers: Mapping[str, str | list[str]], body: bytes) -> BufferedResponse:
    encoded = base64.b64encode(body).decode("ascii")
    fields = {"statusCode": status, "headers": headers, "body": encoded, "isBase64Encoded": True}
    return BufferedResponse(msgspec.json.encode(fields))


def _failure(status: int, message: str) -> bytes:
    return msgspec.json.encode({"code": status, "message": message})


class _LambdaExchange:
    """An event as an exchange: the whole request is here, and the answer is kept until it ends."""

    def __init__(self, event: _Event, body: bytes) -> None:
        self.method: str = event.http_method
        self.path: str = event.path
        self.headers: Sequence[tuple[bytes, bytes]] = [
            (name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in event.headers.items()
        ]
        self.status: int = FAILED
        self.answered: Sequence[tuple[str, str]] = ()
        self.finished = False
        self._input: list[bytes | None] = [None, body] if body else [None]
        self._output: list[bytes] = []

    async def receive(self) -> bytes | None:
        if not self._input:
            await anyio.sleep_forever()  # nobody goes away: the platform waits until the invocation is over
        return self._input.pop()

    async def respond(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        self.status = status
        self.answered = headers

    async def send(self, data: bytes) -> None:
        self._output.append(data)

    async def finish(self) -> None:
        self.finished = True

    def body(self) -> bytes:
        return b"".join(self._output)
