"""Small handler programs as data, and what they are made of. `interpreter` runs them, `generated` draws them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

__all__ = [
    "Again",
    "Attach",
    "Await",
    "Awakeable",
    "Block",
    "Call",
    "Cancel",
    "Combine",
    "Expression",
    "Fail",
    "Get",
    "Guard",
    "Look",
    "Nursery",
    "Put",
    "Read",
    "Run",
    "Scope",
    "Send",
    "Signal",
    "Sleep",
    "Spawn",
    "SpawnAndWait",
    "Start",
    "Statement",
    "Tick",
    "branches",
    "constructs",
    "numbered",
    "parts",
]


# --- expressions: futures ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A step. `how` tells what its closure does, `label` is unique in the program."""

    how: str
    label: str = ""


@dataclass(frozen=True)
class Sleep:
    seconds: int


@dataclass(frozen=True)
class Call:
    fails: bool
    cancel_on_exit: bool = False
    label: str = ""


@dataclass(frozen=True)
class Get:
    key: str


@dataclass(frozen=True)
class Awakeable:
    label: str = ""


@dataclass(frozen=True)
class Signal:
    label: str = ""


@dataclass(frozen=True)
class Attach:
    """Send, then wait for the result by the invocation's handle, whose id is not known yet."""

    label: str = ""


@dataclass(frozen=True)
class Combine:
    how: str
    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Again:
    """A future that was made before, by its number; any number will do."""

    number: int


Expression = Run | Sleep | Call | Get | Awakeable | Signal | Attach | Combine | Again


# --- statements ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Await:
    what: Expression
    mapped: bool = False


@dataclass(frozen=True)
class Start:
    """Make a future and keep it."""

    what: Expression


@dataclass(frozen=True)
class Read:
    """Read some of a set of futures in the order of their completion, and push one while reading."""

    what: tuple[Expression, ...]
    count: int
    push: Expression | None


@dataclass(frozen=True)
class Put:
    key: str
    value: int | None


@dataclass(frozen=True)
class Send:
    cancel: bool
    label: str = ""


@dataclass(frozen=True)
class Tick:
    """Wait natively, with the turn held."""

    times: int


@dataclass(frozen=True)
class Look:
    """Note which futures are done, and act on it; and a random number."""


@dataclass(frozen=True)
class Fail:
    code: int = 418


@dataclass(frozen=True)
class Guard:
    """try, except and finally."""

    body: Block
    terminal: Block | None
    cancelled: Block | None
    last: Block | None


@dataclass(frozen=True)
class Nursery:
    """A durable nursery; `Spawn` in its body, or in its children, starts branches in it."""

    contain: bool
    body: Block


@dataclass(frozen=True)
class Spawn:
    """Start a branch in one of the nurseries around, by its number from the inside; and keep its future."""

    child: Block
    up: int


@dataclass(frozen=True)
class SpawnAndWait:
    """The same with `start`: until the child has done `before`, nothing else happens here."""

    before: Block
    child: Block
    up: int


@dataclass(frozen=True)
class Scope:
    """A durable cancel scope or deadline."""

    how: str
    seconds: int
    shield: bool
    body: Block


@dataclass(frozen=True)
class Cancel:
    """Cancel one of the scopes around (a nursery's is one), by its number from the inside."""

    up: int


Statement = (
    Await | Start | Read | Put | Send | Tick | Look | Fail | Guard | Nursery | Spawn | SpawnAndWait | Scope | Cancel
)
Block = tuple[Statement, ...]


# --- looking at programs -------------------------------------------------------------------------------------------


def parts(node: Any) -> Iterator[Any]:
    """A program and everything in it."""
    if isinstance(node, tuple):
        for each in node:
            yield from parts(each)
    elif is_dataclass(node):
        yield node
        for field in fields(node):
            yield from parts(getattr(node, field.name))


def numbered(node: Any, names: Iterator[str] | None = None) -> Any:
    """The same program, in which each step, call and signal has a name of its own."""
    names = names if names is not None else (f"n{number}" for number in range(10_000))
    if isinstance(node, tuple):
        return tuple(numbered(each, names) for each in node)
    if not is_dataclass(node) or isinstance(node, type):
        return node
    values = {
        field.name: next(names) if field.name == "label" else numbered(getattr(node, field.name), names)
        for field in fields(node)
    }
    return type(node)(**values)


def branches(program: Block) -> int:
    """How many branches a program has, if it comes to all of them."""
    return 1 + sum(isinstance(part, Spawn | SpawnAndWait) for part in parts(program))


def constructs(program: Block) -> Counter[str]:
    """What a program is made of, by name: `gather`, `sleep`, `finally`, ..."""
    found: Counter[str] = Counter()
    for part in parts(program):
        match part:
            case Combine(how=how):
                found[how] += 1
            case Run(how=how):
                found["run"] += 1
                found[f"run that {how}"] += 1
            case Guard():
                found["except"] += part.terminal is not None
                found["except cancelled"] += part.cancelled is not None
                found["finally"] += part.last is not None
            case Fail():
                found["raise"] += 1
            case Scope(how=how, shield=shield):
                found[how] += 1
                found["shield"] += shield
            case Nursery(contain=contain):
                found["nursery"] += 1
                found["contain"] += contain
            case Call(cancel_on_exit=cancel_on_exit):
                found["call"] += 1
                found["cancel_on_exit"] += cancel_on_exit
            case _:
                found[type(part).__name__.lower()] += 1
    return found
