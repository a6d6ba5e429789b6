"""The link to the runtime: what the machine has written goes out in whole turns, what arrives goes into the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import anyio

from perdure.durable.transport import ByteTransport, Disconnected, MessageTransport
from perdure.exceptions import UsageError
from perdure.machine.invocation import Invocation
from perdure.wire.messages import Message

__all__ = ["Link"]


class Link:
    """Carries messages between a machine and its runtime, as bytes or as objects.

    Args:
        machine: writes and reads them.
        transport: the runtime.
        messages: whether the transport speaks objects instead of bytes.
        lost: called when output is lost, so that none may follow it: with `Disconnected` when the peer is gone, with
            the loop's cancellation, or with the `UsageError` of what cannot be encoded; that one may be told.

    Attributes:
        sending: whether a piece is on its way.
        mute: whether nothing more is sent; set by whoever knows that it would reach nobody.
        error: what the transport raised that is no way for a peer to go; the attempt raises it when it is over.
    """

    __slots__ = ("_feed", "_lost", "_machine", "_sent", "_take", "_transport", "error", "mute", "sending")

    def __init__(
        self,
        machine: Invocation,
        transport: ByteTransport | MessageTransport,
        *,
        messages: bool,
        lost: Callable[[BaseException], None],
    ) -> None:
        self._machine = machine
        self._transport: Any = transport
        self._feed: Callable[[Any], None] = self._feed_messages if messages else machine.receive_data
        self._take: Callable[[], Any] = machine.messages_to_send if messages else machine.data_to_send
        self._lost = lost
        self._sent: anyio.Event | None = None
        self.sending: bool = False
        self.mute: bool = False
        self.error: Exception | None = None

    def _feed_messages(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._machine.receive(message)

    async def receive(self) -> Any:
        """The next piece of input, not yet in the machine; `None` at its end.

        Raises:
            Disconnected: the peer is gone.
        """
        try:
            return await self._transport.receive()
        except Disconnected:
            raise
        except Exception as error:
            # A broken transport must not look like an error of whatever the handler waits for.
            self.error = error
            raise Disconnected from error

    def feed(self, piece: Any) -> None:
        """Put a piece of input into the machine.

        Raises:
            ProtocolError: it is not what the protocol allows here.
        """
        if piece is None:
            self._machine.receive_eof()
        else:
            self._feed(piece)

    def _next(self) -> Any:
        try:
            return self._take()
        except UsageError as unwritable:
            self._lost(unwritable)
            return self._take()

    async def flush(self) -> None:
        """Send what the machine has written, and return when it was handed over.

        Whoever is sending already takes it along. After a piece was lost nothing more is sent.
        """
        while self.sending and not self.mute:
            if self._sent is None:
                self._sent = anyio.Event()
            await self._sent.wait()
        if self.mute:
            return
        self.sending = True
        try:
            while data := self._next():
                await self._transport.send(data)
        except Disconnected as gone:
            self._lost(gone)
        except anyio.get_cancelled_exc_class() as cancelled:
            self._lost(cancelled)
            raise
        except Exception as error:  # noqa: BLE001 - kept: the attempt raises it
            self.error = error
            self._lost(Disconnected())
        finally:
            self.sending = False
            if self._sent is not None:
                self._sent.set()
                self._sent = None
