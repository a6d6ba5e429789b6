"""An object on three layers that executes programs of calls, state and steps, and the service that helps it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeAlias

import anyio

from perdure import (
    Context,
    DurableFuture,
    ObjectContext,
    RetryPolicy,
    Service,
    SharedObjectContext,
    StateKey,
    TerminalError,
    VirtualObject,
)
from perdure.handlers.definitions import ObjectHandler
from tests.conformance.services.payloads import JsonObject, Milliseconds

__all__ = ["helper", "layers"]

counter = StateKey("counter", int, default=0)
AT_ONCE = RetryPolicy(initial_interval=0.001, factor=1)


class InterpreterId(JsonObject, frozen=True):
    layer: int
    key: str


# --- promises that a program keeps ---------------------------------------------------------------------------------


class Kept:
    """A promise under its index, and the outcome it must have."""

    def __init__(self, future: DurableFuture[Any], check: Callable[[DurableFuture[Any]], Any]) -> None:
        self.future = future
        self.check = check

    async def wait(self) -> None:
        await self.check(self.future)


def yields(expected: str | None) -> Callable[[DurableFuture[Any]], Any]:
    async def check(future: DurableFuture[Any]) -> None:
        value = await future
        if value != expected:
            raise TerminalError(f"the promise yields {value!r}, and must yield {expected!r}")

    return check


async def fails(future: DurableFuture[Any]) -> None:
    try:
        value = await future
    except TerminalError:
        return
    raise TerminalError(f"the promise yields {value!r}, and must fail")


class Execution:
    """One run of a program: where it runs, and what it keeps."""

    def __init__(self, ctx: ObjectContext, layer: int) -> None:
        self.ctx = ctx
        self.layer = layer
        self.me = InterpreterId(layer, ctx.key)
        self.kept: dict[int, Kept] = {}

    async def run(self, program: Program) -> None:
        for index, command in enumerate(program.commands):
            await command.execute(self, index)

    def keep(self, index: int, future: DurableFuture[Any], check: Callable[[DurableFuture[Any]], Any]) -> None:
        self.kept[index] = Kept(future, check)


# --- commands ------------------------------------------------------------------------------------------------------


class Numbered(JsonObject, frozen=True, tag_field="kind"):
    """A command; the member `kind` says which."""

    async def execute(self, run: Execution, index: int) -> None:
        raise NotImplementedError


class SetState(Numbered, frozen=True, tag=1):
    key: int

    async def execute(self, run: Execution, index: int) -> None:
        run.ctx.set(f"key-{self.key}", f"value-{self.key}")


class GetState(Numbered, frozen=True, tag=2):
    key: int

    async def execute(self, run: Execution, index: int) -> None:
        await run.ctx.get(f"key-{self.key}", str)


class ClearState(Numbered, frozen=True, tag=3):
    key: int

    async def execute(self, run: Execution, index: int) -> None:
        run.ctx.clear(f"key-{self.key}")


class Increment(Numbered, frozen=True, tag=4):
    async def execute(self, run: Execution, index: int) -> None:
        run.ctx.set(counter, await run.ctx.get(counter) + 1)


class IncrementIndirectly(Numbered, frozen=True, tag=5):
    async def execute(self, run: Execution, index: int) -> None:
        run.ctx.send(increment_indirectly, run.me)


class Sleep(Numbered, frozen=True, tag=6):
    duration: Milliseconds

    async def execute(self, run: Execution, index: int) -> None:
        await run.ctx.sleep(self.duration / 1000)


class CallService(Numbered, frozen=True, tag=7):
    async def execute(self, run: Execution, index: int) -> None:
        text = f"hello-{index}"
        run.keep(index, run.ctx.call(echo, text), yields(text))


class CallSlowService(Numbered, frozen=True, tag=8):
    sleep: Milliseconds

    async def execute(self, run: Execution, index: int) -> None:
        text = f"hello-{index}"
        run.keep(index, run.ctx.call(echo_later, Later(self.sleep, text)), yields(text))


class IncrementDelayed(Numbered, frozen=True, tag=9):
    duration: Milliseconds

    async def execute(self, run: Execution, index: int) -> None:
        run.ctx.send(increment_indirectly, run.me, delay=self.duration / 1000)


class SideEffect(Numbered, frozen=True, tag=10):
    async def execute(self, run: Execution, index: int) -> None:
        expected = f"hello-{index}"

        async def step() -> str:
            return expected

        result = await run.ctx.run(step)
        if result != expected:
            raise TerminalError(f"the step gave {result!r} instead of {expected!r}")


class ThrowingSideEffect(Numbered, frozen=True, tag=11):
    async def execute(self, run: Execution, index: int) -> None:
        await run.ctx.run(fail_half_of_the_times, retry=AT_ONCE)


class SlowSideEffect(Numbered, frozen=True, tag=12):
    async def execute(self, run: Execution, index: int) -> None:
        await run.ctx.run(anyio.sleep, 0.001)


class RecoverTerminalCall(Numbered, frozen=True, tag=13):
    async def execute(self, run: Execution, index: int) -> None:
        await fails(run.ctx.call(terminal_failure))


class RecoverTerminalCallMaybeUnawaited(Numbered, frozen=True, tag=14):
    async def execute(self, run: Execution, index: int) -> None:
        run.keep(index, run.ctx.call(terminal_failure), fails)


class AwaitPromise(Numbered, frozen=True, tag=15):
    index: int

    async def execute(self, run: Execution, index: int) -> None:
        kept = run.kept.pop(self.index, None)
        if kept is not None:
            await kept.wait()


class ResolveAwakeable(Numbered, frozen=True, tag=16):
    async def execute(self, run: Execution, index: int) -> None:
        awakeable = run.ctx.awakeable(str)
        run.ctx.send(resolve_awakeable, awakeable.id)
        run.keep(index, awakeable, yields("ok"))


class RejectAwakeable(Numbered, frozen=True, tag=17):
    async def execute(self, run: Execution, index: int) -> None:
        awakeable = run.ctx.awakeable(str)
        run.ctx.send(reject_awakeable, awakeable.id)
        run.keep(index, awakeable, fails)


class IncrementViaAwakeable(Numbered, frozen=True, tag=18):
    async def execute(self, run: Execution, index: int) -> None:
        awakeable = run.ctx.awakeable(str)
        run.ctx.send(increment_via_awakeable_dance, Dance(run.me, awakeable.id))
        run.ctx.resolve_awakeable(await awakeable, "ok")


class CallObject(Numbered, frozen=True, tag=19):
    key: int
    program: Program

    async def execute(self, run: Execution, index: int) -> None:
        below = run.layer + 1
        if below not in interpreters:
            raise TerminalError(f"there is no layer {below}")
        run.keep(index, run.ctx.call(interpreters[below], self.program, key=str(self.key)), yields(None))


Command: TypeAlias = (
    SetState
    | GetState
    | ClearState
    | Increment
    | IncrementIndirectly
    | Sleep
    | CallService
    | CallSlowService
    | IncrementDelayed
    | SideEffect
    | ThrowingSideEffect
    | SlowSideEffect
    | RecoverTerminalCall
    | RecoverTerminalCallMaybeUnawaited
    | AwaitPromise
    | ResolveAwakeable
    | RejectAwakeable
    | IncrementViaAwakeable
    | CallObject
)


class Program(JsonObject, frozen=True):
    commands: list[Command]


async def fail_half_of_the_times() -> None:
    if random.random() < 0.5:  # a step may do what it likes: only its result is journaled
        raise RuntimeError("a step fails on purpose, half of the times")


# --- ObjectInterpreterL0, L1, L2 -----------------------------------------------------------------------------------


def object_interpreter(layer: int) -> tuple[VirtualObject, ObjectHandler[ObjectContext, Program, None]]:
    """The object of one layer, and its handler of programs."""
    service = VirtualObject(f"ObjectInterpreterL{layer}")

    @service.shared(name="counter")
    async def current_count(ctx: SharedObjectContext) -> int:
        return await ctx.get(counter)

    @service.handler
    async def interpret(ctx: ObjectContext, program: Program) -> None:
        await Execution(ctx, layer).run(program)

    return service, interpret


_layers = {layer: object_interpreter(layer) for layer in range(3)}
layers = [service for service, _ in _layers.values()]
interpreters = {layer: interpret for layer, (_, interpret) in _layers.items()}


# --- ServiceInterpreterHelper --------------------------------------------------------------------------------------

helper = Service("ServiceInterpreterHelper")


class Later(JsonObject, frozen=True):
    sleep: Milliseconds
    parameter: str


class Dance(JsonObject, frozen=True):
    interpreter: InterpreterId
    tx_promise_id: str


def send_increment(ctx: Context, interpreter: InterpreterId) -> None:
    if interpreter.layer not in interpreters:
        raise TerminalError(f"there is no layer {interpreter.layer}")
    ctx.send(interpreters[interpreter.layer], Program([Increment()]), key=interpreter.key)


@helper.handler
async def ping(ctx: Context) -> None:
    return


@helper.handler
async def echo(ctx: Context, text: str) -> str:
    return text


@helper.handler(name="echoLater")
async def echo_later(ctx: Context, later: Later) -> str:
    await ctx.sleep(later.sleep / 1000)
    return later.parameter


@helper.handler(name="terminalFailure")
async def terminal_failure(ctx: Context) -> None:
    raise TerminalError("this call fails on purpose")


@helper.handler(name="incrementIndirectly")
async def increment_indirectly(ctx: Context, interpreter: InterpreterId) -> None:
    send_increment(ctx, interpreter)


@helper.handler(name="resolveAwakeable")
async def resolve_awakeable(ctx: Context, awakeable_id: str) -> None:
    ctx.resolve_awakeable(awakeable_id, "ok")


@helper.handler(name="rejectAwakeable")
async def reject_awakeable(ctx: Context, awakeable_id: str) -> None:
    ctx.reject_awakeable(awakeable_id, "rejected on purpose")


@helper.handler(name="incrementViaAwakeableDance")
async def increment_via_awakeable_dance(ctx: Context, dance: Dance) -> None:
    answer = ctx.awakeable(str)
    ctx.resolve_awakeable(dance.tx_promise_id, answer.id)
    await answer
    send_increment(ctx, dance.interpreter)
