"""Engine and oracle side by side: the same events to both, the same outputs and tables from both, with crashes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from perdure.engine import events as e
from perdure.engine import outputs as o
from perdure.engine import rows as r
from perdure.engine.entities import InvocationEntity
from perdure.wire import messages as m
from perdure.wire.ids import format_awakeable_id, format_invocation_id
from perdure.wire.messages import CombinatorType
from tests.engine.naive_model import Model, told
from tests.engine.pure_engine import HOUR, MINUTE, PureEngine, unique

TARGETS = (
    "Plain/do",
    "Plain/brief",
    "Plain/dies",
    "Thing/a/do",
    "Thing/a/do",
    "Thing/b/do",
    "Thing/a/look",
    "Flow/k/run",
    "Flow/k/look",
)
ANY = st.integers(0, 11)
TARGET = st.sampled_from(TARGETS)
NAME = st.sampled_from(["go", "go", "go", "stop"])
RESULT = st.sampled_from([m.Value(b"v"), m.Failure(500, "no")])
COMBINATOR = st.sampled_from(list(CombinatorType))


def parts(target: str) -> tuple[str, str, str]:
    service, *key, handler = target.split("/")
    return service, handler, "".join(key)


class Lifecycles(RuleBasedStateMachine):
    """Rules are what can happen to an engine; each is told to the model too."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = PureEngine(checked=False)
        self.model = Model()
        self.armed: list[e.RetryDue] = []
        self.eager = False
        self.snapshots: list[Any] = []
        self.committed = copy.deepcopy(self.model.disk)
        self.begun()

    def begun(self) -> None:
        """A process has begun."""
        self.snapshots = []
        self.armed = []

    # --- both ------------------------------------------------------------------------------------------------------

    def both(self, event: e.Event) -> None:
        """Tell both; they answer the same."""
        expected = self.model.take(event, self.engine.now)
        decision = self.engine.do(event)
        for row in decision.rows:
            if isinstance(row, r.PutInvocation):
                self.model.disk.ids[row.id] = row.number
        found = told(list(decision.outputs))
        assert sorted(map(repr, found)) == sorted(map(repr, expected)), event
        self.armed += [e.RetryDue(out.number, out.attempt) for out in decision.outputs if isinstance(out, o.ArmRetry)]
        if self.eager:
            self.commit()

    @initialize(first=st.lists(TARGET, min_size=1, max_size=4), eager=st.booleans())
    def begin(self, first: list[str], eager: bool) -> None:
        """Some are there from the start; in half of the histories every decision is committed at once."""
        for to in first:
            self.submit_to(to, call=True, again=True, delay=0)
        self.commit()
        self.eager = eager

    # --- batches and crashes ---------------------------------------------------------------------------------------

    @rule()
    def close_batch(self) -> None:
        self.engine.close_batch()
        self.snapshots.append(copy.deepcopy(self.model.disk))

    @rule(count=st.integers(1, 2))
    def commit_some(self, count: int) -> None:
        count = min(count, len(self.snapshots))
        self.engine.commit(count)
        for _ in range(count):
            self.committed = self.snapshots.pop(0)

    @rule()
    def commit(self) -> None:
        self.engine.commit()
        self.snapshots = []
        self.committed = copy.deepcopy(self.model.disk)
        self.engine.check()
        self.compare()

    @rule()
    def crash(self) -> None:
        """Everything after the last committed batch is lost."""
        eager, self.eager = self.eager, False
        self.engine.restart()
        self.model.disk = copy.deepcopy(self.committed)
        self.model.forget_process()
        self.begun()
        self.both(e.Opened(False))
        self.commit()
        self.eager = eager

    def compare(self) -> None:
        """The tables say what the model says."""
        tables, disk = self.engine.tables, self.model.disk
        found = {number: row.status.name.lower() for number, row in tables.invocations.items()}
        assert found == {number: one.status for number, one in disk.all.items()}
        for number, one in disk.all.items():
            assert [plain(entry) for entry in self.engine.journal(number)] == [plain(entry) for entry in one.journal]
            assert tables.invocations[number].result == one.result
        expected = {timer for timer in self.model.timers() if timer[1] not in disk.doomed}
        assert {timer_of(timer) for timer in tables.timers} >= expected
        assert {where: state for where, state in tables.state.items() if state} == {
            where: state for where, state in disk.state.items() if state
        }
        assert {where: lock.number for where, lock in tables.locks.items()} == {
            where: line[0] for where, line in disk.lines.items()
        }
        for where, line in disk.lines.items():
            queue = tables.queues.get(where, {})
            waiting = [queue[position] for position in sorted(queue)]
            assert [row.number or row.edit for row in waiting] == line[1:]
        assert {name: row.result for name, row in tables.promises.items()} == disk.promises
        hopes = {(waiter.service, waiter.key, waiter.name, waiter.number) for waiter in tables.promise_waiters}
        assert {(*name, number) for name, number, _ in disk.hopes} <= hopes

    # --- requests --------------------------------------------------------------------------------------------------

    @rule(to=TARGET, call=st.booleans(), again=st.booleans(), delay=st.sampled_from([0, 0, 0, 5, 1000]))
    def submit(self, to: str, call: bool, again: bool, delay: int) -> None:
        self.submit_to(to, call=call, again=again, delay=delay)

    def submit_to(self, to: str, *, call: bool, again: bool, delay: int) -> None:
        service, handler, key = parts(to)
        self.engine.uniques += 1
        self.both(
            e.Submit(
                service=service,
                handler=handler,
                key=key,
                unique=unique(self.engine.uniques),
                waiter=self.engine.waiter(),
                idempotency_key="again" if again and handler != "run" else None,
                mode=e.Mode.CALL if call else e.Mode.SEND,
                start_at=0 if call or not delay else self.engine.now + delay,
            )
        )

    @rule(pick=ANY, attach=st.booleans())
    def look(self, pick: int, attach: bool) -> None:
        event: Callable[..., e.Event] = e.Attach if attach else e.GetOutput
        self.both(event(self.target(pick), self.engine.waiter()))

    def target(self, pick: int) -> e.Target:
        """Somebody, by id or by name."""
        if pick == 0:
            return m.WorkflowTarget("Flow", "k")
        if pick == 1:
            return m.IdempotentRequestTarget("Plain", None, "do", "again")
        return m.InvocationId(format_invocation_id(self.anybody(pick)))

    def anybody(self, pick: int) -> bytes:
        """The id of an invocation that is, or was."""
        ids = sorted(self.model.disk.ids)
        return ids[pick % len(ids)] if ids else bytes(24)

    # --- operators -------------------------------------------------------------------------------------------------

    @rule(pick=ANY, kind=st.sampled_from([e.Cancel, e.Cancel, e.Kill, e.Pause, e.Resume, e.Resume]))
    def operate(self, pick: int, kind: Callable[..., e.Event]) -> None:
        self.both(kind(self.anybody(pick), waiter=self.engine.waiter()))

    @rule(pick=ANY)
    @precondition(lambda self: self.parents())
    def kill_parent(self, pick: int) -> None:
        parents = self.parents()
        self.both(e.Kill(parents[pick % len(parents)], self.engine.waiter()))

    def parents(self) -> list[bytes]:
        """The ids of all that have called or sent, and have not ended."""
        disk = self.model.disk
        return [
            id for id, number in disk.ids.items() if (one := disk.all.get(number)) and one.children and not one.result
        ]

    @rule(pick=ANY, kind=st.sampled_from([e.Purge, e.PurgeJournal]))
    def purge(self, pick: int, kind: Callable[..., e.Event]) -> None:
        self.both(kind(self.anybody(pick), self.engine.waiter()))

    @rule(pick=ANY)
    def restart_as_new(self, pick: int) -> None:
        self.engine.uniques += 1
        self.both(e.RestartAsNew(self.anybody(pick), unique(self.engine.uniques), self.engine.waiter()))

    @rule(pick=ANY, signal=st.one_of(NAME, st.just(17)), result=RESULT)
    def signal(self, pick: int, signal: int | str, result: m.Value | m.Failure) -> None:
        self.both(e.SendSignal(self.anybody(pick), signal, result, self.engine.waiter()))

    @rule(key=st.sampled_from("ab"), replace=st.booleans())
    def edit(self, key: str, replace: bool) -> None:
        edit = r.StateEdit({b"x": b"edited", b"y": None}, replace)
        self.both(e.EditState("Thing", key, edit, self.engine.waiter()))

    # --- time and work ---------------------------------------------------------------------------------------------

    @rule(by=st.sampled_from([1, 100, MINUTE, HOUR, -1000]))
    def time_passes(self, by: int) -> None:
        self.engine.now += by

    @rule()
    def timers(self) -> None:
        self.both(e.TimersDue())

    @rule(pick=ANY)
    @precondition(lambda self: self.armed)
    def retry(self, pick: int) -> None:
        """A retry timer goes off, perhaps one that is history."""
        self.both(self.armed[pick % len(self.armed)])

    @rule()
    @precondition(lambda self: self.engine.residents.work() is not None)
    def work(self) -> None:
        """A page of work, committed before it is begun as the engine does."""
        self.commit()
        self.both(e.WorkDue())

    # --- attempts --------------------------------------------------------------------------------------------------

    def attempt(self, pick: int, fits: Callable[[InvocationEntity], bool]) -> tuple[InvocationEntity, int] | None:
        """An attempt that runs, of an invocation that fits."""
        load = self.engine.residents.invocation
        running = [
            (entity, attempt)
            for number, attempt in sorted(self.engine.attempts.items())
            if (entity := load(number)) is not None and fits(entity)
        ]
        return running[pick % len(running)] if running else None

    def say(
        self,
        pick: int,
        message: Callable[[InvocationEntity, int], m.Message],
        fits: Callable[[InvocationEntity], bool] = lambda _: True,
    ) -> None:
        """Let an attempt say something; it is given its invocation and its next completion id."""
        found = self.attempt(pick, lambda entity: entity.output is None and fits(entity))
        if found is not None:
            entity, attempt = found
            sent = message(entity, entity.last_completion + 1)
            self.both(e.FromAttempt(entity.number, attempt, sent, seen=self.seen(entity, attempt)))

    def seen(self, entity: InvocationEntity, attempt: int) -> int:
        """How many entries the attempt knows of: what it was sent, and what it wrote."""
        sent = sum(isinstance(entry, m.Notification) for entry in self.engine.arrived[attempt])
        entries = self.engine.journal(entity.number)
        notifications = [index for index, entry in enumerate(entries) if isinstance(entry, m.Notification)]
        return notifications[sent] if sent < len(notifications) else len(entries)

    @rule(pick=ANY, to=TARGET, again=st.booleans(), delay=st.sampled_from([None, None, 0, 5, 1000]))
    def call(self, pick: int, to: str, again: bool, delay: int | None) -> None:
        service, handler, key = parts(to)
        idempotency_key = "again" if again and handler != "run" else None

        def message(_: InvocationEntity, id: int) -> m.Message:
            if delay is None:
                return m.CallCommand(
                    service,
                    handler,
                    b"in",
                    key=key,
                    idempotency_key=idempotency_key,
                    invocation_id_notification_idx=id,
                    result_completion_id=id + 1,
                )
            return m.OneWayCallCommand(
                service,
                handler,
                b"in",
                self.engine.now + delay if delay else 0,
                key=key,
                idempotency_key=idempotency_key,
                invocation_id_notification_idx=id,
            )

        self.say(pick, message)

    @rule(pick=ANY, other=ANY, what=st.integers(0, 4), name=NAME, result=RESULT)
    def reach_out(self, pick: int, other: int, what: int, name: str, result: m.Value | m.Failure) -> None:
        id_of_other = self.anybody(other)
        text = format_invocation_id(id_of_other)

        def message(_: InvocationEntity, id: int) -> m.Message:
            return (
                m.SendSignalCommand(text, name, result),
                m.SendSignalCommand(text, m.CANCEL_SIGNAL, m.Void()),
                m.CompleteAwakeableCommand(format_awakeable_id(id_of_other, 17), result),
                m.AttachInvocationCommand(self.target(other), id),
                m.GetInvocationOutputCommand(self.target(other), id),
            )[what]

        self.say(pick, message)

    @rule(pick=ANY, what=st.integers(0, 4), name=st.sampled_from([b"x", b"y"]))
    def state(self, pick: int, what: int, name: bytes) -> None:
        def message(entity: InvocationEntity, id: int) -> m.Message:
            return (
                m.SetStateCommand(name, m.Value(b"%d" % entity.number)),
                m.ClearStateCommand(name),
                m.ClearAllStateCommand(),
                m.GetLazyStateCommand(name, id),
                m.GetLazyStateKeysCommand(id),
            )[what]

        reading = () if what < 3 else (r.Kind.SHARED,)
        self.say(pick, message, lambda entity: entity.kind in {r.Kind.EXCLUSIVE, r.Kind.WORKFLOW, *reading})

    @rule(pick=ANY, name=st.sampled_from([b"x", b"y"]))
    def write_and_read(self, pick: int, name: bytes) -> None:
        """Nothing is committed in between, unless everything is."""
        writers = {r.Kind.EXCLUSIVE, r.Kind.WORKFLOW}
        value = m.Value(b"%d" % pick)
        self.say(pick, lambda *_: m.SetStateCommand(name, value), lambda entity: entity.kind in writers)
        self.say(pick, lambda _, id: m.GetLazyStateCommand(name, id), lambda entity: entity.kind in writers)

    @rule(pick=ANY, what=st.sampled_from([0, 1, 2, 2, 2]), name=NAME, result=RESULT)
    def promise(self, pick: int, what: int, name: str, result: m.Value | m.Failure) -> None:
        def message(_: InvocationEntity, id: int) -> m.Message:
            return (
                m.GetPromiseCommand(name, id),
                m.PeekPromiseCommand(name, id),
                m.CompletePromiseCommand(name, result, id),
            )[what]

        self.say(pick, message, lambda entity: entity.service == "Flow")

    @rule(pick=ANY, delay=st.sampled_from([None, 0, 1, 100, HOUR]))
    def run_or_sleep(self, pick: int, delay: int | None) -> None:
        self.say(
            pick,
            lambda _, id: m.RunCommand(id) if delay is None else m.SleepCommand(self.engine.now + delay, id),
        )

    @rule(pick=ANY, result=RESULT)
    def propose(self, pick: int, result: m.Value | m.Failure) -> None:
        def runs(entity: InvocationEntity) -> list[int]:
            return [id for id, code in entity.open.items() if code == m.RunCompletion.type_code]

        def message(entity: InvocationEntity, _: int) -> m.Message:
            return m.ProposeRunCompletionMessage(runs(entity)[pick % len(runs(entity))], result)

        self.say(pick, message, lambda entity: bool(runs(entity)))

    @rule(pick=ANY, combinator=COMBINATOR, nested=COMBINATOR, names=st.booleans(), cancel=st.booleans())
    def suspend(
        self,
        pick: int,
        combinator: CombinatorType,
        nested: CombinatorType,
        names: bool,
        cancel: bool,
    ) -> None:
        def message(entity: InvocationEntity, _: int) -> m.Message:
            ids = tuple(range(1, entity.last_completion + 1))[-4:]
            point = m.Future(
                ids[:2],
                (17,),
                ("go",) if names else (),
                (m.Future(ids[2:], (), (), (), nested),)[: len(ids) // 3],
                combinator,
            )
            signals = (m.CANCEL_SIGNAL,) if cancel else ()
            return m.SuspensionMessage(awaiting_on=m.Future((), signals, (), (point,), CombinatorType.FIRST_COMPLETED))

        self.say(pick, message)

    @rule(pick=ANY, behavior=st.sampled_from(list(m.ErrorBehavior)), delay=st.sampled_from([None, 0, 7]))
    def fail(self, pick: int, behavior: m.ErrorBehavior, delay: int | None) -> None:
        error = m.ErrorMessage(500, "failed", next_retry_delay=delay, behavior=behavior)
        self.say(pick, lambda *_: error)

    @rule(pick=ANY, result=RESULT, with_output=st.sampled_from([True, True, True, False]))
    def end(self, pick: int, result: m.Value | m.Failure, with_output: bool) -> None:
        found = self.attempt(pick, lambda _: True)
        if found is None:
            return
        entity, attempt = found
        if entity.output is None and with_output:
            self.both(e.FromAttempt(entity.number, attempt, m.OutputCommand(result)))
        self.both(e.FromAttempt(entity.number, attempt, m.EndMessage()))

    @rule(pick=ANY, how=st.sampled_from([e.How.JOINED, e.How.FAILED]))
    def over(self, pick: int, how: e.How) -> None:
        """The code of an attempt stops, whatever it has said."""
        numbers = sorted(self.engine.attempts)
        if numbers:
            number = numbers[pick % len(numbers)]
            self.both(e.AttemptOver(number, self.engine.attempts.pop(number), how, m.ErrorMessage(500, "broke")))

    @rule()
    def stopped(self) -> None:
        """The code of all that were told to stop has stopped."""
        for number, attempt in sorted(self.engine.stopping):
            self.both(e.AttemptOver(number, attempt, e.How.JOINED))
        self.engine.stopping.clear()

    @rule(pick=ANY)
    def late(self, pick: int) -> None:
        """An attempt that was told to stop writes on: nobody listens."""
        for number, attempt in sorted(self.engine.stopping)[pick : pick + 1]:
            decision = self.engine.do(e.FromAttempt(number, attempt, m.RunCommand(1000)))
            assert not decision.rows
            assert not decision.outputs

    def teardown(self) -> None:
        self.commit()


def timer_of(timer: r.PutTimer) -> tuple[int, int, int]:
    return timer.due, timer.number, timer.completion


def plain(entry: Any) -> Any:
    """An entry without what the model cannot know: ids of children, words of errors."""
    if isinstance(entry, m.CallInvocationIdCompletion):
        return ("id", entry.completion_id)
    result = getattr(entry, "result", None)
    if isinstance(result, m.Failure) and result.code == 404:
        return (type(entry), entry.completion_id, 404)
    return entry
