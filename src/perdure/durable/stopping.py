"""Cancellation of durable blocks and of the invocation: whom it reaches, and what a durable await does about it.

Cancelling a block marks it. Steps in it that run are stopped at once; each ends in a journaled completion, *cancelled*
or the value it returned in spite of that. Parked branches in it become ready in unwinding order, children before
parents, and each unwinds when it has the turn. A branch that waits for a step is not woken: the step's completion does
that, so nothing of a block goes on beside a step that is still being stopped.

Cancellation is level-triggered: every durable await raises in a block that is cancelled and not shielded from that. The
cancellation of the invocation is edge-triggered: `InvocationCancelled` is raised once, in the root branch.

Native scopes follow. Each block has one, and so has each branch; the branch cancels the right one when it makes a plain
await where a durable cancellation reaches it. So they never disturb a branch that waits for its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perdure.durable.blocks import Block, OpenCall
from perdure.durable.branches import DriverBranch, Hears
from perdure.durable.cancellation import Cancellation
from perdure.durable.closures import Closure
from perdure.durable.loop import open_scope, raise_cancelled
from perdure.durable.outcome import RUN_CANCELLED, is_run_cancelled
from perdure.durable.turns import Wake, unwinding_order
from perdure.exceptions import InvocationCancelled
from perdure.machine.awaiting import PENDING, Combined, Leaf, Node, open_leaves
from perdure.wire.messages import CombinatorType, Failure

if TYPE_CHECKING:
    from perdure.durable.driver import Driver

__all__ = ["Stopping", "withdrawn"]


def withdrawn() -> Leaf:
    """The leaf of an operation that was not begun, since its block was cancelled already."""
    leaf = Leaf(0, label="an operation in a cancelled block")
    leaf.settle(RUN_CANCELLED)
    return leaf


def _ended_by_cancel(node: Node) -> bool:
    """Whether what a node settled as, if it did, comes from steps that were cancelled."""
    if node.state == PENDING:
        return True
    if isinstance(node, Leaf):
        return isinstance(node.result, Failure) and is_run_cancelled(node.result)
    if isinstance(node, Combined):
        if node.winner is not None:
            return _ended_by_cancel(node.children[node.winner])
        return any(map(_ended_by_cancel, node.children))
    return False


def _step_of(node: Node) -> Closure | None:
    """The step that is waited for, where it is nothing else than one step."""
    tag = node.tag if isinstance(node, Leaf) else None
    return tag if isinstance(tag, Closure) else None


class Stopping:
    """Cancels in one attempt.

    Attributes:
        alarmed: whether anything was cancelled at all, so that awaits look closer.
        cancellation: of the invocation.
    """

    __slots__ = ("_driver", "alarmed", "cancellation")

    def __init__(self, driver: Driver, cancellation: Cancellation) -> None:
        self._driver = driver
        self.alarmed: bool = False
        self.cancellation: Cancellation = cancellation

    # --- blocks ----------------------------------------------------------------------------------------------------

    @staticmethod
    def enter(branch: DriverBranch, *, shield: bool = False) -> Block:
        """The branch enters a block."""
        block = Block(branch.block, branch, shield=shield)
        # Natively it shields only where something around it was cancelled natively: the host's cancellation is heard.
        block.native = open_scope()
        if shield and branch.native_cancels:
            block.native.shield = True
        block.native.__enter__()
        branch.block = block
        return block

    def leave(self, block: Block, *, stop: bool = True) -> None:
        """Its host leaves a block: steps that are open are stopped, calls too where that was asked for.

        Without `stop` the block around it takes both over as they are.
        """
        branch = block.host
        parent = block.parent
        assert parent is not None, "the handler's own block is never left"
        driver = self._driver
        driver.deadlines.drop(block)
        if stop and not driver.fenced:
            for closure in block.unsettled():
                closure.cancel()
            self.stop_calls(block)
        block.hand_over()
        branch.block = parent
        if block.natively_cancelled:
            branch.native_cancels -= 1
        if block.native is not None:
            block.native.__exit__(None, None, None)

    def stop_calls(self, block: Block) -> None:
        """The block is left: its open calls are cancelled on the server, where that was asked for."""
        calls = [call for call in block.calls if call.cancel_on_exit and call.leaf.state == PENDING]
        if calls:
            block.calls = [call for call in block.calls if not call.cancel_on_exit]
            self.cancellation.cancel_calls(calls)

    # --- cancelling ------------------------------------------------------------------------------------------------

    def cancel(self, block: Block) -> None:
        """Cancel a block; the second time nothing happens."""
        if block.cancelled:
            return
        block.cancelled = True
        if not self._driver.fenced:
            self.alarmed = True
            self.reach(block)

    def reach(self, cancelled: Block) -> None:
        """A cancellation reaches a block: its steps are stopped, and who is parked in it becomes ready."""
        driver = self._driver
        standing: list[DriverBranch] = []
        for block in cancelled.reached():
            for closure in block.runs.values():
                if closure.leaf.state == PENDING:
                    closure.cancel()
            standing.extend(block.standing())
        turns = driver.turns
        for branch in sorted(standing, key=unwinding_order):
            if branch.parked and not branch.ready and branch.hears is Hears.ALL:
                step = _step_of(branch.parked_on)
                if step is not None:
                    step.cancel()
                else:
                    turns.wake(branch, Wake.CANCEL)

    @staticmethod
    def cancel_natively(branch: DriverBranch) -> bool:
        """The branch makes a plain await: where a durable cancellation reaches it, the native one follows."""
        cancelling = branch.block.cancelling()
        if cancelling is None:
            return False
        if cancelling.host is branch and cancelling.native is not None:
            if not cancelling.natively_cancelled:
                cancelling.natively_cancelled = True
                branch.native_cancels += 1
                cancelling.native.cancel()
        elif branch.native is not None and not branch.native.cancel_called:
            branch.native_cancels += 1
            branch.native.cancel()
        return True

    def invocation_cancelled(self) -> None:
        """The cancel signal was delivered, while every branch is parked."""
        driver = self._driver
        cancellation = self.cancellation
        cancellation.delivered()
        self.alarmed = True
        calls: list[OpenCall] = []
        for block in driver.handler_block.reached():
            for closure in block.runs.values():
                if closure.leaf.state == PENDING:
                    closure.cancel()
            calls.extend(block.calls)
            block.calls = []
        cancellation.cancel_calls(calls)
        root = driver.root
        if not cancellation.pending or root.hears is Hears.NONE or root.block.shielded or not root.parked:
            return
        step = _step_of(root.parked_on)
        if step is not None:
            step.cancel()  # it wakes the root by its completion; the root raises then
        else:
            driver.turns.wake(root, Wake.CANCEL)

    # --- durable awaits --------------------------------------------------------------------------------------------

    def refuses(self, branch: DriverBranch) -> bool:
        """Whether the branch stands in a cancelled block, so that it begins nothing that could be waited for."""
        return self.alarmed and branch.block.cancelling() is not None

    def stops(self, branch: DriverBranch) -> bool:
        """Whether a durable await of this branch raises a cancellation."""
        return self._is_told(branch) or branch.block.cancelling() is not None

    def _is_told(self, branch: DriverBranch) -> bool:
        return self.cancellation.pending and branch is self._driver.root and not branch.block.shielded

    async def raise_reason(self, branch: DriverBranch) -> None:
        """Raise what `stops` was asked about: the cancellation of the invocation, or else the loop's own.

        Raises:
            InvocationCancelled: the invocation was cancelled; once, in the root branch.
        """
        if self._is_told(branch):
            self.cancellation.take()
            raise InvocationCancelled
        branch.inside = True
        try:
            await raise_cancelled()
        finally:
            branch.inside = False

    async def interrupt(self, branch: DriverBranch, node: Node) -> None:
        """A durable await under cancellation: it returns only if the steps it waits for have a value in spite of it."""
        steps = [leaf for leaf in open_leaves((node,)) if isinstance(leaf.tag, Closure)]
        if steps:
            for leaf in steps:
                leaf.tag.cancel()
            await self.wait_for_steps(branch, steps, hears=Hears.NONE)
            if not _ended_by_cancel(node):
                return
        await self.raise_reason(branch)

    async def wait_for_steps(self, branch: DriverBranch, steps: Sequence[Leaf], *, hears: Hears) -> Wake:
        """Park until the completions of all these steps were delivered."""
        branch.hears = hears
        try:
            return await self._driver.park(branch, Combined(CombinatorType.ALL_COMPLETED, steps))
        finally:
            branch.hears = Hears.ALL

    async def check_stopped(self) -> None:
        """A step that was awaited ended as *cancelled*: raise why, if that is known here."""
        if self.alarmed and not self._driver.fenced:
            branch = self._driver.holder()
            if self.stops(branch):
                await self.raise_reason(branch)
