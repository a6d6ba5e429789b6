"""Durable deadlines: a journaled timer whose notification cancels a block.

What decides is the delivery of the notification, at its place in the journal. The clock is only looked at where nobody
can hear the timer: with the input closed, steps of a block whose time has passed are stopped without a result, so that
the attempt suspends and the journal decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from perdure.machine.awaiting import Leaf, Relay

if TYPE_CHECKING:
    from perdure.durable.blocks import Block
    from perdure.durable.driver import Driver

__all__ = ["Deadline", "Deadlines"]


class Deadline(NamedTuple):
    """The timer of a block: its leaf, and when it fires, in seconds since the Unix epoch."""

    timer: Leaf
    at: float


class Deadlines:
    """The deadlines of one attempt.

    Attributes:
        open: those that can still cancel their block.
        late: those of them that have passed by the clock, where nobody can hear their timers.
    """

    __slots__ = ("_driver", "late", "open")

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.open: dict[Block, Deadline] = {}
        self.late: set[Deadline] = set()

    def set(self, block: Block, at: float) -> Deadline:
        """Set the deadline of a block, in place of the one it had; returns what the journal holds."""
        driver = self._driver
        timer, wake_up_time = driver.machine.set_timer(round(at * 1000))
        deadline = self.open[block] = Deadline(timer, wake_up_time / 1000)
        Relay(timer, lambda: self._passed(block, timer))
        driver.resting.watch_deadlines()
        return deadline

    def _passed(self, block: Block, timer: Leaf) -> None:
        deadline = self.open.get(block)
        if deadline is not None and deadline.timer is timer:
            del self.open[block]
            self._driver.stopping.cancel(block)

    def drop(self, block: Block) -> None:
        """The block has no deadline any more; its timer goes on on the server, and is ignored."""
        self.open.pop(block, None)

    def unheard(self) -> dict[Block, Deadline]:
        """Those that have not passed yet, as far as it is known."""
        return {block: deadline for block, deadline in self.open.items() if deadline not in self.late}

    def timers(self) -> list[Leaf]:
        """The timers that can still cancel something."""
        return [deadline.timer for block, deadline in self.open.items() if not block.cancelled]
