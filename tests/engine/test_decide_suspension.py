"""Suspension: what is waited for is compared with all that is there; who is not waited for wakes nobody."""

from __future__ import annotations

from itertools import product

import pytest

from perdure.engine import events as e
from perdure.engine import outputs as o
from perdure.engine import rows as r
from perdure.engine.entities import Phase
from perdure.wire import messages as m
from perdure.wire.messages import CombinatorType as C
from tests.engine.pure_engine import HOUR, PureEngine
from tests.engine.test_decide_operators import id_of, tell


@pytest.fixture
def engine() -> PureEngine:
    """An invocation with three open completions: two steps and a timer of an hour."""
    engine = PureEngine()
    engine.submit("Plain/do")
    engine.commit()
    engine.say(1, m.RunCommand(1), m.RunCommand(2), m.SleepCommand(engine.now + HOUR, 3))
    engine.commit()
    return engine


def wait_for(engine: PureEngine, point: m.Future, seen: int = 4) -> None:
    engine.say(1, m.SuspensionMessage(awaiting_on=point), seen=seen)
    engine.commit()
    engine.over(1)
    engine.commit()


def test_a_suspended_invocation_has_no_attempt_and_knows_what_it_waits_for(engine: PureEngine) -> None:
    engine.suspend(1, 3, seen=4)
    entity = engine.residents.invocation(1)
    assert entity is not None
    assert entity.status is r.Status.SUSPENDED
    assert entity.awaited == r.Awaited(m.Future((3,), (1,), (), (), C.FIRST_COMPLETED), 4)
    live = engine.residents.live(1)
    assert live is not None  # somebody waits for its result
    assert (live.phase, live.attempt, live.unjoined) == (Phase.IDLE, 0, 0)


def test_what_is_not_waited_for_is_stored_and_wakes_nobody(engine: PureEngine) -> None:
    engine.suspend(1, 3, seen=4)
    tell(engine, e.SendSignal, 1, "other", m.Value(b""))
    assert engine.status(1) is r.Status.SUSPENDED
    assert engine.kinds(1)[-1] == "SignalNotification"


def test_a_notification_committed_while_the_suspension_was_under_way_is_not_lost(engine: PureEngine) -> None:
    attempt = engine.attempts[1]
    engine.do(e.SendSignal(id_of(engine, 1), 17, m.Value(b"v"), 0))
    engine.say(1, m.SuspensionMessage((3,), (17,)), seen=4)
    engine.commit()
    assert engine.status(1) is r.Status.INVOKED
    engine.over(1)
    engine.commit()
    assert engine.attempts[1] != attempt
    assert engine.arrived[engine.attempts[1]][-1] == m.SignalNotification(17, m.Value(b"v"))


def test_both_orders_of_suspension_and_notification_end_the_same() -> None:
    ends = []
    for first in ("notify", "suspend"):
        engine = PureEngine()
        engine.submit("Plain/do")
        engine.commit()
        for step in ("notify", "suspend") if first == "notify" else ("suspend", "notify"):
            if step == "notify":
                engine.do(e.SendSignal(id_of(engine, 1), "go", m.Value(b""), 0))
            else:
                engine.say(1, m.SuspensionMessage((), (), ("go",)), seen=1)
            engine.commit()
        engine.over(1)
        engine.commit()
        ends.append((engine.status(1), engine.kinds(1), engine.arrived[engine.attempts[1]]))
    assert ends[0] == ends[1]


def test_a_notification_while_the_suspended_code_unwinds_starts_the_next_attempt_after_it(
    engine: PureEngine,
) -> None:
    engine.say(1, m.SuspensionMessage((3,)), seen=4)
    engine.commit()
    engine.now += HOUR
    engine.fire()
    assert engine.residents.live(1).phase is not None  # type: ignore[union-attr]  # it is to start
    starts = sum(isinstance(output, o.StartAttempt) for output in engine.released)
    engine.over(1)
    engine.commit()
    assert sum(isinstance(output, o.StartAttempt) for output in engine.released) == starts + 1


def test_a_name_that_was_used_up_before_does_not_count_and_the_next_does(engine: PureEngine) -> None:
    tell(engine, e.SendSignal, 1, "tick", m.Value(b"1"))
    engine.suspend(1, seen=5, names=("tick",))
    assert engine.status(1) is r.Status.SUSPENDED
    tell(engine, e.SendSignal, 1, "tick", m.Value(b"2"))
    assert engine.status(1) is r.Status.INVOKED


def test_a_name_that_the_attempt_had_not_seen_counts(engine: PureEngine) -> None:
    tell(engine, e.SendSignal, 1, "tick", m.Value(b"1"))
    engine.suspend(1, seen=4, names=("tick",))
    assert engine.status(1) is r.Status.INVOKED


def test_where_it_is_not_known_what_was_seen_every_signal_counts(engine: PureEngine) -> None:
    tell(engine, e.SendSignal, 1, "tick", m.Value(b"1"))
    engine.suspend(1, names=("tick",))
    assert engine.status(1) is r.Status.INVOKED


OUTCOMES = {"open": None, "done": m.Value(b""), "failed": m.Failure(500, "")}


@pytest.mark.parametrize("combinator", list(C))
@pytest.mark.parametrize(("first", "second"), list(product(OUTCOMES, repeat=2)))
def test_an_await_point_is_decided_as_the_handler_decides_it(
    engine: PureEngine, combinator: C, first: str, second: str
) -> None:
    """The two completions arrived, each in its way; is the wait over? Once flat, once nested."""
    for completion, outcome in ((1, OUTCOMES[first]), (2, OUTCOMES[second])):
        if outcome is not None:
            engine.say(1, m.ProposeRunCompletionMessage(completion, outcome))
    engine.commit()
    states = {first, second}
    expected = {
        C.UNKNOWN: states != {"open"},
        C.FIRST_COMPLETED: states != {"open"},
        C.ALL_COMPLETED: "open" not in states,
        C.FIRST_SUCCEEDED_OR_ALL_FAILED: "done" in states or states == {"failed"},
        C.ALL_SUCCEEDED_OR_FIRST_FAILED: "failed" in states or states == {"done"},
    }[combinator]
    point = m.Future((1, 2), (), (), (), combinator)
    wait_for(engine, m.Future((3,), (), (), (point,), C.FIRST_COMPLETED))
    assert (engine.status(1) is r.Status.INVOKED) is expected


def test_await_points_nested_without_end_are_a_violation(engine: PureEngine) -> None:
    point = m.Future((3,))
    for _ in range(200):
        point = m.Future(nested_futures=(point,))
    engine.say(1, m.SuspensionMessage(awaiting_on=point))
    assert any(isinstance(output, o.StopAttempt) for output in engine.commit())


def test_old_deadlines_add_an_entry_each_and_wake_nobody(engine: PureEngine) -> None:
    """A loop that races each event with a deadline: the deadlines stay behind."""
    count = 30
    for each in range(count):
        engine.say(1, m.SleepCommand(engine.now + HOUR, 4 + each))
    engine.commit()
    engine.suspend(1, seen=4 + count, names=("go",))
    starts = sum(isinstance(output, o.StartAttempt) for output in engine.released)
    engine.now += HOUR
    engine.fire()
    assert engine.status(1) is r.Status.SUSPENDED
    assert engine.kinds(1).count("SleepCompletion") == count + 1
    assert sum(isinstance(output, o.StartAttempt) for output in engine.released) == starts


def test_a_suspended_invocation_is_loaded_from_its_row_and_the_entries_since(engine: PureEngine) -> None:
    engine.suspend(1, 3, seen=4)
    tell(engine, e.SendSignal, 1, "other", m.Value(b""))
    engine.crash()
    rows = engine.reader.invocation(1)
    assert rows is not None
    assert [type(row) for row in rows] == [r.PutInvocation, r.AppendEntry]
    engine.check()
