"""The driver: the only place where a machine meets I/O.

It runs a handler, and makes the order of everything durable a function of the journal (`perdure.durable.turns` has the
theory). One turn looks like this::

    a branch holds the turn, issues commands, then parks
      -> somebody else is ready?      it gets the turn
      -> a notification is queued?    deliver exactly one; whoever waited for it becomes ready
      -> nothing left:                hand over the output in one piece, start closures not yet started,
                                      wait for input; with the input closed and no closure running: suspend

Whoever notices that nothing runs does this work: the branch that parks or ends, the reader when input arrives, a
closure that ends. There is no scheduler task, so a handler that replays never leaves its own task: a replayed step
costs no trip through the event loop.

This module has the turn loop and the ends of an attempt. Beside it stand, one idea each: `host` (whose cancellation is
it?), `stopping` (durable cancellation), `spawning` (branches of nurseries), `execution` (steps), `resting` (suspending,
and telling what is waited for), `deadlines`, `holding`.

**Who reads.** A parked branch that has nothing else to do reads the input itself, so that an answer that is here at
once costs no trip through the loop either. As soon as a task of the handler waits for anything else (a closure's I/O, a
plain await, a peer that does not take our output), or a second branch is alive, a *reader* task is started, and reads
until the end of the attempt: input that nobody takes would stop every other stream of an HTTP/2 connection.

**Fence.** An attempt that is over (suspended, disconnected, shut down, failed) is fenced: durable awaits raise the
loop's own cancellation, also under native shields, and other durable operations do nothing. The fence wakes every
parked branch; in which order does not matter any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.abc
import anyio.lowlevel

from perdure.durable.blocks import Block
from perdure.durable.branches import DriverBranch
from perdure.durable.cancellation import Cancellation
from perdure.durable.children import Children
from perdure.durable.clock import Clock, SystemClock
from perdure.durable.closures import Closure
from perdure.durable.deadlines import Deadlines
from perdure.durable.end import End
from perdure.durable.execution import Execution
from perdure.durable.failures import BROKEN, StepFailed, write_failure
from perdure.durable.holding import PATIENCE, Holding, Patience
from perdure.durable.host import Host
from perdure.durable.link import Link
from perdure.durable.loop import Wakeup, effective_deadline, open_root_scope, raise_cancelled, wakeup
from perdure.durable.resting import HINT_AFTER, Resting, names_of
from perdure.durable.runs import Runs
from perdure.durable.signals import Signals
from perdure.durable.source import parked_location, user_location
from perdure.durable.spawning import Spawning
from perdure.durable.stepping import Watched
from perdure.durable.stopping import Stopping
from perdure.durable.transport import ByteTransport, Disconnected, MessageTransport
from perdure.durable.turns import Turns, Wake
from perdure.exceptions import InvocationCancelled, JournalMismatchError, PerdureError, ProtocolError, UsageError
from perdure.machine.awaiting import PENDING, Combined, Leaf, Node
from perdure.machine.invocation import Invocation
from perdure.wire.messages import CombinatorType
from perdure.wire.versions import ProtocolVersion

__all__ = ["Driver", "DriverBranch", "End"]

YIELD_EVERY: Final = 0.005
"""Seconds that a handler may run without a native checkpoint while everything it awaits is already here."""

BREATHE_EVERY: Final = 128
"""Deliveries after which the clock is asked whether `YIELD_EVERY` has passed."""

_PARTS: Final[dict[str, Callable[[Any], object]]] = {
    "deadlines": Deadlines,
    "execution": Execution,
    "holding": Holding,
    "resting": Resting,
    "signals": lambda driver: Signals(driver.machine, driver.turns),
    "spawning": Spawning,
    "stopping": lambda driver: Stopping(driver, driver.cancellation),
}
"""The parts that a driver makes when they are first used."""


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
        over: whether its handler has ended, too.
        root: the branch of the handler itself.
        handler_block: the block of the handler itself.
        runs: its closures.
        patience: with branches that keep the turn in plain awaits.
        delivering: whether a notification is being delivered, so that commands are issued for no branch.
        end: how it ended, once it has.
        failure: the error it failed with, if it did.
        late: called with errors of branches that unwind after the fence.
    """

    __slots__ = (
        "_breathe_at",
        "_deadline",
        "_delivered",
        "_home",
        "_reader",
        "_reading",
        "_unwritable",
        "_yielded_at",
        "cancellation",
        "children",
        "clock",
        "deadlines",
        "delivering",
        "end",
        "execution",
        "failure",
        "fenced",
        "handler_block",
        "holding",
        "host",
        "late",
        "link",
        "machine",
        "on_idle",
        "over",
        "patience",
        "resting",
        "root",
        "runs",
        "signals",
        "spawning",
        "stopping",
        "turns",
    )

    holding: Holding
    deadlines: Deadlines
    execution: Execution
    resting: Resting
    signals: Signals
    spawning: Spawning
    stopping: Stopping

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
        self.on_idle: Callable[[], None] | None = on_idle
        self.machine: Invocation = machine
        self.link: Link = Link(machine, transport, messages=messages, lost=self._lost)
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.turns: Turns[DriverBranch] = Turns()
        self.root: DriverBranch = DriverBranch((0,))
        self.handler_block: Block = Block(None, self.root)
        self.root.block = self.handler_block
        self.host: Host = Host(self)
        self._home = home
        self._deadline = math.inf
        self.children: Children | None = None
        self.over: bool = False
        self._unwritable = False
        self._reader = False
        self._reading = False
        self.cancellation: Cancellation = Cancellation(machine)
        self.runs: Runs = Runs(machine, self.clock, self)
        self.patience: Patience = PATIENCE
        self._delivered = 0
        self._breathe_at = BREATHE_EVERY
        self._yielded_at = 0.0
        self.delivering: bool = False
        self.fenced: bool = False
        self.end: End | None = None
        self.failure: BaseException | None = None
        self.late: Callable[[BaseException], None] | None = None

    if not TYPE_CHECKING:  # to a type checker the parts are attributes like any other

        def __getattr__(self, name: str) -> Any:
            """Make a part when it is first used: many attempts only replay, or do next to nothing."""
            make = _PARTS.get(name)
            if make is None:
                raise AttributeError(name)
            part = make(self)
            setattr(self, name, part)
            return part

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
            if self.link.error is not None:
                raise self.link.error from None
            return self._close(End.DISCONNECTED)
        self._yielded_at = self.clock.monotonic()
        self.turns.adopt(self.root)
        self.turns.grant()
        if self._home is not None:
            await self._run_in(self._home, handler)
        else:
            async with anyio.create_task_group() as home:
                await self._run_in(home, handler)
        if self.link.error is not None:
            raise self.link.error
        assert self.end is not None
        assert machine.closed or self.end in {End.DISCONNECTED, End.CANCELLED}
        return self.end

    async def _run_in(self, home: anyio.abc.TaskGroup, handler: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the handler, its tasks in `home`, and hand over the last output."""
        children = self.children = Children(home, self._child_failed)
        try:
            try:
                scope, self._deadline = open_root_scope()
                with scope as self.root.native:
                    await self._run_root(handler)
            except anyio.get_cancelled_exc_class() as cancelled:  # noqa: ASYNC103 - what nobody meant is a failure, told as one
                if not self.host.was_taken_back() and not self.host.was_stray(cancelled):
                    raise
            else:
                self.host.was_taken_back()
            if self.failure is not None:
                write_failure(self.machine, self.failure)
            await self.flush()
        finally:
            self.over = True
            if not self.fenced:
                self.fence(End.CANCELLED)
            await children.end()  # noqa: ASYNC102 - it shields itself, and waits for what is cancelled

    def _child_failed(self) -> None:
        self.fence(End.CANCELLED)

    async def _run_root(self, handler: Callable[[], Coroutine[Any, Any, None]]) -> None:
        root = self.root
        root.coroutine = handler()
        try:
            await Watched(root.coroutine, root, self.waits, self.host.interrupted)
        except PerdureError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - reported: it becomes the outcome of the attempt
            self.fail(error)
        except BaseExceptionGroup as group:
            # A native nursery wrapped the invocation's cancellation. The loop's own goes on to its scope.
            if group.split((Exception, InvocationCancelled))[1] is not None:
                raise
            self.fail(group)
        else:
            if not self.fenced:
                self.fence(End.ENDED)

    def fail(self, error: BaseException) -> None:
        """The handler failed with an error that ends the attempt."""
        if self.fenced:
            return  # errors of what unwinds are no outcome; the handler layer logs them
        self.failure = error
        self.fence(End.FAILED)

    def _close(self, end: End) -> End:
        self.over = True
        self.fence(end)
        assert self.end is not None
        return self.end

    async def drain(self) -> None:
        """Wait for nothing more: the attempt suspends where it waits next, or now if it waits already."""
        if self.fenced or self.over:
            return
        self.machine.input_closed = True
        if self.machine.ready and self.children is not None:
            self.resting.watch_deadlines()
            if self.turns.holder is None:
                await self.resting.rest()

    async def _read_journal(self) -> None:
        machine, link = self.machine, self.link
        while not machine.ready:
            link.feed(await link.receive())

    # --- the fence -------------------------------------------------------------------------------------------------

    def fence(self, end: End) -> None:
        """The attempt is over: whatever unwinds from here on changes nothing."""
        self.seal(end)
        link = self.link
        if (end is End.DISCONNECTED or end is End.CANCELLED) and not link.mute:
            link.mute = True
            if link.sending or self.machine.has_output:
                self.end = end  # however it had ended, the runtime was not told
        if end is not End.ENDED:
            for branch in self.turns.alive:
                if branch.native is not None:
                    branch.native.cancel()
                if branch.event is not None:
                    branch.event.set()
        self.runs.interrupt()

    def seal(self, end: End) -> None:
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
            self.fence(End.FAILED)
        return error

    async def abort(self, error: BaseException) -> None:
        """Fail the attempt from outside the handler: the message leaves before user code unwinds."""
        if self.fenced:
            return
        if isinstance(error, JournalMismatchError) and not error.location:
            error.location = self._parked_places()
        self.seal(End.FAILED)
        self.failure = error.cause if isinstance(error, StepFailed) else error
        write_failure(self.machine, error)
        await self.flush()
        self.fence(End.FAILED)

    async def unwind(self) -> None:
        """A durable await in an attempt that is over; the message that ended it leaves first."""
        if self.over:
            raise UsageError(self._misuse())
        await self.flush()
        assert self.end is not None
        self.fence(self.end)
        await raise_cancelled()

    # --- input and output ------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """The reader: takes everything that arrives at once."""
        link = self.link
        try:
            while True:
                link.feed(await link.receive())
                self.resting.watch_deadlines()
                if self.turns.holder is None:
                    self.pump()
        except Disconnected:
            self.fence(End.DISCONNECTED)
        except BROKEN as error:
            await self.abort(error)
        except anyio.get_cancelled_exc_class():
            if not self.over:
                self.fence(End.CANCELLED)
            raise

    def waits(self, branch: DriverBranch) -> bool:
        """A task of the handler is about to wait for the event loop; tells whether that wait was cancelled."""
        if self._reading:
            return False
        self.start_reader()
        if self.turns.holder is not branch or branch.inside or self.fenced:
            return False
        if len(self.turns.alive) > 1:
            self.holding.waits()
        return self.stopping.alarmed and self.stopping.cancel_natively(branch)

    def start_reader(self) -> None:
        """A task of the handler waits for something else than input: from now on a task of its own reads."""
        if not self._reader and self.children is not None and not self.over:
            self._reader = True
            self.children.start(self._read)

    async def _read_once(self, branch: DriverBranch) -> None:
        """A parked branch reads: nothing else can happen meanwhile."""
        if self.fenced:
            await self.unwind()
        if -math.inf < effective_deadline() < self._deadline:
            await self.host.refuse(branch, "deadline")
        self._reading = True
        try:
            piece = await self.link.receive()
        except Disconnected:
            self.fence(End.DISCONNECTED)
            piece = None
        except anyio.get_cancelled_exc_class():
            self._reading = False
            await self.host.cancelled_at_await(branch)  # noqa: ASYNC102 - it shields itself for a second
            raise
        finally:
            self._reading = False
        if self.end is not None:  # fenced meanwhile
            await self.unwind()
        try:
            self.link.feed(piece)
        except ProtocolError as error:
            await self._fail_parked(error)

    async def flush(self) -> None:
        """Send what the machine has written, and return when it was handed over."""
        await self.link.flush()
        if self._unwritable:
            self.fence(End.FAILED)

    def flush_soon(self) -> None:
        """Hand over the output without waiting for that."""
        assert self.children is not None
        self.children.start(self.flush)

    def _lost(self, reason: BaseException) -> None:
        if isinstance(reason, UsageError):
            self._unwritable = True
            self.seal(End.FAILED)
            self.end = End.FAILED
            self.failure = reason
            write_failure(self.machine, reason)
        else:
            self.fence(End.DISCONNECTED if isinstance(reason, Disconnected) else End.CANCELLED)

    # --- who may do what -------------------------------------------------------------------------------------------

    def holder(self) -> DriverBranch:
        """The branch that runs now.

        Raises:
            UsageError: this code may not use the context, with the reason.
        """
        branch = self.turns.holder
        if branch is not None and branch.stepping and (get_ident() == self.host.thread or self.host.may_go_on(branch)):
            return branch
        raise UsageError(self._misuse())

    def check_not_over(self) -> None:
        """Tell code that goes on after its handler has ended.

        Raises:
            UsageError: the attempt is not merely being unwound, it has ended.
        """
        if self.over:
            raise UsageError(self._misuse())

    def _misuse(self) -> str:
        where = user_location() or parked_location(self.root.coroutine)
        place = f" ({where})" if where else ""
        if self.over:
            return f"the context is used after its handler has ended{place}: nothing durable can happen any more"
        if self.runs.running or any(branch.stepping for branch in self.turns.alive):
            return (
                f"the context is used inside a step{place}: a function given to ctx.run may do anything but durable "
                "operations. Return its result and do the durable part in the handler"
            )
        return (
            f"the context is used from a task that the handler did not start through the context{place}: only the "
            "handler's own task, and those of its durable nurseries (ctx.open_nursery), can do durable operations"
        )

    def is_busy(self, closure: Closure) -> bool:
        """Whether a new attempt would interrupt, or delay, anything but this step."""
        return self.execution.anything_else(closure)

    def parked_at(self, branch: DriverBranch) -> str:
        """The line at which a branch waits: found from inside its task, or from outside."""
        if branch.stepping:
            return user_location()
        return parked_location(branch.coroutine)

    def _parked_places(self) -> str:
        return ", ".join(dict.fromkeys(map(self.parked_at, self.turns.parked()))) or self.parked_at(self.root)

    def parked_nodes(self) -> list[Node]:
        """What the parked branches wait for, in tree order."""
        return [branch.parked_on for branch in self.turns.parked()]

    # --- the turn --------------------------------------------------------------------------------------------------

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
                self.stopping.invocation_cancelled()

    async def wait(self, node: Node) -> None:
        """Park the branch that holds the turn until `node` is settled.

        Raises:
            InvocationCancelled: the invocation was cancelled; once, at the root branch.
            UsageError: this code may not wait durably.
        """
        if self.fenced:
            await self.unwind()
        branch = self.holder()
        if self.stopping.alarmed and self.stopping.stops(branch):
            await self.stopping.interrupt(branch, node)
            return
        if node.state == PENDING:
            why = await (self._park_for_signals(branch, node) if self.signals.named else self.park(branch, node))
            if why is Wake.CANCEL:
                await self.stopping.interrupt(branch, node)
            return
        self._delivered += 1  # nothing was, but nothing made the loop run either
        if self._delivered >= self._breathe_at:
            await self._breathe()

    async def _park_for_signals(self, branch: DriverBranch, node: Node) -> Wake:
        """The same as `park`, for a node that may hold named signals."""
        waiting: list[Leaf] = []
        try:
            self.signals.collect(node, waiting)
            return Wake.VALUE if node.state != PENDING else await self.park(branch, node)
        finally:
            self.signals.withdraw(waiting)

    async def park(self, branch: DriverBranch, node: Node) -> Wake:
        """Park a branch until it is woken, and has the turn; returns why."""
        self.turns.park(branch, node)
        node.add_waiter(branch)
        branch.inside = True
        try:
            if branch.native_cancels:
                with anyio.CancelScope(shield=True):
                    await self._park(branch, node)
            else:
                await self._park(branch, node)
        finally:
            branch.inside = False
        if branch.wake is not Wake.VALUE:
            node.remove_waiter(branch)
        return branch.wake

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
            elif await self._idle(branch, node):
                continue
            if self.turns.holder is branch:
                return
            await self._sleep_until_turn(branch)
            return

    def _rouse(self, branch: DriverBranch) -> None:
        """Wake the task of a branch that was given the turn, if it sleeps; start it, at its first turn."""
        if branch.event is not None:
            branch.event.set()
        elif branch.wake is Wake.START and branch is not self.root:
            self.spawning.start(branch)

    async def _breathe(self) -> None:
        """Everything was here already: let the loop run now and then, with the turn held."""
        self._breathe_at = self._delivered + BREATHE_EVERY
        now = self.clock.monotonic()
        if now - self._yielded_at >= YIELD_EVERY:
            self._yielded_at = now
            self._reading = True  # this wait is ours, and over at once
            await anyio.lowlevel.cancel_shielded_checkpoint()
            self._reading = False
            if self.fenced:
                await self.unwind()

    async def _fail_parked(self, error: PerdureError) -> None:
        await self.abort(error)
        await self.unwind()

    async def _idle(self, branch: DriverBranch, node: Node) -> bool:
        """Nobody is ready and nothing is queued. Returns whether to look again at once."""
        machine = self.machine
        if machine.replaying:
            await self._fail_parked(machine.unreachable(f"waiting for {names_of(*self.parked_nodes())}"))
        own = self.execution.start(node)
        if own is not None:
            await self.execution.here(branch, own)
            return self.turns.holder is None
        if self.execution.sends:
            self.resting.watch_deadlines()
            return False
        await self.flush()
        if self.turns.holder is not None or self.fenced:
            return False
        if machine.undelivered:
            return True
        if self.runs.running:
            self.resting.watch_deadlines()
            return False
        if machine.input_closed:
            await self.resting.suspend()
            return False
        if self.on_idle is not None:
            self.on_idle()
        if len(self.turns.alive) > 1:
            self.resting.hint_later()
            return False
        if self._reader:
            return False
        if machine.version >= ProtocolVersion.V7 and not (isinstance(node, Leaf) and isinstance(node.tag, Closure)):
            self.start_reader()  # this may take long: the runtime is told what is waited for
            return False
        await self._read_once(branch)
        return self.turns.holder is None

    async def _sleep_until_turn(self, branch: DriverBranch) -> None:
        event = branch.event = wakeup()
        self.start_reader()
        if self.fenced:
            await self.unwind()
        if branch is self.root and -math.inf < effective_deadline() < self._deadline:
            await self.host.refuse(branch, "deadline")  # for other branches it is seen when it fires: asking is dear
        try:
            if len(self.turns.alive) == 1 and self.machine.version >= ProtocolVersion.V7:
                await self._sleep_telling(event)
            while True:
                if not event.is_set():
                    await event.wait()
                if branch.closure is None:
                    break
                event = await self._execute_parked(branch)
        except anyio.get_cancelled_exc_class():
            await self.host.cancelled_at_await(branch)  # noqa: ASYNC102 - it shields itself for a second
            raise
        finally:
            branch.event = None
        if self.turns.holder is not branch:  # the fence woke us
            await self.unwind()

    async def _sleep_telling(self, event: Wakeup) -> None:
        """Sleep; if that lasts, a runtime of version 7 is told what is waited for."""
        if self.machine.input_closed:
            return
        with anyio.move_on_after(HINT_AFTER):
            await event.wait()
        if not event.is_set() and self.turns.holder is None:
            self.resting.tell()
            await self.flush()

    async def _execute_parked(self, branch: DriverBranch) -> Wakeup:
        """The task of a parked branch executes the step it waits for; returns what to wait for then."""
        closure, branch.closure = branch.closure, None
        assert closure is not None
        event = branch.event = wakeup()
        await self.execution.here(branch, closure)
        self.pump()
        if self.turns.holder is branch:
            event.set()
        return event

    # --- without a branch ------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Input arrived, a closure or a branch ended, while every branch is parked."""
        if self.fenced or self.turns.holder is not None:
            return
        children = self.children
        assert children is not None
        machine = self.machine
        try:
            following = self._advance()
        except BROKEN as error:
            children.start(self.abort, error)
            return
        if following is not None:
            self._rouse(following)
        elif machine.replaying:
            children.start(self.abort, machine.unreachable(f"waiting for {names_of(*self.parked_nodes())}"))
        else:
            self.execution.start(None)
            if not self.runs.running and (machine.input_closed or self.on_idle is not None):
                children.start(self.resting.rest)
                return
            if machine.has_output and not self.execution.sends:
                children.start(self.flush)
            if len(self.turns.alive) > 1:
                self.resting.hint_later()
            self.resting.watch_deadlines()

    # --- the end of the handler ------------------------------------------------------------------------------------

    async def finish(self, *, stop: bool = False) -> None:
        """Leave the handler's block: every step made in it is executed or cancelled, every marked call is cancelled.

        A step that nobody awaited is still executed, and its failure is the handler's. A step that was given to a
        race and lost is cancelled, and so is every step when the handler was cancelled, or failed (`stop`).

        Raises:
            TerminalError: the one step that nobody awaited and that failed.
            ExceptionGroup: several such steps failed.
        """
        if self.fenced:
            await self.unwind()
        branch = self.holder()
        self.cancellation.dropped = True
        block = self.handler_block
        if not block.runs and not block.calls and self.cancellation.owes_nothing:
            return
        self.stopping.stop_calls(block)
        while True:
            unsettled = block.unsettled()
            stopped = [closure for closure in unsettled if stop or closure.cancelled or closure.leaf.lost]
            for closure in stopped:
                self.runs.withdraw(closure)
            awaited: list[Node] = [closure.leaf for closure in unsettled if closure not in stopped]
            awaited.extend(self.cancellation.owed())
            if not awaited:
                break
            await self.park(branch, Combined(CombinatorType.ALL_COMPLETED, awaited))
        # Nothing durable follows but the output, so the native end of a stopped closure can be waited for natively.
        for closure in stopped:
            if closure.running:
                closure.ended = anyio.Event()
                await closure.ended.wait()
        failures = [] if stop else self.runs.unobserved_failures(block)
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup("steps that nobody awaited failed", failures)
