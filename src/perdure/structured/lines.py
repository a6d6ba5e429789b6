"""Waiting for something that another branch of the handler gives.

Branches take turns, so what one of them does between two durable awaits has one place in every attempt. Waiting for a
sibling therefore needs no journal entry: a leaf that the sibling settles is enough, and replays by itself.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from perdure.durable.driver import Driver
from perdure.machine.awaiting import PENDING, SUCCEEDED, Leaf, Node
from perdure.wire.messages import Void

__all__ = ["Line", "give", "pass_by"]

_GIVEN: Final = Void()


def give(driver: Driver, leaf: Leaf) -> None:
    """Settle a leaf: whoever waits for it becomes ready."""
    driver.turns.wake_settled(leaf.settle(_GIVEN))


async def pass_by(driver: Driver) -> None:
    """Await something that is there already: it does not wait, but raises in a cancelled scope as every await does."""
    there = Node()
    there.state = SUCCEEDED
    await driver.wait(there)


class Line:
    """Branches that wait, first in, first out; each leaves with what it was given.

    Args:
        driver: runs the attempt.
        label: what they wait for, for error messages.
    """

    __slots__ = ("_driver", "_label", "_leaves")

    def __init__(self, driver: Driver, label: str) -> None:
        self._driver = driver
        self._label = label
        self._leaves: deque[Leaf] = deque()

    def __len__(self) -> int:
        return len(self._leaves)

    async def wait(self, brings: Any = None) -> Any:
        """Wait at the end of the line; returns what `serve` gives. A cancelled branch leaves the line.

        Args:
            brings: kept beside the branch, for whoever serves it.
        """
        leaf = Leaf(0, label=self._label)
        leaf.tag = (brings, None)
        self._leaves.append(leaf)
        try:
            await self._driver.wait(leaf)
        finally:
            if leaf.state == PENDING:
                self._leaves.remove(leaf)
        return leaf.tag[1]

    def serve(self, value: Any = None) -> Any:
        """Give `value` to the branch that has waited longest; returns what it brought."""
        leaf = self._leaves.popleft()
        brought, _ = leaf.tag
        leaf.tag = (brought, value)
        give(self._driver, leaf)
        return brought
