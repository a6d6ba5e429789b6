"""An object that executes commands: every way to wait for several things at once."""

from __future__ import annotations

import os
from typing import Annotated, TypeAlias

import anyio.lowlevel
import msgspec

from perdure import (
    Case,
    DurableFuture,
    Failed,
    ObjectContext,
    SharedObjectContext,
    StateKey,
    Succeeded,
    TerminalError,
    VirtualObject,
)
from tests.conformance.services.payloads import JsonObject, Milliseconds

__all__ = ["command_interpreter"]

command_interpreter = VirtualObject("VirtualObjectCommandInterpreter")
results = StateKey("results", list[str], default=[])


def registered(awakeable_key: str) -> StateKey[str | None]:
    """The state key that holds the id of an awakeable."""
    return StateKey(f"awk-{awakeable_key}", str)


# --- awaitables ----------------------------------------------------------------------------------------------------


class Tagged(JsonObject, frozen=True, tag_field="type"):
    """One of several shapes; the member `type` says which."""


class CreateAwakeable(Tagged, frozen=True, tag="createAwakeable"):
    awakeable_key: str

    def start(self, ctx: ObjectContext) -> DurableFuture[str]:
        awakeable = ctx.awakeable(str)
        ctx.set(registered(self.awakeable_key), awakeable.id)
        return awakeable


class CreateSignal(Tagged, frozen=True, tag="createSignal"):
    signal_name: str

    def start(self, ctx: ObjectContext) -> DurableFuture[str]:
        return ctx.signal(self.signal_name, str)


class Sleep(Tagged, frozen=True, tag="sleep"):
    timeout_millis: Milliseconds

    def start(self, ctx: ObjectContext) -> DurableFuture[str]:
        return ctx.sleep(self.timeout_millis / 1000).map(lambda _: "sleep")


class RunReturns(Tagged, frozen=True, tag="runReturns"):
    value: str

    def start(self, ctx: ObjectContext) -> DurableFuture[str]:
        return ctx.run(self._step, name="run returns")

    async def _step(self) -> str:
        await anyio.lowlevel.checkpoint()
        return self.value


class RunThrows(Tagged, frozen=True, tag="runThrowTerminalException"):
    reason: str

    def start(self, ctx: ObjectContext) -> DurableFuture[str]:
        return ctx.run(self._step, name="run throws")

    async def _step(self) -> str:
        raise TerminalError(self.reason)


Awaitable: TypeAlias = CreateAwakeable | CreateSignal | Sleep | RunReturns | RunThrows


# --- commands ------------------------------------------------------------------------------------------------------


class AwaitOne(Tagged, frozen=True, tag="awaitOne"):
    command: Awaitable

    async def execute(self, ctx: ObjectContext) -> str:
        return await self.command.start(ctx)


class Several(Tagged, frozen=True):
    commands: list[Awaitable]

    def start(self, ctx: ObjectContext) -> list[DurableFuture[str]]:
        return [each.start(ctx) for each in self.commands]


class AtLeastOne(Tagged, frozen=True):
    commands: Annotated[list[Awaitable], msgspec.Meta(min_length=1)]

    def start(self, ctx: ObjectContext) -> list[DurableFuture[str]]:
        return [each.start(ctx) for each in self.commands]


class AwaitAny(AtLeastOne, frozen=True, tag="awaitAny"):
    async def execute(self, ctx: ObjectContext) -> str:
        return await ctx.first(*self.start(ctx))


class AwaitFirstCompleted(AwaitAny, frozen=True, tag="awaitFirstCompleted"):
    """The same by another name."""


class AwaitAnySuccessful(AtLeastOne, frozen=True, tag="awaitAnySuccessful"):
    async def execute(self, ctx: ObjectContext) -> str:
        return await ctx.first_success(*self.start(ctx))


class AwaitFirstSucceededOrAllFailed(AwaitAnySuccessful, frozen=True, tag="awaitFirstSucceededOrAllFailed"):
    """The same by another name."""


class AwaitAllSucceededOrFirstFailed(Several, frozen=True, tag="awaitAllSucceededOrFirstFailed"):
    async def execute(self, ctx: ObjectContext) -> str:
        return "|".join(await ctx.gather(*self.start(ctx)))


class AwaitAllCompleted(Several, frozen=True, tag="awaitAllCompleted"):
    async def execute(self, ctx: ObjectContext) -> str:
        outcomes = []
        for outcome in await ctx.settle(*self.start(ctx)):
            match outcome:
                case Succeeded(value):
                    outcomes.append(f"ok:{value}")
                case Failed(error):
                    outcomes.append(f"err:{error.message}")
        return "|".join(outcomes)


class Resolved(Case[str]): ...


class TimedOut(Case[None]): ...


class AwaitAwakeableOrTimeout(Tagged, frozen=True, tag="awaitAwakeableOrTimeout"):
    awakeable_key: str
    timeout_millis: Milliseconds

    async def execute(self, ctx: ObjectContext) -> str:
        awakeable = CreateAwakeable(self.awakeable_key).start(ctx)
        match await ctx.select(Resolved(awakeable), TimedOut(ctx.sleep(self.timeout_millis / 1000))):
            case Resolved(value):
                return value
            case TimedOut():
                raise TerminalError("await-timeout")


class ResolveAwakeable(Tagged, frozen=True, tag="resolveAwakeable"):
    awakeable_key: str
    value: str

    async def execute(self, ctx: ObjectContext) -> str:
        await resolve(ctx, self.awakeable_key, self.value)
        return ""


class RejectAwakeable(Tagged, frozen=True, tag="rejectAwakeable"):
    awakeable_key: str
    reason: str

    async def execute(self, ctx: ObjectContext) -> str:
        await reject(ctx, self.awakeable_key, self.reason)
        return ""


class GetEnvVariable(Tagged, frozen=True, tag="getEnvVariable"):
    env_name: str

    async def execute(self, ctx: ObjectContext) -> str:
        return await ctx.run(self._read)

    async def _read(self) -> str:
        return os.environ.get(self.env_name, "")


Command: TypeAlias = (
    AwaitOne
    | AwaitAny
    | AwaitFirstCompleted
    | AwaitAnySuccessful
    | AwaitFirstSucceededOrAllFailed
    | AwaitAllSucceededOrFirstFailed
    | AwaitAllCompleted
    | AwaitAwakeableOrTimeout
    | ResolveAwakeable
    | RejectAwakeable
    | GetEnvVariable
)


# --- handlers ------------------------------------------------------------------------------------------------------


class Program(JsonObject, frozen=True):
    commands: list[Command]


class Resolution(JsonObject, frozen=True):
    awakeable_key: str
    value: str


class Rejection(JsonObject, frozen=True):
    awakeable_key: str
    reason: str


async def find(ctx: SharedObjectContext, awakeable_key: str) -> str:
    awakeable_id = await ctx.get(registered(awakeable_key))
    if awakeable_id is None:
        raise TerminalError(f"no awakeable is registered under {awakeable_key!r}")
    return awakeable_id


async def resolve(ctx: SharedObjectContext, awakeable_key: str, value: str) -> None:
    ctx.resolve_awakeable(await find(ctx, awakeable_key), value)


async def reject(ctx: SharedObjectContext, awakeable_key: str, reason: str) -> None:
    ctx.reject_awakeable(await find(ctx, awakeable_key), reason)


@command_interpreter.handler(name="interpretCommands")
async def interpret_commands(ctx: ObjectContext, program: Program) -> str:
    result = ""
    for command in program.commands:
        result = await command.execute(ctx)
        ctx.set(results, [*await ctx.get(results), result])
    return result


@command_interpreter.shared(name="resolveAwakeable")
async def resolve_awakeable(ctx: SharedObjectContext, resolution: Resolution) -> None:
    await resolve(ctx, resolution.awakeable_key, resolution.value)


@command_interpreter.shared(name="rejectAwakeable")
async def reject_awakeable(ctx: SharedObjectContext, rejection: Rejection) -> None:
    await reject(ctx, rejection.awakeable_key, rejection.reason)


@command_interpreter.shared(name="hasAwakeable")
async def has_awakeable(ctx: SharedObjectContext, awakeable_key: str) -> bool:
    return await ctx.get(registered(awakeable_key)) is not None


@command_interpreter.shared(name="getResults")
async def get_results(ctx: SharedObjectContext) -> list[str]:
    return await ctx.get(results)
