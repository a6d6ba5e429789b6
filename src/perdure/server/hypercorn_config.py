"""What hypercorn's protocol classes want to know, filled from our settings.

hypercorn 0.18's classes are used, not its server: `H11Protocol` and `WSStream` (HTTP/1.1 and WebSocket connections),
`HTTPStream` (the ASGI state of one request) and `Config`. They are not documented as public, so the dependency is
pinned below the next minor version, and `tests/server/test_hypercorn.py` names each thing that is relied upon.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Final
from wsgiref.handlers import format_date_time

import anyio
from hypercorn.config import Config

from perdure.server.draining import Drain
from perdure.server.settings import Settings

__all__ = ["HypercornConfig", "HypercornContext"]

UNLIMITED: Final = sys.maxsize


class HypercornConfig(Config):
    """hypercorn's configuration object, as far as its protocol classes read it."""

    def __init__(self, settings: Settings) -> None:
        self.errorlog: logging.Logger | str | None = logging.getLogger("perdure.server")
        self.accesslog: logging.Logger | str | None = None  # restate-server keeps the record of what was called
        self.h11_max_incomplete_size: int = settings.max_headers
        self.keep_alive_max_requests: int = UNLIMITED  # 1000 requests on one connection are no reason to close it
        self._second = -1
        self._date = b""

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """The headers of every answer: the date, made once a second. No `server`: nobody needs to know."""
        del protocol
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = format_date_time(second).encode("ascii")
        return [(b"date", self._date)]


class _Event:
    """An event as hypercorn has it: it can be cleared, and its methods are async."""

    def __init__(self, event: anyio.Event | None = None) -> None:
        self._event = event or anyio.Event()

    async def set(self) -> None:
        self._event.set()

    async def clear(self) -> None:
        self._event = anyio.Event()

    async def wait(self) -> None:
        await self._event.wait()

    def is_set(self) -> bool:
        return self._event.is_set()


class HypercornContext:
    """What hypercorn's connections share: whether the server ends. Its protocol classes read `terminated`."""

    event_class = _Event

    def __init__(self, drain: Drain) -> None:
        self.terminate: _Event = _Event()
        self.terminated: _Event = _Event(drain.begun)

    async def mark_request(self) -> None:
        """Count a request; nobody counts."""

    @staticmethod
    async def sleep(wait: float) -> None:
        """Sleep (WebSocket pings)."""
        await anyio.sleep(wait)

    @staticmethod
    def time() -> float:
        """The loop's clock."""
        return anyio.current_time()
