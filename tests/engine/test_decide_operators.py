"""Cancel, kill, pause, resume, purge and restart as new, in every status."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from perdure.engine import events as e
from perdure.engine import outputs as o
from perdure.engine import rows as r
from perdure.engine.endings import PAGE
from perdure.wire import messages as m
from perdure.wire.ids import format_invocation_id
from tests.engine.pure_engine import HOUR, MINUTE, SERVICES, PureEngine, deployment, unique
from tests.engine.test_decide_calls import call, send

CANCELLED = m.Failure(409, "cancelled")
KILLED = m.Failure(409, "killed")
CANCEL = m.SignalNotification(m.CANCEL_SIGNAL, m.Void())


def id_of(engine: PureEngine, number: int) -> bytes:
    entity = engine.residents.invocation(number)
    assert entity is not None
    return entity.id


def tell(
    engine: PureEngine, kind: Callable[..., e.Event], number: int, *arguments: object, **fields: object
) -> o.Answer:
    """Raise an event about an invocation, commit, and return the answer."""
    return tell_id(engine, kind, id_of(engine, number), *arguments, **fields)


def tell_id(
    engine: PureEngine, kind: Callable[..., e.Event], id: bytes, *arguments: object, **fields: object
) -> o.Answer:
    waiter = engine.waiter()
    engine.do(kind(id, *arguments, waiter=waiter, **fields))
    engine.commit()
    return engine.replies[waiter]


def code(answer: o.Answer) -> int:
    assert isinstance(answer, o.Refused), answer
    return answer.code


@pytest.fixture
def engine() -> PureEngine:
    engine = PureEngine()
    engine.submit("Plain/do")
    engine.commit()
    return engine


# --- cancel --------------------------------------------------------------------------------------------------------


def test_cancelling_a_scheduled_invocation_ends_it_and_keeps_no_record(engine: PureEngine) -> None:
    engine.send("Plain/do", start_at=engine.now + HOUR, idempotency_key="k")
    waiter = engine.submit("Plain/do", idempotency_key="k")
    engine.commit()
    tell(engine, e.Cancel, 2)
    answer = engine.replies[waiter]
    assert isinstance(answer, o.Outcome)
    assert answer.result == CANCELLED
    assert set(engine.tables.invocations) == {1}
    assert not engine.tables.timers


def test_cancelling_a_queued_call_tells_its_caller(engine: PureEngine) -> None:
    engine.submit("Thing/k/do")
    engine.say(1, call(1, "Thing/k/do"))
    engine.commit()
    tell(engine, e.Cancel, 3)
    assert engine.journal(1)[-1] == m.CallCompletion(2, CANCELLED)
    assert set(engine.tables.invocations) == {1, 2}


def test_cancelling_a_running_invocation_is_a_notification(engine: PureEngine) -> None:
    assert tell(engine, e.Cancel, 1) == o.Done(id_of(engine, 1))
    assert engine.arrived[engine.attempts[1]][-1] == CANCEL


def test_cancelling_a_suspended_invocation_resumes_it_whatever_it_waits_for(engine: PureEngine) -> None:
    engine.say(1, m.RunCommand(1), m.SuspensionMessage((1,)))
    engine.commit()
    engine.over(1)
    tell(engine, e.Cancel, 1)
    assert engine.arrived[engine.attempts[1]][-1] == CANCEL


def test_cancelling_a_paused_invocation_resumes_it(engine: PureEngine) -> None:
    tell(engine, e.Pause, 1)
    engine.join_all()
    tell(engine, e.Cancel, 1)
    assert engine.arrived[engine.attempts[1]][-1] == CANCEL


def test_a_second_cancel_is_stored_and_wakes_nobody(engine: PureEngine) -> None:
    tell(engine, e.Cancel, 1)
    engine.say(1, m.RunCommand(1), m.SuspensionMessage((1,)))
    engine.commit()
    engine.over(1)
    tell(engine, e.Cancel, 1)
    assert engine.status(1) is r.Status.SUSPENDED
    assert engine.journal(1)[-1] == CANCEL


def test_a_cancel_between_suspension_message_and_row_is_not_lost(engine: PureEngine) -> None:
    engine.say(1, m.SleepCommand(engine.now + HOUR, 1))
    engine.do(e.Cancel(id_of(engine, 1), 0))
    engine.say(1, m.SuspensionMessage((1,), (m.CANCEL_SIGNAL,)), seen=2)
    engine.commit()
    engine.over(1)
    engine.commit()
    assert engine.arrived[engine.attempts[1]][-1] == CANCEL


def test_a_completed_invocation_cannot_be_cancelled(engine: PureEngine) -> None:
    engine.end(1)
    assert code(tell(engine, e.Cancel, 1)) == 409


def test_an_unknown_invocation_cannot_be_cancelled(engine: PureEngine) -> None:
    assert code(tell_id(engine, e.Cancel, bytes(24))) == 404


def test_cancel_sent_by_a_handler_is_the_same_cancel(engine: PureEngine) -> None:
    engine.submit("Plain/do", start_at=0)
    engine.commit()
    target = format_invocation_id(id_of(engine, 2))
    engine.say(1, m.SendSignalCommand(target, m.CANCEL_SIGNAL, m.Void()))
    engine.commit()
    assert engine.journal(2)[-1] == CANCEL


# --- kill ----------------------------------------------------------------------------------------------------------


def test_a_kill_ends_at_once_and_stops_the_attempt(engine: PureEngine) -> None:
    attempt = engine.attempts[1]
    tell(engine, e.Kill, 1)
    assert engine.replies[1] == o.Outcome(id_of(engine, 1), KILLED)
    assert o.StopAttempt(1, attempt, o.Why.KILLED) in engine.released


def test_a_killed_attempt_writes_nothing_more(engine: PureEngine) -> None:
    attempt = engine.attempts[1]
    engine.do(e.Kill(id_of(engine, 1), 0))
    decision = engine.do(e.FromAttempt(1, attempt, m.RunCommand(1)))
    assert not decision.rows
    assert not decision.outputs


def test_a_kill_reaches_calls_and_sends_all_the_way_down(engine: PureEngine) -> None:
    engine.say(1, call(1), send(3))
    engine.commit()
    engine.say(2, call(1))
    engine.say(3, send(1, invoke_time=engine.now + HOUR))
    engine.commit()
    tell(engine, e.Kill, 1)
    engine.work()
    assert {number: engine.status(number) for number in engine.tables.invocations} == dict.fromkeys(
        (1, 2, 3, 4), r.Status.COMPLETED
    )
    assert 5 not in engine.tables.invocations
    assert not engine.tables.work


def test_a_kill_leaves_children_alone_that_have_completed(engine: PureEngine) -> None:
    engine.say(1, call(1))
    engine.commit()
    engine.end(2, m.Value(b"fine"))
    tell(engine, e.Kill, 1)
    engine.work()
    entity = engine.residents.invocation(2)
    assert entity is not None
    assert entity.result == m.Value(b"fine")


def test_a_tree_is_killed_in_pages_and_a_crash_between_them_leaves_none_alive(engine: PureEngine) -> None:
    engine.checked = False
    count = 3 * PAGE
    for completion in range(1, count + 1):
        engine.say(1, send(completion))
    engine.commit()
    engine.do(e.Kill(id_of(engine, 1), 0))
    engine.commit()
    for _ in range(2):
        decision = engine.do(e.WorkDue())
        assert sum(isinstance(row, r.EndInvocation) for row in decision.rows) <= PAGE
        engine.commit()
    engine.do(e.WorkDue())  # decided and lost
    engine.crash()
    engine.work()
    assert all(row.status is r.Status.COMPLETED for row in engine.tables.invocations.values())
    assert len(engine.tables.invocations) == count + 1
    engine.check()


def test_a_chain_deeper_than_the_stack_is_killed() -> None:
    engine = PureEngine(checked=False)
    engine.submit("Plain/do")
    engine.commit()
    depth = 1200
    for number in range(1, depth):
        engine.say(number, call(1))
        engine.commit()
    tell(engine, e.Kill, 1)
    engine.work()
    assert all(row.status is r.Status.COMPLETED for row in engine.tables.invocations.values())


def test_a_scheduled_or_queued_one_that_is_killed_is_not_remembered(engine: PureEngine) -> None:
    engine.submit("Thing/k/do")
    waiter = engine.submit("Thing/k/do")
    engine.commit()
    tell(engine, e.Kill, 3)
    assert engine.replies[waiter].result == KILLED  # type: ignore[union-attr]  # an outcome
    assert set(engine.tables.invocations) == {1, 2}


# --- pause and resume ----------------------------------------------------------------------------------------------


def test_a_paused_invocation_stores_what_comes_and_resumes_on_nothing_but_a_resume(engine: PureEngine) -> None:
    engine.say(1, m.SleepCommand(engine.now + 10, 1))
    tell(engine, e.Pause, 1)
    engine.join_all()
    engine.now += 10
    engine.fire()
    tell_id(engine, e.SendSignal, id_of(engine, 1), "go", m.Value(b""))
    assert engine.status(1) is r.Status.PAUSED
    assert engine.kinds(1) == ["InputCommand", "SleepCommand", "SleepCompletion", "SignalNotification"]
    tell(engine, e.Resume, 1)
    assert len(engine.arrived[engine.attempts[1]]) == 4


def test_pausing_while_it_backs_off_disarms_the_retry(engine: PureEngine) -> None:
    attempt = engine.attempts[1]
    engine.say(1, m.ErrorMessage(500, "no"))
    engine.over(1)
    tell(engine, e.Pause, 1)
    assert not engine.do(e.RetryDue(1, attempt)).outputs
    assert engine.status(1) is r.Status.PAUSED


def test_a_resumed_invocation_waits_until_its_old_code_has_stopped(engine: PureEngine) -> None:
    tell(engine, e.Pause, 1)
    tell(engine, e.Resume, 1)
    assert not engine.attempts
    engine.join_all()
    engine.commit()
    assert set(engine.attempts) == {1}


def test_resuming_one_that_backs_off_starts_it_now_with_all_its_tries(engine: PureEngine) -> None:
    engine.say(1, m.ErrorMessage(500, "no"))
    engine.over(1)
    tell(engine, e.Resume, 1)
    assert engine.residents.live(1).tries == 1  # type: ignore[union-attr]  # it runs


def test_a_running_invocation_cannot_be_resumed(engine: PureEngine) -> None:
    assert code(tell(engine, e.Resume, 1)) == 409


def test_pausing_twice_is_harmless_and_one_that_has_not_begun_cannot_be_paused(engine: PureEngine) -> None:
    tell(engine, e.Pause, 1)
    assert isinstance(tell(engine, e.Pause, 1), o.Done)
    engine.send("Plain/do", start_at=engine.now + HOUR)
    assert code(tell(engine, e.Pause, 2)) == 409


# --- pinning -------------------------------------------------------------------------------------------------------


def deploy_another(engine: PureEngine, **changes: object) -> None:
    engine.do(e.RegisterDeployment(deployment(id="dp_2", **changes), SERVICES, 0))  # type: ignore[arg-type]  # by name
    engine.commit()


def start_of(engine: PureEngine) -> o.StartAttempt:
    starts = [output for output in engine.released if isinstance(output, o.StartAttempt)]
    return starts[-1]


def test_an_invocation_is_pinned_with_its_first_command(engine: PureEngine) -> None:
    decision = engine.do(e.FromAttempt(1, engine.attempts[1], m.RunCommand(1)))
    assert [type(row) for row in decision.rows] == [r.Pin, r.AppendEntry]
    assert [type(row) for row in engine.do(e.FromAttempt(1, engine.attempts[1], m.RunCommand(2))).rows] == [
        r.AppendEntry
    ]
    engine.commit()


def test_one_that_is_not_pinned_retries_on_what_was_deployed_since(engine: PureEngine) -> None:
    attempt = engine.attempts[1]
    engine.say(1, m.ErrorMessage(500, "broken code"))
    engine.over(1)
    deploy_another(engine)
    engine.do(e.RetryDue(1, attempt))
    engine.commit()
    assert start_of(engine).deployment == 2


def test_one_that_is_pinned_stays(engine: PureEngine) -> None:
    attempt = engine.attempts[1]
    engine.say(1, m.RunCommand(1), m.ErrorMessage(500, "no"))
    engine.over(1)
    deploy_another(engine, protocol=6)
    engine.do(e.RetryDue(1, attempt))
    engine.commit()
    assert (start_of(engine).deployment, start_of(engine).protocol) == (1, 7)


def test_a_suspension_alone_does_not_pin(engine: PureEngine) -> None:
    engine.suspend(1, seen=1, names=("go",))
    deploy_another(engine)
    tell_id(engine, e.SendSignal, id_of(engine, 1), "go", m.Value(b""))
    assert start_of(engine).deployment == 2


def test_one_that_is_paused_moves_to_another_deployment(engine: PureEngine) -> None:
    engine.say(1, m.RunCommand(1))
    tell(engine, e.Pause, 1)
    engine.join_all()
    deploy_another(engine)
    tell(engine, e.Resume, 1, deployment=2)
    assert start_of(engine).deployment == 2


def test_it_does_not_move_to_one_that_is_not_there_or_speaks_no_such_protocol(engine: PureEngine) -> None:
    engine.say(1, m.RunCommand(1))
    tell(engine, e.Pause, 1)
    deploy_another(engine, protocol=6)
    assert code(tell(engine, e.Resume, 1, deployment=9)) == 409
    assert code(tell(engine, e.Resume, 1, deployment=2)) == 409
    assert engine.status(1) is r.Status.PAUSED


def test_a_deployment_registered_again_counts_as_the_same_revision(engine: PureEngine) -> None:
    engine.do(e.RegisterDeployment(deployment(1), SERVICES, 0))
    deploy_another(engine)
    service = engine.residents.service("Plain")
    assert service is not None
    assert (service.revision, service.deployment) == (2, 2)


# --- purge and restart ---------------------------------------------------------------------------------------------


def test_a_purged_invocation_is_gone(engine: PureEngine) -> None:
    engine.end(1)
    id = id_of(engine, 1)
    assert isinstance(tell(engine, e.Purge, 1), o.Done)
    assert code(tell_id(engine, e.Purge, id)) == 404
    assert not engine.tables.invocations
    assert not engine.tables.timers


def test_one_that_has_not_completed_cannot_be_purged(engine: PureEngine) -> None:
    assert code(tell(engine, e.Purge, 1)) == 409
    assert code(tell(engine, e.PurgeJournal, 1)) == 409


def test_a_purged_journal_leaves_the_result(engine: PureEngine) -> None:
    engine.submit("Plain/do", idempotency_key="k")
    engine.commit()
    engine.end(2)
    tell(engine, e.PurgeJournal, 2)
    assert engine.journal(2) == []
    waiter = engine.submit("Plain/do", idempotency_key="k")
    engine.commit()
    assert engine.replies[waiter].result == m.Value(b"done")  # type: ignore[union-attr]  # an outcome


def test_a_completed_invocation_is_restarted_as_a_new_one(engine: PureEngine) -> None:
    engine.submit("Plain/do", body=b"again", idempotency_key="k")
    engine.commit()
    engine.end(2)
    answer = tell(engine, e.RestartAsNew, 2, unique(99))
    assert isinstance(answer, o.Accepted)
    entity = engine.residents.invocation(3)
    assert entity is not None
    assert (entity.id, entity.restarted, entity.idempotency_key) == (answer.id, 2, None)
    assert engine.journal(3) == engine.journal(2)[:1]
    assert 3 in engine.attempts


def test_one_without_input_or_without_end_cannot_be_restarted(engine: PureEngine) -> None:
    assert code(tell(engine, e.RestartAsNew, 1, unique(98))) == 409
    engine.submit("Plain/do", idempotency_key="k")
    engine.commit()
    engine.end(2)
    engine.now += MINUTE
    engine.fire()
    assert code(tell(engine, e.RestartAsNew, 2, unique(99))) == 409


def test_one_that_was_killed_before_its_start_was_committed_is_restarted_from_memory() -> None:
    engine = PureEngine()
    engine.submit("Plain/do", body=b"again")
    id = id_of(engine, 1)
    engine.do(e.Kill(id, 0))
    engine.do(e.RestartAsNew(id, unique(99), 0))
    engine.commit()
    assert engine.journal(2) == engine.journal(1)
