"""Failed attempts: when they are retried, paused or failed; fences; what an endpoint must not do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.engine import events as e
from perdure.engine import outputs as o
from perdure.engine import rows as r
from perdure.engine.retries import LONGEST_DELAY, delay_after
from perdure.wire import messages as m
from tests.engine.pure_engine import PureEngine
from tests.engine.test_decide_operators import id_of, tell

NO = m.ErrorMessage(571, "my error")


@pytest.fixture
def engine() -> PureEngine:
    engine = PureEngine()
    engine.submit("Plain/do")
    engine.commit()
    return engine


def fail(engine: PureEngine, number: int = 1, error: m.ErrorMessage = NO) -> int:
    """Let the attempt fail; returns its number."""
    attempt = engine.attempts[number]
    engine.say(number, error)
    engine.commit()
    engine.over(number)
    engine.commit()
    return attempt


def armed(engine: PureEngine) -> list[int]:
    return [output.due - engine.now for output in engine.released if isinstance(output, o.ArmRetry)]


def test_attempts_back_off_by_the_policy_and_pause_when_they_are_used_up(engine: PureEngine) -> None:
    for _ in range(2):
        attempt = fail(engine)
        engine.do(e.RetryDue(1, attempt))
        engine.commit()
    fail(engine)
    assert armed(engine) == [100, 200]
    entity = engine.residents.invocation(1)
    assert entity is not None
    assert (entity.status, entity.reason) == (r.Status.PAUSED, NO)
    assert 1 not in engine.replies


def test_a_policy_that_kills_ends_with_the_last_error(engine: PureEngine) -> None:
    waiter = engine.submit("Plain/dies")
    engine.commit()
    engine.do(e.RetryDue(2, fail(engine, 2)))
    engine.commit()
    fail(engine, 2, m.ErrorMessage(503, "the last"))
    assert engine.replies[waiter] == o.Outcome(id_of(engine, 2), m.Failure(503, "the last"))


def test_an_error_names_its_own_delay(engine: PureEngine) -> None:
    fail(engine, error=m.ErrorMessage(500, "busy", next_retry_delay=7))
    assert armed(engine) == [7]


def test_an_error_asks_for_a_pause(engine: PureEngine) -> None:
    fail(engine, error=m.ErrorMessage(500, "look", behavior=m.ErrorBehavior.PAUSE))
    assert engine.status(1) is r.Status.PAUSED


def test_an_error_asks_for_the_end(engine: PureEngine) -> None:
    fail(engine, error=m.ErrorMessage(418, "never", behavior=m.ErrorBehavior.FAIL))
    assert engine.replies[1] == o.Outcome(id_of(engine, 1), m.Failure(418, "never"))


def test_a_suspension_begins_a_new_series_of_tries(engine: PureEngine) -> None:
    engine.do(e.RetryDue(1, fail(engine)))
    engine.commit()
    engine.suspend(1, seen=1, names=("go",))
    tell(engine, e.SendSignal, 1, "go", m.Value(b""))
    assert engine.residents.live(1).tries == 1  # type: ignore[union-attr]  # it runs


def test_retries_since_the_last_command_are_told_to_the_attempt(engine: PureEngine) -> None:
    engine.say(1, m.RunCommand(1))
    engine.commit()
    engine.now += 50
    engine.do(e.RetryDue(1, fail(engine)))
    engine.commit()
    start = engine.released[-1]
    assert isinstance(start, o.StartAttempt)
    assert (start.retries, start.stalled) == (1, 50)
    engine.say(1, m.ProposeRunCompletionMessage(1, m.Value(b"")), m.RunCommand(2))
    engine.commit()
    engine.do(e.RetryDue(1, fail(engine)))
    engine.commit()
    start = engine.released[-1]
    assert isinstance(start, o.StartAttempt)
    assert start.retries == 1


def test_an_attempt_that_broke_without_a_last_word_is_retried(engine: PureEngine) -> None:
    attempt = engine.attempts[1]
    engine.over(1, e.How.FAILED, m.ErrorMessage(500, "the connection broke"))
    assert o.ArmRetry(1, attempt, engine.now + 100) in engine.commit()


def test_an_attempt_cut_by_closing_the_engine_is_not_retried_and_begins_again_at_the_next_open(
    engine: PureEngine,
) -> None:
    engine.checked = False  # nobody attends to it while the engine closes
    engine.over(1, e.How.SHUT_DOWN)
    assert engine.commit() == []
    engine.checked = True
    engine.crash(unclean=False)
    assert set(engine.attempts) == {1}


# --- fences --------------------------------------------------------------------------------------------------------


def test_a_late_completion_of_an_earlier_attempt_is_dropped(engine: PureEngine) -> None:
    engine.say(1, m.RunCommand(1))
    engine.commit()
    old = fail(engine)
    engine.do(e.RetryDue(1, old))
    engine.commit()
    late = engine.do(e.FromAttempt(1, old, m.ProposeRunCompletionMessage(1, m.Value(b"old"))))
    assert not late.rows
    engine.say(1, m.ProposeRunCompletionMessage(1, m.Value(b"new")))
    engine.commit()
    assert engine.journal(1)[-1] == m.RunCompletion(1, m.Value(b"new"))


def test_a_retry_timer_of_an_attempt_that_is_history_does_nothing(engine: PureEngine) -> None:
    old = fail(engine)
    engine.do(e.RetryDue(1, old))
    assert not engine.do(e.RetryDue(1, old)).outputs


def test_a_retry_waits_until_the_failed_code_has_stopped(engine: PureEngine) -> None:
    attempt = engine.attempts[1]
    engine.say(1, NO)
    engine.do(e.RetryDue(1, attempt))
    engine.commit()
    assert set(engine.attempts) == {1}
    assert engine.attempts[1] == attempt
    engine.over(1)
    engine.commit()
    assert engine.attempts[1] != attempt


def test_an_attempt_whose_start_was_overtaken_by_a_kill_never_runs() -> None:
    engine = PureEngine()
    engine.submit("Plain/do")
    engine.do(e.Kill(id_of(engine, 1), 0))
    released = engine.commit()
    assert not engine.attempts
    assert not any(isinstance(output, o.StartAttempt) for output in released)
    engine.join_all()
    assert engine.residents.live(1) is None


# --- violations ----------------------------------------------------------------------------------------------------

VIOLATIONS: list[tuple[m.Message, ...]] = [
    (m.InputCommand(),),
    (m.StartMessage(),),
    (m.RunCompletion(1, m.Value(b"")),),
    (m.CommandAckMessage(0),),
    (m.EndMessage(),),
    (m.RunCommand(1), m.EndMessage()),
    (m.OutputCommand(),),
    (m.OutputCommand(m.Value(b"")), m.OutputCommand(m.Value(b""))),
    (m.OutputCommand(m.Value(b"")), m.RunCommand(1)),
    (m.RunCommand(2), m.RunCommand(1)),
    (m.RunCommand(1), m.RunCommand(1)),
    (m.RunCommand(0),),
    (m.ProposeRunCompletionMessage(1, m.Value(b"")),),
    (m.SleepCommand(1, 1), m.ProposeRunCompletionMessage(1, m.Value(b""))),
    (m.RunCommand(1), m.ProposeRunCompletionMessage(1)),
    (m.RunCommand(1), *2 * (m.ProposeRunCompletionMessage(1, m.Value(b"")),)),
    (m.SuspensionMessage(),),
    (m.SuspensionMessage((1,)),),
    (m.SetStateCommand(b"a", m.Value(b"")),),
    (m.GetLazyStateCommand(b"a", 1),),
    (m.GetPromiseCommand("p", 1),),
    (m.SendSignalCommand("nobody", 17, m.Void()),),
    (m.SendSignalCommand("inv_1", None, m.Void()),),
    (m.CompleteAwakeableCommand("sign_1", m.Value(b"")),),
]


@pytest.mark.parametrize(
    "messages", VIOLATIONS, ids=lambda messages: "-".join(type(each).__name__ for each in messages)
)
def test_a_broken_protocol_stops_the_attempt_and_is_retried(
    engine: PureEngine, messages: tuple[m.Message, ...]
) -> None:
    attempt = engine.attempts[1]
    engine.say(1, *messages)
    released = engine.commit()
    stops = [output for output in released if isinstance(output, o.StopAttempt)]
    assert [(stop.attempt, stop.why) for stop in stops] == [(attempt, o.Why.VIOLATION)]
    assert any(isinstance(output, o.ArmRetry) for output in released)
    engine.join_all()
    engine.do(e.RetryDue(1, attempt))
    engine.commit()
    assert engine.attempts[1] != attempt


def test_a_command_out_of_its_place_is_a_violation(engine: PureEngine) -> None:
    attempt = engine.attempts[1]
    engine.do(e.FromAttempt(1, attempt, m.RunCommand(1), command=1))
    engine.do(e.FromAttempt(1, attempt, m.RunCommand(2), command=3))
    assert any(isinstance(output, o.StopAttempt) for output in engine.commit())


def test_an_end_without_output_loses_no_key() -> None:
    engine = PureEngine()
    engine.submit("Thing/k/do")
    engine.commit()
    engine.say(1, m.EndMessage())
    engine.commit()
    key = engine.residents.key("Thing", "k")
    assert key is not None
    assert key.holder == 1


def test_a_hint_changes_nothing(engine: PureEngine) -> None:
    decision = engine.do(e.FromAttempt(1, engine.attempts[1], m.AwaitingOnMessage()))
    assert not decision.rows
    assert not decision.outputs


@given(
    st.integers(0, 10**9),
    st.floats(1, 100),
    st.integers(0, 10**9),
    st.one_of(st.none(), st.integers(0, 100)),
    st.integers(1, 10**6),
)
def test_a_delay_is_within_its_bounds(
    initial: int, factor: float, longest: int, attempts: int | None, tries: int
) -> None:
    delay = delay_after(r.Retry(initial, factor, longest, attempts), tries)
    if attempts is not None and tries >= max(attempts, 1):
        assert delay is None
    else:
        assert delay is not None
        assert 0 <= delay <= min(longest, LONGEST_DELAY)
