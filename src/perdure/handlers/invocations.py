"""Handles of other invocations, as a context gives them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from perdure.durable.combinators import Failed, Outcome, Succeeded
from perdure.durable.future import DurableFuture, JournalFuture
from perdure.durable.outcome import error_of, failure_of
from perdure.exceptions import TerminalError
from perdure.machine.awaiting import Leaf, Relay
from perdure.wire.messages import Failure, InvocationId, Result, Target, Void

if TYPE_CHECKING:
    from perdure.durable.serde import Serde
    from perdure.handlers.invocation_context import InvocationContext

__all__ = ["ContextInvocation", "ContextTarget", "OutcomeFuture", "read_id", "read_outcome"]

R = TypeVar("R")


def read_id(result: Result) -> str:
    """The invocation id in a completion."""
    assert isinstance(result, InvocationId)
    return result.id


def read_outcome(read: Callable[[Result], R]) -> Callable[[Result], Outcome[R] | None]:
    """A reader of results that may be missing, and whose failures are told instead of raised."""

    def outcome(result: Result) -> Outcome[R] | None:
        if result.__class__ is Void:
            return None
        if isinstance(result, Failure):
            return Failed(error_of(result))
        return Succeeded(read(result))

    return outcome


class OutcomeFuture(JournalFuture[R]):
    """A future whose failures are values."""

    __slots__ = ()

    def _read(self) -> R:
        result = self._node.result  # type: ignore[attr-defined]  # the node of a journal future is a leaf
        return self._decode(result)


class ContextTarget(Generic[R]):
    """An invocation that was made elsewhere, named by its key or its idempotency key."""

    __slots__ = ("_ctx", "_read", "_target")

    def __init__(self, ctx: InvocationContext, target: Target, read: Callable[[Result], R]) -> None:
        self._ctx = ctx
        self._target = target
        self._read = read

    def attach(self) -> DurableFuture[R]:
        """Wait for its result; its failure is raised as `TerminalError`."""
        driver = self._ctx.driver
        return JournalFuture(driver, self._ctx.leaf(driver.machine.attach, self._target), self._read)

    def output(self) -> DurableFuture[Outcome[R] | None]:
        """Look at its outcome without waiting for it: `None` while there is none."""
        driver = self._ctx.driver
        leaf = self._ctx.leaf(driver.machine.get_output, self._target)
        return OutcomeFuture(driver, leaf, read_outcome(self._read))


class ContextSignal:
    """A named signal of another invocation."""

    __slots__ = ("_handle", "_name")

    def __init__(self, handle: ContextInvocation[Any], name: str) -> None:
        self._handle = handle
        self._name = name

    def resolve(self, value: object = None, *, serde: Serde[Any] | None = None) -> None:
        """Send the signal with a value."""
        ctx = self._handle.ctx
        data, stable = ctx.write_value(value, serde, f"the value of signal {self._name!r}")
        self._handle.with_id(lambda id: ctx.send_signal(id, self._name, data, stable=stable))

    def reject(self, message: str, *, code: int = 500) -> None:
        """Send the signal as a failure."""
        ctx = self._handle.ctx
        failure = failure_of(TerminalError(message, code=code))
        self._handle.with_id(lambda id: ctx.send_signal(id, self._name, failure))


class ContextInvocation(Generic[R]):
    """An invocation whose id is known, or will be.

    What is done to it before its id is delivered happens at that delivery: a fixed place in the journal.
    """

    __slots__ = ("_id", "_id_leaf", "_read", "ctx", "invocation_id")

    def __init__(
        self,
        ctx: InvocationContext,
        invocation_id: DurableFuture[str],
        read: Callable[[Result], R],
        *,
        id: str | None = None,
        id_leaf: Leaf | None = None,
    ) -> None:
        self.ctx: InvocationContext = ctx
        self.invocation_id: DurableFuture[str] = invocation_id
        self._read = read
        self._id = id
        self._id_leaf = id_leaf

    def with_id(self, act: Callable[[str], None]) -> None:
        """Do something with the id: now, or as soon as it is delivered."""
        if self._id is not None:
            act(self._id)
            return
        leaf = self._id_leaf
        assert leaf is not None
        self.ctx.owe(leaf, lambda: act(read_id(leaf.result)))  # type: ignore[arg-type]  # settled when this is called

    def cancel(self) -> None:
        """Cancel the invocation; this does not wait for it."""
        self.with_id(self.ctx.cancel_invocation)

    def signal(self, name: str) -> ContextSignal:
        """Its signal of this name, to resolve or reject it."""
        return ContextSignal(self, name)

    def attach(self) -> DurableFuture[R]:
        """Wait for its result; its failure is raised as `TerminalError`."""
        return JournalFuture(self.ctx.driver, self._node(self.ctx.driver.machine.attach), self._read)

    def output(self) -> DurableFuture[Outcome[R] | None]:
        """Look at its outcome without waiting for it: `None` while there is none."""
        return OutcomeFuture(self.ctx.driver, self._node(self.ctx.driver.machine.get_output), read_outcome(self._read))

    def _node(self, command: Callable[[Target], Leaf]) -> Leaf | Relay:
        if self._id is not None:
            return cast("Leaf", self.ctx.leaf(command, InvocationId(self._id)))
        leaf = self._id_leaf
        assert leaf is not None
        return self.ctx.relay(leaf, lambda: command(cast("InvocationId", leaf.result)))
