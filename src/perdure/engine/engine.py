"""The embedded engine: durable handlers in the program's own process.

::

    async with perdure.open_engine("shop.db", endpoint) as engine:
        receipt = await engine.call(checkout, order, idempotency_key=order.id)
        await engine.send(remind, order, key=order.customer, delay=timedelta(days=3))

Calls are typed by the handler objects, as they are in contexts and in `perdure.Client`, and take the same arguments.
They are ordinary awaits: a cancelled one ends the waiting, and not the invocation.

The block owns everything: attempts, timers, the file. Leaving it, in whatever way, takes no more requests, lets every
attempt suspend where it waits, commits, and closes the file; the work goes on when the file is opened again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, Unpack, overload

import anyio
import anyio.abc
from msgspec.structs import replace

from perdure.durable.clock import Clock, SystemClock
from perdure.durable.combinators import Outcome
from perdure.durable.serde import Serde, decode_value, encode_value, serde_for
from perdure.engine import events
from perdure.engine.answers import content_of, id_of_request, invocation_id, named_id, refusal, settled
from perdure.engine.clock import EngineClock, MovedClock
from perdure.engine.core import Core
from perdure.engine.invocation import EngineInvocation, EngineSignal, SentToEngine
from perdure.engine.offering import offered
from perdure.engine.outputs import Accepted, NotReady
from perdure.engine.storage import Store, open_store
from perdure.exceptions import IngressError, UsageError
from perdure.handlers.definitions import Handler
from perdure.handlers.environment import Environment
from perdure.handlers.options import seconds
from perdure.wire.ids import AwakeableKind, InvalidIdError, format_invocation_id, parse_awakeable_id
from perdure.wire.manifest import MAX_VERSION, ProtocolMode, encode
from perdure.wire.messages import Failure, Header, InvocationId, Value

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from perdure.asgi import Endpoint
    from perdure.engine.remote.identity import RequestSigner
    from perdure.handlers.calls import Callee, CallOptions, Receiver, Request, SendOptions

__all__ = ["Engine", "open_engine"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_BYTES: Final[Serde[bytes]] = serde_for(bytes)
_INTERNAL: Final = 500
_RANDOM_BYTES: Final = 10


def _signer(path: str | os.PathLike[str]) -> RequestSigner:
    from perdure.engine.remote.identity import RequestSigner  # noqa: PLC0415 - few need it

    return RequestSigner.from_pem(path)


def open_engine(
    path: str | os.PathLike[str],
    endpoint: Endpoint,
    *,
    clock: Clock | None = None,
    limit: int = 1000,
    grace: float = 10.0,
    identity_key: str | os.PathLike[str] | None = None,
) -> Engine:
    """Return an engine on a database file; enter it with `async with`.

    Args:
        path: of the file, made when it is not there; `":memory:"` for tests, where nothing outlives the block.
        endpoint: what it runs.
        clock: where it reads the time; `perdure.testing.VirtualClock` in tests.
        limit: how many attempts run at once; others wait for a place.
        grace: seconds that attempts have to suspend when the block is left; what runs longer is cancelled.
        identity_key: a PEM file (PKCS#8) with the ed25519 key that signs requests to endpoints in other processes.

    Raises:
        UsageError: the limit or the grace makes no sense, or the key cannot be read.
    """
    return Engine(path, endpoint, clock=clock, limit=limit, grace=grace, identity_key=identity_key)


class Engine:
    """An embedded engine; made by `perdure.open_engine`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        endpoint: Endpoint,
        *,
        clock: Clock | None = None,
        limit: int = 1000,
        grace: float = 10.0,
        identity_key: str | os.PathLike[str] | None = None,
    ) -> None:
        if limit < 1:
            raise UsageError(f"an engine runs at least one attempt at a time, not {limit!r}")
        if not grace >= 0:
            raise UsageError(f"grace is a number of seconds, not {grace!r}")
        self._path = os.fspath(path)
        self._endpoint = endpoint
        self._source: Clock = clock if clock is not None else SystemClock()
        self._limit = limit
        self._grace = grace
        self._signer: RequestSigner | None = None if identity_key is None else _signer(identity_key)
        self._core: Core | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        self._leave: anyio.Event | None = None
        self._registry = endpoint.registry
        self._open_store: Callable[..., Store] = open_store

    def __repr__(self) -> str:
        return f"<Engine of {self._path}>"

    # --- life ------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise UsageError("an engine is entered once; open another one")
        self._leave = anyio.Event()
        tasks = self._tasks = anyio.create_task_group()
        await tasks.__aenter__()
        try:
            await tasks.start(self._run)
        except Exception:
            await tasks.__aexit__(None, None, None)  # noqa: ASYNC120 - nothing is left to wait for
            raise
        except BaseException as error:
            await tasks.__aexit__(type(error), error, error.__traceback__)  # noqa: ASYNC120, ASYNC102 - likewise
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        assert self._leave is not None
        self._leave.set()
        if self._core is not None:
            self._core.closing = True
        cancelled = isinstance(exc, anyio.get_cancelled_exc_class())
        try:
            # The group would wrap an error of the block; a cancellation is its business.
            given = (exc_type, exc, traceback) if cancelled else (None, None, None)
            await self._tasks.__aexit__(*given)  # noqa: ASYNC102 - it waits for what shields itself
        except BaseExceptionGroup:
            failure = self._core.failure if self._core is not None else None
            if failure is None:
                raise
            if exc is None or cancelled or exc is failure:
                raise failure from failure.__cause__
            raise failure from exc

    async def _run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Everything between opening and closing; once open, only its own end or failure ends it."""
        assert self._leave is not None
        endpoint, shared = self._endpoint, self._endpoint.environment
        failure: Exception | None = None
        with anyio.CancelScope() as scope:
            async with AsyncExitStack() as stack:
                try:
                    app = shared.app if shared.home is not None else await stack.enter_async_context(endpoint.running())
                    store = self._open_store(self._path, inline=isinstance(self._source, MovedClock))
                    stack.push_async_callback(self._close, store)
                    home = await stack.enter_async_context(anyio.create_task_group())
                    stack.callback(home.cancel_scope.cancel)
                    core = self._core = self._begin(store, home, app, stack)
                except Exception as error:  # noqa: BLE001 - raised below, outside of the groups, which would wrap it
                    failure = error
                else:
                    scope.shield = True
                    task_status.started()
                    await self._leave.wait()
                    failure = await core.shut_down(self._grace)
        if failure is not None:
            raise failure

    def _begin(self, store: Store, home: anyio.abc.TaskGroup, app: Any, stack: AsyncExitStack) -> Core:
        """Take up what was in work."""
        endpoint = self._endpoint
        services = offered(self._registry)
        manifest = encode(self._registry.manifest(ProtocolMode.BIDI_STREAM), MAX_VERSION)
        clock = EngineClock(self._source, store.mark / 1000)
        environment = Environment(
            self._registry,
            middleware=endpoint.environment.middleware,
            clock=clock,
            app=app,
            patience=endpoint.environment.patience,
        )
        environment.home = home
        core = Core(store, environment, clock, home, limit=self._limit, failed=self._failed, signer=self._signer)
        stack.push_async_callback(core.remote.aclose)
        store.start(committed=core.committed, retrying=core.retrying, failed=core.fail)
        core.begin(services, manifest, unclean=store.unclean)
        home.start_soon(core.watch)
        home.start_soon(core.write_lazily)
        moved = clock.moved
        if moved is not None:
            moved.join(core.is_quiet)
            stack.callback(moved.leave, core.is_quiet)
            home.start_soon(moved.move)
        return core

    def _failed(self) -> None:
        assert self._leave is not None
        self._leave.set()

    async def _close(self, store: Store) -> None:
        clean = self._core is not None and self._core.failure is None
        await anyio.to_thread.run_sync(lambda: store.close(clean=clean))

    @property
    def core(self) -> Core:
        """What is below this surface: for the ingress and the like, not for programs.

        Raises:
            UsageError: the engine is not open.
        """
        if self._core is None:
            raise UsageError("the engine is not open: enter it with `async with`")
        return self._core

    # --- invoking --------------------------------------------------------------------------------------------------

    async def call(self, handler: Callee[P, R], /, *args: P.args, **options: P.kwargs) -> R:
        """Call a handler and wait for its result.

        Args:
            handler: the handler object that the decorator made; its service is one of the endpoint's.
            args: its input, if it takes one.
            options: `key` for handlers of objects and workflows, and `TypedCallOptions`.

        Raises:
            TerminalError: the handler failed for good; equal to what it raised.
            IngressError: it was not accepted; the message says why.
            SerdeError: the argument cannot be written, or the result is not what the handler's annotation says.
            EngineClosed: the engine was closed before there was a result; the invocation goes on when it is opened.
            EngineFailed: the engine cannot go on.
        """
        request = handler.call_request(*args, **options)
        payload, output = self._written(request)
        content = await self._call(
            request.handler.service.name, request.handler.name, payload, request.key, request.options
        )
        return decode_value(output, content, f"the result of {request.handler.path}")

    async def send(self, handler: Receiver[P, R], /, *args: P.args, **options: P.kwargs) -> SentToEngine[R]:
        """Call a handler, now or later, and wait only until that is stored.

        ::

            sent = await engine.send(remind, order, key=order.customer, delay=timedelta(days=3))
            ...
            await sent.attach()

        Args:
            handler: the handler object that the decorator made; its service is one of the endpoint's.
            args: its input, if it takes one.
            options: `key` for handlers of objects and workflows, and `TypedSendOptions`, `delay` among them.

        Raises:
            IngressError: it was not accepted; the message says why.
            SerdeError: the argument cannot be written.
            EngineFailed: the engine cannot go on.
        """
        request = handler.send_request(*args, **options)
        payload, output = self._written(request)
        accepted = await self._send(
            request.handler.service.name, request.handler.name, payload, request.key, request.options
        )
        return self._sent(accepted, output)

    async def generic_call(
        self, service: str, handler: str, payload: bytes, /, *, key: str | None = None, **options: Unpack[CallOptions]
    ) -> bytes:
        """Call a handler that is known by name only. Payload and result are bytes as they are, without any codec.

        Args:
            service: the name of the service.
            handler: the name of the handler.
            payload: the input; empty for a handler without input.
            key: for handlers of objects and workflows.
            options: see `CallOptions`.

        Raises:
            TerminalError: the handler failed for good.
            IngressError: it was not accepted.
        """
        return await self._call(service, handler, payload, key, options)

    async def generic_send(
        self, service: str, handler: str, payload: bytes, /, *, key: str | None = None, **options: Unpack[SendOptions]
    ) -> SentToEngine[bytes]:
        """Call a handler that is known by name only, without waiting; arguments as for `generic_call`, and `delay`.

        Raises:
            IngressError: it was not accepted.
        """
        return self._sent(await self._send(service, handler, payload, key, options), _BYTES)

    # --- invocations made elsewhere --------------------------------------------------------------------------------

    @overload
    def invocation(self, invocation_id: str, returns: TypeForm[T], /) -> EngineInvocation[T]: ...
    @overload
    def invocation(self, invocation_id: str, /) -> EngineInvocation[Any]: ...
    @overload
    def invocation(
        self, handler: Handler[R], /, *, key: str | None = None, idempotency_key: str | None = None
    ) -> EngineInvocation[R]: ...
    def invocation(
        self,
        target: str | Handler[Any],
        returns: Any = Any,
        /,
        *,
        key: str | None = None,
        idempotency_key: str | None = None,
    ) -> EngineInvocation[Any]:
        """Return an invocation: by its id, or by the key or idempotency key that it was made with.

        Nothing is asked yet. An id that the engine does not know is told by `attach` and `output`.

        Args:
            target: an invocation id (`inv_1...`), or a handler.
            returns: the type of its result, when it is named by id; any JSON when it is not given.
            key: alone it names the run of a workflow.
            idempotency_key: with `key` for objects, it names any other invocation.

        Raises:
            UsageError: this does not name one invocation.
        """
        if isinstance(target, str):
            return EngineInvocation(self, invocation_id(target), self._registry.serdes.of(returns))
        output = self._registry.bound(target).output
        return EngineInvocation(self, named_id(target, key, idempotency_key), output)

    @overload
    async def attach(self, invocation_id: str, returns: TypeForm[T], /) -> T: ...
    @overload
    async def attach(self, invocation_id: str, /) -> Any: ...
    async def attach(self, invocation_id: str, returns: Any = Any, /) -> Any:
        """Wait for the result of an invocation: short for `engine.invocation(invocation_id, returns).attach()`."""
        return await self.invocation(invocation_id, returns).attach()

    @overload
    async def output(self, invocation_id: str, returns: TypeForm[T], /) -> Outcome[T] | None: ...
    @overload
    async def output(self, invocation_id: str, /) -> Outcome[Any] | None: ...
    async def output(self, invocation_id: str, returns: Any = Any, /) -> Outcome[Any] | None:
        """Look at the outcome of an invocation: short for `engine.invocation(invocation_id, returns).output()`."""
        return await self.invocation(invocation_id, returns).output()

    async def cancel(self, invocation_id: str, /) -> None:
        """Cancel an invocation: short for `engine.invocation(invocation_id).cancel()`."""
        await self.invocation(invocation_id).cancel()

    async def kill(self, invocation_id: str, /) -> None:
        """Kill an invocation and all it called and sent: short for `engine.invocation(invocation_id).kill()`."""
        await self.invocation(invocation_id).kill()

    def signal(self, invocation_id: str, name: str, /) -> EngineSignal:
        """Return a named signal of an invocation: short for `engine.invocation(invocation_id).signal(name)`."""
        return self.invocation(invocation_id).signal(name)

    # --- awakeables ------------------------------------------------------------------------------------------------

    async def resolve_awakeable(self, id: str, value: object = None, /, *, serde: Serde[Any] | None = None) -> None:
        """Complete an awakeable with a value. It is written by the serde of its class, or by the one given.

        Raises:
            IngressError: the id is none, or its invocation is not there.
            SerdeError: the value cannot be written.
        """
        await self._complete_awakeable(id, Value(self.write(value, serde, f"the value of awakeable {id}")))

    async def reject_awakeable(self, id: str, message: str, /) -> None:
        """Complete an awakeable with a failure: whoever awaits it gets a `TerminalError` of code 500.

        Raises:
            IngressError: the id is none, or its invocation is not there.
        """
        await self._complete_awakeable(id, Failure(_INTERNAL, message))

    async def _complete_awakeable(self, id: str, result: Value | Failure) -> None:
        try:
            awakeable = parse_awakeable_id(id)
        except InvalidIdError as error:
            raise IngressError(str(error), status=400) from error
        if awakeable.kind is not AwakeableKind.SIGNAL:
            raise IngressError(f"awakeable {id} was made by a protocol that this engine does not speak", status=400)
        await self.send_signal(awakeable.invocation_id, awakeable.index, result)

    # --- for handles -----------------------------------------------------------------------------------------------

    def write(self, value: object, serde: Serde[Any] | None, of: str) -> bytes:
        """Write a value that belongs to no handler."""
        serdes = self._registry.serdes
        return encode_value(serdes.of_value(value) if serde is None else serdes.coded(serde), value, of)

    async def send_signal(self, id: bytes, signal: int | str, result: Value | Failure) -> None:
        """Send a signal to an invocation, by name or by number."""
        settled(await self.core.ask(lambda waiter: events.SendSignal(id, signal, result, waiter)))

    async def result_of(self, id: bytes) -> bytes:
        """Wait for the result of an invocation."""
        target = InvocationId(format_invocation_id(id))
        answer = await self.core.ask(
            lambda waiter: events.Attach(target, waiter), lambda waiter: events.Forgotten(id, waiter)
        )
        return content_of(answer)

    async def output_of(self, id: bytes) -> bytes | None:
        """The result of an invocation; `None` while there is none."""
        target = InvocationId(format_invocation_id(id))
        answer = await self.core.ask(lambda waiter: events.GetOutput(target, waiter))
        return None if isinstance(answer, NotReady) else content_of(answer)

    async def cancel_by_id(self, id: bytes) -> None:
        """Cancel an invocation."""
        settled(await self.core.ask(lambda waiter: events.Cancel(id, waiter)))

    async def kill_by_id(self, id: bytes) -> None:
        """Kill an invocation."""
        settled(await self.core.ask(lambda waiter: events.Kill(id, waiter)))

    # --- details ---------------------------------------------------------------------------------------------------

    def _written(self, request: Request[R]) -> tuple[bytes, Serde[R]]:
        """The argument of a call as bytes, and what reads its result."""
        bound = self._registry.bound(request.handler)
        given = request.options.get("input")
        read = request.options.get("output")
        payload = encode_value(
            bound.input if given is None else bound.serdes.coded(given),
            request.arg,
            f"the argument of {request.handler.path}",
        )
        return payload, bound.output if read is None else bound.serdes.coded(read)

    async def _call(self, service: str, handler: str, payload: bytes, key: str | None, options: CallOptions) -> bytes:
        submit, id = self._submit(service, handler, payload, key, options)
        answer = await self.core.ask(
            lambda waiter: replace(submit, waiter=waiter), lambda waiter: events.Forgotten(id, waiter)
        )
        return content_of(answer)

    async def _send(
        self, service: str, handler: str, payload: bytes, key: str | None, options: SendOptions
    ) -> Accepted:
        delay = options.get("delay")
        later = 0.0 if delay is None else seconds(delay, "delay")
        submit, _ = self._submit(service, handler, payload, key, options)
        clock = self.core.clock

        def make(waiter: int) -> events.Submit:
            start_at = clock.milliseconds() + max(1, round(later * 1000)) if later else 0
            return replace(submit, waiter=waiter, mode=events.Mode.SEND, start_at=start_at)

        answer = await self.core.ask(make)
        if not isinstance(answer, Accepted):
            raise refusal(answer)
        return answer

    def _submit(
        self, service: str, handler: str, payload: bytes, key: str | None, options: CallOptions
    ) -> tuple[events.Submit, bytes]:
        """A request as an event, and the id of its invocation."""
        path = f"{service}/{handler}"
        core = self.core
        if options.get("name") is not None:
            raise UsageError(f"a call of {path} from outside has no journal entry to be named; leave name= out")
        if options.get("scope") is not None or options.get("limit_key") is not None:
            raise UsageError(f"the embedded engine has no scopes: leave scope= and limit_key= of {path} out")
        if core.full is not None:
            raise IngressError(f"{path} is not taken at the moment: {core.full}", status=503)
        unique = core.clock.milliseconds().to_bytes(6, "big") + os.urandom(_RANDOM_BYTES)
        idempotency_key = options.get("idempotency_key")
        submit = events.Submit(
            service=service,
            handler=handler,
            unique=unique,
            waiter=0,
            key=key or "",
            body=payload,
            headers=tuple(Header(name, value) for name, value in (options.get("headers") or {}).items()),
            idempotency_key=idempotency_key,
            public=False,
        )
        return submit, id_of_request(submit, self._registry)

    def _sent(self, accepted: Accepted, output: Serde[R]) -> SentToEngine[R]:
        return SentToEngine(self, output, accepted)
