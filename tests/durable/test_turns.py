"""Who gets the turn: first in, first out, against a model; tree order; the reason of a wake-up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from perdure.durable.turns import Branch, Turns, Wake, tree_order, unwinding_order

PATHS = st.lists(st.integers(0, 3), max_size=4).map(lambda rest: (0, *rest))


def started(*paths: tuple[int, ...]) -> tuple[Turns[Branch], list[Branch]]:
    """Branches that all have run and are parked."""
    turns: Turns[Branch] = Turns()
    branches = [Branch(path) for path in paths]
    for branch in branches:
        turns.adopt(branch)
    for branch in branches:
        assert turns.grant() is branch
        turns.park(branch, "something")
    return turns, branches


# --- order ---------------------------------------------------------------------------------------------------------


def is_above(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) < len(other) and other[: len(one)] == one


@given(st.sets(PATHS, max_size=12).map(sorted), st.randoms(use_true_random=False))
def test_tree_order_puts_parents_before_children_and_older_siblings_first(
    paths: list[tuple[int, ...]], random: object
) -> None:
    random.shuffle(paths)  # type: ignore[attr-defined]  # it is a Random
    ordered = [branch.path for branch in sorted(map(Branch, paths), key=tree_order)]
    for index, one in enumerate(ordered):
        for other in ordered[index + 1 :]:
            assert not is_above(other, one)
            assert is_above(one, other) or fork(one, other)


@given(st.sets(PATHS, max_size=12).map(sorted), st.randoms(use_true_random=False))
def test_unwinding_order_puts_parents_after_children_and_older_siblings_first(
    paths: list[tuple[int, ...]], random: object
) -> None:
    random.shuffle(paths)  # type: ignore[attr-defined]  # it is a Random
    ordered = [branch.path for branch in sorted(map(Branch, paths), key=unwinding_order)]
    for index, one in enumerate(ordered):
        for other in ordered[index + 1 :]:
            assert not is_above(one, other)
            assert is_above(other, one) or fork(one, other)


def fork(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether the first path turns to the older sibling where the two part."""
    left, right = next((a, b) for a, b in zip(one, other, strict=False) if a != b)
    return left < right


def test_children_are_numbered_in_the_order_of_their_start() -> None:
    root, other = Branch((0,)), Branch((0, 5))
    assert [Turns.child_path(root), Turns.child_path(root), Turns.child_path(other)] == [(0, 0), (0, 1), (0, 5, 0)]


# --- single moves --------------------------------------------------------------------------------------------------


def test_nobody_is_ready_at_first() -> None:
    turns: Turns[Branch] = Turns()
    assert (turns.grant(), turns.anybody_ready, turns.parked()) == (None, False, [])


def test_a_new_branch_is_ready_and_knows_that_it_starts() -> None:
    turns: Turns[Branch] = Turns()
    branch = Branch((0,))
    turns.adopt(branch)
    assert (branch.ready, branch.wake, turns.anybody_ready, list(turns.alive)) == (True, Wake.START, True, [branch])


def test_the_turn_is_given_once() -> None:
    turns: Turns[Branch] = Turns()
    turns.adopt(Branch((0,)))
    turns.adopt(Branch((0, 0)))
    turns.grant()
    with pytest.raises(AssertionError, match="the turn is taken"):
        turns.grant()


def test_only_the_holder_can_park_or_end() -> None:
    turns, (one, other) = started((0,), (0, 0))
    turns.wake(one, Wake.VALUE)
    turns.grant()
    with pytest.raises(AssertionError, match="can park"):
        turns.park(other, "x")
    with pytest.raises(AssertionError, match="can end"):
        turns.end(other)


def test_a_parked_branch_tells_what_it_waits_for_until_it_has_the_turn_again() -> None:
    turns, (branch,) = started((0,))
    assert (branch.parked, branch.parked_on, turns.holder) == (True, "something", None)
    turns.wake(branch, Wake.VALUE)
    assert branch.parked_on == "something"
    turns.grant()
    assert (branch.parked, branch.parked_on, turns.holder) == (False, None, branch)


def test_why_a_branch_was_woken_is_fixed_when_it_is_made_ready() -> None:
    turns, (branch,) = started((0,))
    assert turns.wake(branch, Wake.VALUE)
    assert not turns.wake(branch, Wake.CANCEL)
    turns.grant()
    assert branch.wake is Wake.VALUE


def test_the_holder_cannot_be_woken() -> None:
    turns, (branch,) = started((0,))
    turns.wake(branch, Wake.VALUE)
    turns.grant()
    assert not turns.wake(branch, Wake.CANCEL)
    assert not turns.anybody_ready


def test_one_notification_makes_its_waiters_ready_in_tree_order() -> None:
    turns, branches = started((0,), (0, 1), (0, 0), (0, 0, 7))
    turns.wake_settled(reversed(branches))
    order = []
    while (branch := turns.grant()) is not None:
        order.append(branch.path)
        turns.end(branch)
    assert order == [(0,), (0, 0), (0, 0, 7), (0, 1)]


def test_an_ended_branch_is_not_alive_and_gives_up_the_turn() -> None:
    turns, (one, other) = started((0,), (0, 0))
    turns.wake(one, Wake.VALUE)
    turns.grant()
    turns.end(one)
    assert (one.ended, list(turns.alive), turns.holder) == (True, [other], None)


def test_parked_branches_are_listed_in_tree_order_without_those_that_are_ready() -> None:
    turns, branches = started((0, 1), (0,), (0, 0))
    turns.wake(branches[2], Wake.VALUE)
    assert [branch.path for branch in turns.parked()] == [(0,), (0, 1)]


@pytest.mark.parametrize(
    ("state", "text"),
    [("running", "running"), ("parked", "parked"), ("ready", "ready"), ("ended", "ended")],
)
def test_a_branch_names_itself(state: str, text: str) -> None:
    turns, (branch,) = started((0, 2))
    if state != "parked":
        turns.wake(branch, Wake.VALUE)
    if state in {"running", "ended"}:
        turns.grant()
    if state == "ended":
        turns.end(branch)
    assert repr(branch) == f"<branch 0.2 {text}>"


# --- many moves ----------------------------------------------------------------------------------------------------


class Many(RuleBasedStateMachine):
    """Several branches, against two lists."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: Turns[Branch] = Turns()
        self.queue: list[Branch] = []
        self.parked: list[Branch] = []
        self.holder: Branch | None = None
        self.reason: dict[Branch, Wake] = {}
        self.start(None)

    def start(self, parent: Branch | None) -> None:
        branch = Branch((0,) if parent is None else Turns.child_path(parent))
        self.turns.adopt(branch)
        self.queue.append(branch)
        self.reason[branch] = Wake.START

    @precondition(lambda self: self.holder is not None)
    @rule()
    def spawn(self) -> None:
        self.start(self.holder)

    @precondition(lambda self: self.holder is None)
    @rule()
    def grant(self) -> None:
        expected = self.queue.pop(0) if self.queue else None
        assert self.turns.grant() is expected
        self.holder = expected
        if expected is not None:
            assert expected.wake is self.reason[expected]

    @precondition(lambda self: self.holder is not None)
    @rule()
    def park(self) -> None:
        assert self.holder is not None
        self.turns.park(self.holder, self.holder.path)
        self.parked.append(self.holder)
        self.holder = None

    @precondition(lambda self: self.holder is not None and len(self.turns.alive) > 1)
    @rule()
    def end(self) -> None:
        assert self.holder is not None
        self.turns.end(self.holder)
        self.holder = None

    @precondition(lambda self: self.parked or self.queue)
    @rule(data=st.data(), why=st.sampled_from([Wake.VALUE, Wake.CANCEL]))
    def wake(self, data: st.DataObject, why: Wake) -> None:
        branch = data.draw(st.sampled_from([*self.parked, *self.queue]))
        woken = self.turns.wake(branch, why)
        assert woken is (branch in self.parked)
        if woken:
            self.parked.remove(branch)
            self.queue.append(branch)
            self.reason[branch] = why

    @precondition(lambda self: self.parked)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        branches = data.draw(st.lists(st.sampled_from(self.parked), unique=True, min_size=1))
        self.turns.wake_settled(branches)
        for branch in sorted(branches, key=lambda branch: branch.path):
            self.parked.remove(branch)
            self.queue.append(branch)
            self.reason[branch] = Wake.VALUE

    @invariant()
    def agrees(self) -> None:
        turns = self.turns
        assert turns.holder is self.holder
        assert turns.anybody_ready is bool(self.queue)
        assert turns.parked() == sorted(self.parked, key=lambda branch: branch.path)
        assert set(turns.alive) == {*self.parked, *self.queue} | ({self.holder} if self.holder else set())


TestMany = Many.TestCase
TestMany.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
