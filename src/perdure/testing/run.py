"""Running a handler in memory: the real machine, the real driver, no server and no waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import anyio.lowlevel

from perdure.durable.driver import Driver, End
from perdure.durable.outcome import error_of
from perdure.durable.serde import decode_value
from perdure.exceptions import TerminalError, UsageError
from perdure.handlers.attempt import run_attempt
from perdure.handlers.definitions import Handler
from perdure.handlers.environment import Environment
from perdure.handlers.middleware import Middleware
from perdure.handlers.registry import Registry
from perdure.machine.awaiting import flat_suspension
from perdure.machine.invocation import Invocation
from perdure.testing.given import Given
from perdure.testing.runtime import AttemptOver, InMemoryRuntime
from perdure.wire.messages import Command, Failure, Message
from perdure.wire.versions import ProtocolVersion

__all__ = ["Ran", "VirtualTime", "run"]

R = TypeVar("R")

MAX_ATTEMPTS = 10_000
"""A handler that needs more is taken to go round in circles."""


class VirtualTime:
    """The clock of an in-memory run: it stands still, and jumps when the handler waits for it."""

    def __init__(self, runtime: InMemoryRuntime) -> None:
        self._runtime = runtime

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        return self._runtime.now

    def monotonic(self) -> float:
        """The same: it is never set back."""
        return self._runtime.now

    async def sleep(self, seconds: float) -> None:
        """Jump ahead."""
        self._runtime.now += seconds
        await anyio.lowlevel.checkpoint()


class Ran(Generic[R]):
    """What came of a run.

    Attributes:
        journal: every entry, commands and notifications, in order.
        attempts: how many attempts it took.
        runtime: the runtime in memory, for closer looks.
    """

    def __init__(self, runtime: InMemoryRuntime, read: Callable[[bytes], R], attempts: int) -> None:
        self.runtime = runtime
        self.journal: list[Message] = runtime.journal
        self.attempts = attempts
        self._read = read

    @property
    def result(self) -> R:
        """What the handler returned.

        Raises:
            TerminalError: the invocation ended with this failure.
        """
        output = self.runtime.output
        if isinstance(output, Failure):
            raise error_of(output)
        assert output is not None
        return self._read(output.content)

    @property
    def failure(self) -> TerminalError | None:
        """The failure it ended with, `None` when it returned."""
        output = self.runtime.output
        return error_of(output) if isinstance(output, Failure) else None

    @property
    def commands(self) -> list[Command]:
        """What the handler did, in order: the input first, the output last."""
        return [entry for entry in self.journal if isinstance(entry, Command)]

    @property
    def state(self) -> dict[str, bytes]:
        """The state of the object afterwards, as bytes."""
        return self.runtime.state


async def run(
    handler: Handler[R],
    arg: Any = None,
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    state: Mapping[str, Any] | None = None,
    calls: Mapping[Handler[Any], Any] | None = None,
    awakeables: Sequence[Any] = (),
    signals: Sequence[tuple[str, Any]] = (),
    promises: Mapping[str, Any] | None = None,
    always_replay: bool = False,
    lazy_state: bool = False,
    cancel: bool = False,
    max_retries: int = 0,
    protocol: ProtocolVersion = ProtocolVersion.V6,
    app: Any = None,
    middleware: Sequence[Middleware] = (),
    registry: Registry | None = None,
) -> Ran[R]:
    """Run a handler in memory, to its end.

    Timers fire at once, in their order; steps are executed; calls get the results given here.

    Args:
        handler: the handler object.
        arg: its input.
        key: of the object or workflow.
        headers: of the request.
        state: what the object holds; values are written as JSON.
        calls: results by handler of what is called, and of what is sent and attached to: a value, a `TerminalError`,
            or a function of the argument.
        awakeables: results of awakeables, in the order of their creation: values or `TerminalError`.
        signals: names and values of signals to this invocation, in order of arrival.
        promises: what promises of the workflow were completed with.
        always_replay: suspend at every await, so that every step of the handler is replayed.
        lazy_state: let the handler ask for every key.
        cancel: cancel the invocation before it starts.
        max_retries: how many failed attempts are tried again; the error of the last one is raised.
        protocol: the version to speak.
        app: what `ctx.app` is.
        middleware: entered around attempts and steps.
        registry: the endpoint's, where codecs or serdes of other services matter.

    Raises:
        UsageError: the handler waits for something that was not given, or goes round in circles.
        Exception: whatever failed the last attempt.
    """
    registry = registry if registry is not None else Registry([handler.service])
    bound = registry.bound(handler)
    given = Given(
        registry,
        bound,
        arg,
        key=key,
        headers=headers,
        state=state,
        calls=calls,
        awakeables=awakeables,
        signals=signals,
        promises=promises,
        lazy_state=lazy_state,
    )
    runtime = InMemoryRuntime(**given.options, signals=given.signals, awakeables=given.awakeables)
    environment = Environment(registry, middleware=middleware, clock=VirtualTime(runtime), app=app)
    if cancel:
        runtime.cancel()
    failures = retries = 0
    for attempt in range(1, MAX_ATTEMPTS):
        runtime.begin(close_after_journal=always_replay, retry_count=retries)
        before = len(runtime.journal)
        driver = Driver(Invocation(protocol), runtime, messages=True, clock=environment.clock, on_idle=runtime.idle)
        end = await run_attempt(bound, driver, environment)
        if end is End.ENDED:
            return Ran(runtime, lambda data: decode_value(bound.output, data, f"the output of {handler.path}"), attempt)
        if runtime.over is AttemptOver.FAILED:
            failures += 1
            if failures > max_retries:
                assert driver.failure is not None
                raise driver.failure
            retries = retries + 1 if len(runtime.journal) == before else 1
            runtime.now += (runtime.errors[-1].next_retry_delay or 0) / 1000
            continue
        retries = 0
        if len(runtime.journal) == before and not runtime.fire_timers():
            raise UsageError(f"{handler.path} waits for what nobody gave it: {_awaited(runtime)}")
    raise UsageError(f"{handler.path} did not end within {MAX_ATTEMPTS} attempts")


def _awaited(runtime: InMemoryRuntime) -> str:
    message = runtime.suspensions[-1]
    if message.awaiting_on is not None:
        message = flat_suspension(message.awaiting_on)
    open_ids = set(message.waiting_completions)
    waits = [repr(entry) for entry in runtime.journal if getattr(entry, "result_completion_id", None) in open_ids]
    waits += [f"awakeable number {index - 16}" for index in message.waiting_signals if index > 1]
    waits += [f"signal {name!r}" for name in message.waiting_named_signals]
    return ", ".join(waits) or "nothing that can happen"
