"""Durable blocks: the tree of what can be cancelled, and of what belongs to it.

A *block* is the handler itself, a durable nursery, a cancel scope, or the start of a child. Each branch stands in its
innermost open block. Steps and calls belong to the block that was innermost when they were made; they are cancelled
with it, and when it is left before they have ended.

What is cancelled is read from here only, never from the clock and never from the event loop: this tree is a function
of the journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from perdure.machine.awaiting import PENDING, Leaf

if TYPE_CHECKING:
    import anyio

    from perdure.durable.branches import DriverBranch
    from perdure.durable.closures import Closure

__all__ = ["FEW", "Block", "OpenCall"]

FEW = 64
"""Runs, or calls, that a block remembers without asking whether anybody still needs them."""


class OpenCall(NamedTuple):
    """A call of a block, with the leaves of its callee's id and of its result."""

    id_leaf: Leaf
    leaf: Leaf
    cancel_on_exit: bool


class Block:
    """One block.

    Args:
        parent: the block around it; `None` for the handler.
        host: the branch that opened it, and that leaves it.
        shield: whether cancellations of the blocks around it do not reach into it.

    Attributes:
        cancelled: whether it was cancelled itself.
        inner: the blocks that are open directly inside it.
        members: the branches that were started in it.
        runs: its steps whose result nobody has taken yet, and some of which it was taken lately.
        calls: its calls that may be open.
        native: the native scope of its host's part; the host cancels it natively when it makes a plain await.
        natively_cancelled: whether it has done so.
    """

    __slots__ = (
        "calls",
        "cancelled",
        "crowded_calls",
        "crowded_runs",
        "host",
        "inner",
        "members",
        "native",
        "natively_cancelled",
        "parent",
        "runs",
        "shield",
    )

    def __init__(self, parent: Block | None, host: DriverBranch, *, shield: bool = False) -> None:
        self.parent: Block | None = parent
        self.host: DriverBranch = host
        self.shield: bool = shield
        self.cancelled: bool = False
        self.inner: dict[Block, None] = {}
        self.members: dict[DriverBranch, None] = {}
        self.runs: dict[Leaf, Closure] = {}
        self.calls: list[OpenCall] = []
        self.crowded_runs: int = FEW
        self.crowded_calls: int = FEW
        self.native: anyio.CancelScope | None = None
        self.natively_cancelled: bool = False
        if parent is not None:
            parent.inner[self] = None

    def cancelling(self) -> Block | None:
        """The innermost block whose cancellation reaches this place, `None` when there is none."""
        block: Block | None = self
        while block is not None:
            if block.cancelled:
                return block
            if block.shield:
                return None
            block = block.parent
        return None

    def cancelling_around(self) -> Block | None:
        """The same of the cancellations around this block, seen from inside it."""
        return None if self.shield or self.parent is None else self.parent.cancelling()

    @property
    def shielded(self) -> bool:
        """Whether a shield stands between this place and the handler."""
        block: Block | None = self
        while block is not None:
            if block.shield:
                return True
            block = block.parent
        return False

    def reached(self) -> Iterator[Block]:
        """This block and every block in it that a cancellation of it reaches."""
        stack: list[Block] = [self]
        while stack:
            block = stack.pop()
            yield block
            stack.extend(inner for inner in block.inner if not inner.shield)

    def standing(self) -> Iterator[DriverBranch]:
        """The branches for which this is the innermost block."""
        if self.host.block is self:
            yield self.host
        for branch in self.members:
            if branch.block is self:
                yield branch

    def unsettled(self) -> list[Closure]:
        """Its steps without a result."""
        return [closure for closure in self.runs.values() if closure.leaf.state == PENDING]

    def add_call(self, id_leaf: Leaf, leaf: Leaf, *, cancel_on_exit: bool) -> None:
        """A call was issued here."""
        calls = self.calls
        if len(calls) >= self.crowded_calls:
            calls = self.calls = [call for call in calls if call.leaf.state == PENDING]
            self.crowded_calls = FEW + 2 * len(calls)
        calls.append(OpenCall(id_leaf, leaf, cancel_on_exit))

    def hand_over(self) -> None:
        """The block is left: what is still open belongs to the block around it."""
        parent = self.parent
        assert parent is not None, "the handler's own block is never left"
        parent.inner.pop(self, None)
        for leaf, closure in self.runs.items():
            closure.block = parent
            parent.runs[leaf] = closure
        parent.calls.extend(call for call in self.calls if call.leaf.state == PENDING)
