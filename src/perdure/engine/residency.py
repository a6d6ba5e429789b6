"""The entities in memory: a cache of the database that is also ahead of it.

Decisions are applied here before they are committed, so an entity with rows that are not committed is *pinned*: loading
it again would take those rows back, and the next decision would lose them. Entities of invocations that have a live
entity (an attempt, a retry timer, callers) stay as well. What remains is kept while there is room and loaded by
primary key when it is asked for.

Everything the engine does to memory is `apply`; what a load returns goes through the same fold.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final

from perdure.engine import rows as r
from perdure.engine.entities import (
    InvocationEntity,
    KeyEntity,
    LiveEntity,
    PromiseEntity,
    ServiceEntity,
    StateEntity,
)
from perdure.engine.fold import Fold, fold_entry, new_invocation
from perdure.engine.view import Counters, Decision, Reader
from perdure.wire.messages import Command, Notification

__all__ = ["ROOM", "Residents"]

ROOM: Final = 10_000
"""Invocations, and keys, that are kept in memory although nothing needs them."""


class Residents(Fold):
    """A `View` of everything decided, over a `Reader` of everything committed.

    Args:
        reader: loads what is not here.
        room: how many invocations, and how many keys, are kept although nothing needs them.
    """

    __slots__ = ("_committed", "_dropped", "_entries", "_full", "_reader", "_room", "_touched", "_touched_states")

    def __init__(self, reader: Reader, *, room: int = ROOM) -> None:
        super().__init__(reader.counters())
        self._reader: Reader = reader
        self._room: int = room
        self._full: int = room  # more than that, and what nothing needs is dropped
        self._committed: int = 0
        # The batch that holds the last row about each entity; what is not named is committed.
        self._touched: dict[int, int] = {}
        self._touched_states: dict[tuple[str, Hashable], int] = {}
        self._entries: dict[int, list[tuple[int, int, Command | Notification]]] = {}  # batch, index, entry
        self._dropped: set[int] = set()  # whose journal was deleted
        self.fold(reader.services())
        self.fold(reader.works(1 << 62))

    # --- changing --------------------------------------------------------------------------------------------------

    def apply(self, decision: Decision, batch: int, now: int) -> None:
        """Fold a decision whose rows are part of a batch.

        Args:
            decision: what was decided.
            batch: the number of the batch that its rows are in; batches are numbered from 1 and committed in order.
            now: milliseconds since the epoch.

        Raises:
            RuntimeError: a row does not fit to what is here; memory is not to be trusted any more.
        """
        self.now = now
        for row in decision.rows:
            if isinstance(row, r.AppendEntry):  # nearly all rows are
                number: int = row.number
                index: int = row.index
                entry: Command | Notification = row.entry
                entity = self._invocations.get(number) or self._own_invocation(number)
                fold_entry(entity, index, entry, now)
                self._touched[number] = batch
                kept = self._entries.get(number)
                if kept is None:
                    self._entries[number] = [(batch, index, entry)]
                else:
                    kept.append((batch, index, entry))
            else:
                self.fold((row,))
                self._touch(row, batch)
        if decision.notes:
            self.fold((), decision.notes)
            self._drop_empty(decision)

    def _touch(self, row: r.Row, batch: int) -> None:
        kind, fields = _TOUCHES[row.__class__]
        if kind == "invocation":
            self._touched[row.number] = batch  # type: ignore[attr-defined]  # the table says that it has it
            if isinstance(row, r.DeleteInvocation):
                self._touched_states["id", row.id] = batch
            elif isinstance(row, r.DeleteJournal):
                self._entries[row.number] = []
                self._dropped.add(row.number)
            return
        if isinstance(row, r.DeleteWork):  # all works are here, so what is not here is no work
            self._works.pop(row.work, None)
        if kind:
            subject: Hashable = tuple(getattr(row, field) for field in fields)
            self._touched_states[kind, subject] = batch

    def _drop_empty(self, decision: Decision) -> None:
        for note in decision.notes:
            live = getattr(note, "live", None)
            if live is not None and live.empty:
                self._lives.pop(live.number, None)

    def committed(self, batch: int) -> None:
        """Every batch up to this one is committed: what only they pinned may go."""
        self._committed = batch
        touched = self._touched
        done = [number for number, last in touched.items() if last <= batch]
        for number in done:
            del touched[number]
            self._dropped.discard(number)
            self._entries.pop(number, None)
            if self._invocations.get(number, self) is None:  # deleted, and the reader knows it now
                del self._invocations[number]
        for number in [number for number, kept in self._entries.items() if kept and kept[0][0] <= batch]:
            left = [item for item in self._entries[number] if item[0] > batch]
            if left:
                self._entries[number] = left
            else:
                del self._entries[number]
        for name in [name for name, last in self._touched_states.items() if last <= batch]:
            del self._touched_states[name]
            self._release(*name)
        if len(self._invocations) > self._full or len(self._keys) > self._full:
            self._evict()
            remaining = max(len(self._invocations), len(self._keys))
            self._full = max(self._room, 2 * remaining)  # what is pinned is not looked at again at each commit

    def _release(self, kind: str, subject: Any) -> None:
        """The reader knows this now as well as memory does."""
        if kind == "state":
            self._states.pop(subject, None)
        elif kind == "timer":
            self._timers.pop(r.PutTimer(*subject), None)
        elif kind == "key":
            key = self._keys.get(subject)
            if key is not None and not key.holder and not key.queue:
                del self._keys[subject]
        elif kind == "promise":
            self._promises.pop(subject, None)
        elif kind == "promises":
            self._cleared.discard(subject)
        elif kind == "id" and self._ids.get(subject) == 0:
            del self._ids[subject]

    def _evict(self) -> None:
        """Drop what nothing pins, oldest first, until half of the room is left."""
        for number in list(self._invocations):
            if len(self._invocations) <= self._room // 2:
                break
            if number in self._touched or number in self._lives:
                continue
            entity = self._invocations.pop(number)
            if entity is not None:
                self._ids.pop(entity.id, None)
        for name in list(self._keys):
            if len(self._keys) <= self._room // 2:
                break
            holder = self._keys[name].holder
            if ("key", name) not in self._touched_states and holder not in self._lives:
                del self._keys[name]

    # --- loading ---------------------------------------------------------------------------------------------------

    def _take_invocation(self, number: int) -> InvocationEntity | None:
        rows = self._reader.invocation(number)
        if rows is None:
            return None
        first = rows[0]
        assert isinstance(first, r.PutInvocation), "an invocation is loaded from its row"
        entity = new_invocation(first)
        _Loader(entity).fold(rows[1:])
        self._invocations[number] = entity
        self._ids[entity.id] = number
        return entity

    def _take_key(self, name: tuple[str, str]) -> KeyEntity:
        rows = self._reader.key(*name)
        entity = KeyEntity(*name)
        _Loader(key=entity).fold(rows)
        return entity

    def _take_promise(self, name: tuple[str, str, str]) -> PromiseEntity:
        entity = PromiseEntity(*name)
        _Loader(promise=entity).fold(self._reader.promise(*name))
        return entity

    def _take_state(self, name: tuple[str, str]) -> StateEntity:
        del name  # what is not here is committed
        return StateEntity()

    def _take_unwinding(self, name: tuple[str, str]) -> int:
        del name  # all are here
        return 0

    def _take_worked(self, number: int) -> int:
        del number  # all works are here
        return 0

    def _take_work(self, work: int) -> r.PutWork | None:
        del work  # all works are here
        return None

    # --- the view --------------------------------------------------------------------------------------------------

    def invocation(self, number: int) -> InvocationEntity | None:
        """See `View`."""
        if number in self._invocations:
            return self._invocations[number]
        return self._take_invocation(number)

    def find(self, id: bytes) -> int:
        """See `View`."""
        number = self._ids.get(id)
        return self._reader.find(id) if number is None else number

    def live(self, number: int) -> LiveEntity | None:
        """See `View`."""
        return self._lives.get(number)

    def lives(self) -> Iterable[LiveEntity]:
        """Everything that only this process knows."""
        return [live for live in self._lives.values() if live is not None]

    def resident(self) -> Iterable[InvocationEntity]:
        """The invocations that are in memory."""
        return [entity for entity in self._invocations.values() if entity is not None]

    def resident_keys(self) -> Iterable[KeyEntity]:
        """The keys that are in memory."""
        return list(self._keys.values())

    def key(self, service: str, key: str) -> KeyEntity | None:
        """See `View`."""
        entity = self._own_key((service, key))
        return entity if entity.holder or entity.queue else None

    def unwinding(self, service: str, key: str) -> int:
        """See `View`."""
        return self._unwinding.get((service, key), 0)

    def state(self, service: str, key: str, name: bytes) -> bytes | None:
        """See `View`."""
        changes = self._states.get((service, key))
        if changes is not None and (changes.cleared or name in changes.values):
            return changes.values.get(name)
        return self._reader.state(service, key, name)

    def state_names(self, service: str, key: str) -> tuple[bytes, ...]:
        """See `View`."""
        changes = self._states.get((service, key))
        names = set() if changes is not None and changes.cleared else set(self._reader.state_names(service, key))
        if changes is not None:
            for name, value in changes.values.items():
                if value is None:
                    names.discard(name)
                else:
                    names.add(name)
        return tuple(sorted(names))

    def state_changes(self, service: str, key: str) -> StateEntity | None:
        """See `View`."""
        return self._states.get((service, key))

    def promise(self, service: str, key: str, name: str) -> PromiseEntity | None:
        """See `View`."""
        entity = self._promises.get((service, key, name))
        if entity is None:
            if (service, key) in self._cleared:
                return None
            entity = self._take_promise((service, key, name))
        return entity if entity.result is not None or entity.waiters else None

    def entries(self, number: int, first: int, limit: int) -> Sequence[Command | Notification]:
        """See `View`."""
        found = [] if number in self._dropped else list(self._reader.entries(number, first, limit))
        for _, index, entry in self._entries.get(number, ()):
            if index == first + len(found) and len(found) < limit:
                found.append(entry)
        return found

    def service(self, name: str) -> ServiceEntity | None:
        """See `View`."""
        return self._services.get(name)

    def services(self) -> Sequence[ServiceEntity]:
        """Every service."""
        return list(self._services.values())

    def deployment(self, number: int) -> r.PutDeployment | None:
        """See `View`."""
        return self._deployments.get(number)

    def deployments(self) -> Sequence[r.PutDeployment]:
        """Every deployment."""
        return list(self._deployments.values())

    def timers_due(self, now: int, limit: int) -> Sequence[r.PutTimer]:
        """See `View`."""
        pending = self._timers
        gone = sum(not stored for stored in pending.values())
        committed = [timer for timer in self._reader.timers_due(now, limit + gone) if pending.get(timer, True)]
        fresh = (timer for timer, stored in pending.items() if stored and timer.due <= now)
        return heapq.nsmallest(limit, {*committed, *fresh})

    def work(self) -> r.PutWork | None:
        """See `View`."""
        return next((work for work in self._works.values() if work is not None), None)

    def works_about(self, number: int) -> int:
        """See `View`."""
        return self._worked.get(number, 0)

    def invoked(self, after: int, limit: int) -> Sequence[int]:
        """See `View`."""
        return self._reader.invoked(after, limit)

    def suspects(self) -> Sequence[int]:
        """See `View`."""
        return self._suspects or ()


class _Loader(Fold):
    """Folds loaded rows into the one entity that they are about."""

    __slots__ = ()

    def __init__(
        self,
        invocation: InvocationEntity | None = None,
        key: KeyEntity | None = None,
        promise: PromiseEntity | None = None,
    ) -> None:
        super().__init__(Counters())
        if invocation is not None:
            self.now = invocation.modified_at
            self._invocations[invocation.number] = invocation
        if key is not None:
            self._keys[key.service, key.key] = key
        if promise is not None:
            self._promises[promise.service, promise.key, promise.name] = promise


_INVOCATION: Final = ("invocation", ("number",))
_KEY: Final = ("key", ("service", "key"))
_STATE: Final = ("state", ("service", "key"))
_PROMISE: Final = ("promise", ("service", "key", "name"))
_TIMER: Final = ("timer", ("due", "number", "completion"))
_NONE: Final[tuple[str, tuple[str, ...]]] = ("", ())

_TOUCHES: Final[dict[type[r.Row], tuple[str, tuple[str, ...]]]] = {
    r.AppendEntry: _INVOCATION,
    r.PutInvocation: _INVOCATION,
    r.SetStatus: _INVOCATION,
    r.Pin: _INVOCATION,
    r.SetCrashes: _INVOCATION,
    r.EndInvocation: _INVOCATION,
    r.DeleteInvocation: _INVOCATION,
    r.DeleteJournal: _INVOCATION,
    r.PutSink: _INVOCATION,
    r.DeleteSink: _INVOCATION,
    r.PutLock: _KEY,
    r.DeleteLock: _KEY,
    r.Enqueue: _KEY,
    r.Dequeue: _KEY,
    r.PutState: _STATE,
    r.DeleteState: _STATE,
    r.ClearState: _STATE,
    r.PutPromise: _PROMISE,
    r.PutPromiseWaiter: _PROMISE,
    r.DeletePromiseWaiter: _PROMISE,
    r.DeletePromises: ("promises", ("service", "key")),
    r.PutTimer: _TIMER,
    r.DeleteTimer: _TIMER,
    r.PutWork: _NONE,
    r.DeleteWork: _NONE,
    r.PutDeployment: _NONE,
    r.PutService: _NONE,
    r.PutMark: _NONE,
}
"""Which entity a row is about, and the fields that name it."""
