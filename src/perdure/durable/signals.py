"""Named signals that branches wait for: their mailbox gives a value to the oldest future that is being awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perdure.machine.awaiting import PENDING, Leaf, Node, open_leaves
from perdure.machine.invocation import Invocation

if TYPE_CHECKING:
    from perdure.durable.branches import DriverBranch
    from perdure.durable.turns import Turns

__all__ = ["Signals"]


class Signals:
    """The named signals of one attempt.

    Attributes:
        named: whether the handler uses any, so that waits have to look for them.
    """

    __slots__ = ("_awaited", "_machine", "_turns", "named")

    def __init__(self, machine: Invocation, turns: Turns[DriverBranch]) -> None:
        self._machine = machine
        self._turns = turns
        self._awaited: dict[Leaf, int] = {}
        self.named: bool = False

    def collect(self, node: Node, waiting: list[Leaf]) -> None:
        """Let the named signals below `node` take what was kept for them, or wait; list those that wait."""
        for leaf in open_leaves((node,)):
            if isinstance(leaf.signal, str):
                waiting.append(leaf)
                self._awaited[leaf] = self._awaited.get(leaf, 0) + 1
                woken: list[Any] = self._machine.collect_signal(leaf)
                self._turns.wake_settled(woken)
                if node.state != PENDING:
                    return  # decided: what is left takes nothing

    def withdraw(self, waiting: list[Leaf]) -> None:
        """A branch does not wait for these any more; another one may."""
        for leaf in waiting:
            others = self._awaited.pop(leaf) - 1
            if others:
                self._awaited[leaf] = others
            else:
                self._machine.withdraw_signal(leaf)
