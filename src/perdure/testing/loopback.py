"""The loopback interface: free ports, one HTTP exchange, and who speaks HTTP/2 there.

Only what the test helpers need, blocking, from the standard library alone. Proxies from the environment are not used:
nothing here leaves the machine.
"""

from __future__ import annotations

import http.client
import socket
import struct
import urllib.parse
from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["HOST", "Answer", "exchange", "free_ports", "speaks_http2"]

HOST: Final = "127.0.0.1"

# RFC 9113, section 3.4: a client that knows that a server speaks HTTP/2 starts with these octets and SETTINGS.
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS: Final = 0x4
_GOAWAY: Final = 0x7
_FRAME_HEADER: Final = struct.Struct(">BHBBL")  # length (8 and 16 bits), type, flags, stream


class Answer(NamedTuple):
    """An HTTP answer: its status, its headers with lower-case names, its whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, all different; whoever binds one must be ready to find it taken."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def exchange(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
) -> Answer:
    """Send one request over HTTP/1.1 on a connection of its own and return the answer, whatever its status is.

    Raises:
        OSError: nobody listens, or no byte came for `timeout` seconds (`TimeoutError`).
        http.client.HTTPException: what answered does not speak HTTP.
    """
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def speaks_http2(port: int, *, timeout: float = 1.0) -> bool:
    """Tell whether a server on this port of the loopback answers HTTP/2 with prior knowledge.

    A server that has bound its port may not accept yet, and one that accepts may speak HTTP/1.1 only: the question is
    answered by the SETTINGS frame that an HTTP/2 server must send first.
    """
    try:
        with socket.create_connection((HOST, port), timeout=timeout) as connection:
            connection.sendall(_PREFACE + _FRAME_HEADER.pack(0, 0, _SETTINGS, 0, 0))
            answer = connection.recv(_FRAME_HEADER.size, socket.MSG_WAITALL)
            spoken = len(answer) == _FRAME_HEADER.size and _FRAME_HEADER.unpack(answer)[2] == _SETTINGS
            if spoken:
                connection.sendall(_FRAME_HEADER.pack(0, 8, _GOAWAY, 0, 0) + bytes(8))
            return spoken
    except OSError:
        return False
