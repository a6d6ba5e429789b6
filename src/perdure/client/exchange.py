"""Asking the ingress, on bytes: one request, and what its answer means.

Two pools stand behind it. Calls and attaches wait until an invocation is over, which may take days, and each of them
holds a connection as long; everything else is answered at once. They do not share a limit, so that a program whose
calls all wait for an awakeable can still resolve it.

What may be repeated: reads (attach, output, health) and invocations with an idempotency key; the server recognises
both. A plain call or send that may have arrived is not repeated, and neither is the completion of an awakeable.
"""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Literal, Protocol, Self

import anyio
import msgspec

from perdure.client.connection import ConnectError, HttpError, Response, ResponseError
from perdure.client.failures import INVOCATION_ID, ambiguous, failure_of, not_ready
from perdure.client.pool import CONNECT_DELAYS, ConnectionPool
from perdure.client.targets import Query, Read, Target, awakeable_query
from perdure.exceptions import IngressError, UsageError

__all__ = ["Exchange", "Invoke", "Readable", "SendReceipt"]

PROMPT_LIMIT: Final = 10
"""Connections for what is answered at once."""

IDEMPOTENCY_KEY: Final = "idempotency-key"
LIMIT_KEY: Final = "x-restate-limit-key"


class Readable(Protocol):
    """Names an invocation whose result can be asked for."""

    def read(self, verb: Read) -> Query:
        """The request that asks for it."""
        ...


class Invoke(msgspec.Struct, frozen=True, kw_only=True):
    """One invocation to be made: of what, with which bytes, and how.

    Attributes:
        target: the handler.
        payload: the encoded input.
        content_type: its media type; empty when there is nothing.
        headers: for the handler; they come before the client's own ones of the same name.
        idempotency_key: makes the server accept this once, however often it is sent.
        limit_key: which concurrency limit inside the scope it counts against.
    """

    target: Target
    payload: bytes
    content_type: str
    headers: Mapping[str, str]
    idempotency_key: str | None
    limit_key: str | None


class SendReceipt(msgspec.Struct, frozen=True, rename="camel"):
    """What the ingress answers to a send.

    Attributes:
        invocation_id: the invocation, new or old.
        status: whether it is new.
        execution_time: when it starts, for a send with a delay.
    """

    invocation_id: str
    status: Literal["Accepted", "PreviouslyAccepted"]
    execution_time: dt.datetime | None = None


class Health(msgspec.Struct, frozen=True):
    """What the ingress answers to the question how it is."""

    services: list[str]


_decode_receipt: Final = msgspec.json.Decoder(SendReceipt).decode
_decode_health: Final = msgspec.json.Decoder(Health).decode


class Exchange:
    """Requests to one ingress.

    Args:
        url: the address of the ingress.
        headers: sent with every request.
        timeout: seconds for each request; `None` waits as long as it takes.
        limit: calls and attaches that wait at the same time.
        connect_timeout: seconds for one try to connect.
        connect_delays: seconds between tries to connect.
        max_response_size: bytes that a result may have.
        ssl_context: for https; without it what the system trusts.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        limit: int = 100,
        connect_timeout: float = 10.0,
        connect_delays: Sequence[float] = CONNECT_DELAYS,
        max_response_size: int = 64 * 1024 * 1024,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        def pool(limit: int) -> ConnectionPool:
            return ConnectionPool(
                url,
                limit=limit,
                connect_timeout=connect_timeout,
                connect_delays=connect_delays,
                max_response_size=max_response_size,
                ssl_context=ssl_context,
            )

        self._waiting = pool(limit)
        self._prompt = pool(PROMPT_LIMIT)
        self._headers = {name.lower(): value for name, value in (headers or {}).items()}
        self._timeout = timeout
        self.url: str = f"{self._prompt.origin}{self._prompt.prefix}"

    async def __aenter__(self) -> Self:
        await self._prompt.__aenter__()
        await self._waiting.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._waiting.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102 - the pools close their sockets by force, at once
        await self._prompt.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102 - as above

    async def call(self, invoke: Invoke) -> Response:
        """Invoke and wait for the result.

        Raises:
            TerminalError: the handler failed for good.
            IngressError: no handler could answer.
            TimeoutError: the result did not come in time; the invocation goes on.
        """
        return await self._invoke(self._waiting, invoke, invoke.target.call(), f"call {invoke.target}")

    async def send(self, invoke: Invoke, delay: float | dt.timedelta | None = None) -> SendReceipt:
        """Invoke without waiting for the result; the answer says whether the invocation is new.

        Raises:
            IngressError: it was not accepted.
            TimeoutError: no answer came in time.
        """
        asked = f"send to {invoke.target}"
        response = await self._invoke(self._prompt, invoke, invoke.target.send(delay), asked)
        try:
            return _decode_receipt(response.body)
        except msgspec.MsgspecError as exc:
            raise self._no_ingress(asked, response, exc) from exc

    async def read(self, readable: Readable, verb: Read) -> Response | None:
        """Ask for the result of an invocation: `attach` waits for it, `output` answers `None` when there is none yet.

        Raises:
            TerminalError: the invocation failed for good.
            IngressError: there is no such invocation, or no answer.
            TimeoutError: no answer came in time.
        """
        pool = self._waiting if verb == "attach" else self._prompt
        query = readable.read(verb)
        asked = f"{verb} to {readable}" if verb == "attach" else f"give the output of {readable}"
        headers = {"content-type": "application/json"} if query.body else {}
        response = await self._request(pool, query, headers, asked, repeatable=True)
        if verb == "output" and not_ready(response):
            return None
        if verb == "attach" and ambiguous(response):
            await self.read(readable, "output")
        return self._checked(response, asked)

    async def complete_awakeable(self, awakeable_id: str, verb: Literal["resolve", "reject"], body: bytes) -> None:
        """Resolve an awakeable with an encoded value, or reject it with a message.

        Raises:
            IngressError: it was not accepted.
            TimeoutError: no answer came in time.
        """
        asked = f"{verb} the awakeable {awakeable_id}"
        query = awakeable_query(awakeable_id, verb, body)
        self._checked(await self._request(self._prompt, query, {}, asked), asked)

    async def health(self) -> list[str]:
        """The names of the services that the ingress knows.

        Raises:
            IngressError: nobody answered, or not an ingress.
            TimeoutError: no answer came in time.
        """
        asked = "say how it is"
        response = await self._request(self._prompt, Query("GET", "/restate/health"), {}, asked, repeatable=True)
        try:
            return _decode_health(self._checked(response, asked).body).services
        except msgspec.MsgspecError as exc:
            raise self._no_ingress(asked, response, exc) from exc

    async def _invoke(self, pool: ConnectionPool, invoke: Invoke, query: Query, asked: str) -> Response:
        headers = {name.lower(): value for name, value in invoke.headers.items()}
        if invoke.content_type:
            headers.setdefault("content-type", invoke.content_type)
        if invoke.idempotency_key is not None:
            if not invoke.idempotency_key:
                raise UsageError(f"to {asked}: the idempotency key is empty; leave it out or give one")
            headers[IDEMPOTENCY_KEY] = invoke.idempotency_key
        if invoke.limit_key is not None:
            if invoke.target.scope is None:
                raise UsageError(f"to {asked}: a limit key counts inside a scope; give scope= too")
            headers[LIMIT_KEY] = invoke.limit_key
        query = Query(query.method, query.path, invoke.payload)
        response = await self._request(pool, query, headers, asked, repeatable=IDEMPOTENCY_KEY in headers)
        return self._checked(response, asked)

    async def _request(
        self, pool: ConnectionPool, query: Query, headers: Mapping[str, str], asked: str, *, repeatable: bool = False
    ) -> Response:
        fields = (self._headers | dict(headers)).items()
        try:
            with anyio.move_on_after(self._timeout):
                return await pool.request(query.method, query.path, fields, query.body, repeatable=repeatable)
        except ConnectError as exc:
            raise IngressError(
                f"could not {asked}: {exc}. Is the server running, and is this the address of its ingress?"
            ) from exc
        except HttpError as exc:
            raise IngressError(f"could not {asked}: {exc}. {_after_loss(exc, repeatable=repeatable)}") from exc
        raise TimeoutError(
            f"{self.url} did not {asked} within {self._timeout} s. What the server accepted goes on; with an "
            "idempotency key it can be asked for again"
        )

    def _checked(self, response: Response, asked: str) -> Response:
        failure = failure_of(response, url=self.url, asked=asked)
        if failure is not None:
            raise failure
        return response

    def _no_ingress(self, asked: str, response: Response, cause: msgspec.MsgspecError) -> IngressError:
        return IngressError(
            f"{self.url} was to {asked} and answered {response.status} with something else than a Restate ingress does "
            f"({cause}): is this the address of the ingress, port 8080?",
            status=response.status,
            invocation_id=response.headers.get(INVOCATION_ID),
        )


def _after_loss(exc: HttpError, *, repeatable: bool) -> str:
    if isinstance(exc, ResponseError):
        return "The request arrived; what it started goes on"
    if repeatable:
        return "It was repeated once already, and may be repeated again"
    if exc.complete:
        return (
            "The server may or may not have accepted it: with an idempotency key it could be repeated, without one it "
            "may happen twice"
        )
    return "It was not sent in full, so the server has not accepted it"
