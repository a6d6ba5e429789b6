"""Failures, terminal and passing, of handlers and of steps."""

from __future__ import annotations

import itertools
from typing import NoReturn

from perdure import ObjectContext, RetryPolicy, TerminalError, VirtualObject
from tests.conformance.services.payloads import JsonObject

__all__ = ["failing"]

failing = VirtualObject("Failing")

SUCCEEDING_ATTEMPT = 4
SHORT_PAUSES = RetryPolicy(initial_interval=0.005, factor=1)


class Failure(JsonObject, frozen=True):
    error_message: str
    metadata: dict[str, str] | None = None

    def error(self) -> TerminalError:
        return TerminalError(self.error_message, metadata=self.metadata)


class Tries:
    """Counters in memory: they know of attempts, which no journal does."""

    def __init__(self) -> None:
        self.of_handler = 0
        self.of_succeeding_step = itertools.count(1)
        self.of_failing_step = 0


tries = Tries()


@failing.handler(name="terminallyFailingCall")
async def terminally_failing_call(ctx: ObjectContext, failure: Failure) -> NoReturn:
    raise failure.error()


@failing.handler(name="callTerminallyFailingCall")
async def call_terminally_failing_call(ctx: ObjectContext, failure: Failure) -> str:
    return await ctx.call(terminally_failing_call, failure, key=str(ctx.uuid4()))


@failing.handler(name="failingCallWithEventualSuccess")
async def failing_call_with_eventual_success(ctx: ObjectContext) -> int:
    tries.of_handler += 1
    attempt = tries.of_handler
    if attempt < SUCCEEDING_ATTEMPT:
        raise RuntimeError(f"attempt {attempt} fails on purpose")
    tries.of_handler = 0
    return attempt


@failing.handler(name="terminallyFailingSideEffect")
async def terminally_failing_side_effect(ctx: ObjectContext, failure: Failure) -> None:
    async def fail() -> NoReturn:
        raise failure.error()

    await ctx.run(fail)


@failing.handler(name="sideEffectSucceedsAfterGivenAttempts")
async def side_effect_succeeds_after_given_attempts(ctx: ObjectContext, attempts: int) -> int:
    async def succeed_late() -> int:
        count = next(tries.of_succeeding_step)
        if count < attempts:
            raise RuntimeError(f"try {count} fails on purpose")
        return count

    return await ctx.run(succeed_late, retry=SHORT_PAUSES)


@failing.handler(name="sideEffectFailsAfterGivenAttempts")
async def side_effect_fails_after_given_attempts(ctx: ObjectContext, attempts: int) -> int:
    async def fail() -> None:
        tries.of_failing_step += 1
        raise RuntimeError(f"try {tries.of_failing_step} fails on purpose")

    try:
        await ctx.run(fail, retry=RetryPolicy(initial_interval=0.005, factor=1, max_attempts=attempts))
    except TerminalError:
        return tries.of_failing_step
    raise TerminalError("a step that always fails succeeded")
