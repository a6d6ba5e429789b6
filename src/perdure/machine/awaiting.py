"""The await tree: what a handler waits for, and when that is settled.

A *leaf* stands for one notification of the journal (or, in layers above, for the end of a branch). A *combined* node
joins children by one of the protocol's four combinators. Settling a leaf settles, bottom up and at once, every node
that is decided by it:

======================================  ===================================  ====================
combinator                              settles when                         as
======================================  ===================================  ====================
FIRST_COMPLETED                         any child settled                    that child
ALL_COMPLETED                           all children settled                 success
FIRST_SUCCEEDED_OR_ALL_FAILED           any child succeeded, or all failed   success, or failure
ALL_SUCCEEDED_OR_FIRST_FAILED           all succeeded, or any failed         success, or failure
======================================  ===================================  ====================

Settling is incremental: each node counts its open children, so that a thousand completions of a thousand-fold `gather`
cost a thousand steps and not a million. A settled node leaves the parent lists of its open children, so that a leaf
that is raced again and again (a signal in a loop) does not collect the dead.

One notification may settle several children of a node, on paths of different length. The node hears of all of them at
once (parents hear in the order of their height), and where one child decides, it is the first in the order given.

Nodes carry `waiters`, opaque to this module: the durable layer puts the parked branches there and gets them back when
the node settles.
"""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

from perdure.wire.messages import CANCEL_SIGNAL, CombinatorType, Failure, Future, Result, SuspensionMessage

__all__ = [
    "FAILED",
    "PENDING",
    "SUCCEEDED",
    "Combined",
    "CompletionQueue",
    "Leaf",
    "Node",
    "Relay",
    "await_point",
    "flat_suspension",
    "open_leaves",
]

PENDING: Final = 0
SUCCEEDED: Final = 1
FAILED: Final = 2


_RACES: Final = (CombinatorType.FIRST_COMPLETED, CombinatorType.FIRST_SUCCEEDED_OR_ALL_FAILED)


class Node:
    """A point one can wait for.

    Attributes:
        state: `PENDING`, `SUCCEEDED` or `FAILED`.
        height: how many nodes lie between it and its furthest leaf, itself included.
        parents: the nodes that are told when this one settles.
        waiters: whatever the layer above wants back when this one settles.
    """

    __slots__ = ("parents", "state", "waiters")

    height: int = 0

    def __init__(self) -> None:
        self.state: int = PENDING
        self.parents: list[Node] | None = None
        self.waiters: list[Any] | None = None

    def add_waiter(self, waiter: Any) -> None:
        """Ask for `waiter` back when this node settles."""
        if self.waiters is None:
            self.waiters = [waiter]
        else:
            self.waiters.append(waiter)

    def remove_waiter(self, waiter: Any) -> None:
        """Take back `add_waiter`; nothing happens when it is not there."""
        if self.waiters is not None and waiter in self.waiters:
            self.waiters.remove(waiter)

    def children_settled(self, settled: Sequence[Node]) -> bool:
        """Hear of all children that one notification settled; tell whether waiters of this node shall be woken."""
        raise NotImplementedError

    def _spread(self) -> list[Any]:
        """Tell the parents, transitively; return the waiters of every node that settled on the way."""
        into: list[Any] = []
        node: Node = self
        while True:
            if node.waiters is not None:
                into.extend(node.waiters)
                node.waiters = None
            parents, node.parents = node.parents, None
            if not parents:
                return into
            if len(parents) > 1:
                break
            child, node = node, parents[0]
            if not node.children_settled((child,)):
                return into
        return self._spread_to(node, parents, into)

    @staticmethod
    def _spread_to(node: Node, parents: list[Node] | None, into: list[Any]) -> list[Any]:
        """The same for a node of several parents: one may be above another, so the lower ones hear first."""
        told: dict[Node, list[Node]] = {}
        lowest: list[tuple[int, int, Node]] = []
        while True:
            for parent in parents or ():
                settled = told.get(parent)
                if settled is not None:
                    settled.append(node)
                else:
                    told[parent] = [node]
                    heapq.heappush(lowest, (parent.height, len(told), parent))
            parents = None
            if not lowest:
                return into
            node = heapq.heappop(lowest)[2]
            if node.children_settled(told[node]):
                if node.waiters is not None:
                    into.extend(node.waiters)
                    node.waiters = None
                parents, node.parents = node.parents, None


class Leaf(Node):
    """One notification: a completion (by number) or a signal (by index or name).

    Attributes:
        id: the completion id of a completion; 0 for signals and for what is no notification.
        signal: the index or the name of a signal, else `None`.
        result: what arrived, once it is settled.
        command: index of the command that made it, -1 without one.
        label: how to name it in an error message.
        tag: a place for the layer above (the closure of a run).
        observed: whether anybody awaited it, alone or in a combinator.
        lost: whether it was given to a race that was decided without it.
    """

    __slots__ = ("command", "id", "label", "lost", "observed", "result", "signal", "tag")

    def __init__(self, id: int, command: int = -1, label: str = "", signal: int | str | None = None) -> None:
        self.state: int = PENDING
        self.parents: list[Node] | None = None
        self.waiters: list[Any] | None = None
        self.id: int = id
        self.signal: int | str | None = signal
        self.result: Result | None = None
        self.command: int = command
        self.label: str = label
        self.tag: Any = None
        self.observed: bool = False
        self.lost: bool = False

    def settle(self, result: Result) -> list[Any]:
        """The notification was delivered; returns the waiters of every node that is decided by it."""
        self.result = result
        self.state = FAILED if result.__class__ is Failure else SUCCEEDED
        waiters = self.waiters
        if self.parents is None:  # the usual case: one leaf, awaited by one branch
            self.waiters = None
            return waiters if waiters is not None else []
        return self._spread()

    def __repr__(self) -> str:
        return f"<{self.label or 'leaf'} {self.signal if self.signal is not None else self.id}>"


class Combined(Node):
    """Several nodes, joined by a combinator.

    Attributes:
        winner: index of the child that decided it; `None` while it is pending, and where all children together did.
    """

    __slots__ = ("children", "combinator", "height", "open", "winner")

    def __init__(self, combinator: CombinatorType, children: Sequence[Node]) -> None:
        super().__init__()
        self.combinator: CombinatorType = combinator
        self.children: Sequence[Node] = children
        self.open: int = len(children)
        self.winner: int | None = None
        height = 0
        settled: list[Node] = []
        for child in children:
            height = max(height, child.height)
            if child.state != PENDING:
                settled.append(child)
        self.height: int = height + 1
        if (settled or not children) and self._count(settled):
            self._let_go()
            return
        for child in children:
            if child.state == PENDING:
                if child.parents is None:
                    child.parents = [self]
                else:
                    child.parents.append(self)

    def _count(self, settled: Sequence[Node]) -> bool:
        """Count settled children; tell whether they decide this node."""
        self.open -= len(settled)
        combinator = self.combinator
        if combinator is CombinatorType.FIRST_COMPLETED and settled:
            return self._first(SUCCEEDED, FAILED)
        if combinator is CombinatorType.FIRST_COMPLETED or combinator is CombinatorType.ALL_COMPLETED:
            otherwise = SUCCEEDED
        else:
            otherwise, decisive = (
                (FAILED, SUCCEEDED)
                if combinator is CombinatorType.FIRST_SUCCEEDED_OR_ALL_FAILED
                else (SUCCEEDED, FAILED)
            )
            for child in settled:
                if child.state == decisive:
                    return self._first(decisive, decisive)
        if self.open:
            return False
        self.state = otherwise
        return True

    def _first(self, one: int, other: int) -> bool:
        """Let the first child that is in one of these states decide this node; there is one."""
        self.winner, self.state = next(
            (index, child.state) for index, child in enumerate(self.children) if child.state in (one, other)
        )
        return True

    def children_settled(self, settled: Sequence[Node]) -> bool:
        """Count the children that settled; tell whether that decides this node."""
        if not self._count(settled):
            return False
        if self.open:
            self._let_go()
        return True

    def _let_go(self) -> None:
        """This node is decided: what is still open has lost, if this was a race."""
        race = self.combinator in _RACES
        for other in self.children:
            if other.state != PENDING:
                continue
            if race:
                for leaf in open_leaves((other,)):
                    leaf.lost = True
            if other.parents is not None and self in other.parents:
                other.parents.remove(self)


class CompletionQueue(Node):
    """Nodes in the order in which they settle; grows while it is read.

    It counts as settled while something can be taken, and is pending again when all was taken.
    """

    __slots__ = ("_ready", "members")

    height: int = sys.maxsize  # it is in no combination

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[Node, list[int]] = {}
        self._ready: deque[tuple[int, Node]] = deque()

    def push(self, node: Node, index: int) -> None:
        """Add a node; `index` comes back with it."""
        if node.state != PENDING:
            self._ready.append((index, node))
            self.state: int = SUCCEEDED
            return
        indices = self.members.get(node)
        if indices is not None:
            indices.append(index)
            return
        self.members[node] = [index]
        if node.parents is None:
            node.parents = [self]
        else:
            node.parents.append(self)

    def take(self) -> tuple[int, Node]:
        """The node that settled first of those not taken yet, with its index."""
        taken = self._ready.popleft()
        if not self._ready:
            self.state = PENDING
        return taken

    def children_settled(self, settled: Sequence[Node]) -> bool:
        """Queue the children that settled, in the order in which they were pushed; whoever reads the queue is woken."""
        if len(settled) == 1:
            self._ready.extend((index, settled[0]) for index in self.members.pop(settled[0]))
        else:
            self._ready.extend(
                sorted(((index, child) for child in settled for index in self.members.pop(child)), key=itemgetter(0))
            )
        self.state = SUCCEEDED
        return True


class Relay(Node):
    """One node after another: when the first settles, `then` is called, and what it returns is waited for next.

    `then` runs while the notification is being delivered, before anybody gets the turn, so that a command it issues has
    a fixed place. It returns the next leaf, or `None` when there is nothing more to wait for.

    Attributes:
        target: what is waited for now.
        result: of the last leaf, once it is settled.
    """

    __slots__ = ("_then", "result", "target")

    height: int = 1

    def __init__(self, first: Leaf, then: Callable[[], Leaf | None]) -> None:
        super().__init__()
        self.target: Leaf = first
        self.result: Result | None = None
        self._then: Callable[[], Leaf | None] | None = then
        if first.state == PENDING:
            self._follow(first)
        else:
            self.children_settled((first,))

    def _follow(self, leaf: Leaf) -> None:
        self.target = leaf
        if leaf.parents is None:
            leaf.parents = [self]
        else:
            leaf.parents.append(self)

    def children_settled(self, settled: Sequence[Node]) -> bool:
        """Go on with the next node, or settle as the last one did."""
        then, self._then = self._then, None
        following = then() if then is not None and settled[0].state == SUCCEEDED else None
        if following is not None and following.state == PENDING:
            self._follow(following)
            return False
        last = following if following is not None else self.target
        self.result = last.result
        self.state: int = last.state
        return True


def open_leaves(nodes: Iterable[Node]) -> Iterator[Leaf]:
    """Every undelivered leaf below `nodes`, each once, in tree order."""
    seen: set[Node] = set()
    stack = list(nodes)[::-1]
    while stack:
        node = stack.pop()
        if node.state != PENDING or node in seen:
            continue
        seen.add(node)
        if isinstance(node, Leaf):
            yield node
        elif isinstance(node, Combined):
            stack.extend(reversed(node.children))
        elif isinstance(node, CompletionQueue):
            stack.extend(reversed(node.members))
        elif isinstance(node, Relay):
            stack.append(node.target)


def _describe(combinator: CombinatorType, children: Iterable[Node]) -> Future | None:
    completions: list[int] = []
    signals: list[int] = []
    names: list[str] = []
    nested: list[Future] = []
    for node in dict.fromkeys(children):
        if node.state != PENDING:
            continue
        child = node.target if isinstance(node, Relay) else node
        future: Future | None = None
        if isinstance(child, Leaf):
            if isinstance(child.signal, str):
                names.append(child.signal)
                continue
            if child.signal is not None:
                signals.append(child.signal)
                continue
            if child.id:
                completions.append(child.id)
                continue
        elif isinstance(child, Combined):
            future = _describe(child.combinator, child.children)
        elif isinstance(child, CompletionQueue):
            future = _describe(CombinatorType.FIRST_COMPLETED, child.members)
        if future is not None:
            nested.append(future)
        elif combinator is CombinatorType.ALL_COMPLETED:
            return None  # it waits for the end of a branch, too: nothing settles it before a branch goes on
    if not (completions or signals or names or nested):
        return None
    return Future(tuple(completions), tuple(signals), tuple(names), tuple(nested), combinator)


def await_point(nodes: Sequence[Node], *, cancel: bool) -> Future | None:
    """What `nodes` wait for, as version 7 describes it; `None` when nothing in the journal could end the wait.

    Undelivered leaves only: restate-server compares the tree with every notification it ever stored, and resumes at
    once what names a delivered one. `cancel` adds the cancel signal, which must be in no tree once it was delivered.
    """
    future = _describe(CombinatorType.FIRST_COMPLETED, nodes)
    if future is None or not cancel:
        return future
    return Future(
        future.waiting_completions,
        (*future.waiting_signals, CANCEL_SIGNAL),
        future.waiting_named_signals,
        future.nested_futures,
        CombinatorType.FIRST_COMPLETED,
    )


def flat_suspension(future: Future) -> SuspensionMessage:
    """The same await point as versions 5 and 6 describe it: its leaves, flat, each once."""
    completions: dict[int, None] = {}
    signals: dict[int, None] = {}
    names: dict[str, None] = {}
    stack = [future]
    while stack:
        point = stack.pop()
        completions.update(dict.fromkeys(point.waiting_completions))
        signals.update(dict.fromkeys(point.waiting_signals))
        names.update(dict.fromkeys(point.waiting_named_signals))
        stack.extend(reversed(point.nested_futures))
    return SuspensionMessage(tuple(completions), tuple(signals), tuple(names))
