"""Keys of objects: one holder, first in first out, kept through everything but the end; state and its edits."""

from __future__ import annotations

import pytest

from perdure.engine import events as e
from perdure.engine import outputs as o
from perdure.engine import rows as r
from perdure.wire import messages as m
from tests.engine.pure_engine import PureEngine


@pytest.fixture
def engine() -> PureEngine:
    """Three invocations of one key: the first holds it."""
    engine = PureEngine()
    for _ in range(3):
        engine.submit("Thing/k/do")
    engine.commit()
    return engine


def holder(engine: PureEngine) -> int:
    key = engine.residents.key("Thing", "k")
    return 0 if key is None else key.holder


def test_one_invocation_holds_a_key_and_the_others_wait(engine: PureEngine) -> None:
    assert [engine.status(number) for number in (1, 2, 3)] == [r.Status.INVOKED, r.Status.QUEUED, r.Status.QUEUED]
    assert set(engine.attempts) == {1}


def test_a_key_is_handed_on_first_in_first_out(engine: PureEngine) -> None:
    engine.end(1)
    assert set(engine.attempts) == {2}
    engine.submit("Thing/k/do")
    engine.commit()
    engine.end(2)
    assert set(engine.attempts) == {3}
    engine.end(3)
    assert set(engine.attempts) == {4}
    engine.end(4)
    assert engine.tables.locks == {}


def test_end_answers_and_handing_on_are_one_transaction(engine: PureEngine) -> None:
    engine.say(1, m.OutputCommand(m.Value(b"")))
    engine.commit()
    decision = engine.do(e.FromAttempt(1, engine.attempts[1], m.EndMessage()))
    kinds = [type(row) for row in decision.rows]
    assert kinds == [r.EndInvocation, r.Dequeue, r.PutLock, r.SetStatus, r.PutTimer]
    engine.commit()


def test_shared_handlers_run_beside_the_holder(engine: PureEngine) -> None:
    engine.submit("Thing/k/look")
    engine.submit("Thing/k/look")
    engine.commit()
    assert set(engine.attempts) == {1, 4, 5}


def test_other_keys_are_not_in_the_way(engine: PureEngine) -> None:
    engine.submit("Thing/other/do")
    engine.commit()
    assert set(engine.attempts) == {1, 4}


def test_the_key_is_kept_while_its_holder_is_suspended(engine: PureEngine) -> None:
    engine.suspend(1, seen=1, names=("go",))
    assert (holder(engine), set(engine.attempts)) == (1, set())


def test_the_key_is_kept_while_its_holder_backs_off(engine: PureEngine) -> None:
    engine.say(1, m.ErrorMessage(500, "no"))
    engine.over(1)
    engine.commit()
    assert (holder(engine), set(engine.attempts)) == (1, set())


def test_the_key_is_kept_while_its_holder_is_paused(engine: PureEngine) -> None:
    engine.do(e.Pause(engine.residents.invocation(1).id, 0))  # type: ignore[union-attr]  # it exists
    engine.commit()
    engine.join_all()
    engine.commit()
    assert (holder(engine), engine.status(1), set(engine.attempts)) == (1, r.Status.PAUSED, set())


def test_the_key_is_kept_across_a_crash(engine: PureEngine) -> None:
    engine.suspend(1, seen=1, names=("go",))
    engine.crash()
    assert (holder(engine), set(engine.attempts)) == (1, set())
    engine.do(e.SendSignal(engine.residents.invocation(1).id, "go", m.Value(b""), 0))  # type: ignore[union-attr]  # it exists
    engine.commit()
    assert set(engine.attempts) == {1}


def test_the_next_holder_starts_only_when_the_code_of_the_last_has_stopped(engine: PureEngine) -> None:
    engine.say(1, m.OutputCommand(m.Value(b"")), m.EndMessage())
    engine.commit()
    assert (holder(engine), engine.status(2), set(engine.attempts)) == (2, r.Status.INVOKED, {1})
    engine.over(1)
    engine.commit()
    assert set(engine.attempts) == {2}


def test_a_killed_holder_keeps_others_out_until_its_code_has_stopped(engine: PureEngine) -> None:
    engine.do(e.Kill(engine.residents.invocation(1).id, 0))  # type: ignore[union-attr]  # it exists
    engine.commit()
    assert (engine.status(1), holder(engine), set(engine.attempts)) == (r.Status.COMPLETED, 2, set())
    engine.join_all()
    engine.commit()
    assert set(engine.attempts) == {2}


def test_one_that_is_killed_while_the_key_waits_for_code_to_stop_passes_it_on(engine: PureEngine) -> None:
    for number in (1, 2):
        engine.do(e.Kill(engine.residents.invocation(number).id, 0))  # type: ignore[union-attr]  # it exists
        engine.commit()
    assert (holder(engine), set(engine.attempts)) == (3, set())
    engine.join_all()
    engine.commit()
    assert set(engine.attempts) == {3}


def test_a_scheduled_one_enters_the_queue_when_it_is_due(engine: PureEngine) -> None:
    engine.send("Thing/k/do", start_at=engine.now + 10)
    engine.submit("Thing/k/do")
    engine.commit()
    engine.now += 10
    engine.fire()
    key = engine.residents.key("Thing", "k")
    assert key is not None
    assert [waiting.number for waiting in key.queue.values()] == [2, 3, 5, 4]


def test_a_cancelled_one_leaves_the_queue(engine: PureEngine) -> None:
    engine.do(e.Cancel(engine.residents.invocation(2).id, 0))  # type: ignore[union-attr]  # it exists
    engine.commit()
    engine.end(1)
    assert set(engine.attempts) == {3}


def test_state_is_written_with_its_command_and_outlives_a_kill(engine: PureEngine) -> None:
    engine.say(1, m.SetStateCommand(b"a", m.Value(b"1")), m.SetStateCommand(b"b", m.Value(b"2")))
    engine.say(1, m.ClearStateCommand(b"b"))
    engine.do(e.Kill(engine.residents.invocation(1).id, 0))  # type: ignore[union-attr]  # it exists
    engine.commit()
    assert engine.tables.state == {("Thing", "k"): {b"a": b"1"}}


def test_state_that_is_not_committed_yet_is_read_by_the_holder(engine: PureEngine) -> None:
    engine.say(1, m.SetStateCommand(b"a", m.Value(b"1")), m.GetLazyStateCommand(b"a", 1), m.GetLazyStateKeysCommand(2))
    engine.commit()
    assert engine.journal(1)[2:] == [
        m.GetLazyStateCommand(b"a", 1),
        m.GetLazyStateCompletion(1, m.Value(b"1")),
        m.GetLazyStateKeysCommand(2),
        m.GetLazyStateKeysCompletion(2, m.StateKeys((b"a",))),
    ]
    engine.say(1, m.ClearAllStateCommand(), m.GetLazyStateCommand(b"a", 3))
    engine.commit()
    assert engine.journal(1)[-1] == m.GetLazyStateCompletion(3, m.Void())


def test_what_a_shared_handler_has_read_is_stored_before_it_goes_on(engine: PureEngine) -> None:
    engine.submit("Thing/k/look")
    engine.commit()
    read = m.GetEagerStateCommand(b"a", m.Void())
    assert engine.do(e.FromAttempt(4, engine.attempts[4], read)).urgent
    assert not engine.do(e.FromAttempt(1, engine.attempts[1], read)).urgent


def test_a_shared_handler_must_not_write(engine: PureEngine) -> None:
    engine.submit("Thing/k/look")
    engine.commit()
    engine.say(4, m.SetStateCommand(b"a", m.Value(b"1")))
    released = engine.commit()
    assert [output.why for output in released if isinstance(output, o.StopAttempt)] == [o.Why.VIOLATION]
    assert engine.tables.state == {}


def test_an_edit_of_the_state_waits_for_its_turn(engine: PureEngine) -> None:
    engine.do(e.EditState("Thing", "k", r.StateEdit({b"a": b"edited", b"b": None}, replace=True), 0))
    engine.say(1, m.SetStateCommand(b"a", m.Value(b"1")), m.SetStateCommand(b"b", m.Value(b"1")))
    engine.commit()
    assert engine.tables.state == {("Thing", "k"): {b"a": b"1", b"b": b"1"}}
    for number in (1, 2):
        engine.end(number)
    assert engine.tables.state == {("Thing", "k"): {b"a": b"1", b"b": b"1"}}
    engine.end(3)
    assert engine.tables.state == {("Thing", "k"): {b"a": b"edited"}}
    assert engine.tables.locks == {}


def test_an_edit_of_a_free_key_happens_at_once() -> None:
    engine = PureEngine()
    engine.do(e.EditState("Thing", "k", r.StateEdit({b"a": b"edited"}), 7))
    engine.commit()
    assert engine.tables.state == {("Thing", "k"): {b"a": b"edited"}}
    assert engine.replies[7] == o.Done()


def test_a_plain_service_has_no_state_to_edit() -> None:
    engine = PureEngine()
    engine.do(e.EditState("Plain", "k", r.StateEdit({}), 7))
    engine.commit()
    refused = engine.replies[7]
    assert isinstance(refused, o.Refused)
    assert refused.code == 400
