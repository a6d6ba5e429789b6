"""The sockets a server listens on, and the loop that accepts connections from them.

`listen` binds before anything of the application has run, so that a taken port is an error of one line and not of a
half-started program. `accept_connections` survives what the system can say to `accept`.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from perdure.server.errors import ServerError

__all__ = ["accept_connections", "listen", "urls"]

logger: Final = logging.getLogger("perdure.server")

OVERLOADED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""The process or the machine has no room for one more connection; waiting helps, and nothing else does."""

OVERLOAD_PAUSE: Final = 0.1
"""Seconds to wait then."""

PEER_GONE: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EINTR,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.ETIMEDOUT,
    }
)
"""Errors of a connection that died while it waited; accept(2) says to treat them like a try-again."""


async def listen(host: str, port: int, *, backlog: int) -> list[socket.socket]:
    """Sockets that listen on every address of a host.

    Args:
        host: a name or an address; ``0.0.0.0`` and ``::`` are all of this machine.
        port: the same for every address; 0 lets the system choose.
        backlog: connections that may wait to be accepted.

    Raises:
        ServerError: the host is unknown, or the port is taken or not allowed.
    """
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ServerError(
            f"cannot listen on {host}: {error.strerror}; --host names an address of this machine"
        ) from error
    listening: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            bound = socket.socket(family, socket.SOCK_STREAM)
            listening.append(bound)
            bound.setblocking(False)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((address[0], port, *address[2:]))
            bound.listen(backlog)
            port = bound.getsockname()[1]
    except OSError as error:
        for bound in listening:
            bound.close()
        raise ServerError(f"cannot listen on {host}:{port}: {_advice(error)}") from error
    return listening


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is taken; end the program that has it, or choose another port"
        case errno.EACCES:
            return "ports below 1024 need privileges; choose another port"
        case errno.EADDRNOTAVAIL:
            return "this is no address of this machine"
        case _:
            return str(error.strerror)


def urls(listening: list[socket.socket]) -> list[str]:
    """Where to reach what listens, as ``http://host:port``."""
    found = []
    for bound in listening:
        host, port, *_ = bound.getsockname()
        found.append(f"http://[{host}]:{port}" if bound.family == socket.AF_INET6 else f"http://{host}:{port}")
    return found


async def accept_connections(listening: socket.socket, start: Callable[[socket.socket], None]) -> None:
    """Accept for ever, and hand each connected socket, non-blocking, to a function.

    Raises:
        OSError: the listening socket is broken.
    """
    while True:
        try:
            connected, _ = listening.accept()
        except OSError as error:
            found: socket.socket | OSError = error
        else:
            found = connected
        if isinstance(found, socket.socket):
            found.setblocking(False)
            with suppress(OSError):  # the peer is gone already; who reads from it will see
                _set_options(found)
            start(found)
            await checkpoint()
        elif isinstance(found, BlockingIOError):
            await anyio.wait_readable(listening)
        elif found.errno in OVERLOADED:
            logger.error("cannot accept a connection: %s; trying again", found.strerror)
            await anyio.sleep(OVERLOAD_PAUSE)
        elif found.errno in PEER_GONE:
            await checkpoint()
        else:
            raise found


def _set_options(connected: socket.socket) -> None:
    """Send small pieces at once, and let the system ask silent peers whether they are still there.

    A peer whose machine or network vanished says nothing, and a request that waits for its next message would wait for
    ever. The times are Linux's options; elsewhere the system's own apply (two hours).
    """
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
