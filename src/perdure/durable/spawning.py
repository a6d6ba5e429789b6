"""Branches that nurseries start: each gets a task of its own at its first turn, and gives up the turn at its end."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

import anyio

from perdure.durable.blocks import Block
from perdure.durable.branches import DriverBranch
from perdure.durable.loop import open_scope
from perdure.durable.stepping import Watched

if TYPE_CHECKING:
    from perdure.durable.driver import Driver

__all__ = ["Spawning"]


class Spawning:
    """Starts the branches of one attempt."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def spawn(self, parent: DriverBranch, block: Block, main: Callable[[], Coroutine[Any, Any, None]]) -> DriverBranch:
        """Add a branch below `parent`, in `block`. It gets the turn behind everybody who is ready now.

        Args:
            parent: the branch that hosts the nursery.
            block: where the branch stands.
            main: makes the coroutine to run. It handles the errors of user code itself.
        """
        turns = self._driver.turns
        branch = DriverBranch(turns.child_path(parent))
        branch.block = block
        branch.main = main
        branch.context = contextvars.copy_context()
        block.members[branch] = None
        turns.adopt(branch)
        return branch

    def start(self, branch: DriverBranch) -> None:
        """A branch has its first turn: start its task, in the context of the `start_soon` that made it."""
        children = self._driver.children
        context, branch.context = branch.context, None
        assert children is not None
        assert context is not None
        branch.running = True
        children.start_branch(context, self._run, branch)

    async def _run(self, branch: DriverBranch) -> None:
        driver = self._driver
        main, branch.main = branch.main, None
        assert main is not None
        try:
            if driver.fenced:
                return
            with open_scope() as branch.native:
                branch.coroutine = main()
                await Watched(branch.coroutine, branch, driver.waits, driver.host.interrupted)
        except Exception as error:  # noqa: BLE001 - kept, and raised by the attempt: user code's were taken care of
            assert driver.children is not None
            driver.children.broke(error)
        finally:
            branch.running = False
            branch.block.members.pop(branch, None)
            if branch.gone is not None:
                branch.gone.set()
        if driver.fenced:
            return
        driver.turns.end(branch)
        driver.pump()

    @staticmethod
    async def gone(branches: Iterable[DriverBranch]) -> None:
        """Wait natively until the tasks of these branches have ended; for attempts that are over."""
        with anyio.CancelScope(shield=True):
            for branch in branches:
                if branch.running:
                    branch.gone = anyio.Event()
                    await branch.gone.wait()
