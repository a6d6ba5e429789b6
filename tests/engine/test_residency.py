"""Memory: what is decided is seen before it is committed, and what is recovered is the fold of what was committed."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.engine import events as e
from perdure.engine import rows as r
from perdure.engine.entities import InvocationEntity
from perdure.engine.residency import Residents
from perdure.wire import messages as m
from tests.engine.pure_engine import DONE, HOUR, SERVICES, PureEngine, deployment
from tests.engine.tables import Reads, Tables
from tests.engine.test_decide_calls import call


def history(engine: PureEngine, choices: Sequence[int]) -> None:
    """Something of everything, in an order that is drawn; batches are closed in between."""
    engine.submit("Thing/k/do")
    engine.submit("Thing/k/do")
    engine.submit("Flow/k/run")
    engine.submit("Plain/do", idempotency_key="k")
    engine.close_batch()
    engine.commit()
    for choice in choices:
        running = sorted(engine.attempts)
        number = running[choice % len(running)] if running else 0
        entity = engine.residents.invocation(number) if number else None
        if entity is None or entity.output is not None:
            continue
        id = entity.last_completion + 1
        match choice % 8:
            case 0:
                engine.say(number, m.RunCommand(id), m.ProposeRunCompletionMessage(id, m.Value(b"v")))
            case 1:
                engine.say(number, m.SleepCommand(engine.now + choice % 3, id))
            case 2 if entity.kind in {r.Kind.EXCLUSIVE, r.Kind.WORKFLOW}:
                engine.say(number, m.SetStateCommand(b"a", m.Value(b"%d" % choice)), m.ClearStateCommand(b"b"))
            case 3:
                engine.say(number, call(id, "Thing/other/do"))
            case 4 if entity.service == "Flow":
                engine.say(number, m.CompletePromiseCommand("p", DONE, id), m.GetPromiseCommand("q", id + 1))
            case 5:
                engine.now += 5
                engine.do(e.TimersDue())
            case 6:
                engine.say(number, m.OutputCommand(DONE), m.EndMessage())
                engine.over(number)
            case _:
                engine.say(number, m.SuspensionMessage((), (1,), ("go",)), seen=entity.length)
                engine.over(number)
        if choice % 3:
            engine.close_batch()
        if choice % 5 == 0:
            engine.commit()


def stored(residents: Residents, numbers: Sequence[int]) -> list[InvocationEntity | None]:
    """The entities, without what is not stored."""
    found = []
    for number in numbers:
        entity = copy.deepcopy(residents.invocation(number))
        if entity is not None:
            entity.entered_at = 0
        found.append(entity)
    return found


@given(st.lists(st.integers(0, 1000), max_size=40))
def test_recovery_is_the_fold(choices: list[int]) -> None:
    """For each n: loading the tables after n batches gives what folding the rows of n batches gives."""
    engine = PureEngine(checked=False)
    batches: list[list[r.Row]] = []
    original = engine.commit

    def commit(count: int | None = None) -> object:
        closed = [rows for rows, _ in engine.batches]
        batches.extend(list(rows) for rows in (closed if count is None else closed[:count]) if rows)
        return original(count)

    engine.commit = commit  # type: ignore[assignment, method-assign]  # what is committed is recorded on the way
    history(engine, choices)
    engine.commit()

    tables, memory = Tables(), Residents(Reads(Tables()))
    for rows in [*engine_setup(), *batches]:
        for row in rows:
            tables.write(row)
        memory.fold(rows)
        loaded = Residents(Reads(tables))
        numbers = range(1, loaded.counters.invocation + 1)
        assert stored(loaded, numbers) == stored(memory, numbers)
        assert (loaded.counters.invocation, loaded.counters.work) == (
            memory.counters.invocation,
            memory.counters.work,
        )
        assert [loaded.key(*name) for name in (("Thing", "k"), ("Thing", "other"))] == [
            memory.key(*name) for name in (("Thing", "k"), ("Thing", "other"))
        ]
        assert loaded.promise("Flow", "k", "p") == memory.promise("Flow", "k", "p")
        assert loaded.promise("Flow", "k", "q") == memory.promise("Flow", "k", "q")
        assert loaded.state("Thing", "k", b"a") == memory.state("Thing", "k", b"a")
        assert list(loaded.timers_due(1 << 60, 1000)) == list(memory.timers_due(1 << 60, 1000))


def engine_setup() -> list[list[r.Row]]:
    """The rows of the deployment, which a new engine has committed."""
    engine = PureEngine(deploy=False)
    engine.do(e.RegisterDeployment(deployment(), SERVICES, 0))
    return [list(engine.batches[-1][0])]


# --- memory is ahead of the tables ---------------------------------------------------------------------------------


@pytest.fixture
def engine() -> PureEngine:
    engine = PureEngine()
    engine.submit("Thing/k/do")
    engine.commit()
    return engine


def test_an_invocation_that_is_not_committed_is_found(engine: PureEngine) -> None:
    engine.submit("Plain/do", idempotency_key="k")
    engine.submit("Plain/do", idempotency_key="k")
    assert sum(isinstance(row, r.PutInvocation) for row in engine.batches[-1][0]) == 1


def test_one_that_was_deleted_and_not_committed_is_not_found(engine: PureEngine) -> None:
    entity = engine.residents.invocation(1)
    assert entity is not None
    engine.do(e.Kill(entity.id, 0))
    engine.do(e.Purge(entity.id, 0))
    assert engine.reader.find(entity.id) == 1
    assert engine.residents.find(entity.id) == 0
    assert engine.residents.invocation(1) is None
    engine.commit()


def test_state_is_layered_over_the_tables_until_it_is_committed(engine: PureEngine) -> None:
    engine.say(1, m.SetStateCommand(b"a", m.Value(b"1")), m.SetStateCommand(b"b", m.Value(b"1")))
    engine.commit()
    engine.say(1, m.ClearAllStateCommand(), m.SetStateCommand(b"c", m.Value(b"2")))
    view = engine.residents
    assert [view.state("Thing", "k", name) for name in (b"a", b"b", b"c")] == [None, None, b"2"]
    assert view.state_names("Thing", "k") == (b"c",)
    assert view.state_changes("Thing", "k") is not None
    engine.commit()
    assert view.state_changes("Thing", "k") is None
    assert view.state_names("Thing", "k") == (b"c",)


def test_promises_deleted_and_made_again_before_a_commit_are_the_new_ones() -> None:
    engine = PureEngine()
    engine.submit("Flow/k/run")
    engine.commit()
    engine.say(1, m.CompletePromiseCommand("p", m.Value(b"old"), 1))
    engine.end(1)
    engine.now += HOUR
    engine.submit("Flow/k/run")
    assert engine.residents.promise("Flow", "k", "p") is None
    engine.commit()
    engine.say(2, m.CompletePromiseCommand("p", m.Value(b"new"), 1), m.PeekPromiseCommand("p", 2))
    engine.commit()
    assert engine.journal(2)[-1] == m.PeekPromiseCompletion(2, m.Value(b"new"))


def test_entries_that_are_not_committed_are_read(engine: PureEngine) -> None:
    engine.say(1, m.RunCommand(1), m.RunCommand(2))
    engine.close_batch()
    engine.say(1, m.RunCommand(3))
    assert engine.kinds(1) == ["InputCommand", *3 * ["RunCommand"]]
    assert engine.residents.entries(1, 2, 1) == [m.RunCommand(2)]
    engine.commit(1)
    assert engine.kinds(1) == ["InputCommand", *3 * ["RunCommand"]]


def test_memory_is_bounded_by_what_is_in_use() -> None:
    engine = PureEngine(checked=False)
    for _ in range(50):
        number = engine.number(engine.send("Plain/do"))
        engine.suspend(number, seen=1, names=("go",))
    assert len(list(engine.residents.resident())) <= 2
    assert len(engine.tables.invocations) == 50
    assert not list(engine.residents.lives())


def test_a_row_that_does_not_fit_is_fatal(engine: PureEngine) -> None:
    with pytest.raises(RuntimeError, match="comes after 1 entries"):
        engine.residents.fold([r.AppendEntry(1, 7, m.RunCommand(1))])
    with pytest.raises(RuntimeError, match="does not exist"):
        engine.residents.fold([r.Pin(99, 1, 7)])
