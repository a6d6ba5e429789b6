"""Requests from outside: routing, idempotency, attach and output, retention, workflows and their promises."""

from __future__ import annotations

import pytest

from perdure.engine import events as e
from perdure.engine import naming
from perdure.engine import outputs as o
from perdure.engine import rows as r
from perdure.engine.endings import PAGE
from perdure.wire import messages as m
from perdure.wire.ids import format_invocation_id
from tests.engine.pure_engine import HOUR, MINUTE, SERVICES, PureEngine, deployment
from tests.engine.test_decide_calls import call
from tests.engine.test_decide_operators import code, id_of, tell


@pytest.fixture
def engine() -> PureEngine:
    return PureEngine()


def answer_to(engine: PureEngine, target: str, **changes: object) -> o.Answer:
    waiter = engine.submit(target, **changes)
    engine.commit()
    return engine.replies[waiter]


@pytest.mark.parametrize(
    ("target", "changes", "status"),
    [
        ("Nowhere/do", {}, 404),
        ("Plain/nothing", {}, 404),
        ("Plain/k/do", {}, 400),
        ("Thing/do", {}, 400),
        ("Plain/hidden", {}, 400),
        ("Flow/k/run", {"idempotency_key": "i"}, 400),
        ("Plain/do", {"start_at": 1}, 400),
    ],
)
def test_what_can_go_nowhere_is_refused(
    engine: PureEngine, target: str, changes: dict[str, object], status: int
) -> None:
    assert code(answer_to(engine, target, **changes)) == status
    assert not engine.tables.invocations


def test_a_request_is_answered_when_its_batch_is_committed_and_no_earlier(engine: PureEngine) -> None:
    waiter = engine.submit("Plain/do", mode=e.Mode.SEND)
    engine.close_batch()
    refused = engine.submit("Nowhere/do")
    assert not engine.replies
    engine.commit(1)
    assert set(engine.replies) == {waiter}
    engine.commit()
    assert set(engine.replies) == {waiter, refused}


def test_duplicates_in_one_batch_make_one_invocation(engine: PureEngine) -> None:
    waiters = [engine.submit("Plain/do", idempotency_key="k", body=b"%d" % each) for each in range(64)]
    engine.commit()
    assert len(engine.tables.invocations) == 1
    assert engine.journal(1) == [m.InputCommand((), m.Value(b"0"))]
    engine.end(1)
    assert all(engine.replies[waiter] == o.Outcome(id_of(engine, 1), m.Value(b"done")) for waiter in waiters)


def test_a_second_send_with_the_key_is_told_so(engine: PureEngine) -> None:
    first = answer_to(engine, "Plain/do", idempotency_key="k", mode=e.Mode.SEND)
    second = answer_to(engine, "Plain/do", idempotency_key="k", mode=e.Mode.SEND)
    assert isinstance(first, o.Accepted)
    assert second == o.Accepted(first.id, previously=True)


@pytest.mark.parametrize(("after", "same"), [(-1, True), (0, False), (1, False)])
def test_a_result_is_there_until_its_retention_is_over_sweep_or_not(engine: PureEngine, after: int, same: bool) -> None:
    engine.submit("Plain/do", idempotency_key="k")
    engine.commit()
    engine.end(1)
    ended_at = engine.now
    engine.now += HOUR + after
    waiter = engine.submit("Plain/do", idempotency_key="k")
    engine.commit()
    assert (2 in engine.tables.invocations) is not same
    if same:
        answer = engine.replies[waiter]
        assert answer == o.Outcome(id_of(engine, 1), m.Value(b"done"), ended_at + HOUR)
    else:
        assert 1 not in engine.tables.invocations
        assert not [timer for timer in engine.tables.timers if timer.number == 1]


def test_one_caller_that_is_gone_gets_no_answer_and_changes_nothing(engine: PureEngine) -> None:
    gone = engine.submit("Plain/do", idempotency_key="k")
    stays = engine.submit("Plain/do", idempotency_key="k")
    engine.do(e.Forgotten(id_of(engine, 1), gone))
    engine.commit()
    engine.end(1)
    assert set(engine.replies) == {stays}


def test_attach_waits_and_output_does_not(engine: PureEngine) -> None:
    target = m.InvocationId(format_invocation_id(engine.send("Plain/do")))
    engine.do(e.Attach(target, 100))
    engine.do(e.GetOutput(target, 101))
    engine.commit()
    assert engine.replies[101] == o.NotReady(id_of(engine, 1))
    engine.end(1)
    assert engine.replies[100] == o.Outcome(id_of(engine, 1), m.Value(b"done"))
    engine.do(e.GetOutput(target, 102))
    engine.commit()
    assert engine.replies[102] == o.Outcome(id_of(engine, 1), m.Value(b"done"), engine.now + MINUTE)


@pytest.mark.parametrize(
    "target",
    [
        m.InvocationId("inv_1"),
        m.InvocationId(format_invocation_id(bytes(24))),
        m.WorkflowTarget("Flow", "k"),
        m.IdempotentRequestTarget("Plain", None, "do", "k"),
    ],
)
def test_nobody_can_attach_to_what_is_not_there(engine: PureEngine, target: e.Target) -> None:
    engine.do(e.Attach(target, 100))
    engine.do(e.GetOutput(target, 101))
    engine.commit()
    assert code(engine.replies[100]) == 404
    assert code(engine.replies[101]) == 404


def test_an_idempotent_invocation_is_found_by_its_key(engine: PureEngine) -> None:
    engine.send("Plain/do", idempotency_key="k")
    engine.do(e.GetOutput(m.IdempotentRequestTarget("Plain", None, "do", "k"), 100))
    engine.commit()
    assert engine.replies[100] == o.NotReady(id_of(engine, 1))


def test_callers_in_memory_are_forgotten_by_a_crash_and_attach_again(engine: PureEngine) -> None:
    engine.submit("Plain/do", idempotency_key="k")
    engine.commit()
    engine.crash()
    waiter = engine.submit("Plain/do", idempotency_key="k")
    engine.commit()
    engine.end(1)
    assert engine.replies == {waiter: o.Outcome(id_of(engine, 1), m.Value(b"done"))}


# --- retention -----------------------------------------------------------------------------------------------------


def test_without_any_retention_nothing_is_left(engine: PureEngine) -> None:
    waiter = engine.submit("Plain/brief")
    engine.commit()
    engine.end(1)
    assert isinstance(engine.replies[waiter], o.Outcome)
    assert not engine.tables.invocations
    assert not engine.tables.journal
    assert not engine.tables.timers


def test_a_plain_invocation_is_kept_as_long_as_its_journal(engine: PureEngine) -> None:
    engine.send("Plain/do")
    engine.end(1)
    engine.now += MINUTE - 1
    engine.fire()
    assert engine.kinds(1) == ["InputCommand", "OutputCommand"]
    engine.now += 1
    engine.fire()
    assert not engine.tables.invocations


def test_the_journal_of_an_idempotent_one_goes_before_its_result(engine: PureEngine) -> None:
    engine.send("Plain/do", idempotency_key="k")
    engine.end(1)
    engine.now += MINUTE
    engine.fire()
    assert engine.journal(1) == []
    assert engine.status(1) is r.Status.COMPLETED
    engine.now += HOUR
    engine.fire()
    assert not engine.tables.invocations
    assert not engine.tables.timers


def test_many_timers_fire_in_pages_in_the_order_of_their_due_times(engine: PureEngine) -> None:
    engine.checked = False
    count = 600
    for each in range(count):
        engine.submit("Plain/do", mode=e.Mode.SEND, start_at=engine.now + 1000 - each)
    engine.commit()
    engine.now += 1000
    decision = engine.do(e.TimersDue())
    assert decision.outputs[-1] == o.MoreTimers()
    assert sum(isinstance(row, r.DeleteTimer) for row in decision.rows) == 256
    engine.fire()
    starts = [output.number for output in engine.released if isinstance(output, o.StartAttempt)]
    assert starts == list(range(count, 0, -1))
    engine.check()


def test_equal_due_times_fire_in_the_order_of_creation(engine: PureEngine) -> None:
    for _ in range(5):
        engine.submit("Plain/do", mode=e.Mode.SEND, start_at=engine.now + 10)
    engine.commit()
    engine.now += 10
    engine.fire()
    assert [output.number for output in engine.released if isinstance(output, o.StartAttempt)] == [1, 2, 3, 4, 5]


def test_a_page_that_is_decided_and_not_committed_is_not_fired_again(engine: PureEngine) -> None:
    engine.send("Plain/do")
    engine.say(1, m.SleepCommand(engine.now, 1))
    engine.commit()
    assert engine.do(e.TimersDue()).rows
    assert not engine.do(e.TimersDue()).rows
    engine.commit()


def test_a_timer_that_is_decided_and_not_committed_is_seen(engine: PureEngine) -> None:
    engine.send("Plain/do")
    engine.say(1, m.SleepCommand(engine.now, 1))
    assert engine.do(e.TimersDue()).rows
    engine.commit()
    assert engine.kinds(1)[-1] == "SleepCompletion"


def test_times_of_an_invocation_never_decrease(engine: PureEngine) -> None:
    engine.send("Plain/do", start_at=engine.now + 10)
    engine.now += 10
    engine.fire()
    begun = engine.now
    engine.now -= HOUR
    engine.end(1)
    entity = engine.residents.invocation(1)
    assert entity is not None
    assert entity.ended_at == begun


# --- workflows -----------------------------------------------------------------------------------------------------


def test_a_second_run_of_a_workflow_is_refused_while_the_first_runs(engine: PureEngine) -> None:
    engine.submit("Flow/k/run")
    refused = answer_to(engine, "Flow/k/run")
    assert refused == o.Refused(409, "the workflow method was already invoked", invocation=True, id=id_of(engine, 1))
    assert answer_to(engine, "Flow/k/run", mode=e.Mode.SEND) == o.Accepted(id_of(engine, 1), previously=True)


def test_a_handler_that_calls_a_workflow_again_hears_the_same(engine: PureEngine) -> None:
    engine.submit("Flow/k/run")
    engine.submit("Plain/do")
    engine.commit()
    engine.say(2, call(1, "Flow/k/run"))
    engine.commit()
    assert engine.journal(2)[-1] == m.CallCompletion(2, m.Failure(409, "the workflow method was already invoked"))


def test_a_key_of_a_workflow_is_free_after_its_retention_with_state_and_promises_gone(engine: PureEngine) -> None:
    engine.submit("Flow/k/run")
    engine.commit()
    engine.say(1, m.SetStateCommand(b"a", m.Value(b"1")), m.CompletePromiseCommand("p", m.Value(b"v"), 1))
    engine.commit()
    engine.end(1)
    assert engine.tables.state
    assert engine.tables.promises
    engine.now += HOUR
    engine.submit("Flow/k/run")
    engine.commit()
    engine.say(2, m.PeekPromiseCommand("p", 1))
    engine.commit()
    assert engine.journal(2)[-1] == m.PeekPromiseCompletion(1, m.Void())
    assert not engine.tables.state
    assert not engine.tables.promises


def test_a_promise_completes_once(engine: PureEngine) -> None:
    engine.submit("Flow/k/run")
    engine.submit("Flow/k/look")
    engine.submit("Flow/k/look")
    engine.commit()
    engine.say(1, m.GetPromiseCommand("p", 1), m.SuspensionMessage((1,)))
    for number, value in ((2, b"first"), (3, b"second")):
        engine.say(number, m.CompletePromiseCommand("p", m.Value(value), 1))
    engine.commit()
    assert engine.journal(1)[-1] == m.GetPromiseCompletion(1, m.Value(b"first"))
    assert engine.journal(2)[-1] == m.CompletePromiseCompletion(1, m.Void())
    refused = engine.journal(3)[-1]
    assert isinstance(refused, m.CompletePromiseCompletion)
    assert isinstance(refused.result, m.Failure)
    assert refused.result.code == 409
    engine.say(3, m.GetPromiseCommand("p", 2), m.PeekPromiseCommand("p", 3))
    engine.commit()
    assert engine.journal(3)[-3:] == [
        m.GetPromiseCompletion(2, m.Value(b"first")),
        m.PeekPromiseCommand("p", 3),
        m.PeekPromiseCompletion(3, m.Value(b"first")),
    ]


def test_many_who_wait_for_a_promise_are_told_in_pages(engine: PureEngine) -> None:
    engine.checked = False
    engine.submit("Flow/k/run")
    engine.submit("Flow/k/look")
    engine.commit()
    count = PAGE + 5
    engine.say(1, *(m.GetPromiseCommand("p", completion) for completion in range(1, count + 1)))
    engine.commit()
    engine.say(2, m.CompletePromiseCommand("p", m.Value(b"v"), 1))
    engine.commit()
    assert engine.work() == 1
    answered = [entry.completion_id for entry in engine.journal(1) if isinstance(entry, m.GetPromiseCompletion)]
    assert answered == list(range(1, count + 1))
    assert not engine.tables.promise_waiters
    engine.check()


def test_only_workflows_have_promises(engine: PureEngine) -> None:
    engine.submit("Thing/k/do")
    engine.commit()
    engine.say(1, m.PeekPromiseCommand("p", 1))
    assert any(isinstance(output, o.StopAttempt) for output in engine.commit())


def test_a_run_that_is_purged_may_run_again(engine: PureEngine) -> None:
    engine.submit("Flow/k/run")
    engine.commit()
    engine.end(1)
    tell(engine, e.Purge, 1)
    engine.submit("Flow/k/run")
    engine.commit()
    assert set(engine.attempts) == {2}


# --- deployments ---------------------------------------------------------------------------------------------------


def test_without_a_deployment_there_is_nothing_to_call() -> None:
    engine = PureEngine(deploy=False)
    assert code(answer_to(engine, "Plain/do")) == 404
    engine.do(e.RegisterDeployment(deployment(), SERVICES, 50))
    engine.commit()
    assert engine.replies[50] == o.Done()
    engine.submit("Plain/do")
    engine.commit()
    assert 1 in engine.attempts


def test_what_was_deployed_is_known_after_a_crash(engine: PureEngine) -> None:
    engine.crash()
    engine.submit("Plain/do")
    engine.commit()
    assert 1 in engine.attempts


# --- names ---------------------------------------------------------------------------------------------------------


def test_names_give_ids_and_different_names_different_ids() -> None:
    ids = [
        naming.workflow_id("Flow", "k"),
        naming.workflow_id("Flow", "l"),
        naming.idempotent_id("Flow", "", "k", "i"),
        naming.idempotent_id("Flow", "k", "h", "i"),
        naming.child_id("Flow", "k", bytes(24), 1, 5),
        naming.child_id("Flow", "k", bytes(24), 2, 5),
        naming.child_id("Flow", "k", bytes([1] * 24), 1, 5),
    ]
    assert len(set(ids)) == len(ids)
    assert {len(id) for id in ids} == {24}
    assert naming.workflow_id("Flow", "k") == ids[0]


def test_ids_of_children_grow_with_time() -> None:
    ids = [naming.child_id("Flow", "k", bytes(24), 1, now)[8:] for now in range(1_700_000_000_000, 1_700_000_000_100)]
    assert ids == sorted(ids)


def test_a_random_seed_is_the_same_each_time_and_another_for_each_id() -> None:
    seeds = [naming.random_seed(bytes([each]) * 24) for each in range(50)]
    assert len(set(seeds)) == 50
    assert seeds[1] == naming.random_seed(b"\1" * 24)
    assert all(0 <= seed < 2**64 for seed in seeds)
