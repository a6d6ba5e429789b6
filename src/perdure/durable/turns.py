"""Who may issue commands next. Pure: no event loop, no clock, no I/O.

Theory
======

Commands must come in the same order in every attempt. trio shuffles its run queue on purpose and asyncio promises
nothing, so the order never comes from the loop. It comes from here.

A handler is a tree of *branches*: the root, and one per task that a durable nursery started. Exactly one branch holds
the *turn*, and only that one may issue commands. It keeps the turn until it *parks* (awaits something undelivered) or
ends. Ready branches get it first in, first out. When nobody is ready, the driver delivers one notification from the
journal, and the branches that waited for it become ready in tree order. Every one of these steps is a function of the
journal alone; that is the whole proof that a replay repeats the order.

*Tree order* compares the paths of branches (0, 0.1, 0.1.2, ...): a parent before its children, an older sibling before
a younger one. *Unwinding order* is the same with a parent after its children; it is the order in which a cancelled
scope makes its branches ready.

Why a branch was woken is fixed when it is made ready, not when it runs: a value that is already there beats a cancel
that comes later.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

__all__ = ["Branch", "Turns", "Wake", "tree_order", "unwinding_order"]


class Wake(enum.Enum):
    """Why a parked branch gets the turn again."""

    START = "start"  # it has not run yet
    VALUE = "value"  # what it awaited is settled
    CANCEL = "cancel"  # a durable block around it, or the invocation, was cancelled


class Branch:
    """One line of control of a handler.

    Attributes:
        path: its place in the tree: the root is `(0,)`, its second child `(0, 1)`.
        parked_on: what it waits for while it is parked, in the terms of the layer above.
        wake: why it was made ready last.
    """

    __slots__ = ("_children", "ended", "parked", "parked_on", "path", "ready", "wake")

    def __init__(self, path: tuple[int, ...]) -> None:
        self.path: tuple[int, ...] = path
        self.parked: bool = False
        self.ready: bool = False
        self.ended: bool = False
        self.parked_on: Any = None
        self.wake: Wake = Wake.START
        self._children = 0

    def __repr__(self) -> str:
        name = ".".join(map(str, self.path))
        state = "ended" if self.ended else "ready" if self.ready else "parked" if self.parked else "running"
        return f"<branch {name} {state}>"


def tree_order(branch: Branch) -> tuple[int, ...]:
    """Sort key: parents before children."""
    return branch.path


def unwinding_order(branch: Branch) -> tuple[tuple[int, int], ...]:
    """Sort key: children before parents, siblings oldest first."""
    return (*((0, number) for number in branch.path), (1, 0))


B = TypeVar("B", bound=Branch)


class Turns(Generic[B]):
    """The turn, and the queue of those who are ready for it.

    Attributes:
        holder: the branch that may issue commands, or `None` while all are parked.
        alive: every branch that has not ended, in the order of their start.
        granted: how often the turn was given.
    """

    __slots__ = ("_ready", "alive", "granted", "holder")

    def __init__(self) -> None:
        self.holder: B | None = None
        self.granted: int = 0
        self.alive: dict[B, None] = {}
        self._ready: deque[B] = deque()

    def adopt(self, branch: B) -> None:
        """Add a branch that is to run; it gets the turn behind everybody who is ready now."""
        self.alive[branch] = None
        branch.ready = True
        branch.wake = Wake.START
        self._ready.append(branch)

    @staticmethod
    def child_path(parent: Branch) -> tuple[int, ...]:
        """The path of the next child of `parent`."""
        number = parent._children  # noqa: SLF001 - the counter belongs to this module
        parent._children = number + 1  # noqa: SLF001 - as above
        return (*parent.path, number)

    def park(self, branch: B, on: Any) -> None:
        """The holder waits: it gives up the turn."""
        assert self.holder is branch, "only the holder of the turn can park"
        self.holder = None
        branch.parked = True
        branch.parked_on = on

    def end(self, branch: B) -> None:
        """The holder is finished: it gives up the turn for good."""
        assert self.holder is branch, "only the holder of the turn can end"
        self.holder = None
        branch.ended = True
        del self.alive[branch]

    def wake(self, branch: B, why: Wake) -> bool:
        """Make a parked branch ready; tells whether it was not ready before.

        A branch that is ready already keeps the reason it has.
        """
        if not branch.parked or branch.ready:
            return False
        branch.ready = True
        branch.wake = why
        self._ready.append(branch)
        return True

    def wake_settled(self, branches: Iterable[B]) -> None:
        """One notification was delivered: those who waited for it become ready, in tree order."""
        for branch in sorted(branches, key=tree_order):
            self.wake(branch, Wake.VALUE)

    def grant(self) -> B | None:
        """Give the turn to the next ready branch; `None` when nobody is ready."""
        assert self.holder is None, "the turn is taken"
        if not self._ready:
            return None
        branch = self._ready.popleft()
        branch.ready = False
        branch.parked = False
        branch.parked_on = None
        self.holder = branch
        self.granted += 1
        return branch

    @property
    def anybody_ready(self) -> bool:
        """Whether a branch waits for the turn with nothing else to wait for."""
        return bool(self._ready)

    def parked(self) -> list[B]:
        """Every parked branch that is not ready, in tree order."""
        return sorted((branch for branch in self.alive if branch.parked and not branch.ready), key=tree_order)
