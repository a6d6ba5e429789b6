"""The client of the ingress: how a program outside of handlers calls them.

::

    async with perdure.Client("http://127.0.0.1:8080") as client:
        receipt = await client.call(checkout, order, idempotency_key=order.id)
        reminder = await client.send(remind, order, key=order.customer, delay=timedelta(days=3))

Calls are typed by the handler objects, as they are in contexts, and take the same arguments. They are ordinary awaits:
they may be cancelled, which ends the waiting and not the invocation, and they are not journaled. Inside a handler,
call with its context.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, Unpack, overload

from perdure.client.exchange import Exchange, Invoke, Readable
from perdure.client.invocation import IngressInvocation, SentInvocation
from perdure.client.pool import CONNECT_DELAYS
from perdure.client.targets import IdempotentTarget, InvocationTarget, Target, WorkflowTarget
from perdure.durable.codec import Codec, Serdes
from perdure.durable.serde import JSON, Serde, SerdeFactory, decode_value, encode_value, serde_for
from perdure.exceptions import UsageError
from perdure.handlers.definitions import Handler, HandlerKind
from perdure.handlers.options import Options

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from perdure.handlers.calls import Callee, CallOptions, Receiver, Request, SendOptions

__all__ = ["Client"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

BYTES: Final[Serde[bytes]] = serde_for(bytes)


class Client:
    """Calls handlers through the ingress of a restate-server or of the embedded engine.

    It is opened with `async with`, on trio or asyncio, and may be used by many tasks at once. A call holds a connection
    until its invocation is over; `limit` of them wait at a time, and further ones wait for their turn. Everything else
    (sends, outputs, awakeables) is answered at once and has connections of its own.

    What is repeated by itself: connecting; and, once, whatever found its connection lost and either did not leave in
    full, only reads, or has an idempotency key. Give calls that matter an idempotency key, and repeat them yourself for
    as long as you like.

    Args:
        url: the address of the ingress, `http` or `https`.
        headers: sent with every request: credentials, for instance.
        timeout: seconds to wait for each answer; without it, as long as it takes.
        limit: calls and attaches that wait at the same time.
        connect_timeout: seconds for one try to connect.
        connect_delays: seconds to wait between tries to connect; one try more than there are delays.
        max_response_size: bytes that a result may have.
        ssl_context: for `https`; without it what the system trusts.
        serde: from annotations to serdes, as given to the endpoint.
        codec: what stands on top of every serde, as given to the endpoint. What services and handlers say themselves
            wins; what `with_options` says is not seen here.

    Attributes:
        url: the address of the ingress.

    Raises:
        UsageError: the url is none, or the limit makes no sense.
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
        serde: SerdeFactory = serde_for,
        codec: Codec | None = None,
    ) -> None:
        self._exchange = Exchange(
            url,
            headers=headers,
            timeout=timeout,
            limit=limit,
            connect_timeout=connect_timeout,
            connect_delays=connect_delays,
            max_response_size=max_response_size,
            ssl_context=ssl_context,
        )
        self.url: str = self._exchange.url
        self._options = Options(serde=serde, codec=codec)
        self._serdes = Serdes(serde, codec)
        self._of_handler: dict[Handler[Any], tuple[Serde[Any], Serde[Any]]] = {}

    async def __aenter__(self) -> Self:
        await self._exchange.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exchange.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102 - the pools close their sockets by force, at once

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    # --- invoking

    async def call(self, handler: Callee[P, R], /, *args: P.args, **options: P.kwargs) -> R:
        """Call a handler and wait for its result.

        Args:
            handler: the handler object that the decorator made.
            args: its input, if it takes one.
            options: `key` for handlers of objects and workflows, and `TypedCallOptions`.

        Raises:
            TerminalError: the handler failed for good; equal to what it raised.
            IngressError: no handler could answer; the message says whose fault it is and what to do.
            SerdeError: the argument cannot be written, or the result is not what the handler's annotation says.
            TimeoutError: there was no result within the client's `timeout`; the invocation goes on.
        """
        invoke, output = self._invoke(handler.call_request(*args, **options))
        response = await self._exchange.call(invoke)
        return decode_value(output, response.body, f"the result of {invoke.target}")

    async def send(self, handler: Receiver[P, R], /, *args: P.args, **options: P.kwargs) -> SentInvocation[R]:
        """Call a handler, now or later, and wait only until the server has the invocation.

        ::

            sent = await client.send(remind, order, delay=timedelta(days=3))
            ...
            await sent.attach()

        Args:
            handler: the handler object that the decorator made.
            args: its input, if it takes one.
            options: `key` for handlers of objects and workflows, and `TypedSendOptions`, `delay` among them.

        Raises:
            IngressError: it was not accepted; the message says whose fault it is and what to do.
            SerdeError: the argument cannot be written.
            TimeoutError: there was no answer within the client's `timeout`.
        """
        request = handler.send_request(*args, **options)
        invoke, output = self._invoke(request)
        receipt = await self._exchange.send(invoke, request.options.get("delay"))
        return SentInvocation(self._exchange, receipt, output)

    async def generic_call(
        self,
        service: str,
        handler: str,
        payload: bytes,
        /,
        *,
        key: str | None = None,
        content_type: str = JSON,
        **options: Unpack[CallOptions],
    ) -> bytes:
        """Call a handler that is known by name only. Payload and result are bytes as they are, without any codec.

        Args:
            service: the name of the service.
            handler: the name of the handler.
            payload: the input; empty for a handler without input.
            key: for handlers of objects and workflows.
            content_type: the media type of the payload; the server refuses one that the handler does not take.
            options: see `CallOptions`.

        Raises:
            TerminalError: the handler failed for good.
            IngressError: no handler could answer.
            TimeoutError: there was no result within the client's `timeout`; the invocation goes on.
        """
        invoke = _generic(Target(service, handler, key, options.get("scope")), payload, content_type, options)
        return (await self._exchange.call(invoke)).body

    async def generic_send(
        self,
        service: str,
        handler: str,
        payload: bytes,
        /,
        *,
        key: str | None = None,
        content_type: str = JSON,
        **options: Unpack[SendOptions],
    ) -> SentInvocation[bytes]:
        """Call a handler that is known by name only, without waiting; arguments as for `generic_call`, and `delay`.

        Raises:
            IngressError: it was not accepted.
            TimeoutError: there was no answer within the client's `timeout`.
        """
        invoke = _generic(Target(service, handler, key, options.get("scope")), payload, content_type, options)
        receipt = await self._exchange.send(invoke, options.get("delay"))
        return SentInvocation(self._exchange, receipt, BYTES)

    # --- invocations made elsewhere

    @overload
    def invocation(self, invocation_id: str, returns: TypeForm[T], /) -> IngressInvocation[T]: ...
    @overload
    def invocation(self, invocation_id: str, /) -> IngressInvocation[Any]: ...
    @overload
    def invocation(
        self,
        handler: Handler[R],
        /,
        *,
        key: str | None = None,
        idempotency_key: str | None = None,
        scope: str | None = None,
    ) -> IngressInvocation[R]: ...
    def invocation(
        self,
        target: str | Handler[Any],
        returns: Any = Any,
        /,
        *,
        key: str | None = None,
        idempotency_key: str | None = None,
        scope: str | None = None,
    ) -> IngressInvocation[Any]:
        """Return an invocation: by its id, or by the key or idempotency key that it was made with.

        ::

            await client.invocation("inv_1...", Receipt).output()
            await client.invocation(order_workflow, key=order.id).attach()
            await client.invocation(checkout, idempotency_key=order.id).attach()

        Nothing is asked yet. An id that the server does not know is told by `attach` and `output`.

        Args:
            target: an invocation id (`inv_1...`), or a handler.
            returns: the type of its result, when it is named by id; any JSON when it is not given.
            key: alone it names the run of a workflow.
            idempotency_key: with `key` for objects, it names any other invocation.
            scope: the scope that it was made in.

        Raises:
            UsageError: this does not name one invocation.
        """
        if isinstance(target, str):
            return IngressInvocation(self._exchange, InvocationTarget(target), self._serdes.of(returns))
        _, output = self._serdes_of(target)
        return IngressInvocation(self._exchange, _readable(target, key, idempotency_key, scope), output)

    @overload
    async def attach(self, invocation_id: str, returns: TypeForm[T], /) -> T: ...
    @overload
    async def attach(self, invocation_id: str, /) -> Any: ...
    async def attach(self, invocation_id: str, returns: Any = Any, /) -> Any:
        """Wait for the result of an invocation: short for `client.invocation(invocation_id, returns).attach()`."""
        return await self.invocation(invocation_id, returns).attach()

    # --- awakeables

    async def resolve_awakeable(self, id: str, value: object = None, /, *, serde: Serde[Any] | None = None) -> None:
        """Complete an awakeable with a value. It is written by the serde of its class, or by the one given.

        Raises:
            IngressError: the server did not accept it: the id is none, for instance.
            SerdeError: the value cannot be written.
            TimeoutError: there was no answer within the client's `timeout`.
        """
        serde = self._serdes.of_value(value) if serde is None else self._serdes.coded(serde)
        data = encode_value(serde, value, f"the value of awakeable {id}")
        await self._exchange.complete_awakeable(id, "resolve", data)

    async def reject_awakeable(self, id: str, message: str, /) -> None:
        """Complete an awakeable with a failure: whoever awaits it gets a `TerminalError` of code 500.

        Raises:
            IngressError: the server did not accept it: the id is none, for instance.
            TimeoutError: there was no answer within the client's `timeout`.
        """
        await self._exchange.complete_awakeable(id, "reject", message.encode())

    # --- the server

    async def health(self) -> list[str]:
        """Return the names of the services that can be called.

        Raises:
            IngressError: nobody answered, or something that is no ingress.
            TimeoutError: there was no answer within the client's `timeout`.
        """
        return await self._exchange.health()

    # --- details

    def _invoke(self, request: Request[R]) -> tuple[Invoke, Serde[R]]:
        """What to send for a call, and what reads the answer."""
        handler, options = request.handler, request.options
        input_serde, output_serde = self._serdes_of(handler)
        if (given := options.get("input")) is not None:
            input_serde = self._serdes_for(handler).coded(given)
        if (given := options.get("output")) is not None:
            output_serde = self._serdes_for(handler).coded(given)
        target = Target(handler.service.name, handler.name, request.key, options.get("scope"))
        payload = encode_value(input_serde, request.arg, f"the argument of {target}")
        return _invoke(target, payload, input_serde.content_type, options), output_serde

    def _serdes_for(self, handler: Handler[Any]) -> Serdes:
        options = handler.options.over(handler.service.options).over(self._options)
        return Serdes(options.serde or serde_for, options.codec)

    def _serdes_of(self, handler: Handler[Any]) -> tuple[Serde[Any], Serde[Any]]:
        """The serdes of input and output, found once per handler."""
        known = self._of_handler.get(handler)
        if known is None:
            serdes = self._serdes_for(handler)
            known = self._of_handler[handler] = handler.input_serde(serdes), handler.output_serde(serdes)
        return known


def _invoke(target: Target, payload: bytes, content_type: str, options: CallOptions) -> Invoke:
    if options.get("name") is not None:
        raise UsageError(f"a call of {target} from outside has no journal entry to be named; leave name= out")
    return Invoke(
        target=target,
        payload=payload,
        content_type=content_type,
        headers=options.get("headers") or {},
        idempotency_key=options.get("idempotency_key"),
        limit_key=options.get("limit_key"),
    )


def _generic(target: Target, payload: bytes, content_type: str, options: CallOptions) -> Invoke:
    """As `_invoke`; no bytes have no media type, because a handler without input refuses one."""
    return _invoke(target, payload, content_type if payload else "", options)


def _readable(handler: Handler[Any], key: str | None, idempotency_key: str | None, scope: str | None) -> Readable:
    if handler.kind.keyed and key is None:
        raise UsageError(f"an invocation of {handler.path} has a key; give key=")
    if not handler.kind.keyed and key is not None:
        raise UsageError(f"{handler.path} belongs to a service, which has no keys; leave key= out")
    if handler.kind is HandlerKind.MAIN:
        if idempotency_key is not None:
            raise UsageError(f"{handler.path} runs once per key; leave idempotency_key= out")
        assert key is not None
        return WorkflowTarget(handler.service.name, key, scope)
    if not idempotency_key:
        raise UsageError(
            f"{handler.path} may have been invoked many times; give the idempotency_key= of the one you mean, or its id"
        )
    return IdempotentTarget(Target(handler.service.name, handler.name, key, scope), idempotency_key)
