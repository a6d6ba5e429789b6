"""Where the platform delivers telemetry and logs: one HTTP/1.1 listener for both, with connections that are kept.

The status of an answer decides what becomes of a delivery: 200 means that it is done; after a 5xx the platform sends it
again; what can never be read is refused with a 4xx. While an answer is awaited the platform gathers further records, so
a slow processor gets larger batches, and loses records only when the platform's own buffer is full.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskGroup
from anyio.streams.stapled import MultiListener

from perdure.aws_lambda.extensions.telemetry import TelemetryRecord, read_records
from perdure.aws_lambda.failures import PayloadError

__all__ = ["Processor", "TelemetryListener"]

Processor: TypeAlias = Callable[[Sequence[TelemetryRecord]], Awaitable[object]]
"""Takes one delivery. What it raises makes the platform deliver again."""

READ_SIZE: Final = 64 * 1024
BODY_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of one delivery. The platform's largest batch is 1 MiB and one record."""

SANDBOX: Final = "sandbox.localdomain"
"""The name by which the platform reaches what listens in the sandbox."""

logger: Final = logging.getLogger("perdure.aws_lambda")


class TelemetryListener:
    """Takes deliveries, and gives them to processors, one at a time for each.

    Args:
        processors: by the path that deliveries are posted to.
        host: where to listen; on Lambda it must be every interface.
        port: the port; 0 for a free one.

    Attributes:
        port: the port that it listens on, once it does.
    """

    def __init__(self, processors: Mapping[str, Processor], *, host: str = "0.0.0.0", port: int = 0) -> None:  # noqa: S104 - in the sandbox
        self._processors = {path: (processor, anyio.Lock()) for path, processor in processors.items()}
        self._host = host
        self.port: int = port

    def uri(self, path: str) -> str:
        """What the platform is told to post to."""
        return f"http://{SANDBOX}:{self.port}{path}"

    async def start(self, tasks: TaskGroup) -> None:
        """Listen; the tasks are cancelled by their owner.

        Raises:
            OSError: the port is taken.
        """
        listener = await anyio.create_tcp_listener(local_host=self._host, local_port=self.port)
        self.port = int(listener.extra(SocketAttribute.local_port))  # noqa: S610 - no Django here
        tasks.start_soon(self._listen, listener)

    async def _listen(self, listener: MultiListener[SocketStream]) -> None:
        async with listener:
            await listener.serve(self._serve)

    async def drain(self) -> None:
        """Wait until no processor is at work."""
        for _, lock in self._processors.values():
            async with lock:
                pass

    async def _serve(self, stream: ByteStream) -> None:
        async with stream:
            connection = h11.Connection(h11.SERVER)
            try:
                while await self._exchange(connection, stream):
                    connection.start_next_cycle()
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                logger.debug("the platform ended a connection in the middle of a delivery")

    async def _exchange(self, connection: h11.Connection, stream: ByteStream) -> bool:
        """Take one delivery; tells whether another may follow on this connection."""
        try:
            request = await _next_event(connection, stream)
            if not isinstance(request, h11.Request):
                return False  # the end of the connection
            body = bytearray()
            while isinstance(event := await _next_event(connection, stream), h11.Data):
                body += event.data
                if len(body) > BODY_LIMIT:
                    await _answer(connection, stream, 413, "the delivery is too large")
                    return False
            if not isinstance(event, h11.EndOfMessage):
                return False
            status, text = await self._process(request, bytes(body))
        except h11.RemoteProtocolError as error:
            status, text = error.error_status_hint, str(error)
        await _answer(connection, stream, status, text)
        return connection.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}

    async def _process(self, request: h11.Request, body: bytes) -> tuple[int, str]:
        path = request.target.decode("latin-1").partition("?")[0]
        if path not in self._processors:
            return 404, f"nothing is delivered to {path}"
        if request.method != b"POST":
            return 405, "deliveries are posted"
        processor, lock = self._processors[path]
        try:
            records = read_records(body)
        except PayloadError as error:
            logger.warning("a delivery of the platform cannot be read: %s", error)
            return 400, str(error)
        try:
            async with lock:
                await processor(records)
        except Exception:
            logger.exception("a delivery of %d records failed; the platform will send it again", len(records))
            return 500, "the processor failed"
        return 200, ""


async def _next_event(connection: h11.Connection, stream: ByteStream) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        if connection.they_are_waiting_for_100_continue:
            await stream.send(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        try:
            connection.receive_data(await stream.receive(READ_SIZE))
        except anyio.EndOfStream:
            connection.receive_data(b"")
    return event


async def _answer(connection: h11.Connection, stream: ByteStream, status: int, text: str) -> None:
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    body = text.encode()
    headers = [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body)))]
    data = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    data += connection.send(h11.Data(data=body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    await stream.send(data)
