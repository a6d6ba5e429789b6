"""Small handler programs as data: a strategy that draws them, and a handler that runs them.

What a program sees (results, errors, which futures are done) goes into a trace. By the turn rule the trace is a
function of the journal alone, so it is what replays are compared by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
from hypothesis import strategies as st

from perdure.durable.combinators import Case, Failed
from perdure.durable.future import DurableFuture
from perdure.exceptions import InvocationCancelled, RetryableError, TerminalError
from perdure.handlers.attempt import current_attempt
from perdure.handlers.invocation_context import InvocationContext

__all__ = ["Block", "Interpreter", "blocks", "structured_blocks"]


# --- programs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A step. `how` tells what its closure does, `label` is unique in the program."""

    how: str
    label: str


@dataclass(frozen=True)
class Sleep:
    seconds: int


@dataclass(frozen=True)
class Call:
    label: str
    fails: bool


@dataclass(frozen=True)
class Get:
    key: str


@dataclass(frozen=True)
class Awakeable:
    label: str


@dataclass(frozen=True)
class Signal:
    name: str


@dataclass(frozen=True)
class Attach:
    """Send, then wait for the result by the invocation's handle, whose id is not known yet."""

    label: str


@dataclass(frozen=True)
class Combine:
    how: str
    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Again:
    """A future that was made before, by its number; any number will do."""

    number: int


Expression = Run | Sleep | Call | Get | Awakeable | Signal | Attach | Combine | Again


@dataclass(frozen=True)
class Await:
    what: Expression
    mapped: bool = False


@dataclass(frozen=True)
class Start:
    what: Expression


@dataclass(frozen=True)
class Read:
    """Read some of a set of futures in the order of their completion, and push one while reading."""

    what: tuple[Expression, ...]
    count: int
    push: Expression | None


@dataclass(frozen=True)
class Put:
    key: str
    value: int | None


@dataclass(frozen=True)
class Send:
    label: str
    cancel: bool


@dataclass(frozen=True)
class Tick:
    """Wait natively, with the turn held."""

    times: int


@dataclass(frozen=True)
class Look:
    """Note which futures are done, and a random number."""


@dataclass(frozen=True)
class Fail:
    code: int


@dataclass(frozen=True)
class Guard:
    """try, except and finally."""

    body: Block
    terminal: Block | None
    cancelled: Block | None
    last: Block | None


@dataclass(frozen=True)
class Nest:
    """A nursery: its children, and its body. `early` children are awaited by `nursery.start`."""

    children: tuple[Block, ...]
    body: Block
    contain: bool = False
    early: bool = False


@dataclass(frozen=True)
class Within:
    """A cancel scope."""

    body: Block
    after: int | None
    shield: bool
    fails: bool = False


@dataclass(frozen=True)
class Stop:
    """Cancel one of the scopes made so far, whoever is in it."""

    number: int


Statement = Await | Start | Read | Put | Send | Tick | Look | Fail | Guard | Nest | Within | Stop
Block = tuple[Statement, ...]

STEPS = ["value", "value", "none", "suspends", "suspends", "fails", "flaky", "restarts", "resists", "returns anyway"]
KEYS = st.sampled_from(["a", "b"])


def _leaves() -> st.SearchStrategy[Expression]:
    return st.one_of(
        st.builds(Run, st.sampled_from(STEPS), st.just("")),
        st.builds(Sleep, st.integers(0, 5)),
        st.builds(Call, st.just(""), st.booleans()),
        st.builds(Get, KEYS),
        st.builds(Awakeable, st.just("")),
        st.builds(Signal, st.just("")),
        st.builds(Attach, st.just("")),
        st.builds(Again, st.integers(0, 5)),
    )


EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(
    _leaves(),
    lambda parts: st.builds(
        Combine,
        st.sampled_from(["gather", "first", "first_success", "settle", "select"]),
        st.lists(parts, min_size=1, max_size=3).map(tuple),
    ),
    max_leaves=4,
)
_SIMPLE: st.SearchStrategy[Statement] = st.one_of(
    st.builds(Await, EXPRESSIONS, st.booleans()),
    st.builds(Await, EXPRESSIONS),
    st.builds(Start, EXPRESSIONS),
    st.builds(
        Read,
        st.lists(EXPRESSIONS, min_size=1, max_size=3).map(tuple),
        st.integers(0, 4),
        st.none() | EXPRESSIONS,
    ),
    st.builds(Put, KEYS, st.none() | st.integers(0, 9)),
    st.builds(Send, st.just(""), st.booleans()),
    st.builds(Tick, st.integers(1, 3)),
    st.builds(Look),
    st.builds(Fail, st.just(418)),
)
_BLOCKS: st.SearchStrategy[Block] = st.recursive(
    st.lists(_SIMPLE, min_size=1, max_size=3).map(tuple),
    lambda block: st.lists(
        _SIMPLE | st.builds(Guard, block, st.none() | block, st.none() | block, st.none() | block),
        min_size=1,
        max_size=3,
    ).map(tuple),
    max_leaves=4,
)


def blocks() -> st.SearchStrategy[Block]:
    """Programs, each step, call and signal with a name of its own."""
    return st.lists(_BLOCKS, min_size=1, max_size=2).map(lambda parts: _numbered(sum(parts, ()), _names()))


def structured_blocks() -> st.SearchStrategy[Block]:
    """The same with nurseries and cancel scopes."""
    simple = st.one_of(_SIMPLE, _SIMPLE, st.builds(Stop, st.integers(0, 3)))
    nested: st.SearchStrategy[Block] = st.recursive(
        st.lists(simple, min_size=1, max_size=3).map(tuple),
        lambda block: st.lists(
            st.one_of(
                simple,
                st.builds(
                    Nest,
                    st.lists(block, min_size=1, max_size=3).map(tuple),
                    block | st.just(()),
                    st.booleans(),
                    st.booleans(),
                ),
                st.builds(Within, block, st.none() | st.integers(0, 5), st.booleans(), st.booleans()),
                st.builds(Within, block, st.integers(0, 5), st.just(False)),
                st.builds(Guard, block, st.none() | block, st.none() | block, st.none() | block),
                st.builds(lambda body, last: Guard(body, None, None, (Within(last, None, shield=True),)), block, block),
            ),
            min_size=1,
            max_size=4,
        ).map(tuple),
        max_leaves=10,
    )
    return st.lists(nested, min_size=1, max_size=3).map(lambda parts: _numbered(sum(parts, ()), _names()))


def _names() -> Iterator[str]:
    number = 0
    while True:
        yield f"n{number}"
        number += 1


def _numbered(node: Any, names: Iterator[str]) -> Any:  # noqa: C901, PLR0912 - one case per construct
    match node:
        case tuple():
            return tuple(_numbered(each, names) for each in node)
        case Run(how, _):
            return Run(how, next(names))
        case Call(_, fails):
            return Call(next(names), fails)
        case Awakeable():
            return Awakeable(next(names))
        case Signal():
            return Signal(next(names))
        case Attach():
            return Attach(next(names))
        case Send(_, cancel):
            return Send(next(names), cancel)
        case Combine(how, parts):
            return Combine(how, _numbered(parts, names))
        case Await(what, mapped):
            return Await(_numbered(what, names), mapped)
        case Start(what):
            return Start(_numbered(what, names))
        case Read(what, count, push):
            return Read(_numbered(what, names), count, _numbered(push, names))
        case Guard(body, terminal, cancelled, last):
            return Guard(*(_numbered(part, names) for part in (body, terminal, cancelled, last)))
        case Nest(children, body, contain, early):
            return Nest(tuple(_numbered(child, names) for child in children), _numbered(body, names), contain, early)
        case Within(body, after, shield, fails):
            return Within(_numbered(body, names), after, shield, fails)
    return node


# --- running them --------------------------------------------------------------------------------------------------


@dataclass
class Interpreter:
    """Runs a program once.

    Attributes:
        may_execute: asked before a closure really runs.
        tries: how often closures were tried, over all attempts.
        trace: what the program saw.
    """

    program: Block
    random: Random
    may_execute: Callable[[str], None]
    tries: dict[str, int]
    trace: list[Any] = field(default_factory=list)
    futures: list[DurableFuture[Any]] = field(default_factory=list)
    scopes: list[Any] = field(default_factory=list)

    async def run(self, ctx: InvocationContext) -> list[str]:
        self.ctx = ctx
        try:
            await self.block(self.program)
        except (Exception, InvocationCancelled) as error:
            self.note("out", error)
            raise
        self.note("end")
        return [str(seen) for seen in self.trace]

    def note(self, *seen: Any) -> None:
        if not self.ctx.suspending:
            self.trace.append(tuple(told(each) for each in seen))

    async def block(self, block: Block) -> None:
        for statement in block:
            await self.statement(statement)

    async def statement(self, statement: Statement) -> None:  # noqa: C901, PLR0912 - as above
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
            case Send(label, cancel):
                handle = ctx.generic_send("Other", label, b"")
                if cancel:
                    handle.cancel()
            case Tick(times):
                for _ in range(times):
                    await anyio.lowlevel.checkpoint()
            case Look():
                self.note("look", [future.done for future in self.futures], ctx.random.random(), str(ctx.uuid4()))
            case Fail(code):
                raise TerminalError("fail", code=code)
            case Guard():
                await self.guard(statement)
            case Nest():
                await self.nest(statement)
            case Within():
                await self.within(statement)
            case Stop(number):
                if self.scopes:
                    self.scopes[number % len(self.scopes)].cancel()

    async def nest(self, nest: Nest) -> None:
        async with self.ctx.open_nursery(contain=nest.contain) as nursery:
            self.scopes.append(nursery.cancel_scope)
            children: list[DurableFuture[Any]] = []  # who may wait for whom is not left to chance: that can deadlock
            for child in nest.children:
                if nest.early:
                    self.note("start", await nursery.start(self.early_child, child))
                else:
                    children.append(nursery.start_soon(self.child, child))
            await self.block(nest.body)
            if nest.contain and children:
                self.note("children", await self.ctx.settle(*children))
                self.note("first", await self.ctx.first(*children, self.ctx.sleep(0)))
        self.note("nested")

    async def child(self, block: Block) -> str:
        self.note("child")
        await self.block(block)
        self.note("child ends")
        return f"child after {len(self.trace)}"

    async def early_child(self, block: Block, *, task_status: Any) -> None:
        await self.block(block[:1])
        task_status.started(len(self.trace))
        await self.block(block[1:])

    async def within(self, within: Within) -> None:
        ctx = self.ctx
        if within.after is None:
            scope = ctx.CancelScope(shield=within.shield)
        elif within.fails:
            scope = ctx.fail_after(within.after, shield=within.shield)
        else:
            scope = ctx.move_on_after(within.after, shield=within.shield)
        with scope:
            self.scopes.append(scope)
            await self.block(within.body)
        self.note("left", scope.cancel_called, scope.cancelled_caught)

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
                return ctx.run(self.closure(how, label), name=label)
            case Sleep(seconds):
                return ctx.sleep(seconds)
            case Call(label, fails):
                return ctx.generic_call("Other", "fails" if fails else label, label.encode())
            case Get(key):
                return ctx.get(key)
            case Awakeable():
                return ctx.awakeable()
            case Signal(name):
                return ctx.signal(name)
            case Attach(label):
                return ctx.generic_send("Other", label, b"").attach()
            case Combine("select", parts):
                return ctx.select(*(Case(self.future(part)) for part in parts))
            case Combine(how, parts):
                future: DurableFuture[Any] = getattr(ctx, how)(*(self.future(part) for part in parts))
                return future
            case Again(number):
                return self.futures[number % len(self.futures)] if self.futures else ctx.get("a")

    def closure(self, how: str, label: str) -> Callable[[], Any]:
        async def ticks(most: int) -> None:
            for _ in range(self.random.randrange(most)):
                await anyio.lowlevel.checkpoint()

        async def run() -> Any:
            attempt = current_attempt.get()
            assert attempt is not None
            assert not attempt.replaying, "a closure runs during a replay"
            self.may_execute(label)
            self.tries[label] = self.tries.get(label, 0) + 1
            if how == "none":
                return None
            if how != "value":
                await ticks(4)
            if how == "fails":
                raise TerminalError(label, code=419)
            if how == "flaky" and self.tries[label] < 3:
                raise ValueError(label)
            if how == "restarts" and self.tries[label] < 2:
                raise RetryableError(label, retry_after=5)
            if how in {"resists", "returns anyway"}:
                try:
                    await ticks(8)
                except anyio.get_cancelled_exc_class():
                    with anyio.CancelScope(shield=True):
                        await ticks(8)
                    if how == "resists":
                        raise
            return label

        return run


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
