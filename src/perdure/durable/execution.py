"""Executing steps: which task runs a closure, and what becomes of its result.

A closure runs without the turn, in a context of its own. The one that a parked branch awaits runs in the task of that
branch, which cannot go on before it anyway; others get a task. If it finishes without waiting for anything, its command
and its result leave in the same piece.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from perdure.durable.branches import DriverBranch
from perdure.durable.closures import Closure
from perdure.durable.failures import NOT_RETRIED, StepFailed
from perdure.machine.awaiting import Node, open_leaves
from perdure.wire.messages import Failure, Value

if TYPE_CHECKING:
    from perdure.durable.driver import Driver

__all__ = ["Execution"]


class Execution:
    """Executes the steps of one attempt.

    Attributes:
        sends: whether a task is about to run steps, and hands over the output then.
    """

    __slots__ = ("_driver", "sends")

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.sends: bool = False

    def start(self, node: Node | None) -> Closure | None:
        """Start what has no result in the journal; give back the step that `node` is, for its branch to run."""
        started = self._driver.runs.start()
        if not started:
            return None
        if len(started) == 1 and started[0].leaf is node:
            return started[0]
        assert self._driver.children is not None
        self.sends = True
        self._driver.children.start(self._one_by_one, deque(started))
        return None

    async def _one_by_one(self, closures: deque[Closure]) -> None:
        """Run closures in this task until one waits for something; then the others start, each in a task of its own.

        Steps that wait for nothing are many in some programs, and need no task.
        """
        driver = self._driver

        def go_on() -> None:
            self.sends = False
            driver.flush_soon()
            while closures:
                self._start_alone(closures.popleft())

        while closures and not driver.fenced:
            await self._execute(closures.popleft(), go_on)
        self.sends = False
        if not driver.fenced:
            await driver.flush()
            driver.pump()

    def _start_alone(self, closure: Closure) -> None:
        """Start a closure in the task of the branch that waits for it and for nothing else, or in a new one."""
        for waiter in closure.leaf.waiters or ():
            if (
                isinstance(waiter, DriverBranch)
                and waiter.parked_on is closure.leaf
                and waiter.closure is None
                and waiter.event is not None
            ):
                waiter.closure = closure
                waiter.event.set()
                return
        assert self._driver.children is not None
        self._driver.children.start(self._alone, closure)

    async def _alone(self, closure: Closure) -> None:
        driver = self._driver
        await self._execute(closure, None)
        if not driver.fenced:
            await driver.flush()
            driver.pump()

    async def here(self, branch: DriverBranch, closure: Closure) -> None:
        """Run the closure that a parked branch awaits, in its own task."""
        driver = self._driver
        try:
            await self._execute(closure, driver.flush_soon)
        except anyio.get_cancelled_exc_class():
            await driver.host.cancelled_at_await(branch)  # noqa: ASYNC102 - it shields itself for a second
            raise
        if driver.fenced:
            await driver.unwind()
        await driver.flush()

    async def _execute(self, closure: Closure, on_suspend: Callable[[], None] | None) -> None:
        """Run a closure to its proposal."""
        driver = self._driver
        failure: Exception | None = None
        result: Value | Failure | None = None
        try:
            result = await driver.runs.result_of(closure, on_suspend)
        except (StepFailed, *NOT_RETRIED) as error:
            failure = error
        finally:
            driver.runs.ended(closure)
        if failure is not None:
            await driver.abort(failure)
        elif result is not None and not driver.fenced:
            driver.machine.propose_run(closure.leaf, result)

    def anything_else(self, closure: Closure) -> bool:
        """Whether a new attempt would interrupt, or delay, anything but this step."""
        driver = self._driver
        if len(driver.runs.running) > 1:
            return True
        if driver.machine.input_closed:
            return False  # whatever else is waited for, it cannot be heard
        if len(driver.turns.alive) > 1 or driver.deadlines.open or driver.turns.holder is not None:
            return True
        return any(leaf is not closure.leaf for leaf in open_leaves(driver.parked_nodes()))

    async def abandon_late(self) -> None:
        """With the input closed no timer can be heard: stop steps whose deadline has passed, without a result."""
        driver = self._driver
        deadlines = driver.deadlines
        while driver.runs.running and not driver.fenced and (unheard := deadlines.unheard()):
            left = min(at for _, at in unheard.values()) - driver.clock.now()
            if left > 0:
                await anyio.sleep(left)
                continue
            for block, deadline in unheard.items():
                if deadline.at <= driver.clock.now():
                    deadlines.late.add(deadline)  # it stays open: its timer is what the attempt suspends on
                    for reached in block.reached():
                        for closure in reached.unsettled():
                            closure.abandon()
