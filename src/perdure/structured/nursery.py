"""Durable nurseries: branches that run concurrently, and replay in the same order.

A child is a branch with a task of its own. It gets the turn behind everybody who is ready when it is started, runs
until its first durable await, and then like any other branch. The nursery's block ends when all children have ended and
the results of all steps made in it are in the journal: both are facts of the journal, so the code after the block has
one place in every attempt.

The nursery collects errors itself and orders them, the body's first and then by child, since the first one decides how
the invocation ends. The loop's cancellation is never among them.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, TypeVarTuple

from perdure.durable.blocks import Block
from perdure.durable.branches import DriverBranch, Hears
from perdure.durable.driver import Driver
from perdure.durable.end import End
from perdure.durable.future import DurableFuture
from perdure.durable.host import stray_error
from perdure.durable.outcome import RUN_CANCELLED, terminal_of
from perdure.durable.source import user_location
from perdure.durable.turns import Wake
from perdure.exceptions import InvocationCancelled, RunCancelled, UsageError
from perdure.machine.awaiting import PENDING, SUCCEEDED, Leaf, Node
from perdure.structured.mixtures import split_cancelled
from perdure.structured.scope import NurseryScope
from perdure.wire.messages import Void

__all__ = ["BranchFuture", "Nursery", "TaskStatus"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Ts = TypeVarTuple("Ts")

_RETURNED = Void()
_SWALLOWED = (
    "child {name!r} swallowed the cancellation of an attempt that is over: let the loop's cancellation through; "
    "`except BaseException` and a bare `except` must re-raise it"
)


class BranchFuture(DurableFuture[T_co]):
    """The result of a child: done when the child has ended.

    Attributes:
        name: of the child, for error messages.
    """

    __slots__ = ("_outcome", "_raised", "name")

    def __init__(self, driver: Driver, name: str) -> None:
        super().__init__(driver, Leaf(0, label=name))
        self.name: str = name
        self._outcome: Any = None
        self._raised: BaseException | None = None

    def _read(self) -> T_co:
        if self._raised is not None:
            raise self._raised
        result: T_co = self._outcome
        return result

    def _end(self, outcome: Any, raised: BaseException | None) -> list[Any]:
        """The child has ended; returns who waited for that."""
        self._outcome = outcome
        self._raised = raised
        leaf = self._node
        assert isinstance(leaf, Leaf)
        return leaf.settle(_RETURNED if raised is None else RUN_CANCELLED)  # which failure, the future knows


class TaskStatus(Generic[T]):
    """Given to a child that `nursery.start` started, to say that it is ready.

    `started(value)` lets `start` return the value; it writes nothing to the journal.
    """

    __slots__ = ("_driver", "_leaf", "_value")

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._leaf = Leaf(0, label="the start of a child")
        self._value: Any = None

    def started(self, value: Any = None) -> None:
        """Say that the child has started.

        Raises:
            UsageError: it was said before.
        """
        driver = self._driver
        if driver.fenced:
            return
        driver.holder()
        if self._leaf.state != PENDING:
            raise UsageError("started() is called once: the child has started already")
        self._value = value
        driver.turns.wake_settled(self._wake())

    def _wake(self) -> list[Any]:
        return self._leaf.settle(_RETURNED)


class _Child:
    """A child of a nursery."""

    __slots__ = ("args", "branch", "failed_start", "fn", "future", "number", "nursery", "start_block", "status")

    branch: DriverBranch

    def __init__(
        self, nursery: Nursery, number: int, future: BranchFuture[Any], fn: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        self.nursery = nursery
        self.number = number
        self.future = future
        self.fn = fn
        self.args = args
        self.status: TaskStatus[Any] | None = None
        self.start_block: Block | None = None
        self.failed_start: BaseException | None = None

    @property
    def starting(self) -> bool:
        """Whether `nursery.start` still waits for it."""
        return self.status is not None and self.status._leaf.state == PENDING  # noqa: SLF001 - this module's own

    async def run(self) -> None:
        """The code of its branch."""
        fn, args = self.fn, self.args
        del self.fn, self.args
        try:
            value = await (fn(*args) if self.status is None else fn(*args, task_status=self.status))
        except BaseException as error:  # noqa: ASYNC103 - a cancelled child ends here; what nobody meant goes on
            if not self.nursery._failed(self, error):  # noqa: SLF001 - as above
                raise
        else:
            self.nursery._ended(self, value, None)  # noqa: SLF001 - as above


class Nursery:
    """A durable nursery; made by `ctx.open_nursery()`, used in one `async with` statement.

    Args:
        driver: runs the attempt.
        contain: whether a terminal failure of a child stays in its future, and cancels nobody.

    Attributes:
        cancel_scope: cancels the body and all children.
    """

    __slots__ = (
        "_block",
        "_children",
        "_contain",
        "_count",
        "_driver",
        "_errors",
        "_gate",
        "_host",
        "_open",
        "_scope",
    )

    def __init__(self, driver: Driver, *, contain: bool = False) -> None:
        self._driver = driver
        self._contain = contain
        self._block: Block | None = None
        self._host: DriverBranch | None = None
        self._scope: NurseryScope | None = None
        self._children: dict[_Child, None] = {}
        self._count = 0
        self._errors: dict[int, BaseException] = {}
        self._gate: Node | None = None
        self._open = False

    def __repr__(self) -> str:
        state = "open" if self._open else "closed" if self._block is not None else "new"
        return f"<durable nursery {state}, {len(self._children)} children>"

    # --- the block -------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        driver = self._driver
        if self._block is not None:
            raise UsageError("a nursery is opened once: ctx.open_nursery() makes another one")
        if driver.fenced:
            await driver.unwind()
        host = self._host = driver.holder()
        block = self._block = driver.stopping.enter(host)
        self._scope = NurseryScope(driver, block)
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:  # not `bool`: type checkers would take names bound in the block for unbound after it
        driver = self._driver
        block, host = self._block, self._host
        assert block is not None
        assert host is not None
        try:
            if driver.fenced:
                if error is None:
                    await driver.unwind()  # noqa: ASYNC102 - it raises the loop's cancellation
                return False
            bare = await self._join(host, block, error)  # noqa: ASYNC102 - durable: native scopes do not reach it
            forgotten = driver.runs.unobserved_failures(block)
            block.runs.clear()
        finally:
            self._open = False
            if driver.fenced:
                await driver.spawning.gone([child.branch for child in self._children])  # noqa: ASYNC102 - it is shielded
            driver.stopping.leave(block)
        return await self._result(host, block, error, bare, forgotten)  # noqa: ASYNC102 - as above

    async def _join(self, host: DriverBranch, block: Block, error: BaseException | None) -> InvocationCancelled | None:
        """Wait for every child and for every step of the block; returns the cancellation of the invocation, if told."""
        driver = self._driver
        bare = error if isinstance(error, InvocationCancelled) else None
        if error is not None:
            driver.stopping.cancel(block)
        while True:
            if self._children:
                gate = self._gate = Node()
                host.hears = Hears.INVOCATION
                try:
                    why = await driver.park(host, gate)
                finally:
                    host.hears = Hears.ALL
            else:
                unsettled = block.unsettled()
                for closure in unsettled:
                    if closure.leaf.lost:
                        closure.cancel()
                if not unsettled:
                    break
                why = await driver.stopping.wait_for_steps(
                    host, [closure.leaf for closure in unsettled], hears=Hears.INVOCATION
                )
            if why is Wake.CANCEL and driver.cancellation.take():
                bare = InvocationCancelled()
                driver.stopping.cancel(block)
        return bare

    async def _result(
        self,
        host: DriverBranch,
        block: Block,
        error: BaseException | None,
        bare: InvocationCancelled | None,
        forgotten: Sequence[BaseException],
    ) -> bool:
        """What comes of the block: the errors of its body, its children and its forgotten steps, in that order."""
        driver = self._driver
        assert self._scope is not None
        found, rest = (False, None) if error is None else split_cancelled(error)
        errors = [] if rest is None or rest is bare else [rest]
        errors.extend(self._errors[number] for number in sorted(self._errors))
        errors.extend(forgotten)
        if bare is not None:
            if errors:
                group = BaseExceptionGroup("errors while the invocation was being cancelled", errors)
                group.__context__ = bare.__context__
                bare.__context__ = group
            if bare is error:
                return False
            raise bare
        if errors:
            raise BaseExceptionGroup("errors in a durable nursery", errors) from None
        if host.block.cancelling() is not None:
            if error is not None:
                return False
            await driver.stopping.raise_reason(host)
        if not block.cancelled:
            return False
        self._scope.cancelled_caught = found
        return found

    # --- children --------------------------------------------------------------------------------------------------

    @property
    def cancel_scope(self) -> NurseryScope:
        """The scope of the body and all children."""
        if self._scope is None:
            raise UsageError("a nursery has its cancel scope once it is open: async with ctx.open_nursery() as nursery")
        return self._scope

    def start_soon(self, fn: Callable[[*Ts], Awaitable[T]], /, *args: *Ts, name: str | None = None) -> DurableFuture[T]:
        """Start a child: `fn(*args)` in a branch of its own. It runs when everybody before it has had the turn.

        A child that fails cancels the nursery, and its error is raised by the nursery's block, in a group.

        Args:
            fn: an async function. It may use the context, and this nursery.
            args: its arguments.
            name: of the child, for error messages; the function's own when it is not given.

        Returns:
            A future of its result: await it, select on it, combine it like any other.

        Raises:
            UsageError: the nursery is not open, or this code may not use it.
        """
        return self._spawn(fn, args, name).future

    async def start(self, fn: Callable[..., Awaitable[Any]], /, *args: Any, name: str | None = None) -> Any:
        """Start a child and wait until it has started: `fn(*args, task_status=...)` calls `task_status.started(value)`.

        Until then the child is cancelled with the caller, too, and an error of it is raised here, not by the block.

        Returns:
            The value that the child gave to `started`.

        Raises:
            UsageError: the child ended without having started.
        """
        driver = self._driver
        if driver.fenced:
            await driver.unwind()
        caller = driver.holder()
        if driver.stopping.alarmed and driver.stopping.stops(caller):
            await driver.stopping.raise_reason(caller)
        status: TaskStatus[Any] = TaskStatus(driver)
        child = self._spawn(fn, args, name, status)
        leaf = status._leaf  # noqa: SLF001 - this module's own
        why = await driver.park(caller, leaf)
        if why is Wake.CANCEL:
            assert child.start_block is not None
            if leaf.state == PENDING:
                driver.stopping.cancel(child.start_block)
                caller.hears = Hears.NONE
                try:
                    await driver.park(caller, leaf)
                finally:
                    caller.hears = Hears.ALL
            if child.failed_start is not None and not isinstance(child.failed_start, RunCancelled):
                raise child.failed_start
            await driver.stopping.raise_reason(caller)
        if child.failed_start is not None:
            raise child.failed_start
        return status._value  # noqa: SLF001 - this module's own

    def _spawn(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        name: str | None,
        status: TaskStatus[Any] | None = None,
    ) -> _Child:
        driver = self._driver
        future: BranchFuture[Any] = BranchFuture(driver, name or _name_of(fn))
        child = _Child(self, self._count, future, fn, args)
        if driver.fenced:
            driver.check_not_over()
            return child
        driver.holder()
        block, host = self._block, self._host
        if not self._open or block is None or host is None:
            raise UsageError(
                f"child {future.name!r} is started in a nursery that is not open ({user_location()}): start it inside "
                "the nursery's block, or from one of its children"
            )
        self._count += 1
        if status is not None:
            child.status = status
        child.branch = driver.spawning.spawn(host, block, child.run)
        if status is not None:
            child.start_block = child.branch.block = Block(block, child.branch)
            block.members.pop(child.branch)
        self._children[child] = None
        return child

    def _failed(self, child: _Child, error: BaseException) -> bool:
        """A child raised; tells whether that was taken care of."""
        driver = self._driver
        found, rest = split_cancelled(error)
        if driver.fenced:
            if rest is not None and rest is not driver.failure and driver.late is not None:
                driver.late(rest)
            return isinstance(rest, Exception)
        if rest is not None and not isinstance(rest, Exception | InvocationCancelled | BaseExceptionGroup):
            return False  # KeyboardInterrupt and the like
        block = self._block
        assert block is not None
        if rest is None and found and child.branch.block.cancelling() is None:
            rest = stray_error(error)
        if rest is None:
            self._ended(child, None, RunCancelled(f"child {child.future.name!r} was cancelled"))
            return True
        if not child.starting and not (self._contain and terminal_of(rest) is not None):
            self._errors[child.number] = rest
            driver.stopping.cancel(block)  # first, so that siblings that wait for this child are cancelled, too
        self._ended(child, None, rest)
        return True

    def _ended(self, child: _Child, value: Any, raised: BaseException | None) -> None:
        driver = self._driver
        if driver.fenced:
            if raised is None and child.branch.told and driver.end is not End.FAILED and driver.late is not None:
                driver.late(UsageError(_SWALLOWED.format(name=child.future.name)))
            return
        turns = driver.turns
        turns.wake_settled(child.future._end(value, raised))  # noqa: SLF001 - this module's own
        if child.starting:
            assert child.status is not None
            child.failed_start = raised or UsageError(
                f"child {child.future.name!r} ended without having started: call task_status.started()"
            )
            turns.wake_settled(child.status._wake())  # noqa: SLF001 - as above
        if child.start_block is not None:
            child.start_block.hand_over()
        self._children.pop(child)
        if not self._children and self._gate is not None and self._gate.state == PENDING:
            self._gate.state = SUCCEEDED
            assert self._host is not None
            turns.wake(self._host, Wake.VALUE)


def _name_of(fn: Callable[..., Any]) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return str(getattr(fn, "__name__", None) or type(fn).__name__)
