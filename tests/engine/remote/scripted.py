"""An endpoint that does what a test says, over HTTP/2 or HTTP/1.1, byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.abc
import h2.config
import h2.connection
import h2.events
from h2.settings import SettingCodes, Settings

__all__ = ["Script", "Scripted", "http1_peer", "scripted"]


class Scripted:
    """The server's side of one HTTP/2 connection in the hands of a test.

    Attributes:
        requests: streams that were opened, in order.
        bodies: what came on each.
        ended: streams whose request has ended.
        resets: streams that the client broke off.
    """

    def __init__(self, stream: anyio.abc.SocketStream, settings: dict[SettingCodes, int]) -> None:
        self.socket = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = Settings(client=False, initial_values=settings)
        self.requests: list[int] = []
        self.headers: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.resets: set[int] = set()
        self.credit = True

    async def hello(self) -> None:
        """Begin."""
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        """Send what h2 has."""
        await self.socket.send(self.h2.data_to_send())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read until something is true."""
        with anyio.fail_after(20):
            while not condition():
                await self.read()

    async def read(self) -> None:
        """Take one piece."""
        for event in self.h2.receive_data(await self.socket.receive()):
            match event:
                case h2.events.RequestReceived():
                    self.requests.append(event.stream_id)
                    self.headers[event.stream_id] = {str(name): str(value) for name, value in event.headers}
                    self.bodies[event.stream_id] = b""
                case h2.events.DataReceived():
                    self.bodies[event.stream_id] += event.data
                    if self.credit and event.flow_controlled_length:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    self.ended.add(event.stream_id)
                case h2.events.StreamReset():
                    self.resets.add(event.stream_id)
                case _:
                    pass
        await self.flush()

    async def request(self, count: int = 1) -> int:
        """Wait for the request of this number; returns its stream."""
        await self.until(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    def respond(self, stream: int, status: int, headers: Sequence[tuple[str, str]] = (), *, end: bool = False) -> None:
        """Begin an answer."""
        self.h2.send_headers(stream, [(":status", str(status)), *headers], end_stream=end)

    async def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send a piece of an answer."""
        self.h2.send_data(stream, data, end_stream=end)
        await self.flush()

    async def drain(self) -> None:
        """Read until the client closes."""
        while True:
            try:
                await self.read()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return


Script = Callable[[Scripted], Awaitable[None]]


@asynccontextmanager
async def scripted(*scripts: Script, settings: dict[SettingCodes, int] | None = None) -> AsyncIterator[str]:
    """Listen, and let each connection be treated by the next script; gives the URL."""
    left = list(scripts)

    async def treat(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            peer = Scripted(stream, settings or {})
            await peer.hello()
            await left.pop(0)(peer)

    async with _listening(treat) as url:
        yield url


@asynccontextmanager
async def http1_peer(*answers: bytes | None) -> AsyncIterator[str]:
    """Listen, read a request, send these bytes and close; `None` closes without any."""
    left = list(answers)

    async def treat(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            received = b""
            while b"\r\n\r\n" not in received:
                received += await stream.receive()
            answer = left.pop(0)
            if answer is not None:
                await stream.send(answer)

    async with _listening(treat) as url:
        yield url


@asynccontextmanager
async def _listening(treat: Callable[[anyio.abc.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(listener.serve, treat))
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()
