"""Programs drawn by Hypothesis, shaped so that most of them are worth exploring."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.exploration.programs import (
    Again,
    Attach,
    Await,
    Awakeable,
    Block,
    Call,
    Cancel,
    Combine,
    Expression,
    Fail,
    Get,
    Guard,
    Look,
    Nursery,
    Put,
    Read,
    Run,
    Scope,
    Send,
    Signal,
    Sleep,
    Spawn,
    SpawnAndWait,
    Start,
    Statement,
    Tick,
    numbered,
)

__all__ = ["programs"]


def often(times: int, strategy: st.SearchStrategy[Any]) -> list[st.SearchStrategy[Any]]:
    """Several strategies in place of one: `one_of` takes the same one for one."""
    return [strategy.map(lambda value: value) for _ in range(times)]


STEPS = [
    "gives",
    "gives",
    "gives none",
    "waits",
    "waits",
    "fails",
    "is flaky",
    "restarts",
    "resists",
    "gives anyway",
]
KEYS = st.sampled_from(["a", "b"])
LEAVES: st.SearchStrategy[Expression] = st.one_of(
    *often(2, st.builds(Run, st.sampled_from(STEPS))),
    st.builds(Sleep, st.integers(0, 5)),
    st.builds(Call, st.booleans(), st.booleans()),
    st.builds(Get, KEYS),
    st.builds(Awakeable),
    st.builds(Signal),
    st.builds(Attach),
    st.builds(Again, st.integers(0, 5)),
)
COMBINATORS = st.sampled_from(["gather", "first", "first_success", "settle", "select"])


def _combined(leaves: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.builds(Combine, COMBINATORS, st.lists(leaves, min_size=2, max_size=3).map(tuple))


EXPRESSIONS: st.SearchStrategy[Expression] = st.one_of(LEAVES, _combined(LEAVES), _combined(LEAVES | _combined(LEAVES)))
SIMPLE: list[st.SearchStrategy[Statement]] = [
    st.builds(Await, EXPRESSIONS),
    st.builds(Await, EXPRESSIONS, st.booleans()),
    st.builds(Await, _combined(LEAVES)),
    st.builds(Start, EXPRESSIONS),
    st.builds(
        Read, st.lists(EXPRESSIONS, min_size=1, max_size=3).map(tuple), st.integers(0, 4), st.none() | EXPRESSIONS
    ),
    st.builds(Put, KEYS, st.none() | st.integers(0, 9)),
    st.builds(Send, st.booleans()),
    st.builds(Tick, st.integers(1, 3)),
    st.builds(Look),
]


# Strategies are made once for each depth: making them costs more than drawing from them.


@cache
def _blocks(depth: int, least: int = 1, most: int = 4, *, inside: bool = False) -> st.SearchStrategy[Block]:
    """Statements, some of which hold blocks; `inside` of a scope or nursery there are more of them."""
    kinds: list[st.SearchStrategy[Any]] = [each.map(_alone) for each in SIMPLE]
    kinds += often(2, LOOKING)
    if depth:
        kinds += [_nurseries(depth - 1).map(_alone), *often(3, _guards(depth - 1, inside=inside).map(_alone))]
        kinds += often(3, _scopes(depth - 1).map(_alone))
    if inside:
        kinds += [st.builds(Cancel, st.integers(0, 3)).map(_alone)]
    if inside and depth:
        kinds += often(3, _spawns(depth - 1).map(_alone))
    return st.lists(st.one_of(kinds), min_size=least, max_size=most).map(_joined)


def _alone(statement: Statement) -> Block:
    return (statement,)


def _joined(blocks: list[Block]) -> Block:
    return tuple(statement for block in blocks for statement in block)


LOOKING: st.SearchStrategy[Block] = st.builds(
    lambda what, ticks: (Start(what), Tick(ticks), Look()), EXPRESSIONS, st.integers(1, 6)
)
"""A future is made, the turn is held natively while its answer may come, and the program looks."""


@cache
def _guards(depth: int, *, inside: bool) -> st.SearchStrategy[Guard]:
    some = _blocks(0, 1, 2, inside=inside)
    maybe: st.SearchStrategy[Any] = st.none() | some
    shielded = some.map(lambda block: (Scope("scope", 0, shield=True, body=block),))
    body = _maybe_failing(_blocks(depth, inside=inside))
    return st.builds(Guard, body, maybe, maybe, st.one_of(maybe, some.map(tuple), shielded))


def _maybe_failing(blocks: st.SearchStrategy[Block]) -> st.SearchStrategy[Block]:
    return st.one_of(*often(2, blocks), blocks.map(lambda block: (*block, Fail())))


@cache
def _scopes(depth: int) -> st.SearchStrategy[Scope]:
    how = st.sampled_from(["scope", "move_on_after", "fail_after"])
    shield = st.sampled_from([False, False, True])
    return st.builds(Scope, how, st.integers(0, 5), shield, _blocks(depth, inside=True))


@cache
def _spawns(depth: int) -> st.SearchStrategy[Spawn | SpawnAndWait]:
    child = _blocks(depth, 1, 3, inside=True)
    spawn = st.builds(Spawn, child, st.integers(0, 2))
    failing = st.builds(Spawn, _maybe_failing(child), st.integers(0, 2))
    return st.one_of(
        spawn, *often(2, failing), st.builds(SpawnAndWait, _blocks(0, 0, 2, inside=True), child, st.integers(0, 2))
    )


@cache
def _nurseries(depth: int) -> st.SearchStrategy[Nursery]:
    children = st.one_of([st.lists(_spawns(depth), min_size=least, max_size=3) for least in (1, 2, 2, 2)])
    return st.builds(
        lambda contain, started, rest: Nursery(contain, (*started, *rest)),
        st.sampled_from([False, False, True]),
        children,
        _blocks(depth, 0, 2, inside=True),
    )


def programs() -> st.SearchStrategy[Block]:
    """Programs, each step, call and signal with a name of its own; most of them have branches."""
    first = _blocks(1, 2, 5)
    branching = st.tuples(first, _nurseries(2).map(_alone), _blocks(1, 0, 2))
    plain = st.tuples(first, _blocks(2, 2, 4))
    return st.one_of(*often(5, branching), plain).map(lambda parts: numbered(_joined(list(parts))))
