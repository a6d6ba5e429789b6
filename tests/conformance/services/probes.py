"""Small handlers that show one thing each: payloads, headers, steps, signals to other invocations."""

from __future__ import annotations

from perdure import Context, Service
from tests.conformance.services.payloads import JsonObject, Milliseconds

__all__ = ["probes"]

probes = Service("TestUtilsService")


class SignalValue(JsonObject, frozen=True):
    invocation_id: str
    signal_name: str
    value: str


class SignalReason(JsonObject, frozen=True):
    invocation_id: str
    signal_name: str
    reason: str


@probes.handler
async def echo(ctx: Context, text: str) -> str:
    return text


@probes.handler(name="uppercaseEcho")
async def uppercase_echo(ctx: Context, text: str) -> str:
    return text.upper()


@probes.handler(name="echoHeaders")
async def echo_headers(ctx: Context) -> dict[str, str]:
    return dict(ctx.headers)


@probes.handler(name="rawEcho")
async def raw_echo(ctx: Context, data: bytes) -> bytes:
    return data


@probes.handler(name="countExecutedSideEffects")
async def count_executed_side_effects(ctx: Context, steps: int) -> int:
    executed = 0

    async def execute() -> None:
        nonlocal executed
        executed += 1

    for _ in range(steps):
        await ctx.run(execute)
    return executed


@probes.handler(name="cancelInvocation")
async def cancel_invocation(ctx: Context, invocation_id: str) -> None:
    ctx.invocation(invocation_id).cancel()


@probes.handler(name="resolveSignal")
async def resolve_signal(ctx: Context, signal: SignalValue) -> None:
    ctx.invocation(signal.invocation_id).signal(signal.signal_name).resolve(signal.value)


@probes.handler(name="rejectSignal")
async def reject_signal(ctx: Context, signal: SignalReason) -> None:
    ctx.invocation(signal.invocation_id).signal(signal.signal_name).reject(signal.reason)


@probes.handler(name="sleepConcurrently")
async def sleep_concurrently(ctx: Context, durations: list[Milliseconds]) -> None:
    await ctx.gather(*(ctx.sleep(duration / 1000) for duration in durations))
