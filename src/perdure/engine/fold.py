"""Folding rows and notes into entities: the only place where entities change.

`Fold` keeps entities by their keys and applies rows to them. Where it does not have one it asks its subclass: the
residents load it, the draft of a decision copies it from the view it stands on. So what a decision expects of its own
rows, what the engine remembers, and what is loaded after a crash, all come from the functions below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, TypeAlias

from perdure.engine import rows as r
from perdure.engine.entities import (
    InvocationEntity,
    KeyEntity,
    LiveEntity,
    PromiseEntity,
    ServiceEntity,
    Sink,
    StateEntity,
    Waiting,
)
from perdure.engine.notes import HoldKey, LetKeyGo, Note, SetLive, SetSuspects
from perdure.engine.view import Counters
from perdure.wire import messages as m

__all__ = ["Fold", "fold_entry", "new_invocation"]

_KeyName: TypeAlias = tuple[str, str]
_PromiseName: TypeAlias = tuple[str, str, str]


# --- the journal ---------------------------------------------------------------------------------------------------


def _opens(*fields: tuple[str, type[m.Notification]]) -> Callable[[InvocationEntity, Any], None]:
    """The fold of a command whose fields hold completion ids."""
    opened = [(name, completion.type_code) for name, completion in fields]
    children = len(fields) if fields[0][1] is m.CallInvocationIdCompletion else 0

    def fold(entity: InvocationEntity, command: Any) -> None:
        for name, code in opened:
            id: int = getattr(command, name)
            entity.open[id] = code
            entity.last_completion = max(entity.last_completion, id)
        if children:
            entity.children += 1

    return fold


def _fold_sleep(entity: InvocationEntity, command: m.SleepCommand) -> None:
    id = command.result_completion_id
    entity.open[id] = m.SleepCompletion.type_code
    entity.sleeps[id] = command.wake_up_time
    entity.last_completion = max(entity.last_completion, id)


def _fold_run(entity: InvocationEntity, command: m.RunCommand) -> None:
    id = command.result_completion_id
    entity.open[id] = m.RunCompletion.type_code
    entity.last_completion = max(entity.last_completion, id)


def _fold_output(entity: InvocationEntity, command: m.OutputCommand) -> None:
    entity.output = command.result


_RESULT: Final = "result_completion_id"
_ID: Final = "invocation_id_notification_idx"

_COMMANDS: Final[dict[type[m.Message], Callable[[InvocationEntity, Any], None] | None]] = {
    m.InputCommand: None,
    m.OutputCommand: _fold_output,
    m.GetLazyStateCommand: _opens((_RESULT, m.GetLazyStateCompletion)),
    m.GetLazyStateKeysCommand: _opens((_RESULT, m.GetLazyStateKeysCompletion)),
    m.GetEagerStateCommand: None,
    m.GetEagerStateKeysCommand: None,
    m.SetStateCommand: None,
    m.ClearStateCommand: None,
    m.ClearAllStateCommand: None,
    m.GetPromiseCommand: _opens((_RESULT, m.GetPromiseCompletion)),
    m.PeekPromiseCommand: _opens((_RESULT, m.PeekPromiseCompletion)),
    m.CompletePromiseCommand: _opens((_RESULT, m.CompletePromiseCompletion)),
    m.SleepCommand: _fold_sleep,
    m.CallCommand: _opens((_ID, m.CallInvocationIdCompletion), (_RESULT, m.CallCompletion)),
    m.OneWayCallCommand: _opens((_ID, m.CallInvocationIdCompletion)),
    m.SendSignalCommand: None,
    m.RunCommand: _fold_run,
    m.AttachInvocationCommand: _opens((_RESULT, m.AttachInvocationCompletion)),
    m.GetInvocationOutputCommand: _opens((_RESULT, m.GetInvocationOutputCompletion)),
    m.CompleteAwakeableCommand: None,
}


def fold_entry(entity: InvocationEntity, index: int, entry: m.Command | m.Notification, now: int) -> None:
    """Append one entry to what is known of a journal.

    Raises:
        RuntimeError: it does not stand at the end of the journal.
    """
    if index != entity.length:
        raise RuntimeError(
            f"entry {index} of invocation {entity.number} comes after {entity.length} entries: please report this"
        )
    entity.length = index + 1
    if isinstance(entry, m.Command):
        entity.commands += 1
        entity.entered_at = now
        fold = _COMMANDS[entry.__class__]
        if fold is not None:
            fold(entity, entry)
    elif isinstance(entry, m.SignalNotification):
        signal = entry.signal
        if signal is not None:
            failed = entry.result.__class__ is m.Failure
            entity.signals[signal] = (index, failed)
    else:
        id: int = entry.completion_id  # type: ignore[attr-defined]  # every notification but signals has it
        entity.open.pop(id, None)
        if entry.__class__ is m.SleepCompletion:
            entity.sleeps.pop(id, None)
        elif entry.result.__class__ is m.Failure:  # type: ignore[attr-defined]  # every notification has it
            entity.failed.add(id)


def new_invocation(row: r.PutInvocation) -> InvocationEntity:
    """The entity that a row of `invocations` amounts to, without what comes from other tables."""
    summary = row.summary if row.summary is not None else r.Summary()
    return InvocationEntity(
        number=row.number,
        id=row.id,
        service=row.service,
        handler=row.handler,
        key=row.key,
        kind=row.kind,
        status=row.status,
        created_at=row.created_at,
        modified_at=row.modified_at,
        start_at=row.start_at,
        idempotency_key=row.idempotency_key,
        parent=row.parent,
        restarted=row.restarted,
        completion_retention=row.completion_retention,
        journal_retention=row.journal_retention,
        position=row.position,
        deployment=row.deployment,
        protocol=row.protocol,
        awaited=row.awaited,
        reason=row.reason,
        result=row.result,
        ended_at=row.ended_at,
        expires_at=row.expires_at,
        crashes=row.crashes,
        crash_length=row.crash_length,
        crash_marked=row.crash_marked,
        length=summary.length,
        commands=summary.commands,
        last_completion=summary.last_completion,
        open=dict(summary.open),
        sleeps=dict(summary.sleeps),
        failed=set(summary.failed),
        signals=dict(summary.signals),
        children=summary.children,
        output=summary.output,
        entered_at=row.modified_at,
    )


# --- the tables ----------------------------------------------------------------------------------------------------


class Fold:
    """Entities by key, and the application of rows and notes to them.

    A subclass says where an entity comes from that is not here yet.

    Attributes:
        counters: the last numbers given out.
        now: the time at which rows are being applied, in milliseconds.
    """

    __slots__ = (
        "_cleared",
        "_deployments",
        "_ids",
        "_invocations",
        "_keys",
        "_lives",
        "_promises",
        "_services",
        "_states",
        "_suspects",
        "_timers",
        "_unwinding",
        "_worked",
        "_works",
        "counters",
        "now",
    )

    def __init__(self, counters: Counters) -> None:
        self.counters: Counters = counters
        self.now: int = 0
        self._invocations: dict[int, InvocationEntity | None] = {}
        self._ids: dict[bytes, int] = {}
        self._keys: dict[_KeyName, KeyEntity] = {}
        self._promises: dict[_PromiseName, PromiseEntity] = {}
        self._cleared: set[_KeyName] = set()  # keys whose promises were deleted
        self._states: dict[_KeyName, StateEntity] = {}
        self._timers: dict[r.PutTimer, bool] = {}  # stored (True) or deleted (False), not committed yet
        self._works: dict[int, r.PutWork | None] = {}
        self._worked: dict[int, int] = {}  # how many works are about an invocation
        self._services: dict[str, ServiceEntity] = {}
        self._deployments: dict[int, r.PutDeployment] = {}
        self._lives: dict[int, LiveEntity | None] = {}
        self._unwinding: dict[_KeyName, int] = {}
        self._suspects: tuple[int, ...] | None = None

    # --- where entities come from ----------------------------------------------------------------------------------

    def _take_invocation(self, number: int) -> InvocationEntity | None:
        """An invocation that is not here yet, to be changed."""
        raise NotImplementedError

    def _take_key(self, name: _KeyName) -> KeyEntity:
        """A key that is not here yet, to be changed."""
        raise NotImplementedError

    def _take_promise(self, name: _PromiseName) -> PromiseEntity:
        """A promise that is not here yet, to be changed."""
        raise NotImplementedError

    def _take_state(self, name: _KeyName) -> StateEntity:
        """The uncommitted changes of a state, to be changed."""
        raise NotImplementedError

    def _take_unwinding(self, name: _KeyName) -> int:
        """How many former holders of a key still run."""
        raise NotImplementedError

    def _take_worked(self, number: int) -> int:
        """How many works are about an invocation."""
        raise NotImplementedError

    def _take_work(self, work: int) -> r.PutWork | None:
        """A work that is not here."""
        raise NotImplementedError

    def _own_invocation(self, number: int) -> InvocationEntity:
        entity = self._invocations.get(number)
        if entity is None:
            entity = None if number in self._invocations else self._take_invocation(number)
            if entity is None:
                raise RuntimeError(f"a row is about invocation {number}, which does not exist: please report this")
            self._invocations[number] = entity
        return entity

    def _own_key(self, name: _KeyName) -> KeyEntity:
        entity = self._keys.get(name)
        if entity is None:
            entity = self._keys[name] = self._take_key(name)
        return entity

    def _own_promise(self, name: _PromiseName) -> PromiseEntity:
        entity = self._promises.get(name)
        if entity is None:
            fresh = (name[0], name[1]) in self._cleared
            entity = self._promises[name] = PromiseEntity(*name) if fresh else self._take_promise(name)
        return entity

    def _own_state(self, name: _KeyName) -> StateEntity:
        entity = self._states.get(name)
        if entity is None:
            entity = self._states[name] = self._take_state(name)
        return entity

    # --- applying --------------------------------------------------------------------------------------------------

    def fold(self, rows: Iterable[r.Row], notes: Iterable[Note] = ()) -> None:
        """Apply rows, then notes.

        Raises:
            RuntimeError: a row does not fit to what is there. What was applied before it stays: this is fatal.
        """
        for row in rows:
            self._ROWS[row.__class__](self, row)
        for note in notes:
            self._NOTES[note.__class__](self, note)

    def _append_entry(self, row: r.AppendEntry) -> None:
        fold_entry(self._own_invocation(row.number), row.index, row.entry, self.now)

    def _put_invocation(self, row: r.PutInvocation) -> None:
        self._invocations[row.number] = new_invocation(row)
        self._ids[row.id] = row.number
        self.counters.invocation = max(self.counters.invocation, row.number)

    def _set_status(self, row: r.SetStatus) -> None:
        entity = self._own_invocation(row.number)
        entity.status = row.status
        entity.modified_at = row.at
        entity.position = row.position
        entity.awaited = row.awaited
        entity.reason = row.reason

    def _pin(self, row: r.Pin) -> None:
        entity = self._own_invocation(row.number)
        entity.deployment = row.deployment
        entity.protocol = row.protocol

    def _set_crashes(self, row: r.SetCrashes) -> None:
        entity = self._own_invocation(row.number)
        entity.crashes = row.crashes
        entity.crash_length = row.length
        entity.crash_marked = row.marked

    def _end_invocation(self, row: r.EndInvocation) -> None:
        entity = self._own_invocation(row.number)
        entity.status = r.Status.COMPLETED
        entity.modified_at = entity.ended_at = row.at
        entity.position = 0
        entity.awaited = None
        entity.reason = None
        entity.result = row.result
        entity.expires_at = row.expires_at

    def _delete_invocation(self, row: r.DeleteInvocation) -> None:
        self._invocations[row.number] = None
        self._ids[row.id] = 0

    def _delete_journal(self, row: r.DeleteJournal) -> None:
        self._own_invocation(row.number)  # it exists; what its journal amounted to is kept

    def _put_sink(self, row: r.PutSink) -> None:
        self._own_invocation(row.number).sinks.add(Sink(row.caller, row.completion))

    def _delete_sink(self, row: r.DeleteSink) -> None:
        self._own_invocation(row.number).sinks.discard(Sink(row.caller, row.completion))

    def _put_lock(self, row: r.PutLock) -> None:
        self._own_key((row.service, row.key)).holder = row.number

    def _delete_lock(self, row: r.DeleteLock) -> None:
        self._own_key((row.service, row.key)).holder = 0

    def _enqueue(self, row: r.Enqueue) -> None:
        self._own_key((row.service, row.key)).queue[row.position] = Waiting(row.number, row.edit)

    def _dequeue(self, row: r.Dequeue) -> None:
        self._own_key((row.service, row.key)).queue.pop(row.position, None)

    def _put_state(self, row: r.PutState) -> None:
        self._own_state((row.service, row.key)).values[row.name] = row.value

    def _delete_state(self, row: r.DeleteState) -> None:
        self._own_state((row.service, row.key)).values[row.name] = None

    def _clear_state(self, row: r.ClearState) -> None:
        state = self._own_state((row.service, row.key))
        state.values = {}
        state.cleared = True

    def _put_promise(self, row: r.PutPromise) -> None:
        self._own_promise((row.service, row.key, row.name)).result = row.result

    def _put_promise_waiter(self, row: r.PutPromiseWaiter) -> None:
        self._own_promise((row.service, row.key, row.name)).waiters.add(Sink(row.number, row.completion))

    def _delete_promise_waiter(self, row: r.DeletePromiseWaiter) -> None:
        self._own_promise((row.service, row.key, row.name)).waiters.discard(Sink(row.number, row.completion))

    def _delete_promises(self, row: r.DeletePromises) -> None:
        for name in [name for name in self._promises if name[:2] == (row.service, row.key)]:
            del self._promises[name]
        self._cleared.add((row.service, row.key))

    def _put_timer(self, row: r.PutTimer) -> None:
        self._timers[row] = True

    def _delete_timer(self, row: r.DeleteTimer) -> None:
        self._timers[r.PutTimer(row.due, row.number, row.completion)] = False

    def _put_work(self, row: r.PutWork) -> None:
        if self._works.get(row.work) is None and self._take_work(row.work) is None:
            self._worked[row.number] = self._worked.get(row.number, self._take_worked(row.number)) + 1
        self._works[row.work] = row
        self.counters.work = max(self.counters.work, row.work)

    def _delete_work(self, row: r.DeleteWork) -> None:
        work = self._works.get(row.work)
        if work is None:
            work = self._take_work(row.work)
        if work is not None:
            self._worked[work.number] = self._worked.get(work.number, self._take_worked(work.number)) - 1
        self._works[row.work] = None

    def _put_deployment(self, row: r.PutDeployment) -> None:
        self._deployments[row.deployment] = row
        self.counters.deployment = max(self.counters.deployment, row.deployment)

    def _put_service(self, row: r.PutService) -> None:
        entity = ServiceEntity(row.service, row.kind, row.revision, row.deployment, row.handlers)
        self._services[row.service] = entity

    def _put_mark(self, row: r.PutMark) -> None:
        """Engine time is kept elsewhere."""

    def _set_live(self, note: SetLive) -> None:
        live = note.live
        self._lives[live.number] = live
        self.counters.attempt = max(self.counters.attempt, live.attempt)

    def _hold_key(self, note: HoldKey) -> None:
        name = (note.service, note.key)
        self._unwinding[name] = self._unwinding.get(name, self._take_unwinding(name)) + 1

    def _let_key_go(self, note: LetKeyGo) -> None:
        name = (note.service, note.key)
        self._unwinding[name] = self._unwinding.get(name, self._take_unwinding(name)) - 1

    def _set_suspects(self, note: SetSuspects) -> None:
        self._suspects = note.numbers

    _ROWS: ClassVar[dict[type[r.Row], Callable[[Any, Any], None]]] = {
        r.AppendEntry: _append_entry,
        r.PutInvocation: _put_invocation,
        r.SetStatus: _set_status,
        r.Pin: _pin,
        r.SetCrashes: _set_crashes,
        r.EndInvocation: _end_invocation,
        r.DeleteInvocation: _delete_invocation,
        r.DeleteJournal: _delete_journal,
        r.PutSink: _put_sink,
        r.DeleteSink: _delete_sink,
        r.PutLock: _put_lock,
        r.DeleteLock: _delete_lock,
        r.Enqueue: _enqueue,
        r.Dequeue: _dequeue,
        r.PutState: _put_state,
        r.DeleteState: _delete_state,
        r.ClearState: _clear_state,
        r.PutPromise: _put_promise,
        r.PutPromiseWaiter: _put_promise_waiter,
        r.DeletePromiseWaiter: _delete_promise_waiter,
        r.DeletePromises: _delete_promises,
        r.PutTimer: _put_timer,
        r.DeleteTimer: _delete_timer,
        r.PutWork: _put_work,
        r.DeleteWork: _delete_work,
        r.PutDeployment: _put_deployment,
        r.PutService: _put_service,
        r.PutMark: _put_mark,
    }
    _NOTES: ClassVar[dict[type[Note], Callable[[Any, Any], None]]] = {
        SetLive: _set_live,
        HoldKey: _hold_key,
        LetKeyGo: _let_key_go,
        SetSuspects: _set_suspects,
    }
