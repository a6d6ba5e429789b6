"""What all attempts of one endpoint share: its registry, middleware, the application's own objects, the clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anyio

from perdure.durable.clock import Clock, SystemClock
from perdure.durable.holding import PATIENCE, Patience
from perdure.handlers.middleware import Middleware
from perdure.handlers.steps import Steps

if TYPE_CHECKING:
    import anyio.abc

    from perdure.durable.driver import Driver
    from perdure.handlers.registry import BoundHandler, Registry

__all__ = ["Environment"]


class Environment:
    """Shared by the attempts of one endpoint.

    Args:
        registry: the services, and how handlers are called.
        middleware: entered around attempts and steps, the first outermost.
        clock: where attempts read the time.
        app: what the lifespan yielded; it may be set later.
        patience: with branches that keep the turn in plain awaits.

    Attributes:
        home: where attempts start their tasks, while the process keeps a group open for them.
        draining: whether the process is about to end.
        running: the attempts that run now.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        middleware: Sequence[Middleware] = (),
        clock: Clock | None = None,
        app: Any = None,
        patience: Patience | None = None,
    ) -> None:
        self.registry = registry
        self.middleware: tuple[Middleware, ...] = tuple(middleware)
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.app = app
        self.patience: Patience = patience if patience is not None else PATIENCE
        self.home: anyio.abc.TaskGroup | None = None
        self.draining: bool = False
        self.running: set[Driver] = set()
        self._steps: dict[BoundHandler[Any], Steps] = {}

    async def drain(self) -> None:
        """Let every attempt suspend where it waits: the process is about to end, and others go on with the work."""
        self.draining = True
        async with anyio.create_task_group() as tasks:  # a peer that takes no output must not keep the others
            for driver in list(self.running):
                tasks.start_soon(driver.drain)

    def steps_of(self, bound: BoundHandler[Any]) -> Steps:
        """The step functions of a handler, as they become known."""
        steps = self._steps.get(bound)
        if steps is None:
            steps = self._steps[bound] = Steps(bound.serdes)
        return steps
