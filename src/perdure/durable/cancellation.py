"""The cancellation of an invocation: what is owed because of it, and when the handler is told.

The cancel signal is a notification like any other, delivered at its place in the journal. At that place steps without a
result are stopped, and open calls are marked. A marked call is cancelled by a command at the delivery of its callee's
id, or at once when that is known: fixed places too. The handler is told once, by `InvocationCancelled`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from perdure.durable.blocks import OpenCall
from perdure.machine.awaiting import PENDING, Leaf, Node, Relay
from perdure.machine.invocation import Invocation

__all__ = ["Cancellation"]


class Cancellation:
    """What is known of the cancellation of one attempt's invocation, and of the calls that are to be cancelled.

    Attributes:
        seen: whether the signal was delivered.
        pending: whether the handler is still to be told.
        dropped: whether it will not be told any more: it has its result.
    """

    __slots__ = ("_machine", "_owed", "dropped", "pending", "seen")

    def __init__(self, machine: Invocation) -> None:
        self._machine = machine
        self._owed: list[Node] = []
        self.seen: bool = False
        self.pending: bool = False
        self.dropped: bool = False

    def owe(self, leaf: Leaf, act: Callable[[], None]) -> None:
        """Do something durable as soon as `leaf` is delivered, or now. The handler does not end before."""
        relay = Relay(leaf, act)
        if relay.state == PENDING:
            self._owed = [node for node in self._owed if node.state == PENDING]
            self._owed.append(relay)

    @property
    def owes_nothing(self) -> bool:
        """Whether nothing was ever owed."""
        return not self._owed

    def owed(self) -> list[Node]:
        """What the end of the handler has to wait for."""
        return [node for node in self._owed if node.state == PENDING]

    def delivered(self) -> None:
        """The signal was delivered."""
        self.seen = True
        self.pending = not self.dropped

    def cancel_calls(self, calls: Iterable[OpenCall]) -> None:
        """Cancel calls that are open, in the order in which they were made."""
        for call in sorted(calls, key=_command):
            if call.leaf.state == PENDING:
                self.owe(call.id_leaf, self._cancel_of(call.id_leaf))

    def _cancel_of(self, id_leaf: Leaf) -> Callable[[], None]:
        return lambda: self._machine.cancel(getattr(id_leaf.result, "id", ""))

    def take(self) -> bool:
        """Whether the handler is to be told; whoever asks tells it."""
        pending, self.pending = self.pending, False
        return pending


def _command(call: OpenCall) -> int:
    return call.id_leaf.command
