"""The cancellation of an invocation: what it reaches, what is owed because of it, and when the handler is told.

The cancel signal is a notification like any other, delivered at its place in the journal. At that place steps without a
result are cancelled, and open calls are marked. A marked call is cancelled by a command at the delivery of its callee's
id, or at once when that is known: fixed places too. The handler is told once, by `InvocationCancelled`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from perdure.machine.awaiting import PENDING, Leaf, Node, Relay
from perdure.machine.invocation import Invocation

__all__ = ["Cancellation"]

FEW: Final = 64
"""Calls that are remembered without asking whether they were answered."""


class Cancellation:
    """What is known of the cancellation of one attempt's invocation.

    Attributes:
        seen: whether the signal was delivered.
        pending: whether the handler is still to be told.
        dropped: whether it will not be told any more: it has its result.
    """

    __slots__ = ("_calls", "_crowded", "_machine", "_owed", "dropped", "pending", "seen")

    def __init__(self, machine: Invocation) -> None:
        self._machine = machine
        self._calls: list[tuple[Leaf, Leaf]] = []
        self._crowded = FEW
        self._owed: list[Node] = []
        self.seen: bool = False
        self.pending: bool = False
        self.dropped: bool = False

    def add_call(self, id_leaf: Leaf, leaf: Leaf) -> None:
        """A call was issued: it is cancelled when this invocation is."""
        if len(self._calls) >= self._crowded:
            self._calls = [pair for pair in self._calls if pair[1].state == PENDING]
            self._crowded = FEW + 2 * len(self._calls)
        self._calls.append((id_leaf, leaf))

    def owe(self, leaf: Leaf, act: Callable[[], None]) -> None:
        """Do something durable as soon as `leaf` is delivered, or now. The handler does not end before."""
        relay = Relay(leaf, act)
        if relay.state == PENDING:
            self._owed.append(relay)

    @property
    def owes_nothing(self) -> bool:
        """Whether nothing was ever owed."""
        return not self._owed

    def owed(self) -> list[Node]:
        """What the end of the handler has to wait for."""
        return [node for node in self._owed if node.state == PENDING]

    def delivered(self) -> None:
        """The signal was delivered: cancel the calls that are open."""
        self.seen = True
        self.pending = not self.dropped
        calls, self._calls = self._calls, []
        for id_leaf, leaf in calls:
            if leaf.state == PENDING:
                self.owe(id_leaf, self._cancel_of(id_leaf))

    def _cancel_of(self, id_leaf: Leaf) -> Callable[[], None]:
        return lambda: self._machine.cancel(getattr(id_leaf.result, "id", ""))

    def take(self) -> bool:
        """Whether the handler is to be told; whoever asks tells it."""
        pending, self.pending = self.pending, False
        return pending
