"""Calls, sends, signals and attaching between invocations: exactly once, in one transaction."""

from __future__ import annotations

import pytest

from perdure.engine import events as e
from perdure.engine import outputs as o
from perdure.engine import rows as r
from perdure.engine.endings import PAGE
from perdure.wire import messages as m
from perdure.wire.ids import format_awakeable_id, format_invocation_id
from tests.engine.pure_engine import HOUR, PureEngine


def call(completion: int, target: str = "Plain/do", **changes: object) -> m.CallCommand:
    service, *key, handler = target.split("/")
    fields = {"invocation_id_notification_idx": completion, "result_completion_id": completion + 1} | changes
    return m.CallCommand(service, handler, b"in", key="".join(key), **fields)  # type: ignore[arg-type]  # by name


def send(completion: int, target: str = "Plain/do", **changes: object) -> m.OneWayCallCommand:
    service, *key, handler = target.split("/")
    return m.OneWayCallCommand(
        service,
        handler,
        b"in",
        key="".join(key),
        invocation_id_notification_idx=completion,
        **changes,  # type: ignore[arg-type]  # fields by name
    )


@pytest.fixture
def engine() -> PureEngine:
    engine = PureEngine()
    engine.submit("Plain/do")
    engine.commit()
    return engine


def test_a_call_its_callee_the_sink_and_the_id_are_one_transaction(engine: PureEngine) -> None:
    engine.say(1, m.RunCommand(1), m.ProposeRunCompletionMessage(1, m.Value(b"")))
    engine.commit()
    kinds = [type(row) for row in engine.do(e.FromAttempt(1, engine.attempts[1], call(2))).rows]
    assert kinds == [r.AppendEntry, r.PutInvocation, r.AppendEntry, r.AppendEntry, r.PutSink]
    engine.commit()


def test_the_result_of_a_call_is_delivered_to_the_caller(engine: PureEngine) -> None:
    engine.say(1, call(1))
    engine.commit()
    engine.end(2, m.Value(b"out"))
    assert engine.arrived[engine.attempts[1]][-1] == m.CallCompletion(2, m.Value(b"out"))


def test_the_result_of_a_call_resumes_a_suspended_caller(engine: PureEngine) -> None:
    engine.say(1, call(1))
    engine.suspend(1, 2)
    engine.end(2, m.Failure(500, "no"))
    assert engine.arrived[engine.attempts[1]][-1] == m.CallCompletion(2, m.Failure(500, "no"))


def test_a_call_decided_and_lost_is_decided_again_with_the_same_name_but_for_the_time(engine: PureEngine) -> None:
    engine.say(1, call(1))
    engine.close_batch()
    lost = engine.batches[0][0]
    engine.crash()
    engine.say(1, call(1))
    again = engine.batches[-1][0]
    ids = [row.id[14:] for rows in (lost, again) for row in rows if isinstance(row, r.PutInvocation)]
    assert len(ids) == 2
    assert ids[0] == ids[1]
    engine.commit()
    assert len(engine.tables.invocations) == 2


def test_two_calls_with_one_idempotency_key_make_one_callee_and_two_answers(engine: PureEngine) -> None:
    engine.say(1, call(1, idempotency_key="k"), call(3, idempotency_key="k"))
    engine.commit()
    assert len(engine.tables.invocations) == 2
    engine.end(2, m.Value(b"out"))
    completions = [entry for entry in engine.journal(1) if isinstance(entry, m.CallCompletion)]
    assert completions == [m.CallCompletion(2, m.Value(b"out")), m.CallCompletion(4, m.Value(b"out"))]


def test_a_call_of_a_completed_idempotent_invocation_is_answered_at_once(engine: PureEngine) -> None:
    engine.say(1, call(1, idempotency_key="k"))
    engine.commit()
    engine.end(2, m.Value(b"out"))
    engine.say(1, call(3, idempotency_key="k"))
    engine.commit()
    assert engine.journal(1)[-1] == m.CallCompletion(4, m.Value(b"out"))


def test_a_handler_may_call_a_private_handler(engine: PureEngine) -> None:
    engine.say(1, call(1, "Plain/hidden"))
    engine.commit()
    assert 2 in engine.attempts


def test_a_call_of_what_nobody_offers_fails_the_attempt_and_stores_nothing(engine: PureEngine) -> None:
    engine.say(1, call(1, "Nowhere/do"))
    released = engine.commit()
    assert [type(output) for output in released] == [o.ArmRetry, o.Report]
    assert engine.kinds(1) == ["InputCommand"]


def test_a_send_starts_its_receiver_and_is_not_waited_for(engine: PureEngine) -> None:
    attempt = engine.attempts[1]
    assert not engine.do(e.FromAttempt(1, attempt, send(1))).urgent
    engine.commit()
    assert 2 in engine.attempts
    assert not engine.residents.invocation(2).sinks  # type: ignore[union-attr]  # it was made just now


def test_a_delayed_send_starts_when_it_is_due(engine: PureEngine) -> None:
    engine.say(1, send(1, invoke_time=engine.now + 1000))
    engine.commit()
    assert engine.status(2) is r.Status.SCHEDULED
    engine.now += 999
    engine.fire()
    assert 2 not in engine.attempts
    engine.now += 1
    engine.fire()
    assert 2 in engine.attempts


def test_the_callee_outlives_a_caller_that_ended(engine: PureEngine) -> None:
    engine.say(1, call(1))
    engine.commit()
    engine.end(1)
    engine.end(2)
    assert engine.status(2) is r.Status.COMPLETED
    assert engine.kinds(1)[-1] == "OutputCommand"


def test_attaching_waits_for_the_result_of_another(engine: PureEngine) -> None:
    other = engine.send("Plain/do")
    engine.say(1, m.AttachInvocationCommand(m.InvocationId(format_invocation_id(other)), 1))
    engine.commit()
    engine.end(2, m.Value(b"out"))
    assert engine.journal(1)[-1] == m.AttachInvocationCompletion(1, m.Value(b"out"))


def test_attaching_to_nobody_is_answered_with_a_failure(engine: PureEngine) -> None:
    engine.say(1, m.AttachInvocationCommand(m.WorkflowTarget("Flow", "k"), 1))
    engine.commit()
    completion = engine.journal(1)[-1]
    assert isinstance(completion, m.AttachInvocationCompletion)
    assert isinstance(completion.result, m.Failure)
    assert completion.result.code == 404


def test_looking_at_the_output_of_another_does_not_wait(engine: PureEngine) -> None:
    other = m.InvocationId(format_invocation_id(engine.send("Plain/do")))
    engine.say(1, m.GetInvocationOutputCommand(other, 1))
    engine.commit()
    assert engine.journal(1)[-1] == m.GetInvocationOutputCompletion(1, m.Void())
    engine.end(2, m.Value(b"out"))
    engine.say(1, m.GetInvocationOutputCommand(other, 2))
    engine.commit()
    assert engine.journal(1)[-1] == m.GetInvocationOutputCompletion(2, m.Value(b"out"))


def test_a_signal_is_delivered_by_name(engine: PureEngine) -> None:
    other = engine.send("Plain/do")
    engine.say(1, m.SendSignalCommand(format_invocation_id(other), "go", m.Value(b"now")))
    engine.commit()
    assert engine.journal(2)[-1] == m.SignalNotification("go", m.Value(b"now"))


def test_an_awakeable_of_another_is_completed_by_its_id(engine: PureEngine) -> None:
    other = engine.send("Plain/do")
    engine.suspend(2, seen=1, names=("x",))
    engine.say(1, m.CompleteAwakeableCommand(format_awakeable_id(other, 17), m.Value(b"v")))
    engine.commit()
    assert engine.journal(2)[-1] == m.SignalNotification(17, m.Value(b"v"))


def test_a_signal_to_one_that_ended_is_dropped(engine: PureEngine) -> None:
    other = engine.send("Plain/do")
    engine.end(2)
    before = engine.kinds(2)
    engine.say(1, m.SendSignalCommand(format_invocation_id(other), "go", m.Value(b"now")))
    engine.commit()
    assert engine.kinds(2) == before


def test_an_invocation_may_signal_itself(engine: PureEngine) -> None:
    own = engine.residents.invocation(1)
    assert own is not None
    engine.say(1, m.SendSignalCommand(format_invocation_id(own.id), "go", m.Value(b"now")))
    engine.commit()
    assert engine.kinds(1) == ["InputCommand", "SendSignalCommand", "SignalNotification"]


def test_many_who_wait_for_one_result_are_answered_in_pages(engine: PureEngine) -> None:
    engine.checked = False
    other = m.InvocationId(format_invocation_id(engine.send("Plain/do")))
    count = 2 * PAGE + 1
    engine.say(1, *(m.AttachInvocationCommand(other, completion) for completion in range(1, count + 1)))
    engine.commit()
    engine.say(2, m.OutputCommand(m.Value(b"out")), m.EndMessage())
    most = max(sum(isinstance(row, r.AppendEntry) for row in engine.batches[-1][0]), 0)
    released = engine.commit()
    assert most <= PAGE + 1
    assert o.MoreWork() in released
    assert engine.work() == 2
    engine.over(2)
    engine.commit()
    answered = [entry for entry in engine.journal(1) if isinstance(entry, m.AttachInvocationCompletion)]
    assert [entry.completion_id for entry in answered] == list(range(1, count + 1))
    engine.check()


def test_an_ended_invocation_is_not_forgotten_while_answers_are_left(engine: PureEngine) -> None:
    engine.checked = False
    other = m.InvocationId(format_invocation_id(engine.send("Plain/brief")))
    engine.say(1, *(m.AttachInvocationCommand(other, completion) for completion in range(1, PAGE + 2)))
    engine.commit()
    engine.say(2, m.OutputCommand(m.Value(b"out")), m.EndMessage())
    engine.commit()
    engine.fire()
    assert 2 in engine.tables.invocations
    engine.work()
    assert 2 not in engine.tables.invocations
    assert not engine.tables.timers


def test_a_self_call_on_the_own_key_waits_behind_itself() -> None:
    engine = PureEngine()
    engine.submit("Thing/k/do")
    engine.commit()
    engine.say(1, call(1, "Thing/k/do"))
    engine.suspend(1, 2)
    engine.now += HOUR
    engine.fire()
    assert (engine.status(1), engine.status(2)) == (r.Status.SUSPENDED, r.Status.QUEUED)
