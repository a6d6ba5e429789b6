"""What a handler sees: its context.

One protocol per kind of handler. What a handler must not do, its context does not offer: a service has no state, a
shared handler does not write any, and only workflows have promises. A helper function asks for as little as it needs;
`Context` is enough for steps, calls and timers.

Every operation that returns a `DurableFuture` takes its place in the journal when it is called, not when it is awaited:
``a = ctx.call(...); b = ctx.call(...)`` are two calls at once.

Used inside a step, in a task that no durable nursery started, or after the handler has ended, every member raises
`UsageError`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, TypeVarTuple, Unpack, overload
from uuid import UUID

from perdure.handlers.combining import Combining
from perdure.handlers.structuring import Structuring

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from perdure.durable.future import Awakeable, CallFuture, DurableFuture
    from perdure.durable.serde import Serde
    from perdure.handlers.calls import (
        Callee,
        ExistingInvocation,
        InvocationHandle,
        OwnedCallOptions,
        Receiver,
        SendOptions,
    )
    from perdure.handlers.definitions import Handler
    from perdure.handlers.promises import DurablePromise
    from perdure.handlers.state import StateKey
    from perdure.machine.retry import RetryPolicy

__all__ = ["Context", "ObjectContext", "SharedObjectContext", "SharedWorkflowContext", "WorkflowContext"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Context(Combining, Structuring, Protocol):
    """The context of a service handler, and what all contexts have in common."""

    # --- who and where

    @property
    def invocation_id(self) -> str:
        """The id of this invocation (`inv_1...`)."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the request, by lower-case name."""
        ...

    @property
    def idempotency_key(self) -> str | None:
        """The idempotency key of the request, if it had one and the protocol tells (7)."""
        ...

    @property
    def scope(self) -> str | None:
        """The scope of this invocation, if it has one (protocol 7)."""
        ...

    @property
    def limit_key(self) -> str | None:
        """The limit key of this invocation, if it has one (protocol 7)."""
        ...

    @property
    def suspending(self) -> bool:
        """Whether this attempt is over and its code is only being unwound.

        `finally` blocks run in every attempt. One that must not run while the invocation merely pauses asks here.
        """
        ...

    @property
    def app(self) -> Any:
        """What the endpoint's `lifespan` yielded: connection pools, clients, settings."""
        ...

    # --- steps

    @overload
    def run(
        self,
        fn: Callable[[*Ts], Any],
        /,
        *args: *Ts,
        returns: TypeForm[T],
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
        serde: Serde[T] | None = None,
    ) -> DurableFuture[T]: ...

    @overload
    def run(
        self,
        fn: Callable[[*Ts], Any],
        /,
        *args: *Ts,
        serde: Serde[T],
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
    ) -> DurableFuture[T]: ...

    @overload
    def run(
        self,
        fn: Callable[[*Ts], Awaitable[T]],
        /,
        *args: *Ts,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
    ) -> DurableFuture[T]: ...

    @overload
    def run(
        self,
        fn: Callable[[*Ts], T],
        /,
        *args: *Ts,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
    ) -> DurableFuture[T]: ...

    def run(
        self,
        fn: Callable[[*Ts], Any],
        /,
        *args: *Ts,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
        returns: Any = ...,
        serde: Any = None,
    ) -> DurableFuture[Any]:
        """Run a step: call `fn(*args)` and keep its result in the journal, so that it is not called again.

        A plain function runs in a worker thread. The step may be repeated when the process dies before its result is
        stored, so what it does should bear that. Its result is read back from the journal's bytes in the first attempt
        too: what a replay gives is what you get.

        Args:
            fn: what to do. It must not use the context.
            args: its arguments.
            name: of the journal entry; the function's own name when it is not given.
            retry: when a failed try is tried again; without it again and again, with pauses from 50 ms to 10 s, until
                the policy of the invocation ends that. `TerminalError` is never retried.
            timeout: seconds for one try; one that takes longer is cancelled and counts as failed. A thread cannot be
                cancelled: it is left behind.
            returns: the type of the result, where the annotation of `fn` does not say it.
            serde: writes and reads the result.

        Raises:
            TerminalError: awaited, when the step failed for good.
        """
        ...

    # --- time and chance

    def sleep(
        self,
        seconds: float | timedelta = 0,
        /,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        name: str | None = None,
    ) -> DurableFuture[None]:
        """Wait for a time that survives restarts: seconds or weeks. The durations given are added up."""
        ...

    def now(self) -> DurableFuture[datetime]:
        """Return the time (aware, UTC) as it was when this was first asked; it is journaled."""
        ...

    @property
    def random(self) -> Random:
        """Random numbers, the same ones in every attempt. Not for secrets."""
        ...

    def uuid4(self) -> UUID:
        """Return a random UUID, the same one in every attempt."""
        ...

    # --- calls

    def call(self, handler: Callee[P, R], /, *args: P.args, **options: P.kwargs) -> CallFuture[R]:
        """Call a handler and get a future of its result.

        ::

            receipt = await ctx.call(charge, order)
            left = await ctx.call(reserve, 3, key=item.sku, headers={"trace": trace})

        Args:
            handler: the handler object that the decorator made.
            args: its input, if it takes one.
            options: `key` for handlers of objects and workflows, and `TypedCallOptions`.

        Raises:
            TerminalError: awaited, when the callee failed.
        """
        ...

    def send(self, handler: Receiver[P, R], /, *args: P.args, **options: P.kwargs) -> InvocationHandle[R]:
        """Call a handler without waiting, now or later.

        ::

            ctx.send(remind, order, delay=timedelta(days=3))

        Args:
            handler: the handler object that the decorator made.
            args: its input, if it takes one.
            options: `key` for handlers of objects and workflows, and `TypedSendOptions`, `delay` among them.
        """
        ...

    def generic_call(
        self,
        service: str,
        handler: str,
        payload: bytes,
        /,
        *,
        key: str | None = None,
        **options: Unpack[OwnedCallOptions],
    ) -> CallFuture[bytes]:
        """Call a handler that is known by name only. Payload and result are bytes as they are, without any codec."""
        ...

    def generic_send(
        self, service: str, handler: str, payload: bytes, /, *, key: str | None = None, **options: Unpack[SendOptions]
    ) -> InvocationHandle[bytes]:
        """Call a handler that is known by name only, without waiting. The payload is bytes as they are."""
        ...

    # --- other invocations

    @overload
    def invocation(self, invocation_id: str, returns: TypeForm[T], /) -> InvocationHandle[T]: ...
    @overload
    def invocation(self, invocation_id: str, /) -> InvocationHandle[Any]: ...
    @overload
    def invocation(
        self, handler: Handler[R], /, *, key: str | None = None, idempotency_key: str | None = None
    ) -> ExistingInvocation[R]: ...
    def invocation(self, target: Any, returns: Any = ..., /, **options: Any) -> Any:
        """Return a handle of an invocation: by its id, or by the key or idempotency key that it was made with.

        ::

            ctx.invocation(some_id).cancel()
            receipt = await ctx.invocation(order_workflow, key=order.id).attach()

        Args:
            target: an invocation id (`inv_1...`), or a handler.
            returns: the type of its result, when it is named by id.
            options: `key` alone names the run of a workflow; `idempotency_key`, with `key` for objects, any other
                invocation.
        """
        ...

    @overload
    def attach(self, invocation_id: str, returns: TypeForm[T], /) -> DurableFuture[T]: ...
    @overload
    def attach(self, invocation_id: str, /) -> DurableFuture[Any]: ...
    def attach(self, invocation_id: str, returns: Any = ..., /) -> DurableFuture[Any]:
        """Wait for the result of an invocation: short for `ctx.invocation(invocation_id, returns).attach()`."""
        ...

    # --- awakeables and signals

    @overload
    def awakeable(self, type: TypeForm[T], /, *, serde: Serde[T] | None = None) -> Awakeable[T]: ...
    @overload
    def awakeable(self, /, *, serde: Serde[T]) -> Awakeable[T]: ...
    @overload
    def awakeable(self, /) -> Awakeable[Any]: ...
    def awakeable(self, type: Any = ..., /, *, serde: Any = None) -> Awakeable[Any]:  # noqa: A002 - the word that users know
        """Return a future that somebody else completes: give its `id` away, and await it.

        Args:
            type: of the value; any JSON when it is not given.
            serde: reads the value.
        """
        ...

    def resolve_awakeable(self, awakeable_id: str, value: object = None, /, *, serde: Serde[Any] | None = None) -> None:
        """Complete an awakeable of another invocation. The value is written by the serde of its class."""
        ...

    def reject_awakeable(self, awakeable_id: str, message: str, /, *, code: int = 500) -> None:
        """Complete an awakeable of another invocation with a failure: whoever awaits it gets a `TerminalError`."""
        ...

    @overload
    def signal(self, name: str, type: TypeForm[T], /, *, serde: Serde[T] | None = None) -> DurableFuture[T]: ...
    @overload
    def signal(self, name: str, /, *, serde: Serde[T]) -> DurableFuture[T]: ...
    @overload
    def signal(self, name: str, /) -> DurableFuture[Any]: ...
    def signal(self, name: str, type: Any = ..., /, *, serde: Any = None) -> DurableFuture[Any]:  # noqa: A002 - the word that users know
        """Wait for a signal to this invocation by its name. It may have come before anybody waited.

        Args:
            name: of the signal; others send it with `ctx.invocation(id).signal(name).resolve(value)`.
            type: of the value; any JSON when it is not given.
            serde: reads the value.
        """
        ...


class _Keyed(Context, Protocol):
    """A context that has a key, and state that can be read."""

    @property
    def key(self) -> str:
        """The key of this object, or the id of this workflow."""
        ...

    @overload
    def get(self, key: StateKey[T], /) -> DurableFuture[T]: ...
    @overload
    def get(self, name: str, type: TypeForm[T], /, *, serde: Serde[T] | None = None) -> DurableFuture[T | None]: ...
    @overload
    def get(self, name: str, /) -> DurableFuture[Any]: ...
    def get(self, key: Any, type: Any = ..., /, *, serde: Any = None) -> DurableFuture[Any]:  # noqa: A002 - the word that users know
        """Read a value of the state: by a `StateKey`, or by name and type.

        While nothing is stored, a `StateKey` reads as its default, a name as `None`.
        """
        ...

    def state_keys(self) -> DurableFuture[list[str]]:
        """List the keys under which something is stored."""
        ...


class _Writing(_Keyed, Protocol):
    """A context whose handler is alone with its key, and may write."""

    @overload
    def set(self, key: StateKey[T], value: T, /) -> None: ...
    @overload
    def set(self, name: str, value: object, /, *, serde: Serde[Any] | None = None) -> None: ...
    def set(self, key: Any, value: Any, /, *, serde: Any = None) -> None:
        """Store a value: by a `StateKey`, or by name; then the serde of the value's class writes it."""
        ...

    def clear(self, key: StateKey[Any] | str, /) -> None:
        """Remove a value."""
        ...

    def clear_all(self) -> None:
        """Remove all values of this key."""
        ...


class _Promising(_Keyed, Protocol):
    """A context of a workflow."""

    @overload
    def promise(self, name: str, type: TypeForm[T], /, *, serde: Serde[T] | None = None) -> DurablePromise[T]: ...
    @overload
    def promise(self, name: str, /, *, serde: Serde[T]) -> DurablePromise[T]: ...
    @overload
    def promise(self, name: str, /) -> DurablePromise[Any]: ...
    def promise(self, name: str, type: Any = ..., /, *, serde: Any = None) -> DurablePromise[Any]:  # noqa: A002 - the word that users know
        """Return the promise of this workflow that has this name.

        Args:
            name: of the promise; all handlers of the workflow see the same one.
            type: of the value; any JSON when it is not given.
            serde: writes and reads the value.
        """
        ...


class SharedObjectContext(_Keyed, Protocol):
    """The context of a shared handler of a virtual object: it runs beside others and reads state only."""


class ObjectContext(_Writing, SharedObjectContext, Protocol):
    """The context of an exclusive handler of a virtual object: it is alone with its key, and reads and writes state."""


class SharedWorkflowContext(_Promising, Protocol):
    """The context of a handler of a workflow beside the main one: it reads state, and completes or awaits promises."""


class WorkflowContext(_Writing, SharedWorkflowContext, Protocol):
    """The context of the main handler of a workflow: it runs once per key, reads and writes state and has promises."""
