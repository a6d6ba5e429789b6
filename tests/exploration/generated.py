"""Programs drawn by Hypothesis, shaped so that most of them are worth exploring."""

from __future__ import annotations

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
    st.builds(Run, st.sampled_from(STEPS)),
    st.builds(Run, st.sampled_from(STEPS)),
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


EXPRESSIONS: st.SearchStrategy[Expression] = LEAVES | LEAVES | _combined(LEAVES) | _combined(LEAVES | _combined(LEAVES))
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


SCOPES = st.sampled_from(["scope", "move_on_after", "move_on_after", "fail_after"])


@st.composite
def _blocks(draw: st.DrawFn, depth: int = 2, least: int = 1, most: int = 4, *, inside: bool = False) -> Block:
    """Statements, some of which hold blocks; `inside` of a scope or nursery there are more of them."""
    kinds: list[st.SearchStrategy[Statement]] = [*SIMPLE]
    if depth:
        kinds += [_guards(depth - 1, inside=inside), _scopes(depth - 1), _nurseries(depth - 1)]
    if inside:
        kinds += [st.builds(Cancel, st.integers(0, 3))]
    if inside and depth:
        kinds += [_spawns(depth - 1)] * 2
    return tuple(draw(st.lists(st.one_of(kinds), min_size=least, max_size=most)))


@st.composite
def _guards(draw: st.DrawFn, depth: int, *, inside: bool) -> Guard:
    body = draw(_blocks(depth, inside=inside))
    if draw(st.sampled_from([True, False, False])):
        body = (*body, Fail())
    some = _blocks(0, 1, 2, inside=inside)
    maybe: st.SearchStrategy[Any] = st.none() | some
    last: st.SearchStrategy[Any] = maybe | some | some.map(lambda block: (Scope("scope", 0, shield=True, body=block),))
    return Guard(body, draw(maybe), draw(maybe), draw(last))


@st.composite
def _scopes(draw: st.DrawFn, depth: int) -> Scope:
    body = draw(_blocks(depth, inside=True))
    return Scope(draw(SCOPES), draw(st.integers(0, 5)), draw(st.sampled_from([False, False, True])), body)


@st.composite
def _spawns(draw: st.DrawFn, depth: int) -> Spawn | SpawnAndWait:
    child = draw(_blocks(depth, 1, 3, inside=True))
    if draw(st.sampled_from([True, False, False])) and draw(st.booleans()):
        child = (*child, Fail())
    if draw(st.sampled_from([False, False, False, True])):
        return SpawnAndWait(draw(_blocks(0, 0, 2, inside=True)), child, draw(st.integers(0, 2)))
    return Spawn(child, draw(st.integers(0, 2)))


@st.composite
def _nurseries(draw: st.DrawFn, depth: int) -> Nursery:
    children = draw(st.lists(_spawns(depth), min_size=draw(st.sampled_from([1, 2, 2])), max_size=3))
    rest = draw(_blocks(depth, 0, 2, inside=True))
    return Nursery(draw(st.sampled_from([False, False, True])), (*children, *rest))


@st.composite
def programs(draw: st.DrawFn) -> Block:
    """Programs, each step, call and signal with a name of its own; most of them have branches."""
    block = draw(_blocks(1, 1, 4))
    if draw(st.sampled_from([True, True, True, False])):
        block = (*block, draw(_nurseries(2)), *draw(_blocks(1, 0, 2)))
    else:
        block = (*block, *draw(_blocks(2, 2, 4)))
    result: Block = numbered(block)
    return result
