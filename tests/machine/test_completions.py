"""Notifications wait in the order of the journal; signals wait for whoever awaits them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import JournalMismatchError, ProtocolError
from perdure.machine.awaiting import FAILED, PENDING, SUCCEEDED, Leaf
from perdure.machine.completions import Completions
from perdure.wire.messages import (
    CANCEL_SIGNAL,
    CallCompletion,
    Failure,
    Result,
    RunCompletion,
    SignalNotification,
    SleepCompletion,
    StateKeys,
    Value,
    Void,
)

A, B, C = Value(b"a"), Value(b"b"), Value(b"c")
FIRST_SIGNAL = 17


@pytest.fixture
def completions() -> Completions:
    return Completions(FIRST_SIGNAL)


def deliver_all(completions: Completions) -> list[object]:
    woken: list[object] = []
    while (some := completions.deliver(0)) is not None:
        woken += some
    return woken


# --- completions ---------------------------------------------------------------------------------------------------


def test_ids_begin_at_one_and_count_up(completions: Completions) -> None:
    assert [completions.expect(0, "x").id for _ in range(3)] == [1, 2, 3]


def test_a_leaf_remembers_its_command_and_its_label(completions: Completions) -> None:
    leaf = completions.expect(4, "sleep")
    assert (leaf.command, leaf.label, leaf.state) == (4, "sleep", PENDING)


def test_nothing_queued_is_told_as_none(completions: Completions) -> None:
    assert completions.deliver(0) is None


def test_what_has_arrived_is_not_delivered(completions: Completions) -> None:
    leaf = completions.expect(0, "x")
    completions.arrive(CallCompletion(1, A))
    assert (leaf.state, len(completions)) == (PENDING, 1)


@given(st.permutations([1, 2, 3, 4]))
def test_one_notification_at_a_time_is_delivered_in_the_order_of_arrival(order: list[int]) -> None:
    completions = Completions(FIRST_SIGNAL)
    leaves = {leaf.id: leaf for leaf in (completions.expect(0, "x") for _ in order)}
    for leaf in leaves.values():
        leaf.add_waiter(leaf.id)
    for id in order:
        completions.arrive(CallCompletion(id, Value(str(id).encode())))
    for position, id in enumerate(order):
        assert completions.deliver(0) == [id]
        assert [leaf.id for leaf in leaves.values() if leaf.state != PENDING] == sorted(order[: position + 1])
        assert leaves[id].result == Value(str(id).encode())


@pytest.mark.parametrize(
    ("result", "state"), [(A, SUCCEEDED), (Failure(409, "no"), FAILED), (Void(), SUCCEEDED), (StateKeys(), SUCCEEDED)]
)
def test_a_leaf_gets_the_result_that_came(completions: Completions, result: Result, state: int) -> None:
    leaf = completions.expect(0, "x")
    completions.arrive(CallCompletion(leaf.id, result))  # type: ignore[arg-type]  # any result will do
    completions.deliver(0)
    assert (leaf.result, leaf.state) == (result, state)


def test_a_second_completion_of_an_id_breaks_the_protocol(completions: Completions) -> None:
    leaf = completions.expect(0, "x")
    completions.arrive(SleepCompletion(leaf.id, Void()))
    completions.arrive(SleepCompletion(leaf.id, Void()))
    completions.deliver(0)
    with pytest.raises(ProtocolError, match="completed id 1 a second time"):
        completions.deliver(0)


def test_a_completion_of_what_was_answered_in_its_command_breaks_the_protocol(completions: Completions) -> None:
    completions.forget(completions.expect(0, "get state"))
    completions.arrive(CallCompletion(1, A))
    with pytest.raises(ProtocolError, match="second time"):
        completions.deliver(0)


def test_a_completion_of_a_step_that_the_code_has_not_started_is_a_mismatch(completions: Completions) -> None:
    completions.arrive(RunCompletion(7, A))
    with pytest.raises(JournalMismatchError, match="completion 7") as raised:
        completions.deliver(3)
    assert raised.value.index == 4


def test_a_completion_without_a_result_breaks_the_protocol(completions: Completions) -> None:
    completions.expect(0, "x")
    completions.arrive(RunCompletion(1, None))
    with pytest.raises(ProtocolError, match="RunCompletion for id 1 without a result"):
        completions.deliver(0)


# --- proposals -----------------------------------------------------------------------------------------------------


def test_an_ack_puts_the_proposed_result_at_its_place_in_the_queue(completions: Completions) -> None:
    run, other = completions.expect(0, "run"), completions.expect(1, "call")
    completions.propose(run.id, A)
    completions.arrive(CallCompletion(other.id, B))
    completions.acknowledge(run.id, RunCompletion)
    completions.deliver(0)
    assert (other.result, run.state) == (B, PENDING)
    completions.deliver(0)
    assert run.result == A


def test_an_ack_of_what_was_never_proposed_breaks_the_protocol(completions: Completions) -> None:
    with pytest.raises(ProtocolError, match="run 3, which was never proposed"):
        completions.acknowledge(3, RunCompletion)


def test_a_second_ack_breaks_the_protocol(completions: Completions) -> None:
    completions.expect(0, "run")
    completions.propose(1, A)
    completions.acknowledge(1, RunCompletion)
    with pytest.raises(ProtocolError, match="never proposed"):
        completions.acknowledge(1, RunCompletion)


# --- signals -------------------------------------------------------------------------------------------------------


def test_the_cancel_signal_is_remembered_and_settles_nothing(completions: Completions) -> None:
    completions.arrive(SignalNotification(CANCEL_SIGNAL, Void()))
    assert (completions.cancelled, completions.deliver(0), completions.cancelled) == (False, [], True)


def test_a_signal_without_index_or_name_breaks_the_protocol(completions: Completions) -> None:
    completions.arrive(SignalNotification(None, A))
    with pytest.raises(ProtocolError, match="signal without index or name"):
        completions.deliver(0)


def test_a_signal_without_a_result_carries_nothing(completions: Completions) -> None:
    leaf = Leaf(0, -1, "", "go")
    completions.collect(leaf)
    completions.arrive(SignalNotification("go", None))
    completions.deliver(0)
    assert leaf.result == Void()


def test_awakeables_are_numbered_from_the_first_free_signal(completions: Completions) -> None:
    assert [completions.next_awakeable(0)[0] for _ in range(3)] == [17, 18, 19]


def test_an_awakeable_counts_as_awaited_from_the_start(completions: Completions) -> None:
    signal, leaf = completions.next_awakeable(2)
    leaf.add_waiter("w")
    completions.arrive(SignalNotification(signal, A))
    assert deliver_all(completions) == ["w"]
    assert (leaf.result, leaf.command, leaf.id) == (A, 2, 0)


def test_an_awakeable_that_was_completed_before_it_was_made_is_settled(completions: Completions) -> None:
    completions.arrive(SignalNotification(17, A))
    completions.deliver(0)
    assert completions.next_awakeable(0)[1].result == A


def test_the_oldest_future_being_awaited_gets_the_signal(completions: Completions) -> None:
    first, second = Leaf(0, -1, "", "go"), Leaf(0, -1, "", "go")
    completions.collect(first)
    completions.collect(second)
    completions.arrive(SignalNotification("go", A))
    completions.deliver(0)
    assert (first.result, second.result) == (A, None)


def test_a_signal_is_kept_while_nobody_awaits_it(completions: Completions) -> None:
    completions.arrive(SignalNotification("go", A))
    assert completions.deliver(0) == []
    leaf = Leaf(0, -1, "", "go")
    leaf.add_waiter("w")
    assert completions.collect(leaf) == ["w"]
    assert leaf.result == A


def test_a_future_that_is_no_longer_awaited_swallows_no_signal(completions: Completions) -> None:
    abandoned, awaited = Leaf(0, -1, "", "go"), Leaf(0, -1, "", "go")
    completions.collect(abandoned)
    completions.withdraw(abandoned)
    completions.collect(awaited)
    completions.arrive(SignalNotification("go", A))
    completions.deliver(0)
    assert (abandoned.state, awaited.result) == (PENDING, A)


def test_awaiting_the_same_future_twice_counts_once(completions: Completions) -> None:
    leaf, next_one = Leaf(0, -1, "", "go"), Leaf(0, -1, "", "go")
    completions.collect(leaf)
    completions.collect(leaf)
    completions.collect(next_one)
    for value in (A, B):
        completions.arrive(SignalNotification("go", value))
    deliver_all(completions)
    assert (leaf.result, next_one.result) == (A, B)


def test_withdrawing_what_does_not_wait_does_nothing(completions: Completions) -> None:
    completions.withdraw(Leaf(0, -1, "", "go"))
    completions.collect(Leaf(0, -1, "", "go"))
    completions.withdraw(Leaf(0, -1, "", "go"))
    assert len(completions.mailbox("go").waiting) == 1


def test_signals_of_different_names_do_not_meet(completions: Completions) -> None:
    leaf = Leaf(0, -1, "", "go")
    completions.collect(leaf)
    completions.arrive(SignalNotification("stop", A))
    completions.arrive(SignalNotification(18, B))
    deliver_all(completions)
    assert leaf.state == PENDING


@given(st.lists(st.sampled_from(["send", "await", "withdraw"]), max_size=30))
def test_a_mailbox_is_a_queue_of_values_and_a_queue_of_those_who_wait(moves: list[str]) -> None:
    completions = Completions(FIRST_SIGNAL)
    leaves: list[Leaf] = []
    values: list[bytes] = []
    waiting: list[int] = []
    kept: list[bytes] = []
    expected: dict[int, bytes] = {}
    for move in moves:
        if move == "send":
            value = str(len(values)).encode()
            values.append(value)
            completions.arrive(SignalNotification("go", Value(value)))
            completions.deliver(0)
            if waiting:
                expected[waiting.pop(0)] = value
            else:
                kept.append(value)
        elif move == "await":
            leaves.append(Leaf(0, -1, "", "go"))
            completions.collect(leaves[-1])
            if kept:
                expected[len(leaves) - 1] = kept.pop(0)
            else:
                waiting.append(len(leaves) - 1)
        elif waiting:
            completions.withdraw(leaves[waiting.pop()])
        assert {i: leaf.result for i, leaf in enumerate(leaves) if leaf.state != PENDING} == {
            i: Value(value) for i, value in expected.items()
        }
