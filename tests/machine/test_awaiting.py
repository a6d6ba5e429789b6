"""The await tree: combinators against a model that knows nothing of counting, and what is told of a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.machine.awaiting import (
    FAILED,
    PENDING,
    SUCCEEDED,
    Combined,
    CompletionQueue,
    Leaf,
    Node,
    Relay,
    await_point,
    flat_suspension,
    open_leaves,
)
from perdure.wire.messages import CANCEL_SIGNAL, CombinatorType, Failure, Future, SuspensionMessage, Value, Void

FIRST = CombinatorType.FIRST_COMPLETED
ALL = CombinatorType.ALL_COMPLETED
ANY_SUCCESS = CombinatorType.FIRST_SUCCEEDED_OR_ALL_FAILED
ALL_SUCCESS = CombinatorType.ALL_SUCCEEDED_OR_FIRST_FAILED
COMBINATORS = [FIRST, ALL, ANY_SUCCESS, ALL_SUCCESS]
OK = Value(b"ok")
BAD = Failure(500, "bad")


# --- the model -----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Model:
    """A node that is computed from its children each time it is asked, and remembers only what it once was."""

    combinator: CombinatorType | None = None
    children: Sequence[Model] = ()
    state: int = PENDING
    winner: int | None = None
    leaf: int | None = None
    real: Node = field(default_factory=Node)

    def look(self) -> int:
        if self.state == PENDING and self.combinator is not None:
            states = [child.look() for child in self.children]
            self.state, self.winner = decided(self.combinator, states)
        return self.state

    def leaves(self) -> set[int]:
        if self.leaf is not None:
            return {self.leaf}
        return set().union(*(child.leaves() for child in self.children)) if self.children else set()


def decided(combinator: CombinatorType, states: list[int]) -> tuple[int, int | None]:
    """What the table in the module says, and the first child in the order given that decides it."""
    everybody = PENDING not in states
    if combinator is FIRST:
        for index, state in enumerate(states):
            if state != PENDING:
                return state, index
        return (PENDING, None) if states else (SUCCEEDED, None)
    if combinator is ALL:
        return (SUCCEEDED, None) if everybody else (PENDING, None)
    wanted, otherwise = (SUCCEEDED, FAILED) if combinator is ANY_SUCCESS else (FAILED, SUCCEEDED)
    if wanted in states:
        return wanted, states.index(wanted)
    return (otherwise, None) if everybody else (PENDING, None)


@st.composite
def forests(draw: st.DrawFn) -> tuple[list[Model], list[tuple[int, bool]], int]:
    """Nodes over a few leaves, children drawn with repetition; an order of settling; when the nodes are made."""
    count = draw(st.integers(1, 6))
    nodes = [Model(leaf=number) for number in range(count)]
    for _ in range(draw(st.integers(1, 7))):
        children = draw(st.lists(st.sampled_from(nodes), max_size=5))
        nodes.append(Model(draw(st.sampled_from(COMBINATORS)), children))
    order = draw(st.permutations(range(count)))
    results = [(number, draw(st.booleans())) for number in order]
    return nodes, results, draw(st.integers(0, count))


def build(nodes: list[Model]) -> None:
    """Make the real nodes in the order of the model."""
    for model in nodes:
        if model.leaf is None:
            assert model.combinator is not None
            model.real = Combined(model.combinator, [child.real for child in model.children])


@given(forests())
def test_nodes_settle_when_and_as_the_table_says_whatever_the_order(
    drawn: tuple[list[Model], list[tuple[int, bool]], int],
) -> None:
    nodes, results, made_after = drawn
    leaves = {}
    for model in nodes:
        if model.leaf is not None:
            model.real = leaves[model.leaf] = Leaf(model.leaf + 1)
    by_leaf = {model.leaf: model for model in nodes}
    for step, (number, succeeds) in enumerate(results):
        if step == made_after:
            build(nodes)
            _waiters(nodes)
            _compare(nodes)
        woken = leaves[number].settle(OK if succeeds else BAD)
        by_leaf[number].state = SUCCEEDED if succeeds else FAILED
        if step >= made_after:
            before = {id(model) for model in nodes if model.state == PENDING or model.leaf == number}
            _compare(nodes)
            now = [model for model in nodes if id(model) in before and model.state != PENDING]
            assert sorted(map(id, woken)) == sorted(map(id, now)), "each node's waiter comes back once, at its settling"
    if made_after == len(results):
        build(nodes)
        _compare(nodes)


def _waiters(nodes: list[Model]) -> None:
    for model in nodes:
        if model.real.state == PENDING:
            model.real.add_waiter(model)


def _compare(nodes: list[Model]) -> None:
    for model in nodes:
        assert model.real.state == model.look()
        if isinstance(model.real, Combined) and model.winner is not None:
            assert model.real.winner == model.winner
    _check_parents(nodes)


def _check_parents(nodes: Iterable[Model]) -> None:
    """Nobody keeps a parent that is decided, and a settled node keeps none at all."""
    for model in nodes:
        parents = model.real.parents or []
        if model.real.state != PENDING:
            assert not parents
        assert all(parent.state == PENDING for parent in parents)


@given(forests())
def test_open_leaves_are_the_undelivered_ones_each_once(
    drawn: tuple[list[Model], list[tuple[int, bool]], int],
) -> None:
    nodes, results, made_after = drawn
    leaves = {}
    for model in nodes:
        if model.leaf is not None:
            model.real = leaves[model.leaf] = Leaf(model.leaf + 1)
    build(nodes)
    settled = set()
    for number, succeeds in results[:made_after]:
        leaves[number].settle(OK if succeeds else BAD)
        settled.add(number)
    for model in nodes:
        found = [leaf.id - 1 for leaf in open_leaves((model.real,))]
        assert len(found) == len(set(found))
        if model.real.state == PENDING:
            assert set(found) == _needed(model) - settled
        else:
            assert found == []


def _needed(model: Model) -> set[int]:
    """The leaves below a node, without those below a child that is decided."""
    if model.real.state != PENDING:
        return set()
    if model.leaf is not None:
        return {model.leaf}
    return set().union(*map(_needed, model.children)) if model.children else set()


@given(forests(), st.booleans())
def test_the_await_point_names_undelivered_leaves_only_and_the_cancel_when_asked(
    drawn: tuple[list[Model], list[tuple[int, bool]], int], cancel: bool
) -> None:
    nodes, results, made_after = drawn
    leaves = {}
    for model in nodes:
        if model.leaf is not None:
            model.real = leaves[model.leaf] = Leaf(model.leaf + 1)
    build(nodes)
    for number, succeeds in results[:made_after]:
        leaves[number].settle(OK if succeeds else BAD)
    point = await_point([model.real for model in nodes], cancel=cancel)
    open_ids = {leaf.id for leaf in leaves.values() if leaf.state == PENDING}
    if point is None:
        assert not open_ids
        return
    assert point.combinator_type is FIRST
    assert set(_ids(point)) == open_ids
    assert (CANCEL_SIGNAL in point.waiting_signals) is cancel
    assert not any(CANCEL_SIGNAL in nested.waiting_signals for nested in _nested(point))
    flat = flat_suspension(point)
    assert set(flat.waiting_completions) == open_ids
    assert len(flat.waiting_completions) == len(open_ids)
    assert flat.waiting_signals == ((CANCEL_SIGNAL,) if cancel else ())
    assert flat.awaiting_on is None


def _nested(point: Future) -> Iterator[Future]:
    for nested in point.nested_futures:
        yield nested
        yield from _nested(nested)


def _ids(point: Future) -> Iterator[int]:
    for each in (point, *_nested(point)):
        yield from each.waiting_completions


# --- leaves --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "state"), [(OK, SUCCEEDED), (Void(), SUCCEEDED), (Value(b""), SUCCEEDED), (BAD, FAILED)]
)
def test_a_leaf_fails_only_by_a_failure(result: Any, state: int) -> None:
    leaf = Leaf(1)
    leaf.settle(result)
    assert (leaf.state, leaf.result) == (state, result)


def test_a_leaf_without_waiters_wakes_nobody() -> None:
    assert Leaf(1).settle(OK) == []


def test_every_waiter_comes_back_in_the_order_of_asking() -> None:
    leaf = Leaf(1)
    leaf.add_waiter("a")
    leaf.add_waiter("b")
    assert leaf.settle(OK) == ["a", "b"]


def test_a_waiter_that_was_taken_back_does_not_come_back() -> None:
    leaf = Leaf(1)
    leaf.add_waiter("a")
    leaf.add_waiter("b")
    leaf.remove_waiter("a")
    assert leaf.settle(OK) == ["b"]


def test_taking_back_a_waiter_that_is_not_there_does_nothing() -> None:
    leaf = Leaf(1)
    leaf.remove_waiter("a")
    leaf.add_waiter("b")
    leaf.remove_waiter("a")
    assert leaf.settle(OK) == ["b"]


def test_the_waiters_of_leaf_and_combination_come_back_together_the_leaf_first() -> None:
    leaf = Leaf(1)
    both = Combined(ALL, [leaf])
    both.add_waiter("combination")
    leaf.add_waiter("leaf")
    assert leaf.settle(OK) == ["leaf", "combination"]


@pytest.mark.parametrize(
    ("leaf", "text"),
    [
        (Leaf(3, 1, "sleep"), "<sleep 3>"),
        (Leaf(3), "<leaf 3>"),
        (Leaf(0, -1, "signal 'go'", "go"), "<signal 'go' go>"),
        (Leaf(0, -1, "awakeable", 17), "<awakeable 17>"),
    ],
)
def test_a_leaf_names_itself(leaf: Leaf, text: str) -> None:
    assert repr(leaf) == text


def test_a_bare_node_hears_of_no_children() -> None:
    with pytest.raises(NotImplementedError):
        Node().children_settled((Leaf(1),))


# --- combinations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("combinator", "state"), [(ALL, SUCCEEDED), (ALL_SUCCESS, SUCCEEDED), (ANY_SUCCESS, FAILED)])
def test_a_combination_of_nothing_is_settled_at_once(combinator: CombinatorType, state: int) -> None:
    assert Combined(combinator, []).state == state


@pytest.mark.parametrize("combinator", COMBINATORS)
def test_the_same_child_twice_counts_twice_and_settles_once(combinator: CombinatorType) -> None:
    leaf = Leaf(1)
    twice = Combined(combinator, [leaf, leaf])
    twice.add_waiter("w")
    assert leaf.settle(OK) == ["w"]
    assert (twice.state, leaf.parents) == (SUCCEEDED, None)


def test_where_two_are_settled_already_the_first_in_order_wins() -> None:
    early, late = Leaf(1), Leaf(2)
    early.settle(OK)
    late.settle(OK)
    assert Combined(FIRST, [Leaf(3), late, early]).winner == 1


def test_where_one_notification_settles_two_the_first_in_order_wins() -> None:
    leaf = Leaf(1)
    deep = Combined(ALL, [Combined(ALL, [leaf])])
    flat = Combined(ALL, [leaf])
    assert [_winner(leaf_first) for leaf_first in (False, True)] == [0, 0]
    race = Combined(FIRST, [deep, flat])
    leaf.settle(OK)
    assert race.winner == 0


def _winner(leaf_first: bool) -> int | None:
    leaf = Leaf(1)
    nested = Combined(ALL, [leaf])
    race = Combined(FIRST, [leaf, nested] if leaf_first else [nested, leaf])
    leaf.settle(OK)
    return race.winner


def test_a_race_that_one_notification_both_wins_and_loses_ends_as_the_first_in_order() -> None:
    leaf = Leaf(1)
    settles, fails = Combined(ALL, [leaf]), Combined(FIRST, [leaf])
    races = Combined(FIRST, [settles, fails]), Combined(FIRST, [fails, settles])
    leaf.settle(BAD)
    assert [race.state for race in races] == [SUCCEEDED, FAILED]


def test_a_leaf_raced_again_and_again_does_not_collect_the_dead() -> None:
    raced = Leaf(1)
    for number in range(100):
        other = Leaf(number + 2)
        Combined(FIRST, [raced, other])
        other.settle(OK)
    assert raced.parents == []


def test_a_nested_combination_that_lost_is_let_go_by_its_leaves() -> None:
    raced, winner = Leaf(1), Leaf(2)
    inner = Combined(ALL, [raced])
    Combined(FIRST, [inner, winner])
    winner.settle(OK)
    assert inner.parents == []
    assert raced.lost


def test_the_leaves_of_whoever_lost_are_marked_and_the_winners_are_not() -> None:
    winner, loser, nested_loser = Leaf(1), Leaf(2), Leaf(3)
    Combined(FIRST, [winner, loser, Combined(ALL, [nested_loser])])
    winner.settle(OK)
    assert [leaf.lost for leaf in (winner, loser, nested_loser)] == [False, True, True]


def test_what_is_already_decided_when_combined_marks_the_losers_too() -> None:
    winner, loser = Leaf(1), Leaf(2)
    winner.settle(OK)
    race = Combined(FIRST, [winner, loser])
    assert (race.state, loser.lost, loser.parents) == (SUCCEEDED, True, None)


def test_nobody_has_lost_while_all_are_waited_for() -> None:
    done, pending = Leaf(1), Leaf(2)
    Combined(ALL, [done, pending])
    done.settle(BAD)
    assert not pending.lost


def test_a_settled_child_is_not_counted_a_second_time() -> None:
    first, second = Leaf(1), Leaf(2)
    race = Combined(FIRST, [first, second])
    first.settle(OK)
    second.settle(BAD)
    assert (race.state, race.winner) == (SUCCEEDED, 0)


def test_settling_a_thousandfold_gather_looks_at_each_child_a_constant_number_of_times() -> None:
    class Counted(Sequence[Node]):
        """Children that count how often they are looked at."""

        def __init__(self, nodes: list[Node]) -> None:
            self.nodes = nodes
            self.looks = 0

        def __len__(self) -> int:
            return len(self.nodes)

        def __getitem__(self, index: Any) -> Any:
            self.looks += 1
            return self.nodes[index]

        def __iter__(self) -> Iterator[Node]:
            for node in self.nodes:
                self.looks += 1
                yield node

    leaves = [Leaf(number + 1) for number in range(1000)]
    children = Counted([*leaves])
    gather = Combined(ALL_SUCCESS, children)
    for leaf in leaves:
        leaf.settle(OK)
    assert gather.state == SUCCEEDED
    assert children.looks <= 5 * len(leaves)


# --- the queue of completions --------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=12).map(sorted),
    st.permutations(range(5)),
)
def test_a_queue_gives_each_push_once_in_the_order_of_settling(pushes: list[tuple[int, int]], order: list[int]) -> None:
    leaves = [Leaf(number + 1) for number in range(5)]
    queue = CompletionQueue()
    expected: list[int] = []
    got: list[int] = []
    for moment in range(6):
        for index, (when, number) in enumerate(pushes):
            if when == moment:
                queue.push(leaves[number], index)
                if leaves[number].state != PENDING:
                    expected.append(index)
        assert queue.state == (SUCCEEDED if len(expected) > len(got) else PENDING)
        if moment % 2:
            got += _take_all(queue)
            assert got == expected
        if moment < len(order):
            leaves[order[moment]].settle(OK)
            expected += [index for index, push in enumerate(pushes) if push[1] == order[moment] and push[0] <= moment]
    got += _take_all(queue)
    assert got == expected
    assert sorted(got) == list(range(len(pushes)))
    assert not queue.members


def _take_all(queue: CompletionQueue) -> list[int]:
    taken = []
    while queue.state != PENDING:
        taken.append(queue.take()[0])
    return taken


def test_a_queue_gives_the_node_with_its_index() -> None:
    leaf, queue = Leaf(1), CompletionQueue()
    queue.push(leaf, 7)
    leaf.settle(OK)
    assert queue.take() == (7, leaf)


def test_the_reader_of_a_queue_is_woken_by_each_batch() -> None:
    queue, leaves = CompletionQueue(), [Leaf(1), Leaf(2)]
    for index, leaf in enumerate(leaves):
        queue.push(leaf, index)
    queue.add_waiter("reader")
    assert leaves[1].settle(OK) == ["reader"]
    queue.take()
    queue.add_waiter("reader")
    assert leaves[0].settle(OK) == ["reader"]


def test_one_notification_that_settles_several_members_queues_them_in_the_order_of_pushing() -> None:
    leaf, queue = Leaf(1), CompletionQueue()
    nodes = [Combined(ALL, [Combined(ALL, [leaf])]), leaf, Combined(ALL, [leaf])]
    for index, node in enumerate(nodes):
        queue.push(node, index)
    leaf.settle(OK)
    assert _take_all(queue) == [0, 1, 2]


def test_a_queue_over_combinations_hears_them() -> None:
    leaf, queue = Leaf(1), CompletionQueue()
    queue.push(Combined(ALL, [leaf, Leaf(2)]), 0)
    queue.push(Combined(FIRST, [leaf, Leaf(3)]), 1)
    leaf.settle(OK)
    assert _take_all(queue) == [1]


# --- relays --------------------------------------------------------------------------------------------------------


def test_a_relay_goes_on_when_the_first_is_delivered_and_settles_as_the_second() -> None:
    first, second = Leaf(1), Leaf(2)
    calls = []

    def then() -> Leaf:
        calls.append("then")
        return second

    relay = Relay(first, then)
    relay.add_waiter("w")
    assert (relay.target, calls) == (first, [])
    assert first.settle(OK) == []
    assert (relay.target, calls, relay.state) == (second, ["then"], PENDING)
    assert second.settle(BAD) == ["w"]
    assert (relay.state, relay.result, calls) == (FAILED, BAD, ["then"])


def test_a_relay_with_nothing_more_to_wait_for_settles_as_the_first() -> None:
    first = Leaf(1)
    relay = Relay(first, lambda: None)
    first.settle(OK)
    assert (relay.state, relay.result) == (SUCCEEDED, OK)


def test_a_relay_after_a_settled_leaf_acts_at_once() -> None:
    first, second = Leaf(1), Leaf(2)
    first.settle(OK)
    relay = Relay(first, lambda: second)
    assert (relay.state, relay.target) == (PENDING, second)
    second.settle(OK)
    assert relay.state == SUCCEEDED


def test_a_relay_whose_second_is_settled_already_does_not_wait() -> None:
    first, second = Leaf(1), Leaf(2)
    second.settle(OK)
    relay = Relay(first, lambda: second)
    first.settle(Value(b"first"))
    assert (relay.state, relay.result) == (SUCCEEDED, OK)


def test_a_relay_does_not_go_on_after_a_failure() -> None:
    first = Leaf(1)
    relay = Relay(first, lambda: pytest.fail("called after a failure"))
    first.settle(BAD)
    assert (relay.state, relay.result) == (FAILED, BAD)


def test_a_relay_in_a_combination_is_described_by_what_it_waits_for_now() -> None:
    first, second = Leaf(1), Leaf(2)
    relay = Relay(first, lambda: second)
    race = Combined(FIRST, [relay, Leaf(3)])
    assert _completions(race) == (1, 3)
    first.settle(OK)
    assert _completions(race) == (2, 3)


def _completions(*nodes: Node) -> tuple[int, ...]:
    point = await_point(nodes, cancel=False)
    assert point is not None
    return flat_suspension(point).waiting_completions


def test_a_relay_and_somebody_else_wait_for_one_leaf() -> None:
    leaf = Leaf(1)
    both, relay = Combined(ALL, [leaf]), Relay(leaf, lambda: None)
    leaf.settle(OK)
    assert (both.state, relay.state) == (SUCCEEDED, SUCCEEDED)


def test_a_relay_that_lost_a_race_is_let_go() -> None:
    relay, winner = Relay(Leaf(1), lambda: None), Leaf(2)
    Combined(FIRST, [relay, winner])
    winner.settle(OK)
    assert relay.parents == []
    assert relay.target.lost


# --- what is told of a tree ----------------------------------------------------------------------------------------


def test_an_await_point_sorts_leaves_by_kind_and_nests_combinations() -> None:
    awakeable, named = Leaf(0, -1, "", 17), Leaf(0, -1, "", "go")
    tree = Combined(ALL, [Leaf(1), awakeable, Combined(ANY_SUCCESS, [named, Leaf(2)])])
    assert await_point([tree], cancel=True) == Future(
        (),
        (CANCEL_SIGNAL,),
        (),
        (Future((1,), (17,), (), (Future((2,), (), ("go",), (), ANY_SUCCESS),), ALL),),
        FIRST,
    )


def test_the_branches_of_a_handler_are_raced_with_the_cancel() -> None:
    assert await_point([Leaf(4), Leaf(5)], cancel=True) == Future((4, 5), (CANCEL_SIGNAL,), (), (), FIRST)


def test_waiting_for_nothing_that_can_arrive_is_told_as_none() -> None:
    dead = Leaf(0)
    assert await_point([dead, Combined(ALL, [dead]), CompletionQueue()], cancel=True) is None
    assert await_point([], cancel=True) is None


def test_a_queue_is_described_as_a_race_of_its_members() -> None:
    queue = CompletionQueue()
    queue.push(Leaf(1), 0)
    queue.push(Leaf(2), 1)
    assert await_point([queue], cancel=False) == Future((), (), (), (Future((1, 2), (), (), (), FIRST),), FIRST)


def test_what_can_never_arrive_is_left_out_of_a_tree() -> None:
    point = await_point(
        [Combined(FIRST, [Leaf(0), Leaf(3), CompletionQueue(), Combined(ALL, [Leaf(0)])])], cancel=False
    )
    assert point == Future((), (), (), (Future((3,), (), (), (), FIRST),), FIRST)


def test_a_child_given_twice_is_told_once() -> None:
    leaf = Leaf(1)
    point = await_point([Combined(ALL, [leaf, leaf])], cancel=False)
    assert point == Future((), (), (), (Future((1,), (), (), (), ALL),), FIRST)


def test_a_flat_suspension_lists_every_leaf_of_the_tree_once() -> None:
    future = Future((1,), (1,), ("go",), (Future((2, 1), (17,), ("go", "on"), (Future((3,)),)), Future((4,))))
    assert flat_suspension(future) == SuspensionMessage((1, 2, 3, 4), (1, 17), ("go", "on"))


def test_open_leaves_of_a_queue_and_a_relay_are_those_they_wait_for() -> None:
    first, member = Leaf(1), Leaf(2)
    queue = CompletionQueue()
    queue.push(member, 0)
    assert list(open_leaves([queue, Relay(first, lambda: None)])) == [member, first]


def test_open_leaves_come_in_tree_order() -> None:
    one, two, three = Leaf(1), Leaf(2), Leaf(3)
    assert list(open_leaves([Combined(ALL, [Combined(ALL, [one, two]), three]), two])) == [one, two, three]


def test_what_a_queue_has_given_out_is_in_no_tree_any_more() -> None:
    queue, leaves = CompletionQueue(), [Leaf(1), Leaf(2)]
    for index, leaf in enumerate(leaves):
        queue.push(leaf, index)
    leaves[0].settle(OK)
    queue.take()
    assert _completions(queue) == (2,)


def test_a_node_that_is_no_leaf_and_no_combination_waits_for_nothing() -> None:
    assert list(open_leaves([Node()])) == []
    assert await_point([Node()], cancel=False) is None
