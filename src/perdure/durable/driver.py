"""The driver: the only place where a machine meets I/O.

It runs a handler as the root branch, and makes the order of everything durable a function of the journal
(`perdure.durable.turns` has the theory). One turn looks like this::

    a branch holds the turn, issues commands, then parks
      -> somebody else is ready?      it gets the turn
      -> a notification is queued?    deliver exactly one; whoever waited for it becomes ready
      -> nothing left:                hand over the output in one piece, start closures not yet started,
                                      wait for input; with the input closed and no closure running: suspend

Whoever notices that nothing runs does this work: the branch that parks, the reader when input arrives, a closure that
ends. There is no scheduler task, so a handler that replays never leaves its own task: a replayed step costs no trip
through the event loop.

**Who reads.** A parked branch that has nothing else to do reads the input itself, so that an answer that is here at
once costs no trip through the loop either. As soon as the handler's task waits for anything else (a closure's I/O, a
plain await, a peer that does not take our output) a *reader* task is started, and reads until the end of the attempt:
input that nobody takes would stop every other stream of an HTTP/2 connection.

**Who hears what.** Cancellation of the host (Ctrl-C, a server that shuts down) reaches the handler's task like any
other. The driver steps the handler by hand and sees it come: it *fences* the attempt first and lets the cancellation
through then. So nothing that unwinds can write to a journal that is no longer its own. A cancellation that hits a
durable await any other way can only come from a native scope the user put around it, which no journal knows; it is
refused as such. One kind tells not where it comes from: asyncio's own `Task.cancel`, which hosts use and
`asyncio.timeout` too. That one is judged by what follows. A timeout takes it back; until then nothing durable happens.

**Fence.** An attempt that is over (suspended, disconnected, shut down, failed) is fenced: durable awaits raise the
loop's own cancellation, also under native shields, and other durable operations do nothing.

**Closures** run without the turn. The closure of a `run` that is awaited directly runs in the task of the branch that
awaits it (the branch cannot go on before it anyway), in a context of its own; others get a task. If it finishes without
waiting for anything, its command and its result leave in the same piece.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import Any, Final

import anyio
import anyio.abc
import anyio.lowlevel

from perdure.durable.cancellation import Cancellation
from perdure.durable.children import Children
from perdure.durable.clock import Clock, SystemClock
from perdure.durable.closures import Closure
from perdure.durable.failures import BROKEN, NOT_RETRIED, StepFailed, write_failure
from perdure.durable.link import Link
from perdure.durable.loop import is_being_cancelled, is_stray, open_scope, raise_cancelled
from perdure.durable.runs import Runs
from perdure.durable.source import parked_location, user_location
from perdure.durable.stepping import Watched
from perdure.durable.transport import ByteTransport, Disconnected, MessageTransport
from perdure.durable.turns import Branch, Turns, Wake
from perdure.exceptions import InvocationCancelled, JournalMismatchError, PerdureError, ProtocolError, UsageError
from perdure.machine.awaiting import PENDING, Combined, Leaf, Node, open_leaves
from perdure.machine.invocation import Invocation
from perdure.wire.messages import CombinatorType, Failure, Value
from perdure.wire.versions import ProtocolVersion

__all__ = ["Driver", "DriverBranch", "End"]

YIELD_EVERY: Final = 0.005
"""Seconds that a handler may run without a native checkpoint while everything it awaits is already here."""

BREATHE_EVERY: Final = 128
"""Deliveries after which the clock is asked whether `YIELD_EVERY` has passed."""

HINT_AFTER: Final = 0.02
"""Seconds of waiting after which a version 7 runtime is told what the handler waits for."""


_FOREIGN: Final = (
    "a native {what} surrounds a durable await ({where}): its moment is in no journal, so a replay could not repeat "
    "it. Race the durable future with ctx.sleep in ctx.select, or put the native one inside a step (ctx.run)"
)


class End(enum.Enum):
    """How an attempt ended."""

    ENDED = "ended"
    SUSPENDED = "suspended"
    FAILED = "failed"
    DISCONNECTED = "disconnected"
    CANCELLED = "cancelled"


class DriverBranch(Branch):
    """A branch with its native side: whether its code runs right now, and the event that wakes its task."""

    __slots__ = ("event", "stepping")

    def __init__(self, path: tuple[int, ...]) -> None:
        super().__init__(path)
        self.stepping: bool = False
        self.event: anyio.Event | None = None


class Driver:
    """Runs one attempt.

    Args:
        machine: the attempt's machine, fresh.
        transport: the runtime.
        messages: whether the transport speaks objects instead of bytes.
        clock: where to read the time.
        on_idle: called when every branch is parked, nothing runs and all output was handed over: only the runtime can
            bring anything about now.
        home: where tasks are started; without it the attempt opens a group of its own.

    Attributes:
        fenced: whether the attempt is over, so that nothing durable happens any more.
        runs: its closures.
        cancellation: of the invocation.
        delivering: whether a notification is being delivered, so that commands are issued for no branch.
        end: how it ended, once it has.
        failure: the error it failed with, if it did.
    """

    __slots__ = (
        "_breathe_at",
        "_children",
        "_clock",
        "_coroutine",
        "_deadline",
        "_delivered",
        "_doubt",
        "_home",
        "_link",
        "_named_signals",
        "_natively_at",
        "_on_idle",
        "_over",
        "_reader",
        "_reading",
        "_root",
        "_scope",
        "_thread",
        "_unwritable",
        "_yielded_at",
        "cancellation",
        "delivering",
        "end",
        "failure",
        "fenced",
        "machine",
        "runs",
        "turns",
    )

    def __init__(
        self,
        machine: Invocation,
        transport: ByteTransport | MessageTransport,
        *,
        messages: bool = False,
        clock: Clock | None = None,
        on_idle: Callable[[], None] | None = None,
        home: anyio.abc.TaskGroup | None = None,
    ) -> None:
        self._on_idle = on_idle
        self.machine: Invocation = machine
        self._link = Link(machine, transport, messages=messages, lost=self._lost)
        self._clock: Clock = clock if clock is not None else SystemClock()
        self.turns: Turns[DriverBranch] = Turns()
        self._root = DriverBranch((0,))
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._thread = get_ident()
        self._doubt = False
        self._natively_at: str | None = None
        self._home = home
        self._children: Children | None = None
        self._deadline = math.inf
        self._scope: anyio.CancelScope | None = None
        self._over = False
        self._unwritable = False
        self._reader = False
        self._reading = False
        self.runs: Runs = Runs(machine, self._clock, self)
        self.cancellation: Cancellation = Cancellation(machine)
        self._named_signals = False
        self._delivered = 0
        self._breathe_at = BREATHE_EVERY
        self._yielded_at = 0.0
        self.delivering: bool = False
        self.fenced: bool = False
        self.end: End | None = None
        self.failure: BaseException | None = None

    # --- the attempt -----------------------------------------------------------------------------------------------

    async def run(self, handler: Callable[[], Coroutine[Any, Any, None]]) -> End:
        """Read the journal, run `handler` as the root branch, and end the attempt.

        `handler` writes the output itself; an error that it raises fails the attempt.

        Raises:
            Exception: what the transport raised, other than `Disconnected`.
        """
        machine = self.machine
        try:
            await self._read_journal()
        except ProtocolError as error:
            self.failure = error
            write_failure(self.machine, error)
            await self.flush()
            return self._close(End.FAILED)
        except Disconnected:
            if self._link.error is not None:
                raise self._link.error from None
            return self._close(End.DISCONNECTED)
        self._yielded_at = self._clock.monotonic()
        root = self._root
        self.turns.adopt(root)
        self.turns.grant()
        if self._home is not None:
            await self._run_in(self._home, handler)
        else:
            async with anyio.create_task_group() as home:
                await self._run_in(home, handler)
        if self._link.error is not None:
            raise self._link.error
        assert self.end is not None
        assert machine.closed or self.end in {End.DISCONNECTED, End.CANCELLED}
        return self.end

    async def _run_in(self, home: anyio.abc.TaskGroup, handler: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the handler, its tasks in `home`, and hand over the last output."""
        children = self._children = Children(home, self._child_failed)
        try:
            try:
                with open_scope() as self._scope:
                    self._deadline = anyio.current_effective_deadline()
                    await self._run_root(handler)
            except anyio.get_cancelled_exc_class() as cancelled:  # noqa: ASYNC103 - what nobody meant is a failure, told as one
                if not self._was_taken_back() and not self._was_stray(cancelled):
                    raise
            else:
                self._was_taken_back()
            if self.failure is not None:
                write_failure(self.machine, self.failure)
            await self.flush()
        finally:
            self._over = True
            if not self.fenced:
                self._fence(End.CANCELLED)
            await children.end()  # noqa: ASYNC102 - it shields itself, and waits for what is cancelled

    def _child_failed(self) -> None:
        self._fence(End.CANCELLED)

    def _interrupted(self) -> None:
        """The loop is about to cancel the handler's task. Where the host does it, the fence comes first."""
        scope = self._scope
        if self.fenced or scope is None:
            return
        if anyio.current_effective_deadline() != -math.inf:  # no scope: it is asyncio's own
            self._doubt = True
            self._thread = 0  # so that the next durable operation looks closer
            return
        scope.shield = True
        from_inside = anyio.current_effective_deadline() == -math.inf
        scope.shield = False
        if not from_inside:
            self._fence(End.CANCELLED)

    def _beyond_doubt(self, branch: DriverBranch) -> DriverBranch:
        """A durable operation after asyncio cancelled the task: only where somebody took that back."""
        if is_being_cancelled():
            self._natively_at = user_location()
            self._fence(End.CANCELLED)
            raise anyio.get_cancelled_exc_class()
        self._doubt = False
        self._thread = get_ident()
        return branch

    async def _cancelled_at_await(self) -> None:
        """A durable await was cancelled, and it was not the host; or asyncio cannot tell yet."""
        if anyio.current_effective_deadline() != -math.inf:
            self._natively_at = self._parked_at()
            self._fence(End.CANCELLED)
        else:
            await self._foreign_scope("cancel scope or task group")

    def _was_taken_back(self) -> bool:
        """Whether asyncio cancelled a durable await and it was not the host: a native timeout; that is told."""
        if self._natively_at is None or self.end is not End.CANCELLED or is_being_cancelled():
            return False
        self.failure = UsageError(_FOREIGN.format(what="timeout of asyncio", where=self._natively_at))
        self.end = End.FAILED
        self._link.mute = False
        return True

    def _was_stray(self, cancelled: BaseException) -> bool:
        """Whether the handler let a cancellation through that was meant for something else; that fails the attempt."""
        if self.fenced or not is_stray():
            return False
        error = RuntimeError("the handler let the cancellation of something else through")
        error.__cause__ = cancelled
        self._root_failed(error)
        return True

    async def _run_root(self, handler: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._coroutine = handler()
        try:
            await Watched(self._coroutine, self._root, self._task_waits, self._interrupted)
        except PerdureError as error:
            self._root_failed(error)
        except Exception as error:  # noqa: BLE001 - reported: it becomes the outcome of the attempt
            self._root_failed(error)
        except BaseExceptionGroup as group:
            # A native nursery wrapped the invocation's cancellation. The loop's own goes on to its scope.
            if group.split((Exception, InvocationCancelled))[1] is not None:
                raise
            self._root_failed(group)
        else:
            if not self.fenced:
                self._fence(End.ENDED)

    def _root_failed(self, error: BaseException) -> None:
        if self.fenced:
            return  # errors of what unwinds are no outcome; the handler layer logs them
        self.failure = error
        self._fence(End.FAILED)

    def _close(self, end: End) -> End:
        self._over = True
        self._fence(end)
        assert self.end is not None
        return self.end

    async def drain(self) -> None:
        """Wait for nothing more: the attempt suspends where it waits next, or now if it waits already."""
        if self.fenced or self._over:
            return
        self.machine.input_closed = True
        if self.machine.ready and self._children is not None and self.turns.holder is None:
            await self._rest()

    async def _read_journal(self) -> None:
        machine, link = self.machine, self._link
        while not machine.ready:
            link.feed(await link.receive())

    # --- the fence -------------------------------------------------------------------------------------------------

    def _fence(self, end: End) -> None:
        """The attempt is over: whatever unwinds from here on changes nothing."""
        self._seal(end)
        link = self._link
        if (end is End.DISCONNECTED or end is End.CANCELLED) and not link.mute:
            link.mute = True
            if link.sending or self.machine.has_output:
                self.end = end  # however it had ended, the runtime was not told
        if self._scope is not None and end is not End.ENDED:
            self._scope.cancel()
        self.runs.interrupt()

    def _seal(self, end: End) -> None:
        """Nothing durable happens any more; what runs goes on until the last message has left."""
        if not self.fenced:
            self.fenced = True
            self.end = end

    def broken(self, error: PerdureError) -> PerdureError:
        """A command could not be issued: fence the attempt, say where, and give the error back to be raised."""
        if isinstance(error, JournalMismatchError) and not error.location:
            error.location = user_location()
        if isinstance(error, BROKEN) and not self.fenced:
            self.failure = error
            self._fence(End.FAILED)
        return error

    async def _abort(self, error: BaseException) -> None:
        """Fail the attempt from outside the handler: the message leaves before user code unwinds."""
        if self.fenced:
            return
        if isinstance(error, JournalMismatchError) and not error.location:
            error.location = self._parked_at()
        self._seal(End.FAILED)
        self.failure = error.cause if isinstance(error, StepFailed) else error
        write_failure(self.machine, error)
        await self.flush()
        self._fence(End.FAILED)

    # --- input and output ------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """The reader: takes everything that arrives at once."""
        link = self._link
        try:
            while True:
                link.feed(await link.receive())
                if self.turns.holder is None:
                    self._pump()
        except Disconnected:
            self._fence(End.DISCONNECTED)
        except BROKEN as error:
            await self._abort(error)
        except anyio.get_cancelled_exc_class():
            if not self._over:
                self._fence(End.CANCELLED)
            raise

    def _task_waits(self) -> None:
        if not self._reading:
            self.start_reader()

    def start_reader(self) -> None:
        """The handler's task waits for something else than input: from now on a task of its own reads."""
        if not self._reader and self._children is not None and not self._over:
            self._reader = True
            self._children.start(self._read)

    async def _read_once(self) -> None:
        """A parked branch reads: nothing else can happen meanwhile."""
        if self.fenced:
            await self._unwind()
        if -math.inf < anyio.current_effective_deadline() < self._deadline:
            await self._foreign_scope("deadline")
        self._reading = True
        try:
            piece = await self._link.receive()
        except Disconnected:
            self._fence(End.DISCONNECTED)
            piece = None
        except anyio.get_cancelled_exc_class():
            self._reading = False
            if not self.fenced:
                await self._cancelled_at_await()  # noqa: ASYNC102 - it shields itself for a second
            raise
        finally:
            self._reading = False
        if self.end is not None:  # fenced meanwhile
            await self._unwind()
        try:
            self._link.feed(piece)
        except ProtocolError as error:
            await self._fail_parked(error)

    async def flush(self) -> None:
        """Send what the machine has written, and return when it was handed over."""
        await self._link.flush()
        if self._unwritable:
            self._fence(End.FAILED)

    def _lost(self, reason: BaseException) -> None:
        if isinstance(reason, UsageError):
            self._unwritable = True
            self._seal(End.FAILED)
            self.end = End.FAILED
            self.failure = reason
            write_failure(self.machine, reason)
        else:
            self._fence(End.DISCONNECTED if isinstance(reason, Disconnected) else End.CANCELLED)

    # --- the turn --------------------------------------------------------------------------------------------------

    def holder(self) -> DriverBranch:
        """The branch that runs now.

        Raises:
            UsageError: this code may not use the context, with the reason.
        """
        branch = self.turns.holder
        if branch is not None and branch.stepping:
            if get_ident() == self._thread:
                return branch
            if self._doubt:
                return self._beyond_doubt(branch)
        raise UsageError(self._misuse())

    def check_not_over(self) -> None:
        """Tell code that goes on after its handler has ended.

        Raises:
            UsageError: the attempt is not merely being unwound, it has ended.
        """
        if self._over:
            raise UsageError(self._misuse())

    def _misuse(self) -> str:
        where = user_location() or parked_location(self._coroutine)
        place = f" ({where})" if where else ""
        if self._over:
            return f"the context is used after its handler has ended{place}: nothing durable can happen any more"
        if self._root.stepping or self.runs.running:
            return (
                f"the context is used inside a step{place}: a function given to ctx.run may do anything but durable "
                "operations. Return its result and do the durable part in the handler"
            )
        return (
            f"the context is used from a task that the handler did not start through the context{place}: only the "
            "handler's own task can do durable operations"
        )

    def _advance(self) -> DriverBranch | None:
        """Give the turn to whoever is next, delivering notifications until somebody is; `None`: nobody, nothing."""
        turns = self.turns
        machine = self.machine
        while True:
            branch = turns.grant()
            if branch is not None:
                return branch
            self.delivering = True
            try:
                woken: Any = machine.deliver()
            finally:
                self.delivering = False
            if woken is None:
                return None
            self._delivered += 1
            if woken:
                if len(woken) == 1:
                    turns.wake(woken[0], Wake.VALUE)
                else:
                    turns.wake_settled(woken)
            elif machine.cancelled and not self.cancellation.seen:
                self._cancel_delivered()

    async def wait(self, node: Node) -> None:
        """Park the branch that holds the turn until `node` is settled.

        Raises:
            InvocationCancelled: the invocation was cancelled; once, at the root branch.
            UsageError: this code may not wait durably.
        """
        if self.fenced:
            await self._unwind()
        branch = self.holder()
        if self.cancellation.pending and branch is self._root and self.cancellation.take():
            raise InvocationCancelled
        if node.state == PENDING:
            await self._wait(branch, node)
            return
        self._delivered += 1  # nothing was, but nothing made the loop run either
        if self._delivered >= self._breathe_at:
            await self._breathe()

    async def _wait(self, branch: DriverBranch, node: Node) -> None:
        signals: list[Leaf] = []
        try:
            if self._named_signals:
                self._collect_signals(node, signals)
            if node.state != PENDING:
                return
            self.turns.park(branch, node)
            node.add_waiter(branch)
            await self._park(branch, node)
        finally:
            for signal in signals:
                self.machine.withdraw_signal(signal)
        error = branch.error
        if error is not None:
            branch.error = None
            node.remove_waiter(branch)
            raise error

    async def _unwind(self) -> None:
        """A durable await in an attempt that is over; the message that ended it leaves first."""
        if self._over:
            raise UsageError(self._misuse())
        await self.flush()
        assert self.end is not None
        self._fence(self.end)
        await raise_cancelled()

    def _collect_signals(self, node: Node, waiting: list[Leaf]) -> None:
        """Let the named signals below `node` take what was kept for them, or wait; list those that wait."""
        for leaf in open_leaves((node,)):
            if isinstance(leaf.signal, str):
                waiting.append(leaf)
                woken: list[Any] = self.machine.collect_signal(leaf)
                self.turns.wake_settled(woken)
                if node.state != PENDING:
                    return  # decided: what is left takes nothing

    async def _park(self, branch: DriverBranch, node: Node) -> None:
        """Until `branch` has the turn again: do whatever there is to do."""
        while True:
            try:
                following = self._advance()
            except BROKEN as error:
                await self._fail_parked(error)  # noqa: ASYNC120 - it raises the loop's cancellation, and keeps the error
                raise  # not reached: the attempt is over, and its branches are unwound
            if following is branch:
                if self._delivered >= self._breathe_at:
                    await self._breathe()
                return
            if following is not None:
                self._rouse(following)
            elif await self._idle(node):
                continue
            if self.turns.holder is branch:
                return
            await self._sleep_until_turn(branch)
            return

    @staticmethod
    def _rouse(branch: DriverBranch) -> None:
        """Wake the task of a branch that was given the turn, if it sleeps."""
        if branch.event is not None:
            branch.event.set()

    async def _breathe(self) -> None:
        """Everything was here already: let the loop run now and then, with the turn held."""
        self._breathe_at = self._delivered + BREATHE_EVERY
        now = self._clock.monotonic()
        if now - self._yielded_at >= YIELD_EVERY:
            self._yielded_at = now
            self._reading = True  # this wait is ours, and over at once
            await anyio.lowlevel.cancel_shielded_checkpoint()
            self._reading = False
            if self.fenced:
                await self._unwind()

    async def _fail_parked(self, error: PerdureError) -> None:
        await self._abort(error)
        await self._unwind()

    async def _idle(self, node: Node) -> bool:
        """Nobody is ready and nothing is queued. Returns whether to look again at once."""
        machine = self.machine
        if machine.replaying:
            await self._fail_parked(machine.unreachable(f"waiting for {_name(node)}"))
        own = self._start_closures(node)
        if own is not None:
            await self._execute_here(own)
            return self.turns.holder is None
        await self.flush()
        if self.turns.holder is not None or self.fenced:
            return False
        if machine.undelivered:
            return True
        if self.runs.running:
            return False
        if machine.input_closed:
            await self._suspend()
            return False
        if self._on_idle is not None:
            self._on_idle()
        if self._reader or len(self.turns.alive) > 1:
            return False
        if machine.version >= ProtocolVersion.V7 and not (isinstance(node, Leaf) and isinstance(node.tag, Closure)):
            self.start_reader()  # this may take long: the runtime is told what is waited for
            return False
        await self._read_once()
        return self.turns.holder is None

    async def _sleep_until_turn(self, branch: DriverBranch) -> None:
        event = branch.event = anyio.Event()
        self.start_reader()
        if self.fenced:
            await self._unwind()
        if -math.inf < anyio.current_effective_deadline() < self._deadline:
            await self._foreign_scope("deadline")
        try:
            if self.machine.version >= ProtocolVersion.V7 and not self.machine.input_closed:
                with anyio.move_on_after(HINT_AFTER):
                    await event.wait()
                if not event.is_set() and self.turns.holder is None:
                    self.machine.awaiting_on(self._parked_nodes(), executing=bool(self.runs.running))
                    await self.flush()
            await event.wait()
        except anyio.get_cancelled_exc_class():
            if not self.fenced:
                await self._cancelled_at_await()  # noqa: ASYNC102 - it shields itself for a second
            raise
        finally:
            branch.event = None
        if self.turns.holder is not branch:  # the fence woke us
            await self._unwind()

    async def _foreign_scope(self, what: str) -> None:
        error = UsageError(_FOREIGN.format(what=what, where=self._parked_at()))
        with anyio.move_on_after(1, shield=True):
            await self._abort(error)
        self._fence(End.FAILED)
        await self._unwind()

    # --- without a branch ------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Input arrived, or a closure ended, while every branch is parked."""
        if self.fenced or self.turns.holder is not None:
            return
        assert self._children is not None
        machine = self.machine
        try:
            following = self._advance()
        except BROKEN as error:
            self._children.start(self._abort, error)
            return
        if following is not None:
            self._rouse(following)
        elif machine.replaying:
            what = ", ".join(map(_name, self._parked_nodes()))
            self._children.start(self._abort, machine.unreachable(f"waiting for {what}"))
        else:
            self._start_closures(None)
            if not self.runs.running and (machine.input_closed or self._on_idle is not None):
                self._children.start(self._rest)
            elif machine.has_output:
                self._children.start(self.flush)

    async def _rest(self) -> None:
        """Nothing runs: hand over what there is, then suspend or say that nothing runs."""
        await self.flush()
        if self.fenced or self.runs.running:
            return
        if self.turns.holder is not None or self.machine.undelivered:
            return
        if self.machine.input_closed:
            await self._suspend()
        elif self._on_idle is not None:
            self._on_idle()

    def _parked_at(self) -> str:
        """The line at which the handler waits: found from inside its task, or from outside."""
        if self._root.stepping:
            return user_location()
        return parked_location(self._coroutine)

    def _parked_nodes(self) -> list[Node]:
        return [branch.parked_on for branch in self.turns.parked()]

    async def _suspend(self) -> None:
        """The input is closed and nothing runs: leave, until what we wait for is in the journal."""
        if self.fenced:
            return
        nodes = self._parked_nodes()
        if not self.machine.can_suspend_on(nodes):
            places = ", ".join(f"branch {'.'.join(map(str, branch.path))}" for branch in self.turns.parked())
            await self._abort(
                UsageError(
                    f"the handler waits for something that nothing can bring about ({places}, {self._parked_at()}): "
                    "every branch is parked and no timer, call, signal or step is left to end the wait"
                )
            )
            return
        self._seal(End.SUSPENDED)
        self.machine.suspend(nodes)
        await self.flush()
        self._fence(End.SUSPENDED)

    # --- closures --------------------------------------------------------------------------------------------------

    def _start_closures(self, node: Node | None) -> Closure | None:
        """Start what has no result in the journal; give back the one that `node` is, for its branch to run."""
        own: Closure | None = None
        for closure in self.runs.start():
            if closure.leaf is node:
                own = closure
            else:
                assert self._children is not None
                self._children.start(self._execute_in_task, closure)
        return own

    async def _execute_in_task(self, closure: Closure) -> None:
        await self.flush()
        await self._execute(closure, inline=False)
        if not self.fenced:
            await self.flush()
            self._pump()

    async def _execute(self, closure: Closure, *, inline: bool) -> None:
        """Run a closure to its proposal."""
        failure: Exception | None = None
        result: Value | Failure | None = None
        try:
            result = await self.runs.result_of(closure, inline=inline)
        except (StepFailed, *NOT_RETRIED) as error:
            failure = error
        finally:
            self.runs.ended(closure)
        if failure is not None:
            await self._abort(failure)
        elif result is not None and not self.fenced:
            self.machine.propose_run(closure.leaf, result)

    async def _execute_here(self, closure: Closure) -> None:
        """Run the closure that this branch awaits, in this branch's task."""
        try:
            await self._execute(closure, inline=True)
        except anyio.get_cancelled_exc_class():
            if not self.fenced:
                await self._cancelled_at_await()  # noqa: ASYNC102 - it shields itself for a second
            raise
        if self.fenced:
            await self._unwind()
        await self.flush()

    def flush_soon(self) -> None:
        """Hand over the output without waiting for that."""
        assert self._children is not None
        self._children.start(self.flush)

    def is_busy(self) -> bool:
        """Whether branches other than the root are alive."""
        return len(self.turns.alive) > 1

    # --- signals ---------------------------------------------------------------------------------------------------

    def expect_named_signals(self) -> None:
        """The handler uses signals by name: waiting for one takes part in its mailbox."""
        self._named_signals = True

    def _cancel_delivered(self) -> None:
        """The cancel signal was delivered, while every branch is parked."""
        cancellation = self.cancellation
        cancellation.delivered()
        self.runs.cancel()
        node = self._root.parked_on
        if not cancellation.pending or (isinstance(node, Leaf) and isinstance(node.tag, Closure)):
            return  # a step that was cancelled wakes the root by its completion; the root raises then
        if self.turns.wake(self._root, Wake.ERROR, InvocationCancelled()):
            cancellation.take()

    # --- the end of the handler ------------------------------------------------------------------------------------

    async def finish(self, *, stop: bool = False) -> None:
        """Leave the handler's block: every step made in it is executed or cancelled, every marked call is cancelled.

        A step that nobody awaited is still executed, and its failure is the handler's. A step that was given to a
        combinator and lost is cancelled, and so is every step when the handler was cancelled, or failed (`stop`).

        Raises:
            TerminalError: the one step that nobody awaited and that failed.
            ExceptionGroup: several such steps failed.
        """
        if self.fenced:
            await self._unwind()
        branch = self.holder()
        self.cancellation.dropped = True
        runs = self.runs
        if not runs.open and self.cancellation.owes_nothing:
            return
        while True:
            unsettled = runs.unsettled()
            stopped = [closure for closure in unsettled if stop or closure.cancelled or closure.leaf.lost]
            for closure in stopped:
                runs.withdraw(closure)
            awaited: list[Node] = [closure.leaf for closure in unsettled if closure not in stopped]
            awaited.extend(self.cancellation.owed())
            if not awaited:
                break
            await self._wait(branch, Combined(CombinatorType.ALL_COMPLETED, awaited))
        # Nothing durable follows but the output, so the native end of a stopped closure can be waited for natively.
        for closure in stopped:
            if closure.running:
                closure.ended = anyio.Event()
                await closure.ended.wait()
        failures = [] if stop else runs.unobserved_failures()
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup("steps that nobody awaited failed", failures)


def _name(node: Node) -> str:
    labels = [leaf.label for leaf in open_leaves((node,))]
    return ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")  # noqa: PLR2004 - enough to recognise
