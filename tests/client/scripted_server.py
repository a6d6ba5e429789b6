"""A real server on a real socket whose every byte is said by the test.

Each connection runs a script: a function of a `Peer`, which reads whole requests and sends raw bytes. The n-th
connection runs the n-th script, and the last script serves all further ones.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

from perdure.client.connection import Headers

__all__ = ["Peer", "Request", "ScriptedServer", "always", "answering", "json_reply", "reply", "serve"]


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    method: str
    target: str
    headers: Headers
    body: bytes


@dataclass
class ScriptedServer:
    """What the server has seen so far."""

    url: str
    port: int
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    ended: int = 0  # connections whose script is over


class Peer:
    """One connection, seen from the server."""

    def __init__(self, stream: ByteStream, server: ScriptedServer) -> None:
        self.stream = stream
        self.server = server
        self._rest = b""

    async def request(self) -> Request:
        """The next whole request; `EndOfStream` when the client is gone."""
        http = h11.Connection(h11.SERVER)
        http.receive_data(self._rest) if self._rest else None
        head: h11.Request | None = None
        body = b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    go_ahead = http.send(h11.InformationalResponse(status_code=100, headers=[]))
                    assert go_ahead is not None
                    await self.send(go_ahead)
                http.receive_data(await self.stream.receive())
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage), event
                break
        assert head is not None
        self._rest = http.trailing_data[0]
        headers = Headers((name.decode(), value.decode()) for name, value in head.headers)
        request = Request(head.method.decode(), head.target.decode(), headers, body)
        self.server.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def reset(self) -> None:
        """End the connection with a reset instead of an end of file."""
        raw = self.stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")  # SO_LINGER: on, 0 seconds
        await self.stream.aclose()


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


def reply(status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a response framed by its length."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def json_reply(status: int, value: Any, headers: Mapping[str, str] | None = None) -> bytes:
    return reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


def answering(*replies: bytes) -> Script:
    """Answer so many requests, then end the connection."""

    async def script(peer: Peer) -> None:
        for data in replies:
            await peer.request()
            await peer.send(data)

    return script


def always(data: bytes) -> Script:
    """Give every request the same answer."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(data)

    return script


@asynccontextmanager
async def serve(
    *scripts: Script, ssl_context: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[ScriptedServer]:
    """Serve on a free port of the loopback until the block ends."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    port = listener.extra(SocketAttribute.local_port)
    server = ScriptedServer(f"{'https' if ssl_context else 'http'}://127.0.0.1:{port}", port)

    async def connected(stream: ByteStream) -> None:
        script = scripts[min(server.connections, len(scripts) - 1)]
        server.connections += 1
        try:
            await script(Peer(stream, server))
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the client is gone
        finally:
            server.ended += 1
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)

    async with listener, anyio.create_task_group() as tasks:
        if ssl_context is None:
            tasks.start_soon(listener.serve, connected)
        else:
            tls = TLSListener(listener, ssl_context, standard_compatible=False)
            tasks.start_soon(tls.serve, connected)
        yield server
        tasks.cancel_scope.cancel()
