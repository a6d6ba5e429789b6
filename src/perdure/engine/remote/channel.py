"""The channel to handlers behind HTTP: frames instead of message objects, with the interface of the one in process.

What the session has to say is encoded and sent; what the endpoint says is decoded and handed to the engine. Whatever an
endpoint does wrong is an error of this attempt, with the codes that restate-server uses (`RT0010` the connection,
`RT0012` the status, `RT0015` the protocol version, `RT0019` too large, `RT0023` come back later).

An attempt ends with its last message. Bytes behind it in the same piece refute it: then the attempt has failed. Those
that come later change nothing, since the end is stored by then; they are told in the log.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

import anyio
import msgspec

from perdure.engine.remote.errors import RemoteError
from perdure.exceptions import PROTOCOL_VIOLATION, ProtocolError, UsageError
from perdure.wire import packed
from perdure.wire.decoder import Decoder
from perdure.wire.frames import encode_frames
from perdure.wire.messages import AwaitingOnMessage, EndMessage, ErrorMessage, Message, SuspensionMessage
from perdure.wire.packed import PackedDecoder, encode_packed
from perdure.wire.versions import ProtocolVersion

if TYPE_CHECKING:
    from perdure.client.connection import Headers
    from perdure.durable.driver import Driver
    from perdure.engine.remote.exchange import Head, RemoteExchange
    from perdure.engine.session import AttemptSession

__all__ = ["Broken", "Destination", "RemoteChannel"]

_INTERNAL: Final = 500
_OK: Final = 200
_LAST_WORDS: Final = (EndMessage, SuspensionMessage, ErrorMessage)
_LONGEST_WAIT: Final = 24 * 3600.0
"""Seconds of `Retry-After` that are believed."""

_BY_STATUS: Final[dict[int, str]] = {
    404: "[RT0012] the endpoint has no such handler (404): is the deployment registered that runs there?",
    413: "[RT0019] the endpoint refused the request as too large (413)",
    415: "[RT0015] the endpoint does not speak the version of the protocol that the invocation was started with (415)",
    429: "[RT0023] the endpoint is overloaded (429)",
    502: "[RT0010] a gateway in front of the endpoint got no answer (502)",
    503: "[RT0023] the endpoint is not available (503)",
    504: "[RT0010] a gateway in front of the endpoint got no answer in time (504)",
}
_COME_BACK: Final = frozenset({429, 503})


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where an attempt goes, and in which words.

    Attributes:
        service, handler: what is invoked.
        key: of the object or workflow; `None` for services.
        invocation_id: as text.
        version: of the service protocol.
        packed: MessagePack instead of protobuf.
        bidirectional: whether anything is sent behind the replayed journal.
    """

    service: str
    handler: str
    key: str | None
    invocation_id: str
    version: ProtocolVersion
    packed: bool = False
    bidirectional: bool = True

    @property
    def content_type(self) -> str:
        """Of both directions."""
        return packed.content_type(self.version) if self.packed else self.version.content_type

    @property
    def target(self) -> str:
        """The path below that of the endpoint."""
        return f"/invoke/{self.service}/{self.handler}"


class Broken(msgspec.Struct, frozen=True):
    """An attempt broke without a last word.

    Attributes:
        error: what happened, for the journal's readers.
        infrastructure: whether the handler never came to hear of it.
    """

    error: ErrorMessage
    infrastructure: bool = False


class _Endpoint(Protocol):
    """See `perdure.engine.remote.endpoint.RemoteEndpoint`."""

    async def request(
        self, method: str, target: str, headers: Sequence[tuple[str, str]], *, length: int | None, key: str | None
    ) -> RemoteExchange:
        """Begin an exchange."""
        ...


class RemoteChannel:
    """One attempt over HTTP.

    Args:
        session: the engine's side of it.
        endpoint: where the handler is.
        destination: which handler, and in which words.
        take: called with whatever the handler sends, in order.
        rested: called when the handler says that it only waits.

    Attributes:
        session: the engine's side of it.
        driver: `None`: the handler runs elsewhere.
        gone: whether the engine has left the attempt.
        quiet: `False`: something may come at any time.
        between_tries: `False`: nobody knows.
    """

    __slots__ = (
        "_arrived",
        "_credited",
        "_destination",
        "_endpoint",
        "_idle",
        "_rested",
        "_scope",
        "_take",
        "between_tries",
        "driver",
        "gone",
        "quiet",
        "session",
    )

    def __init__(
        self,
        session: AttemptSession,
        endpoint: _Endpoint,
        destination: Destination,
        take: Callable[[AttemptSession, Sequence[Message]], None],
        rested: Callable[[], None],
    ) -> None:
        self.session: AttemptSession = session
        self.driver: Driver | None = None
        self.gone: bool = False
        self.quiet: bool = False
        self.between_tries: bool = False
        self._endpoint = endpoint
        self._destination = destination
        self._take = take
        self._rested = rested
        self._idle = False
        self._scope = anyio.CancelScope()
        self._arrived: anyio.Event | None = None
        self._credited: anyio.Event | None = None

    # --- the engine's side -----------------------------------------------------------------------------------------

    def wake(self) -> None:
        """The session has something to send, or credit."""
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None
        if self._credited is not None:
            self._credited.set()
            self._credited = None

    def cut(self) -> None:
        """The engine has left the attempt: the exchange is broken off."""
        self.gone = True
        self.session.stop()
        self._scope.cancel()

    @property
    def resting(self) -> bool:
        """Whether the handler said last that it only waits for the engine (version 7), and was sent nothing since."""
        return self._idle and not self.session.has_output

    # --- the attempt -----------------------------------------------------------------------------------------------

    async def run(self) -> Broken | None:
        """Carry the attempt to its end; `None` when it had its last word, or the engine has left it."""
        with self._scope:
            try:
                return await self._talk()
            except RemoteError as error:
                return Broken(ErrorMessage(_INTERNAL, error.message), error.infrastructure)
            except ProtocolError as violation:
                return Broken(ErrorMessage(PROTOCOL_VIOLATION, f"[RT0012] {violation}"))
        return None

    async def _talk(self) -> Broken | None:
        destination = self._destination
        content_type = destination.content_type
        headers = [
            ("content-type", content_type),
            ("accept", content_type),
            ("x-restate-invocation-id", destination.invocation_id),
        ]
        key = destination.key
        if key is not None:
            headers.append(("x-restate-service-key", quote(key, safe="")))
        body: bytes | None = None
        if not destination.bidirectional:
            try:
                body = self._encode(self.session.messages_to_send())
            except UsageError as error:
                return Broken(ErrorMessage(_INTERNAL, str(error)))
        length = None if body is None else len(body)
        exchange = await self._endpoint.request("POST", destination.target, headers, length=length, key=key)
        try:
            outcome = await self._exchange(exchange, body)
            if isinstance(outcome, RemoteError | ProtocolError):
                raise outcome
            if outcome is None:
                await exchange.release()
            return outcome
        finally:
            await exchange.abandon()  # noqa: ASYNC102 - it breaks off at once

    async def _exchange(
        self, exchange: RemoteExchange, body: bytes | None
    ) -> Broken | RemoteError | ProtocolError | None:
        """Both directions at once; an error is handed back, because a task group would wrap it."""
        outcome: Broken | RemoteError | ProtocolError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, exchange, body)
            try:
                outcome = await self._read(exchange)
            except (RemoteError, ProtocolError) as error:
                outcome = error
            tasks.cancel_scope.cancel()
        return outcome

    # --- to the handler --------------------------------------------------------------------------------------------

    def _encode(self, messages: Sequence[Message]) -> bytes:
        return encode_packed(messages) if self._destination.packed else encode_frames(messages)

    async def _write(self, exchange: RemoteExchange, body: bytes | None) -> None:
        try:
            if body is not None:
                await exchange.send(body)
            else:
                await self._follow(exchange)
            await exchange.end()
        except RemoteError:
            return  # what became of the attempt is told by the answer

    async def _follow(self, exchange: RemoteExchange) -> None:
        """Send what the session has, until its input is closed."""
        session = self.session
        while True:
            while session.has_output:
                self._idle = False
                await exchange.send(self._encode(session.messages_to_send()))
            if session.input_closed:
                return
            arrived = self._arrived = anyio.Event()
            await arrived.wait()

    # --- from the handler ------------------------------------------------------------------------------------------

    async def _read(self, exchange: RemoteExchange) -> Broken | None:
        refusal = self._refusal(await exchange.head())
        if refusal is not None:
            return refusal
        session = self.session
        decoder = PackedDecoder() if self._destination.packed else Decoder()
        while True:
            piece = await exchange.receive()
            if piece is None:
                decoder.receive_eof()
                decoder.next_message()  # raises when a message is cut
                session.receive_eof()
                return None
            decoder.receive_data(piece)
            self._hand_over(decoder)
            if self.gone or session.last_word:
                return None
            while session.overdrawn and not self.gone:
                credited = self._credited = anyio.Event()
                await credited.wait()

    def _hand_over(self, decoder: Decoder | PackedDecoder) -> None:
        """Hand over what is whole; what is in front of a fault counts, unless it is the end."""
        messages: list[Message] = []
        fault: ProtocolError | None = None
        try:
            messages.extend(decoder.messages())
        except ProtocolError as error:
            fault = error
        last = next((index for index, each in enumerate(messages) if isinstance(each, _LAST_WORDS)), None)
        if last is not None and (fault is not None or last + 1 < len(messages) or decoder.buffered):
            fault = ProtocolError(
                f"the handler sent more behind its {type(messages[last]).__name__}, which has to be its last message"
            )
            del messages[last:]
        if messages:
            self._take(self.session, messages)
            hint = messages[-1]
            self._idle = isinstance(hint, AwaitingOnMessage) and not hint.executing_side_effects
        if fault is not None:
            raise fault
        if self.resting:
            self._rested()

    def _refusal(self, head: Head) -> Broken | None:
        """What the beginning of an answer means when it is not the one that was asked for."""
        expected = self._destination.content_type
        if head.status != _OK:
            text = _BY_STATUS.get(
                head.status, f"[RT0012] the endpoint answered with the unexpected status {head.status}"
            )
            wait = _retry_after(head.headers, time.time()) if head.status in _COME_BACK else None
            delay = None if wait is None else round(wait * 1000)
            return Broken(ErrorMessage(_INTERNAL, text, next_retry_delay=delay))
        said = head.headers.get("content-type", "").partition(";")[0].strip()
        if said != expected:
            return Broken(
                ErrorMessage(
                    _INTERNAL, f"[RT0012] the endpoint answered with content type {said!r} instead of {expected!r}"
                )
            )
        return None


def _retry_after(headers: Headers, now: float) -> float | None:
    """Seconds to wait, from a header that holds them or a date; `None` when it says neither."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(float(text), _LONGEST_WAIT)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return min(max(0.0, at.timestamp() - now), _LONGEST_WAIT)
