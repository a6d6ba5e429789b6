"""A branch with its native side: the task it runs in, the scope around it, the event that wakes it."""

from __future__ import annotations

import contextvars
import enum
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import anyio

from perdure.durable.turns import Branch

if TYPE_CHECKING:
    from perdure.durable.blocks import Block
    from perdure.durable.closures import Closure
    from perdure.durable.loop import Wakeup

__all__ = ["DriverBranch", "Hears"]


class Hears(enum.Enum):
    """Which cancellations wake a parked branch."""

    ALL = "all"
    INVOCATION = "the invocation's only"  # it waits for its children, whom a cancelled scope reaches anyway
    NONE = "none"  # it waits for steps that were stopped


class DriverBranch(Branch):
    """One line of control of a handler, as the driver runs it.

    Attributes:
        block: the innermost durable block it stands in.
        main: makes its coroutine, for branches that a nursery started.
        context: the context variables it starts with.
        coroutine: the user's code, while it runs.
        stepping: whether that code runs right now.
        event: wakes its task, while it sleeps.
        closure: a step that its task is to run while the branch is parked.
        hears: which cancellations wake it.
        native: the native scope around all of it, once its task runs.
        native_cancels: how many native scopes around it were cancelled on behalf of durable ones.
        inside: whether it waits for something of the driver, and not plainly.
        doubt: whether asyncio cancelled its task, and it is not known who did that.
        gone: set when its task has ended, where somebody waits for that.
        running: whether it has a task.
        told: whether the loop's cancellation went into its code because the attempt is over.
    """

    __slots__ = (
        "block",
        "closure",
        "context",
        "coroutine",
        "doubt",
        "event",
        "gone",
        "hears",
        "inside",
        "main",
        "native",
        "native_cancels",
        "running",
        "stepping",
        "told",
    )

    block: Block

    def __init__(self, path: tuple[int, ...]) -> None:
        super().__init__(path)
        self.main: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.context: contextvars.Context | None = None
        self.coroutine: Coroutine[Any, Any, None] | None = None
        self.stepping: bool = False
        self.event: Wakeup | None = None
        self.closure: Closure | None = None
        self.hears: Hears = Hears.ALL
        self.native: anyio.CancelScope | None = None
        self.native_cancels: int = 0
        self.inside: bool = False
        self.doubt: bool = False
        self.gone: anyio.Event | None = None
        self.running: bool = False
        self.told: bool = False

    @property
    def number(self) -> str:
        """Its path as text."""
        return ".".join(map(str, self.path))
