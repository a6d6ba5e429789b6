"""How handlers call each other: what a call is made of, and what one can do with an invocation.

Calls are typed by the handler object. `ctx.call(handler, ...)` takes what `handler.call_request(...)` takes, and that
method exists once per form of handler: with or without input, with or without key. So there is one signature for
`call` and one for `send`, in contexts and clients alike, and a type checker says "missing named argument key" instead
of "no overload matches".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypedDict, TypeVar

import msgspec

if TYPE_CHECKING:
    from perdure.durable.combinators import Outcome
    from perdure.durable.future import DurableFuture
    from perdure.durable.serde import Serde
    from perdure.handlers.definitions import Handler

__all__ = [
    "CallOptions",
    "Callee",
    "ExistingInvocation",
    "InvocationHandle",
    "OwnedCallOptions",
    "Receiver",
    "Request",
    "SendOptions",
    "SignalSender",
    "TypedCallOptions",
    "TypedOptions",
    "TypedSendOptions",
]

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class CallOptions(TypedDict, total=False):
    """What can be said about a call besides its target and its argument. `None` says nothing."""

    idempotency_key: str | None
    """Calls of one handler with the same key are one invocation. Not for the main handler of a workflow."""
    headers: Mapping[str, str]
    """What the callee finds in `ctx.headers`."""
    scope: str | None
    """The scope that the invocation belongs to (protocol 7)."""
    limit_key: str | None
    """The key, in one or two levels (`a/b`), under which a scope limits concurrency (protocol 7)."""
    name: str | None
    """The name of the journal entry, for people who read journals."""


class OwnedCallOptions(CallOptions, total=False):
    """What can be said about a call whose result is waited for."""

    cancel_on_exit: bool
    """Cancel the callee when the block in which the call was made (a cancel scope, a nursery, the handler) is left
    before it has answered. Clients, which have no blocks, ignore it."""


class SendOptions(CallOptions, total=False):
    """What can be said about a one-way call."""

    delay: float | timedelta | None
    """The invocation starts so much later. Seconds."""


class TypedOptions(CallOptions, total=False):
    """What can be said about any call of a handler object."""

    input: Serde[Any] | None
    """Writes the argument, in place of the serde of the handler's annotation."""
    output: Serde[Any] | None
    """Reads the result, in place of the serde of the handler's annotation."""


class TypedCallOptions(TypedOptions, OwnedCallOptions, total=False):
    """What can be said about a call of a handler object whose result is waited for."""


class TypedSendOptions(TypedOptions, SendOptions, total=False):
    """What can be said about a one-way call of a handler object."""


class Request(msgspec.Struct, Generic[R_co], frozen=True):
    """A call as data: who is called, with what.

    Attributes:
        handler: the target.
        arg: the argument; `None` for a handler without input.
        key: the key of the object or workflow; `None` for a service.
        options: the rest; everything that is not there, or `None`, was not said.
    """

    handler: Handler[R_co]
    arg: Any
    key: str | None
    options: TypedSendOptions


class Callee(Protocol[P, R_co]):
    """What `ctx.call` takes: an object that turns the arguments of a call into a `Request`. Every handler is one."""

    def call_request(self, *args: P.args, **kwargs: P.kwargs) -> Request[R_co]:
        """Return the call of this handler with these arguments."""
        ...


class Receiver(Protocol[P, R_co]):
    """What `ctx.send` takes: an object that turns the arguments of a send into a `Request`. Every handler is one."""

    def send_request(self, *args: P.args, **kwargs: P.kwargs) -> Request[R_co]:
        """Return the one-way call of this handler with these arguments."""
        ...


class SignalSender(Protocol):
    """A named signal of another invocation."""

    def resolve(self, value: object = None, *, serde: Serde[Any] | None = None) -> None:
        """Send the signal with a value. It is kept until the invocation waits for it."""
        ...

    def reject(self, message: str, *, code: int = 500) -> None:
        """Send the signal as a failure: whoever waits for it gets a `TerminalError`."""
        ...


class ExistingInvocation(Protocol[R_co]):
    """An invocation made elsewhere, found by its key or by its idempotency key."""

    def attach(self) -> DurableFuture[R_co]:
        """Wait for its result; its failure is raised as `TerminalError`."""
        ...

    def output(self) -> DurableFuture[Outcome[R_co] | None]:
        """Look at its outcome without waiting for it: `None` while there is none.

        ::

            match await invocation.output():
                case None: ...  # it is still running
                case Succeeded(value): ...
                case Failed(error): ...
        """
        ...


class InvocationHandle(ExistingInvocation[R_co], Protocol[R_co]):
    """An invocation whose id is known, or will be."""

    @property
    def invocation_id(self) -> DurableFuture[str]:
        """The id of the invocation (`inv_1...`)."""
        ...

    def cancel(self) -> None:
        """Cancel the invocation. It is told, and may still clean up or even go on; this does not wait for it."""
        ...

    def signal(self, name: str) -> SignalSender:
        """Return its signal of this name, to resolve or reject it."""
        ...
