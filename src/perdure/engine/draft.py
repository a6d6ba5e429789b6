"""A decision in the making: rows, notes and outputs, and a view that already sees them.

Most decisions read first and write last, so what is read after a write is folded only when somebody asks, and only the
entity that is asked for: a key with a hundred thousand waiting is not copied to let the first of them in.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Final, TypeAlias

from perdure.engine import rows as r
from perdure.engine.entities import (
    InvocationEntity,
    KeyEntity,
    LiveEntity,
    PromiseEntity,
    ServiceEntity,
    StateEntity,
)
from perdure.engine.fold import Fold
from perdure.engine.notes import Note
from perdure.engine.outputs import Answer, Output, Reply
from perdure.engine.view import Decision, View
from perdure.wire.messages import Command, Notification

__all__ = ["NOTHING", "Draft"]

NOTHING: Final = Decision((), (), (), False)
"""Nothing happens."""

_Subject: TypeAlias = int | tuple[str, ...]


class Draft:
    """What one event amounts to so far.

    Attributes:
        now: milliseconds since the epoch.
        rows, notes, outputs, urgent: see `Decision`.
    """

    __slots__ = ("_base", "_notes_seen", "_overlay", "_rows_seen", "notes", "now", "outputs", "rows", "urgent")

    def __init__(self, base: View, now: int) -> None:
        self._base: View = base
        self._overlay: _Overlay | None = None
        self._rows_seen: int = 0
        self._notes_seen: int = 0
        self.now: int = now
        self.rows: list[r.Row] = []
        self.notes: list[Note] = []
        self.outputs: list[Output] = []
        self.urgent: bool = False

    @property
    def view(self) -> View:
        """Everything decided so far, with what this draft holds."""
        if not self.rows and not self.notes:
            return self._base
        overlay = self._overlay
        if overlay is None:
            overlay = self._overlay = _Overlay(self._base, self.now)
        if len(self.rows) > self._rows_seen:
            overlay.take(self.rows[self._rows_seen :])
            self._rows_seen = len(self.rows)
        if len(self.notes) > self._notes_seen:
            overlay.fold((), self.notes[self._notes_seen :])
            self._notes_seen = len(self.notes)
        return overlay

    def take_back(self, rows: int, notes: int, outputs: int) -> None:
        """Keep only so many rows, notes and outputs."""
        del self.rows[rows:], self.notes[notes:], self.outputs[outputs:]
        self._overlay = None
        self._rows_seen = self._notes_seen = 0

    def reply(self, waiter: int, answer: Answer) -> None:
        """Answer a waiter, unless nobody waits."""
        if waiter:
            self.outputs.append(Reply(waiter, answer))

    def decision(self) -> Decision:
        """What it all amounts to."""
        return Decision(self.rows, self.notes, self.outputs, self.urgent)


_SUBJECTS: Final[dict[type[r.Row], tuple[str, ...]]] = {
    r.AppendEntry: ("number",),
    r.SetStatus: ("number",),
    r.Pin: ("number",),
    r.SetCrashes: ("number",),
    r.EndInvocation: ("number",),
    r.DeleteJournal: ("number",),
    r.PutSink: ("number",),
    r.DeleteSink: ("number",),
    r.PutLock: ("service", "key"),
    r.DeleteLock: ("service", "key"),
    r.Enqueue: ("service", "key"),
    r.Dequeue: ("service", "key"),
    r.PutPromise: ("service", "key", "name"),
    r.PutPromiseWaiter: ("service", "key", "name"),
    r.DeletePromiseWaiter: ("service", "key", "name"),
}
"""The rows that are folded when their entity is asked for, and the fields that name it."""


class _Overlay(Fold):
    """A view through the rows of a draft; what they change is copied."""

    __slots__ = ("_base", "_pending")

    def __init__(self, base: View, now: int) -> None:
        super().__init__(copy(base.counters))
        self.now = now
        self._base: View = base
        self._pending: dict[_Subject, list[r.Row]] = {}

    def take(self, rows: Sequence[r.Row]) -> None:
        """Take rows in their order; those about one entity wait until it is asked for."""
        for row in rows:
            fields = _SUBJECTS.get(row.__class__)
            if fields is None:
                if isinstance(row, r.DeleteInvocation):
                    self._pending.pop(row.number, None)
                elif isinstance(row, r.DeletePromises):
                    self._settle()
                self.fold((row,))
                continue
            values = tuple(getattr(row, field) for field in fields)
            self._pending.setdefault(values[0] if len(values) == 1 else values, []).append(row)

    def _settle(self, subject: _Subject | None = None) -> None:
        if subject is None:
            pending, self._pending = self._pending, {}
            for rows in pending.values():
                self.fold(rows)
        elif self._pending and (rows_of_one := self._pending.pop(subject, None)) is not None:
            self.fold(rows_of_one)

    # --- what rows change is copied --------------------------------------------------------------------------------

    def _take_invocation(self, number: int) -> InvocationEntity | None:
        entity = self._base.invocation(number)
        return None if entity is None else entity.copy()

    def _take_key(self, name: tuple[str, str]) -> KeyEntity:
        entity = self._base.key(*name)
        return KeyEntity(*name) if entity is None else entity.copy()

    def _take_promise(self, name: tuple[str, str, str]) -> PromiseEntity:
        entity = self._base.promise(*name)
        return PromiseEntity(*name) if entity is None else entity.copy()

    def _take_state(self, name: tuple[str, str]) -> StateEntity:
        entity = self._base.state_changes(*name)
        return StateEntity() if entity is None else entity.copy()

    def _take_unwinding(self, name: tuple[str, str]) -> int:
        return self._base.unwinding(*name)

    def _take_worked(self, number: int) -> int:
        return self._base.works_about(number)

    def _take_work(self, work: int) -> r.PutWork | None:
        found = self._base.work()
        return found if found is not None and found.work == work else None

    # --- the view --------------------------------------------------------------------------------------------------

    def invocation(self, number: int) -> InvocationEntity | None:
        self._settle(number)
        if number in self._invocations:
            return self._invocations[number]
        return self._base.invocation(number)

    def find(self, id: bytes) -> int:
        number = self._ids.get(id)
        return self._base.find(id) if number is None else number

    def live(self, number: int) -> LiveEntity | None:
        if number in self._lives:
            live = self._lives[number]
            return None if live is None or live.empty else live
        return self._base.live(number)

    def key(self, service: str, key: str) -> KeyEntity | None:
        name = (service, key)
        self._settle(name)
        entity = self._keys.get(name)
        if entity is None:
            return self._base.key(service, key)
        return entity if entity.holder or entity.queue else None

    def unwinding(self, service: str, key: str) -> int:
        count = self._unwinding.get((service, key))
        return self._base.unwinding(service, key) if count is None else count

    def state(self, service: str, key: str, name: bytes) -> bytes | None:
        changes = self._states.get((service, key))
        if changes is not None and (changes.cleared or name in changes.values):
            return changes.values.get(name)
        return self._base.state(service, key, name)

    def state_names(self, service: str, key: str) -> tuple[bytes, ...]:
        changes = self._states.get((service, key))
        if changes is None:
            return self._base.state_names(service, key)
        names = set() if changes.cleared else set(self._base.state_names(service, key))
        for name, value in changes.values.items():
            if value is None:
                names.discard(name)
            else:
                names.add(name)
        return tuple(sorted(names))

    def state_changes(self, service: str, key: str) -> StateEntity | None:
        changes = self._states.get((service, key))
        return self._base.state_changes(service, key) if changes is None else changes

    def promise(self, service: str, key: str, name: str) -> PromiseEntity | None:
        self._settle((service, key, name))
        entity = self._promises.get((service, key, name))
        if entity is not None:
            return entity
        return None if (service, key) in self._cleared else self._base.promise(service, key, name)

    def entries(self, number: int, first: int, limit: int) -> Sequence[Command | Notification]:
        return self._base.entries(number, first, limit)

    def service(self, name: str) -> ServiceEntity | None:
        return self._services.get(name) or self._base.service(name)

    def deployment(self, number: int) -> r.PutDeployment | None:
        return self._deployments.get(number) or self._base.deployment(number)

    def timers_due(self, now: int, limit: int) -> Sequence[r.PutTimer]:
        return self._base.timers_due(now, limit)

    def work(self) -> r.PutWork | None:
        return self._base.work()

    def works_about(self, number: int) -> int:
        count = self._worked.get(number)
        return self._base.works_about(number) if count is None else count

    def invoked(self, after: int, limit: int) -> Sequence[int]:
        return self._base.invoked(after, limit)

    def suspects(self) -> Sequence[int]:
        return self._base.suspects() if self._suspects is None else self._suspects
