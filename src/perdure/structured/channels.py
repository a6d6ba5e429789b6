"""Memory channels between the branches of one handler, as anyio's. They write nothing, and replay exactly."""

from __future__ import annotations

import math
from collections import deque
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import anyio

from perdure.durable.driver import Driver
from perdure.exceptions import UsageError
from perdure.structured.lines import Line, pass_by

__all__ = ["ReceiveChannel", "SendChannel", "open_memory_channel"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

_END: Final = object()
"""Given to those who wait at a channel whose other side is gone."""


class _Channel:
    """What both ends share."""

    __slots__ = ("buffer", "driver", "receivers", "receiving", "senders", "sending", "size")

    def __init__(self, driver: Driver, size: float) -> None:
        self.driver: Driver = driver
        self.size: float = size
        self.buffer: deque[Any] = deque()
        self.sending: Line = Line(driver, "a receiver of a channel of the handler")
        self.receiving: Line = Line(driver, "a sender of a channel of the handler")
        self.senders: int = 0
        self.receivers: int = 0


class _End:
    """One end, open or closed."""

    __slots__ = ("_channel", "_closed")

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._closed = False
        self._count(1)

    def _count(self, change: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Close this end; its clones stay open. The second time nothing happens."""
        driver = self._channel.driver
        if self._closed:
            return
        self._closed = True
        if not driver.fenced:
            driver.holder()
            self._count(-1)

    def _check_open(self) -> None:
        driver = self._channel.driver
        driver.holder()
        if self._closed:
            raise anyio.ClosedResourceError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class SendChannel(_End, Generic[T_contra]):
    """The end that values go into. Use it in a `with` block: once it is closed, the receivers are told."""

    __slots__ = ()

    def _count(self, change: int) -> None:
        channel = self._channel
        channel.senders += change
        if not channel.senders:
            while channel.receiving:
                channel.receiving.serve(_END)

    async def send(self, item: T_contra) -> None:
        """Send a value; wait while the buffer is full, until somebody receives.

        Raises:
            anyio.ClosedResourceError: this end was closed.
            anyio.BrokenResourceError: nobody will receive it: every receiving end is closed.
        """
        channel = self._channel
        await pass_by(channel.driver)
        if not self._put(item) and await channel.sending.wait(item) is _END:
            raise anyio.BrokenResourceError

    def send_nowait(self, item: T_contra) -> None:
        """Send a value if there is place for it.

        Raises:
            anyio.WouldBlock: there is none.
            anyio.ClosedResourceError, anyio.BrokenResourceError: as for `send`.
        """
        if not self._put(item):
            raise anyio.WouldBlock

    def _put(self, item: T_contra) -> bool:
        """Hand a value over, or keep it; tells whether there was place for it."""
        channel = self._channel
        if channel.driver.fenced:
            channel.driver.check_not_over()
            return True
        self._check_open()
        if not channel.receivers:
            raise anyio.BrokenResourceError
        if channel.receiving:
            channel.receiving.serve(item)
        elif len(channel.buffer) < channel.size:
            channel.buffer.append(item)
        else:
            return False
        return True

    def clone(self) -> SendChannel[T_contra]:
        """Another sending end of the same channel, closed on its own."""
        self._check_open()
        return SendChannel(self._channel)


class ReceiveChannel(_End, Generic[T_co]):
    """The end that values come out of, each once, in the order they were sent. Iterate over it, in a `with` block."""

    __slots__ = ()

    def _count(self, change: int) -> None:
        channel = self._channel
        channel.receivers += change
        if not channel.receivers:
            channel.buffer.clear()
            while channel.sending:
                channel.sending.serve(_END)

    async def receive(self) -> T_co:
        """Receive a value; wait for one if there is none.

        Raises:
            anyio.EndOfStream: every sending end is closed, and everything was received.
            anyio.ClosedResourceError: this end was closed.
        """
        channel = self._channel
        await pass_by(channel.driver)
        try:
            return self.receive_nowait()
        except anyio.WouldBlock:
            item = await channel.receiving.wait()
        if item is _END:
            raise anyio.EndOfStream
        received: T_co = item
        return received

    def receive_nowait(self) -> T_co:
        """Receive a value if there is one.

        Raises:
            anyio.WouldBlock: there is none yet.
            anyio.EndOfStream, anyio.ClosedResourceError: as for `receive`.
        """
        channel = self._channel
        self._check_open()
        if channel.buffer:
            item = channel.buffer.popleft()
            if channel.sending:
                channel.buffer.append(channel.sending.serve())
        elif channel.sending:
            item = channel.sending.serve()
        elif not channel.senders:
            raise anyio.EndOfStream
        else:
            raise anyio.WouldBlock
        received: T_co = item
        return received

    def clone(self) -> ReceiveChannel[T_co]:
        """Another receiving end of the same channel, closed on its own. Each value goes to one of them."""
        self._check_open()
        return ReceiveChannel(self._channel)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


def open_memory_channel(driver: Driver, max_buffer_size: float) -> tuple[SendChannel[Any], ReceiveChannel[Any]]:
    """Make a channel; see `ctx.open_memory_channel`.

    Raises:
        UsageError: the size is no count.
    """
    whole = isinstance(max_buffer_size, int) and not isinstance(max_buffer_size, bool)
    if not (whole or max_buffer_size == math.inf) or max_buffer_size < 0:
        raise UsageError(f"a channel holds a number of values, 0 or more, or math.inf, not {max_buffer_size!r}")
    channel = _Channel(driver, max_buffer_size)
    return SendChannel(channel), ReceiveChannel(channel)
