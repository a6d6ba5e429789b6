"""The runs of one attempt: which closures are open, started or still to start, and trying one until it has a result.

A closure is started only when nothing is left to deliver and its result is not in the journal, so none starts in a
replay. It is tried again within the attempt while the pauses are short, or while anything else of the attempt is alive
that a new attempt would interrupt; otherwise the attempt ends and the runtime tries again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import anyio

from perdure.durable.blocks import FEW, Block
from perdure.durable.clock import Clock
from perdure.durable.closures import Closure
from perdure.durable.failures import NOT_RETRIED, StepFailed
from perdure.durable.loop import is_stray, open_scope
from perdure.durable.outcome import RUN_CANCELLED, error_of, failure_of, is_run_cancelled, terminal_of
from perdure.exceptions import RetryableError, TerminalError
from perdure.machine.awaiting import FAILED, PENDING, Leaf
from perdure.machine.invocation import Invocation
from perdure.machine.retry import Exhausted, RetryPolicy
from perdure.wire.messages import Failure, Value

__all__ = ["IN_PROCESS_RETRY", "RunHost", "Runs"]

IN_PROCESS_RETRY: Final = 1.0
"""Seconds: a shorter pause before the next try of a step is waited for within the attempt."""

_DEFAULT_RETRY: Final = RetryPolicy()


class RunHost(Protocol):
    """What runs need of the driver."""

    fenced: bool

    async def flush(self) -> None:
        """Hand over all output."""
        ...

    def flush_soon(self) -> None:
        """Hand it over without waiting for that."""
        ...

    def is_busy(self, closure: Closure) -> bool:
        """Whether a new attempt would interrupt, or delay, anything but this step."""
        ...


class Runs:
    """Closures of one attempt.

    Attributes:
        running: those whose user code runs, or waits between two tries.
    """

    __slots__ = ("_clock", "_host", "_machine", "_unstarted", "running")

    def __init__(self, machine: Invocation, clock: Clock, host: RunHost) -> None:
        self._machine = machine
        self._clock = clock
        self._host = host
        self._unstarted: dict[Leaf, Closure] = {}
        self.running: dict[Leaf, Closure] = {}

    def add(self, closure: Closure, block: Block) -> None:
        """A `run` was issued in this block."""
        if len(block.runs) >= block.crowded_runs:
            _forget_taken(block)
        leaf = closure.leaf
        leaf.tag = closure
        closure.block = block
        self._unstarted[leaf] = closure
        block.runs[leaf] = closure

    def close(self, leaf: Leaf) -> None:
        """The result of a `run` was taken: there is nothing left to start or to wait for."""
        closure: Closure | None = leaf.tag
        if closure is not None:
            self._unstarted.pop(leaf, None)
            closure.block.runs.pop(leaf, None)

    def start(self) -> list[Closure]:
        """The closures that are to be started now, counted as running from here on."""
        if not self._unstarted:
            return []
        unstarted, self._unstarted = self._unstarted, {}
        started = [closure for closure in unstarted.values() if closure.leaf.state == PENDING]
        for closure in started:
            self.running[closure.leaf] = closure
            closure.running = True
        return started

    def ended(self, closure: Closure) -> None:
        """The user code of a closure has ended."""
        self.running.pop(closure.leaf, None)
        closure.running = False
        if closure.ended is not None:
            closure.ended.set()

    def interrupt(self) -> None:
        """Stop all user code natively; the fence does this."""
        for closure in self.running.values():
            if closure.scope is not None:
                closure.scope.cancel()

    def withdraw(self, closure: Closure) -> None:
        """Stop a closure that nobody will wait for: one that has not started never does."""
        closure.cancel()
        self._unstarted.pop(closure.leaf, None)

    @staticmethod
    def unobserved_failures(block: Block) -> list[TerminalError]:
        """The failures of steps of a block that nobody awaited, alone or in a combinator."""
        return [
            error_of(result)
            for closure in block.runs.values()
            if isinstance(result := closure.leaf.result, Failure)
            and not closure.leaf.observed
            and not is_run_cancelled(result)
        ]

    # --- trying ----------------------------------------------------------------------------------------------------

    async def result_of(self, closure: Closure, on_suspend: Callable[[], None] | None = None) -> Value | Failure | None:
        """Run a closure until it has a result to propose; `None` when the fence stopped it.

        Args:
            closure: what to run.
            on_suspend: called as soon as the closure waits for anything. Where its command may be unsent, it is
                handed over then; so one that waits for nothing travels with its result in one piece.

        Raises:
            StepFailed: the attempt ends; the runtime tries again, or pauses.
            PerdureError: one of `NOT_RETRIED`.
        """
        host = self._host
        earlier, elapsed = self._machine.earlier_tries(closure.leaf)
        begun = self._clock.monotonic()
        while not host.fenced:
            if closure.abandoned:
                return None
            if closure.cancelled:
                return RUN_CANCELLED
            error: Exception | None = None
            with open_scope() as closure.scope:
                try:
                    return Value(await closure.try_once(on_suspend))
                except NOT_RETRIED:
                    raise
                except Exception as caught:  # noqa: BLE001 - the retry policy decides, nothing is lost
                    error = caught
                except anyio.get_cancelled_exc_class() as stray:  # noqa: ASYNC103 - it was meant for another task
                    if closure.scope.cancel_called or not is_stray():
                        raise
                    error = RuntimeError("the step let the cancellation of something else through")
                    error.__cause__ = stray
            if error is None or closure.cancelled or closure.abandoned or host.fenced:
                continue
            terminal = terminal_of(error)
            if terminal is not None:
                return failure_of(terminal)
            spent = elapsed + self._clock.monotonic() - begun
            pause = self._pause_after(error, closure, earlier, spent)
            if isinstance(pause, Failure):
                return pause
            if on_suspend is not None:
                on_suspend()
                on_suspend = None
            await host.flush()
            with open_scope() as closure.scope:
                await self._clock.sleep(pause)
        return None

    def _pause_after(self, error: Exception, closure: Closure, earlier: int, spent: float) -> float | Failure:
        """Seconds until the next try within this attempt; or the failure that ends the step."""
        policy = closure.retry if closure.retry is not None else _DEFAULT_RETRY
        tries = closure.tries
        if earlier:
            # The runtime counts attempts, each of them one try, but for the first: that made one try more than
            # the policy has short pauses.
            tries += earlier + policy.tries_within(IN_PROCESS_RETRY)
        delay = policy.next_delay(tries, spent)
        if isinstance(delay, Exhausted):
            if policy.on_exhausted == "pause":
                raise StepFailed(closure.leaf, error, pause=True)
            message = str(error) or type(error).__name__
            return failure_of(TerminalError(message))
        if isinstance(error, RetryableError) and error.retry_after is not None:
            delay = error.retry_after
        if delay > IN_PROCESS_RETRY and not self._host.is_busy(closure):
            raise StepFailed(closure.leaf, error, retry_after=delay)
        return delay


def _forget_taken(block: Block) -> None:
    """Let go of runs whose result was taken in a combination, which tells nobody when it is."""
    block.runs = {
        leaf: closure
        for leaf, closure in block.runs.items()
        if leaf.state == PENDING or (leaf.state == FAILED and not leaf.observed)
    }
    block.crowded_runs = FEW + 2 * len(block.runs)
