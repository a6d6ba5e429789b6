"""What an attempt does when nothing runs in it: hand over its output, tell what it waits for, suspend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from perdure.durable.end import End
from perdure.exceptions import UsageError
from perdure.machine.awaiting import Node, open_leaves
from perdure.wire.versions import ProtocolVersion

if TYPE_CHECKING:
    from perdure.durable.driver import Driver

__all__ = ["HINT_AFTER", "Resting", "names_of"]

HINT_AFTER: Final = 0.02
"""Seconds of waiting after which a version 7 runtime is told what the handler waits for."""

_MOST_NAMES: Final = 5


def names_of(*nodes: Node) -> str:
    """What is waited for, in words."""
    labels = [leaf.label for leaf in open_leaves(nodes)]
    return ", ".join(labels[:_MOST_NAMES]) + (", ..." if len(labels) > _MOST_NAMES else "")


class Resting:
    """The rests of one attempt."""

    __slots__ = ("_driver", "_hinting", "_watching")

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._hinting = False
        self._watching = False

    def nodes(self) -> list[Node]:
        """Everything that can end the rest: what the parked branches wait for, and open deadlines."""
        driver = self._driver
        return [*driver.parked_nodes(), *driver.deadlines.timers()]

    async def rest(self) -> None:
        """Nothing runs: hand over what there is, then suspend or say that nothing runs."""
        driver = self._driver
        await driver.flush()
        if driver.fenced or driver.runs.running:
            return
        if driver.turns.holder is not None or driver.machine.undelivered:
            return
        if driver.machine.input_closed:
            await self.suspend()
        elif driver.on_idle is not None:
            driver.on_idle()

    async def suspend(self) -> None:
        """The input is closed and nothing runs: leave, until what we wait for is in the journal."""
        driver = self._driver
        if driver.fenced:
            return
        nodes = self.nodes()
        if not driver.machine.can_suspend_on(nodes):
            places = ", ".join(
                f"branch {branch.number} at {driver.parked_at(branch)}" for branch in driver.turns.parked()
            )
            await driver.abort(
                UsageError(
                    f"the handler waits for something that nothing can bring about ({places}): every branch is parked "
                    "and no timer, call, signal or step is left to end the wait"
                )
            )
            return
        driver.seal(End.SUSPENDED)
        driver.machine.suspend(nodes)
        await driver.flush()
        driver.fence(End.SUSPENDED)

    # --- telling the runtime ---------------------------------------------------------------------------------------

    def hint_later(self) -> None:
        """Nobody is ready: if that lasts, a runtime of version 7 is told what is waited for."""
        driver = self._driver
        machine = driver.machine
        if self._hinting or machine.version < ProtocolVersion.V7 or machine.input_closed or driver.children is None:
            return
        self._hinting = True
        driver.children.start(self._hint)

    async def _hint(self) -> None:
        driver = self._driver
        while True:
            seen = driver.turns.granted
            await anyio.sleep(HINT_AFTER)
            if driver.fenced or driver.machine.input_closed:
                break
            if driver.turns.granted == seen and driver.turns.holder is None:
                self.tell()
                await driver.flush()
                break
        self._hinting = False

    def tell(self) -> None:
        """Tell a runtime of version 7 what is waited for."""
        driver = self._driver
        driver.machine.awaiting_on(self.nodes(), executing=bool(driver.runs.running))

    # --- deadlines that nobody can hear ----------------------------------------------------------------------------

    def watch_deadlines(self) -> None:
        """Where no timer can be heard, but steps run under a deadline: look at the clock."""
        driver = self._driver
        if self._watching or not driver.machine.input_closed or not driver.deadlines.open or not driver.runs.running:
            return
        assert driver.children is not None
        self._watching = True
        driver.children.start(self._watch)

    async def _watch(self) -> None:
        try:
            await self._driver.execution.abandon_late()
        finally:
            self._watching = False
