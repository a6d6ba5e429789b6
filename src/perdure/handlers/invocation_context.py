"""The context that handlers really get: thin methods over the machine, for every kind of handler.

`perdure.handlers.context` says what each kind may do; this class can do it all, and the type a handler sees offers only
its part. Each operation has the same shape: check that this branch holds the turn, issue the command, wrap its leaf in
a future. In an attempt that is over, operations do nothing: their futures raise the loop's cancellation when awaited.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, TypeVar, cast

from perdure.durable import combinators
from perdure.durable.closures import Closure
from perdure.durable.combinators import Case
from perdure.durable.completion_set import DurableFuturesUnordered
from perdure.durable.driver import Driver
from perdure.durable.future import Awakeable, CallFuture, DurableFuture, JournalFuture, RunFuture
from perdure.durable.outcome import failure_of
from perdure.durable.serde import Serde, encode_value
from perdure.durable.stopping import withdrawn
from perdure.exceptions import PerdureError, TerminalError, UsageError
from perdure.handlers.calls import Request
from perdure.handlers.definitions import Handler, HandlerKind
from perdure.handlers.environment import Environment
from perdure.handlers.invocations import ContextInvocation, ContextTarget, read_id
from perdure.handlers.middleware import around_step
from perdure.handlers.options import seconds
from perdure.handlers.promise_handle import ContextPromise
from perdure.handlers.registry import BoundHandler
from perdure.handlers.state import StateKey
from perdure.handlers.steps import Step, check_size, reader
from perdure.handlers.structured_context import StructuredContext
from perdure.machine.awaiting import Leaf, Relay
from perdure.machine.retry import RetryPolicy
from perdure.wire.messages import (
    Failure,
    Header,
    IdempotentRequestTarget,
    InvocationId,
    Result,
    StateKeys,
    Target,
    Value,
    Void,
    WorkflowTarget,
)

__all__ = ["InvocationContext"]

T = TypeVar("T")

_ANY: Final[Any] = ...


class InvocationContext(StructuredContext):
    """One attempt, as its handler sees it.

    Args:
        driver: runs the attempt.
        bound: the handler, as its endpoint offers it.
        environment: what all attempts of the endpoint share.
        headers: of the request.
    """

    __slots__ = ("_clock", "_environment", "_headers", "_random", "_raw_headers", "_serdes", "_steps", "driver")

    def __init__(
        self,
        driver: Driver,
        bound: BoundHandler[Any],
        environment: Environment,
        headers: Sequence[Header],
    ) -> None:
        self.driver: Driver = driver
        self._serdes = bound.serdes
        self._steps = environment.steps_of(bound)
        self._environment = environment
        self._raw_headers = headers
        self._headers: Mapping[str, str] | None = None
        self._random: Random | None = None
        self._clock = environment.clock

    def __repr__(self) -> str:
        return f"<context of {self.invocation_id}>"

    # --- how operations are made -----------------------------------------------------------------------------------

    def leaf(self, command: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Issue a command whose result is a leaf; a dead leaf in an attempt that is over, or in a cancelled block."""
        driver = self.driver
        if driver.fenced:
            return self._dead()
        branch = driver.holder()
        if driver.stopping.alarmed and driver.stopping.refuses(branch):
            return withdrawn()
        try:
            return command(*args, **options)
        except PerdureError as error:
            raise driver.broken(error)  # noqa: B904 - it is the same error

    def told(self, command: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """The same for commands that tell somebody something, and whose answer may be ignored: always issued."""
        driver = self.driver
        if driver.fenced:
            return self._dead()
        driver.holder()
        try:
            return command(*args, **options)
        except PerdureError as error:
            raise driver.broken(error)  # noqa: B904 - it is the same error

    def _dead(self) -> Any:
        self.driver.check_not_over()
        return Leaf(0)

    def _act(self, command: Callable[..., None], *args: Any, **options: Any) -> None:
        """Issue a command without a result; nothing happens in an attempt that is over."""
        driver = self.driver
        if driver.fenced:
            driver.check_not_over()
            return
        driver.holder()
        try:
            command(*args, **options)
        except PerdureError as error:
            raise driver.broken(error)  # noqa: B904 - it is the same error

    def owe(self, leaf: Leaf, act: Callable[[], None]) -> None:
        """Do something as soon as `leaf` is delivered; the handler does not end before."""
        self._act(self.driver.cancellation.owe, leaf, act)

    def relay(self, leaf: Leaf, then: Callable[[], Leaf]) -> Relay | Leaf:
        """A node that goes on with `then` when `leaf` is delivered."""
        return cast("Relay | Leaf", self.leaf(Relay, leaf, then))

    def _serde(self, annotation: Any, serde: Serde[Any] | None) -> Serde[Any]:
        if serde is not None:
            return self._serdes.coded(serde)
        return self._serdes.of(Any if annotation is _ANY else annotation)

    def write_value(self, value: object, serde: Serde[Any] | None, of: str) -> tuple[bytes, bool]:
        """The bytes of a value without an annotation, and whether they are always the same."""
        chosen = self._serdes.of_value(value) if serde is None else self._serdes.coded(serde)
        return check_size(encode_value(chosen, value, of), of), chosen.stable

    # --- who and where ---------------------------------------------------------------------------------------------

    @property
    def invocation_id(self) -> str:
        """The id of this invocation."""
        return self.driver.machine.start.debug_id

    @property
    def key(self) -> str:
        """The key of this object, or the id of this workflow."""
        return self.driver.machine.start.key

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the request, by lower-case name."""
        if self._headers is None:
            self._headers = {header.key.lower(): header.value for header in self._raw_headers}
        return self._headers

    @property
    def idempotency_key(self) -> str | None:
        """The idempotency key of the request (protocol 7)."""
        return self.driver.machine.start.idempotency_key

    @property
    def scope(self) -> str | None:
        """The scope of this invocation (protocol 7)."""
        return self.driver.machine.start.scope

    @property
    def limit_key(self) -> str | None:
        """The limit key of this invocation (protocol 7)."""
        return self.driver.machine.start.limit_key

    @property
    def suspending(self) -> bool:
        """Whether this attempt is over and its code is only being unwound."""
        return self.driver.fenced

    @property
    def app(self) -> Any:
        """What the endpoint's lifespan yielded."""
        return self._environment.app

    # --- steps -----------------------------------------------------------------------------------------------------

    def run(
        self,
        fn: Callable[..., Any],
        /,
        *args: Any,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
        returns: Any = _ANY,
        serde: Serde[Any] | None = None,
    ) -> DurableFuture[Any]:
        """Run a step, and keep its result in the journal."""
        step = self._steps.of(fn) if returns is _ANY and serde is None else Step(fn, self._serde(returns, serde))
        limit = None if timeout is None else seconds(timeout, "timeout")
        driver = self.driver
        if driver.fenced:
            return RunFuture(driver, self._dead(), step.read)
        branch = driver.holder()
        if driver.stopping.alarmed and driver.stopping.refuses(branch):
            return RunFuture(driver, withdrawn(), step.read)
        name = name or step.name
        try:
            leaf = driver.machine.run(name)
        except PerdureError as error:
            raise driver.broken(error)  # noqa: B904 - it is the same error
        middleware = self._environment.middleware
        driver.runs.add(
            Closure(
                leaf,
                around_step(middleware, self, name, fn, plain=step.plain) if middleware else fn,
                args,
                plain=step.plain and not middleware,
                encode=step.write,
                retry=retry,
                timeout=limit,
                name=name,
            ),
            branch.block,
        )
        return RunFuture(driver, leaf, step.read)

    # --- time and chance -------------------------------------------------------------------------------------------

    def sleep(
        self,
        duration: float | timedelta = 0,
        /,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        name: str | None = None,
    ) -> DurableFuture[None]:
        """Wait for a time that survives restarts."""
        total = seconds(duration, "the duration of a sleep")
        total += seconds(timedelta(days=days, hours=hours, minutes=minutes), "the duration of a sleep")
        wake_up_time = round((self._clock.now() + total) * 1000)
        return JournalFuture(self.driver, self.leaf(self.driver.machine.sleep, wake_up_time, name or ""), _nothing)

    def now(self) -> DurableFuture[datetime]:
        """The time as it was when this was first asked."""
        return self.run(self._clock_time, name="now", returns=datetime)

    async def _clock_time(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)

    @property
    def random(self) -> Random:
        """Random numbers, the same ones in every attempt."""
        if self._random is None:
            start = self.driver.machine.start
            # Version 5 has no seed; the id of the invocation is as constant.
            self._random = Random(start.random_seed or int.from_bytes(start.id, "big"))  # noqa: S311 - wanted: repeatable
        if self.driver.fenced:
            self.driver.check_not_over()
        else:
            self.driver.holder()
        return self._random

    def uuid4(self) -> uuid.UUID:
        """A random UUID, the same one in every attempt."""
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    # --- calls -----------------------------------------------------------------------------------------------------

    def call(self, handler: Any, /, *args: Any, **options: Any) -> CallFuture[Any]:
        """Call a handler and get a future of its result."""
        request: Request[Any] = _request_of(handler, "call_request", args, options)
        payload, read, stable = self._write_request(request)
        target = request.handler
        return self._call(target.service.name, target.name, payload, request.key, request.options, read, stable=stable)

    def send(self, handler: Any, /, *args: Any, **options: Any) -> ContextInvocation[Any]:
        """Call a handler without waiting, now or later."""
        request: Request[Any] = _request_of(handler, "send_request", args, options)
        payload, read, stable = self._write_request(request)
        target = request.handler
        return self._send(target.service.name, target.name, payload, request.key, request.options, read, stable=stable)

    def generic_call(
        self, service: str, handler: str, payload: bytes, /, *, key: str | None = None, **options: Any
    ) -> CallFuture[bytes]:
        """Call a handler that is known by name only."""
        return self._call(service, handler, payload, key, options, _raw, stable=True)

    def generic_send(
        self, service: str, handler: str, payload: bytes, /, *, key: str | None = None, **options: Any
    ) -> ContextInvocation[bytes]:
        """Call a handler that is known by name only, without waiting."""
        return self._send(service, handler, payload, key, options, _raw, stable=True)

    def _write_request(self, request: Request[Any]) -> tuple[bytes, Callable[[Result], Any], bool]:
        handler = request.handler
        of = f"the input of {handler.path}"
        callee = self._environment.registry.bound(handler)
        write, read = callee.input, callee.output
        options = request.options
        given_input, given_output = options.get("input"), options.get("output")
        if given_input is not None:
            write = self._serdes.coded(given_input)
        if given_output is not None:
            read = self._serdes.coded(given_output)
        payload = check_size(encode_value(write, request.arg, of), of)
        return payload, reader(read, f"the output of {handler.path}"), write.stable

    def _call(  # noqa: PLR0917 - private, with two callers
        self,
        service: str,
        handler: str,
        payload: bytes,
        key: str | None,
        options: Mapping[str, Any],
        read: Callable[[Result], Any],
        *,
        stable: bool,
    ) -> CallFuture[Any]:
        driver = self.driver
        pair = self.leaf(
            driver.machine.call, service, handler, payload, key=key or "", stable=stable, **_addressing(options)
        )
        if isinstance(pair, Leaf):  # it was not issued
            return CallFuture(driver, JournalFuture(driver, pair, read_id), pair, read)
        id_leaf, leaf = pair
        driver.holder().block.add_call(id_leaf, leaf, cancel_on_exit=bool(options.get("cancel_on_exit")))
        return CallFuture(driver, JournalFuture(driver, id_leaf, read_id), leaf, read)

    def _send(  # noqa: PLR0917 - private, with two callers
        self,
        service: str,
        handler: str,
        payload: bytes,
        key: str | None,
        options: Mapping[str, Any],
        read: Callable[[Result], Any],
        *,
        stable: bool,
    ) -> ContextInvocation[Any]:
        delay = options.get("delay")
        invoke_time = 0 if delay is None else round((self._clock.now() + seconds(delay, "delay")) * 1000)
        id_leaf = self.told(
            self.driver.machine.send,
            service,
            handler,
            payload,
            key=key or "",
            invoke_time=invoke_time,
            stable=stable,
            **_addressing(options),
        )
        return ContextInvocation(self, JournalFuture(self.driver, id_leaf, read_id), read, id_leaf=id_leaf)

    # --- other invocations -----------------------------------------------------------------------------------------

    def invocation(self, target: Any, returns: Any = _ANY, /, **options: Any) -> Any:
        """A handle of an invocation: by its id, or by the key or idempotency key that it was made with."""
        if isinstance(target, str):
            if options:
                raise UsageError("an invocation that is named by its id takes no key and no idempotency_key")
            read = reader(self._serde(returns, None), f"the output of {target}")
            return ContextInvocation(self, _Known(self.driver, target), read, id=target)
        if not isinstance(target, Handler):
            raise UsageError(f"ctx.invocation takes an invocation id or a handler, not {target!r}")
        read = reader(self._environment.registry.bound(target).output, f"the output of {target.path}")
        return ContextTarget(self, _target_of(target, **options), read)

    def attach(self, invocation_id: str, returns: Any = _ANY, /) -> DurableFuture[Any]:
        """Wait for the result of an invocation."""
        future: DurableFuture[Any] = self.invocation(invocation_id, returns).attach()
        return future

    def cancel_invocation(self, invocation_id: str) -> None:
        """Cancel another invocation by its id."""
        self._issue(self.driver.machine.cancel, invocation_id)

    def send_signal(self, invocation_id: str, name: str, result: bytes | Failure, *, stable: bool = True) -> None:
        """Send a named signal to another invocation."""
        value = result if isinstance(result, Failure) else Value(result) if result else Void()
        self._issue(self.driver.machine.send_signal, invocation_id, name, value, stable=stable)

    def _issue(self, command: Callable[..., None], *args: Any, **options: Any) -> None:
        """Issue a command for a branch, or, while a notification is being delivered, for nobody in particular."""
        if self.driver.delivering:
            command(*args, **options)
        else:
            self._act(command, *args, **options)

    # --- awakeables and signals ------------------------------------------------------------------------------------

    def awakeable(self, type: Any = _ANY, /, *, serde: Serde[Any] | None = None) -> Awakeable[Any]:  # noqa: A002 - the users' word
        """A future that somebody else completes."""
        read = reader(self._serde(type, serde), "the value of an awakeable")
        made = self.told(self.driver.machine.awakeable)
        if isinstance(made, Leaf):
            return Awakeable(self.driver, "", made, read)
        id, leaf = made
        return Awakeable(self.driver, id, leaf, read)

    def resolve_awakeable(self, id: str, value: object = None, /, *, serde: Serde[Any] | None = None) -> None:
        """Complete an awakeable of another invocation."""
        data, stable = self.write_value(value, serde, f"the value of awakeable {id}")
        self._act(self.driver.machine.complete_awakeable, id, Value(data), stable=stable)

    def reject_awakeable(self, id: str, message: str, /, *, code: int = 500) -> None:
        """Complete an awakeable of another invocation with a failure."""
        failure = failure_of(TerminalError(message, code=code))
        self._act(self.driver.machine.complete_awakeable, id, failure)

    def signal(self, name: str, type: Any = _ANY, /, *, serde: Serde[Any] | None = None) -> DurableFuture[Any]:  # noqa: A002 - as above
        """Wait for a signal to this invocation by its name."""
        if not name:
            raise UsageError("a signal needs a name")
        read = reader(self._serde(type, serde), f"the value of signal {name!r}")
        self.driver.signals.named = True
        return JournalFuture(self.driver, self.told(self.driver.machine.signal, name), read)

    # --- state -----------------------------------------------------------------------------------------------------

    def get(self, key: Any, type: Any = _ANY, /, *, serde: Serde[Any] | None = None) -> DurableFuture[Any]:  # noqa: A002 - as above
        """Read a value of the state."""
        if isinstance(key, StateKey):
            name, chosen, default = key.name, self._serde(key.type, key.serde), key.default
        else:
            name, chosen, default = _state_name(key), self._serde(type, serde), _none
        read = reader(chosen, f"state {name!r}")
        leaf = self.leaf(self.driver.machine.get_state, name)
        return JournalFuture(self.driver, leaf, lambda result: default() if result.__class__ is Void else read(result))

    def set(self, key: Any, value: Any, /, *, serde: Serde[Any] | None = None) -> None:
        """Store a value."""
        if isinstance(key, StateKey):
            name, chosen = key.name, self._serde(key.type, key.serde)
        else:
            name = _state_name(key)
            chosen = self._serdes.of_value(value) if serde is None else self._serdes.coded(serde)
        of = f"state {name!r}"
        data = check_size(encode_value(chosen, value, of), of)
        self._act(self.driver.machine.set_state, name, data, stable=chosen.stable)

    def clear(self, key: StateKey[Any] | str, /) -> None:
        """Remove a value."""
        self._act(self.driver.machine.clear_state, key.name if isinstance(key, StateKey) else _state_name(key))

    def clear_all(self) -> None:
        """Remove all values of this key."""
        self._act(self.driver.machine.clear_all_state)

    def state_keys(self) -> DurableFuture[list[str]]:
        """List the keys under which something is stored."""
        return JournalFuture(self.driver, self.leaf(self.driver.machine.get_state_keys), _keys)

    # --- promises --------------------------------------------------------------------------------------------------

    def promise(self, name: str, type: Any = _ANY, /, *, serde: Serde[Any] | None = None) -> ContextPromise[Any]:  # noqa: A002 - as above
        """The promise of this workflow that has this name."""
        return ContextPromise(self, name, self._serde(type, serde))

    # --- combinators -----------------------------------------------------------------------------------------------

    def select(self, *cases: Case[Any]) -> DurableFuture[Any]:
        """Whichever case is done first."""
        return combinators.select(self.driver, cases)

    def gather(self, *futures: DurableFuture[Any]) -> DurableFuture[Any]:
        """All results; the first failure is raised at once."""
        return combinators.gather(self.driver, futures)

    def first(self, *futures: DurableFuture[Any]) -> DurableFuture[Any]:
        """Whichever is done first."""
        return combinators.first(self.driver, futures)

    def first_success(self, *futures: DurableFuture[Any]) -> DurableFuture[Any]:
        """The first result that is no failure."""
        return combinators.first_success(self.driver, futures)

    def settle(self, *futures: DurableFuture[Any]) -> DurableFuture[Any]:
        """The outcome of each, when all are done."""
        return combinators.settle(self.driver, futures)

    def unordered(self, futures: Iterable[DurableFuture[T]] = (), /) -> DurableFuturesUnordered[T]:
        """A set of futures that is read in the order in which they are done."""
        return DurableFuturesUnordered(self.driver, futures)


class _Known(DurableFuture[str]):
    """An id that is known already."""

    __slots__ = ()

    def __init__(self, driver: Driver, id: str) -> None:
        leaf = Leaf(0)
        leaf.settle(InvocationId(id))
        super().__init__(driver, leaf)
        self._value = id


def _nothing(_: Result) -> None:
    return None


def _none() -> None:
    return None


def _raw(result: Result) -> bytes:
    return result.content if isinstance(result, Value) else b""


def _keys(result: Result) -> list[str]:
    assert isinstance(result, StateKeys)
    return [key.decode() for key in result.keys]


def _state_name(name: object) -> str:
    if not isinstance(name, str):  # the empty one is a key like others, and keys may come from data
        raise UsageError(f"a key of the state is a StateKey or a name, not {name!r}")
    return name


def _addressing(options: Mapping[str, Any]) -> dict[str, Any]:
    headers = options.get("headers") or {}
    return {
        "headers": tuple(Header(name, value) for name, value in headers.items()),
        "idempotency_key": options.get("idempotency_key"),
        "scope": options.get("scope"),
        "limit_key": options.get("limit_key"),
        "name": options.get("name") or "",
    }


def _request_of(handler: Any, method: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> Request[Any]:
    make = getattr(handler, method, None)
    if make is None:
        raise UsageError(
            f"a call takes the handler object that a decorator made, not {handler!r}; for a target known by name only "
            "use generic_call or generic_send"
        )
    request: Request[Any] = make(*args, **options)
    return request


def _target_of(handler: Handler[Any], *, key: str | None = None, idempotency_key: str | None = None) -> Target:
    if handler.kind is HandlerKind.MAIN and idempotency_key is None:
        if key is None:
            raise UsageError(f"the run of {handler.path} is named by its key: give key=")
        return WorkflowTarget(handler.service.name, key)
    if idempotency_key is None:
        raise UsageError(f"an invocation of {handler.path} is named by the idempotency key it was made with: give it")
    if handler.kind.keyed and key is None:
        raise UsageError(f"{handler.path} has a key: give key= too")
    return IdempotentRequestTarget(handler.service.name, key, handler.name, idempotency_key)
