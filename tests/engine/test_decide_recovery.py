"""Opening with work in flight, and the guard against a handler that ends the process."""

from __future__ import annotations

from perdure.engine import events as e
from perdure.engine import outputs as o
from perdure.engine import rows as r
from perdure.engine.poison import CRASHES, PAGE
from perdure.wire import messages as m
from tests.engine.pure_engine import HOUR, PureEngine
from tests.engine.test_decide_calls import send
from tests.engine.test_decide_operators import id_of, tell


def three() -> PureEngine:
    engine = PureEngine()
    for _ in range(3):
        engine.submit("Plain/do")
    engine.commit()
    return engine


def crashes(engine: PureEngine, number: int) -> int:
    entity = engine.residents.invocation(number)
    assert entity is not None
    return entity.crashes


def test_what_was_in_work_starts_again_oldest_first() -> None:
    engine = three()
    engine.crash(unclean=False)
    assert [output.number for output in engine.released if isinstance(output, o.StartAttempt)] == [1, 2, 3]


def test_what_was_suspended_or_paused_or_scheduled_stays_so() -> None:
    engine = three()
    engine.suspend(1, seen=1, names=("go",))
    tell(engine, e.Pause, 2)
    engine.join_all()
    engine.send("Plain/do", start_at=engine.now + HOUR)
    engine.crash()
    assert set(engine.attempts) == {3}


def test_many_are_taken_up_in_pages() -> None:
    engine = PureEngine(checked=False)
    for _ in range(2 * PAGE + 3):
        engine.submit("Plain/do")
    engine.commit()
    engine.crash()
    assert len(engine.attempts) == 2 * PAGE + 3
    engine.check()


def test_work_that_was_left_is_announced() -> None:
    engine = three()
    engine.say(1, send(1))
    engine.commit()
    engine.do(e.Kill(id_of(engine, 1), 0))
    engine.commit()
    engine.crash()
    assert o.MoreWork() in engine.released


def test_a_clean_end_counts_nothing() -> None:
    engine = three()
    for _ in range(3):
        engine.crash(unclean=False)
    assert [crashes(engine, number) for number in (1, 2, 3)] == [0, 0, 0]


def test_after_one_end_of_the_process_all_start_at_once() -> None:
    engine = three()
    engine.crash()
    assert set(engine.attempts) == {1, 2, 3}
    assert [crashes(engine, number) for number in (1, 2, 3)] == [1, 1, 1]


def test_after_two_they_start_one_at_a_time_and_go_on_when_it_stores_something() -> None:
    engine = three()
    engine.crash()
    engine.crash()
    assert set(engine.attempts) == {1}
    engine.say(1, m.RunCommand(1))
    engine.commit()
    assert set(engine.attempts) == {1, 2}
    engine.end(2)
    assert set(engine.attempts) == {1, 3}


def test_the_culprit_alone_goes_on_counting_and_is_paused() -> None:
    engine = three()
    engine.end(3)
    opens = 0
    while engine.residents.invocation(1).status is r.Status.INVOKED:  # type: ignore[union-attr]  # it exists
        # 1 ends the process as soon as it runs
        engine.crash()
        opens += 1
    assert opens == CRASHES
    entity = engine.residents.invocation(1)
    assert entity is not None
    assert entity.reason is not None
    assert f"the process ended during {CRASHES} attempts" in entity.reason.message
    assert crashes(engine, 2) == 2
    assert set(engine.attempts) == {2}


def test_a_suspect_that_fails_is_tried_alone_again_behind_the_others() -> None:
    engine = three()
    engine.crash()
    engine.crash()
    attempt = engine.attempts[1]
    engine.say(1, m.ErrorMessage(500, "no"))
    engine.commit()
    engine.over(1)
    engine.commit()
    assert set(engine.attempts) == {2}
    engine.do(e.RetryDue(1, attempt))
    engine.commit()
    assert set(engine.attempts) == {2}
    engine.end(2)
    engine.end(3)
    assert set(engine.attempts) == {1}


def test_a_suspect_that_is_paused_while_it_waits_leaves_the_line() -> None:
    engine = three()
    engine.crash()
    engine.crash()
    tell(engine, e.Pause, 2)
    engine.end(1)
    assert set(engine.attempts) == {3}


def test_progress_clears_the_count() -> None:
    engine = three()
    engine.crash()
    engine.say(1, m.RunCommand(1))
    engine.commit()
    engine.crash()
    assert crashes(engine, 1) == 1
    assert 1 in engine.attempts


def test_a_start_on_trial_is_committed_with_its_mark() -> None:
    engine = three()
    engine.crash()
    engine.crash()
    assert engine.tables.invocations[1].crash_marked
    assert not engine.tables.invocations[2].crash_marked
