"""Runs a program as a handler, and notes what it sees.

By the turn rule what a program sees is a function of the journal alone, in all of its branches together and in their
order. So one trace of it all is what attempts and replays are compared by, and it is the result of the handler.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel

from perdure import Context, Service, TerminalError
from perdure.durable.combinators import Case, Failed
from perdure.durable.future import DurableFuture
from perdure.exceptions import InvocationCancelled, RetryableError
from perdure.handlers.attempt import current_attempt
from perdure.handlers.invocation_context import InvocationContext
from perdure.handlers.registry import Registry
from perdure.testing.exploring.attempts import Subject
from perdure.testing.exploring.world import Fault, World
from perdure.wire.messages import (
    FIRST_AWAKEABLE_SIGNAL,
    CallCommand,
    Failure,
    OneWayCallCommand,
    SignalNotification,
    Value,
)
from perdure.wire.versions import ProtocolVersion
from tests.exploration.programs import (
    Again,
    Attach,
    Await,
    Awakeable,
    Block,
    Call,
    Cancel,
    Combine,
    Expression,
    Fail,
    Get,
    Guard,
    Look,
    Nursery,
    Put,
    Read,
    Run,
    Scope,
    Send,
    Signal,
    Sleep,
    Spawn,
    SpawnAndWait,
    Start,
    Statement,
    Tick,
    parts,
)

__all__ = ["Program", "told"]


class Program:
    """A program as something to explore, attempt after attempt."""

    def __init__(self, program: Block, version: ProtocolVersion | None = None) -> None:
        self.program = program
        self.tries: dict[str, int] = {}
        self.run: _Run | None = None
        self._world: World | None = None
        service = Service("Generated")
        self.handler = service.handler(name="run")(self._handle)
        registry = Registry([service])
        nodes = list(parts(program))
        signals = [SignalNotification(node.label, Value(b'"s"')) for node in nodes if isinstance(node, Signal)]
        awakeables = sum(isinstance(node, Awakeable) for node in nodes)
        signals += [SignalNotification(FIRST_AWAKEABLE_SIGNAL + at, Value(b"%d" % at)) for at in range(awakeables)]
        given = {"payload": b"", "state": {"a": b"1"}, "answer": _answer, "signals": signals}
        self.subject = Subject(registry.bound(self.handler), registry, given, trace=self._trace, begins=self._begins)
        if version is not None:
            self.subject.versions = (version,)

    async def _handle(self, ctx: Context) -> list[str]:
        assert self.run is not None
        return await self.run.root(ctx)  # type: ignore[arg-type]  # it is the real one

    def _begins(self, world: World) -> None:
        if world is not self._world:
            self.tries = {}
            self._world = world
        self.run = _Run(self.program, world, self.tries)

    def _trace(self) -> list[Any]:
        assert self.run is not None
        return self.run.trace


def _answer(command: CallCommand | OneWayCallCommand) -> Value | Failure:
    return Failure(420, "call") if command.handler_name == "fails" else Value(command.parameter)


class _Run:
    """One attempt of a program."""

    def __init__(self, program: Block, world: World, tries: dict[str, int]) -> None:
        self.program = program
        self.world = world
        self.tries = tries
        self.trace: list[Any] = []
        self.spawned = 0
        self.to_begin: deque[int] = deque()

    async def root(self, ctx: InvocationContext) -> list[str]:
        await _Branch(self, ctx, 0, []).whole(self.program)
        return [str(seen) for seen in self.trace]

    def closure(self, how: str, label: str) -> Callable[[], Any]:
        ticks = self.world.ticks

        async def run() -> Any:
            attempt = current_attempt.get()
            assert attempt is not None
            assert not attempt.replaying, "a closure runs during a replay"
            self.tries[label] = self.tries.get(label, 0) + 1
            if how == "gives none":
                return None
            if how != "gives":
                await anyio.lowlevel.checkpoint()
                await ticks(3)
            if how == "fails":
                raise TerminalError(label, code=419)
            if how == "is flaky" and self.tries[label] < 3:
                raise ValueError(label)
            if how == "restarts" and self.tries[label] < 2:
                raise RetryableError(label, retry_after=5)
            if how in {"resists", "gives anyway"}:
                try:
                    await anyio.lowlevel.checkpoint()
                    await ticks(7)
                except anyio.get_cancelled_exc_class():
                    with anyio.CancelScope(shield=True):
                        await ticks(7)
                    if how == "resists":
                        raise
            return label

        return run


class _Branch:
    """One line of control of it.

    Args:
        run: what it belongs to.
        ctx: the context, which is the same for all.
        number: counts the branches in the order of their start.
        around: the scopes that it is in, each with its nursery if it is one's.
    """

    def __init__(self, run: _Run, ctx: InvocationContext, number: int, around: list[tuple[Any, Any]]) -> None:
        self._run = run
        self.ctx = ctx
        self.number = number
        self.around = around
        self.futures: list[DurableFuture[Any]] = []

    def note(self, *seen: Any) -> None:
        if not self.ctx.suspending:
            self._run.trace.append((self.number, *(told(each) for each in seen)))

    async def whole(self, *blocks: Block, status: Any = None) -> str:
        """The whole branch; between two blocks it has started."""
        if self.number and status is None:
            following = self._run.to_begin.popleft()
            if following != self.number:
                fault = Fault("out of turn", f"branch {self.number} begins, and {following} is next")
                self._run.world.faults.append(fault)
        try:
            await self.block(blocks[0])
            if status is not None:
                status.started(self.number)
            for block in blocks[1:]:
                await self.block(block)
        except (Exception, InvocationCancelled) as error:
            self.note("out", error)
            raise
        except anyio.get_cancelled_exc_class():
            self.note("cancelled")
            raise
        self.note("end")
        return f"result of {self.number}"

    def _next(self, up: int) -> tuple[Any, _Branch] | None:
        """A nursery around, and the branch that is to be started in it."""
        places = [place for place, (nursery, _) in enumerate(self.around) if nursery is not None]
        if not places:
            return None
        place = places[::-1][up % len(places)]
        self._run.spawned += 1
        return self.around[place][0], _Branch(self._run, self.ctx, self._run.spawned, self.around[: place + 1])

    async def block(self, block: Block) -> None:
        for statement in block:
            await self.statement(statement)

    async def statement(self, statement: Statement) -> None:
        ctx = self.ctx
        match statement:
            case Await(what, mapped):
                future = self.future(what)
                result = await (future.map(lambda value: ("mapped", told(value))) if mapped else future)
                self.note("await", result)
            case Start(what):
                self.futures.append(self.future(what))
            case Read():
                await self.read(statement)
            case Put(key, None):
                ctx.clear(key)
            case Put(key, value):
                ctx.set(key, value)
            case Send(cancel, label):
                handle = ctx.generic_send("Other", label, b"")
                if cancel:
                    handle.cancel()
            case Look():
                self.look()
            case Fail(code):
                raise TerminalError("fail", code=code)
            case Guard():
                await self.guard(statement)
            case _:
                await self.structured(statement)

    async def structured(self, statement: Statement) -> None:
        ctx = self.ctx
        match statement:
            case Tick(times):
                for _ in range(times):
                    await anyio.lowlevel.checkpoint()
            case Cancel(up):
                if self.around:
                    self.around[::-1][up % len(self.around)][1].cancel()
            case Nursery(contain, body):
                async with ctx.open_nursery(contain=contain) as nursery:
                    await self.inside(nursery, nursery.cancel_scope, body)
                self.note("left", nursery.cancel_scope.cancelled_caught)
            case Spawn(child, up):
                if (found := self._next(up)) is not None:
                    nursery, branch = found
                    self._run.to_begin.append(branch.number)
                    self.futures.append(nursery.start_soon(branch.whole, child))
            case SpawnAndWait(before, child, up):
                if (found := self._next(up)) is not None:
                    nursery, branch = found
                    fn = partial(_started, branch, before, child)
                    self.note("started", await nursery.start(fn))
            case Scope(how, seconds, shield, body):
                with self.scope(how, seconds, shield=shield) as scope:
                    await self.inside(None, scope, body)
                self.note("left", scope.cancelled_caught, scope.cancel_called)

    def scope(self, how: str, seconds: int, *, shield: bool) -> Any:
        if how == "scope":
            return self.ctx.CancelScope(shield=shield)
        if how == "move_on_after":
            return self.ctx.move_on_after(seconds, shield=shield)
        return self.ctx.fail_after(seconds)

    async def inside(self, nursery: Any, scope: Any, body: Block) -> None:
        outside = self.around
        self.around = [*outside, (nursery, scope)]
        try:
            await self.block(body)
        finally:
            self.around = outside

    def look(self) -> None:
        done = [future.done for future in self.futures]
        self.note("look", done, self.ctx.random.random(), str(self.ctx.uuid4()))
        if any(done):
            self.ctx.set("a", len(done))

    async def guard(self, guard: Guard) -> None:
        try:
            await self.block(guard.body)
        except TerminalError as error:
            if guard.terminal is None:
                raise
            self.note("except", error)
            await self.block(guard.terminal)
        except ExceptionGroup as group:
            if guard.terminal is None:
                raise
            self.note("except", group)
            await self.block(guard.terminal)
        except InvocationCancelled:
            if guard.cancelled is None:
                raise
            self.note("cancelled")
            await self.block(guard.cancelled)
        finally:
            if guard.last is not None:
                await self.block(guard.last)

    async def read(self, read: Read) -> None:
        pending = self.ctx.unordered(self.future(what) for what in read.what)
        count = 0
        if not read.count:
            return
        try:
            async for index, value in pending:
                self.note("read", index, value, len(pending))
                if count == 0 and read.push is not None:
                    pending.push(self.future(read.push))
                count += 1
                if count == read.count:
                    break
        except TerminalError as error:
            self.note("read", error)

    def future(self, what: Expression) -> DurableFuture[Any]:
        ctx = self.ctx
        match what:
            case Run(how, label):
                return ctx.run(self._run.closure(how, label), name=label)
            case Sleep(seconds):
                return ctx.sleep(seconds)
            case Call(fails, cancel_on_exit, label):
                options: dict[str, Any] = {"cancel_on_exit": True} if cancel_on_exit else {}
                return ctx.generic_call("Other", "fails" if fails else label, label.encode(), **options)
            case Get(key):
                return ctx.get(key)
            case Awakeable():
                return ctx.awakeable()
            case Signal(name):
                return ctx.signal(name)
            case Attach(label):
                return ctx.generic_send("Other", label, label.encode()).attach()
            case Combine("select", alternatives):
                return ctx.select(*(Case(self.future(each)) for each in alternatives))
            case Combine(how, together):
                future: DurableFuture[Any] = getattr(ctx, how)(*(self.future(each) for each in together))
                return future
            case Again(number):
                return self.futures[number % len(self.futures)] if self.futures else ctx.get("a")


async def _started(branch: _Branch, before: Block, child: Block, *, task_status: Any) -> None:
    await branch.whole(before, child, status=task_status)


def told(value: Any) -> Any:
    """A value as it can be compared across attempts."""
    match value:
        case BaseExceptionGroup():
            return (type(value).__name__, *map(told, value.exceptions))
        case TerminalError():
            return (type(value).__name__, value.message, value.code)
        case InvocationCancelled():
            return "InvocationCancelled"
        case BaseException():
            return repr(value)
        case Case():
            return ("case", told(value.value))
        case Failed(error):
            return ("failed", told(error))
        case tuple() | list():
            return tuple(map(told, value))
    return value if isinstance(value, int | str | float | bool | bytes | None) else repr(value)
