"""A store in dictionaries: what is committed outlives the engine, commits can be held back, and the power can fail.

It has the surface of `perdure.engine.storage.store.Store` and nothing of SQLite, so programs can be crashed at every
one of their commits within milliseconds. The real stores have tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter

from msgspec.structs import replace

from perdure.engine import rows as r
from perdure.engine.storage.bridge import post_here
from perdure.engine.view import Counters
from perdure.exceptions import EngineFailed
from perdure.wire import msgpack
from perdure.wire.messages import Command, Notification


class Tables:
    """What is on the disk."""

    def __init__(self) -> None:
        self.invocations: dict[int, r.PutInvocation] = {}
        self.journal: dict[int, list[bytes]] = {}
        self.sinks: set[r.PutSink] = set()
        self.locks: dict[tuple[str, str], r.PutLock] = {}
        self.queues: dict[tuple[str, str], dict[int, r.Enqueue]] = {}
        self.state: dict[tuple[str, str], dict[bytes, bytes]] = {}
        self.promises: dict[tuple[str, str, str], r.PutPromise] = {}
        self.promise_waiters: set[r.PutPromiseWaiter] = set()
        self.timers: set[r.PutTimer] = set()
        self.work: dict[int, r.PutWork] = {}
        self.deployments: dict[int, r.PutDeployment] = {}
        self.service_rows: dict[str, r.PutService] = {}
        self.mark = 0
        self.last_number = 0
        self.open = False

    def write(self, row: r.Row) -> None:  # noqa: C901, PLR0912, PLR0915 - a table of tables
        """Do what a row says."""
        match row:
            case r.PutInvocation():
                self.invocations[row.number] = row
                self.journal.setdefault(row.number, [])
            case r.SetStatus():
                old = self.invocations[row.number]
                summary = old.summary if row.summary is None else row.summary
                self.invocations[row.number] = replace(
                    old,
                    status=row.status,
                    modified_at=row.at,
                    position=row.position,
                    awaited=row.awaited,
                    reason=row.reason,
                    summary=summary,
                )
            case r.Pin():
                self.invocations[row.number] = replace(
                    self.invocations[row.number], deployment=row.deployment, protocol=row.protocol
                )
            case r.SetCrashes():
                self.invocations[row.number] = replace(
                    self.invocations[row.number],
                    crashes=row.crashes,
                    crash_length=row.length,
                    crash_marked=row.marked,
                )
            case r.EndInvocation():
                self.invocations[row.number] = replace(
                    self.invocations[row.number],
                    status=r.Status.COMPLETED,
                    modified_at=row.at,
                    ended_at=row.at,
                    position=0,
                    awaited=None,
                    reason=None,
                    result=row.result,
                    expires_at=row.expires_at,
                    summary=row.summary,
                )
            case r.DeleteInvocation():
                del self.invocations[row.number]
                self.last_number = max(self.last_number, row.number)
                self.journal.pop(row.number, None)
                self.sinks = {sink for sink in self.sinks if sink.number != row.number}
            case r.AppendEntry():
                journal = self.journal[row.number]
                assert len(journal) == row.index, f"entry {row.index} of {row.number} is at {len(journal)}"
                journal.append(msgpack.encode(row.entry))
            case r.DeleteJournal():
                self.journal[row.number] = []
            case r.PutSink():
                self.sinks.add(row)
            case r.DeleteSink():
                self.sinks.discard(r.PutSink(row.number, row.caller, row.completion))
            case r.PutLock():
                self.locks[row.service, row.key] = row
            case r.DeleteLock():
                self.locks.pop((row.service, row.key), None)
            case r.Enqueue():
                self.queues.setdefault((row.service, row.key), {})[row.position] = row
            case r.Dequeue():
                del self.queues[row.service, row.key][row.position]
            case r.PutState():
                self.state.setdefault((row.service, row.key), {})[row.name] = row.value
            case r.DeleteState():
                self.state.get((row.service, row.key), {}).pop(row.name, None)
            case r.ClearState():
                self.state.pop((row.service, row.key), None)
            case r.PutPromise():
                self.promises[row.service, row.key, row.name] = row
            case r.PutPromiseWaiter():
                self.promise_waiters.add(row)
            case r.DeletePromiseWaiter():
                self.promise_waiters.discard(
                    r.PutPromiseWaiter(row.service, row.key, row.name, row.number, row.completion)
                )
            case r.DeletePromises():
                here = (row.service, row.key)
                self.promises = {name: put for name, put in self.promises.items() if name[:2] != here}
                self.promise_waiters = {each for each in self.promise_waiters if (each.service, each.key) != here}
            case r.PutTimer():
                self.timers.add(row)
            case r.DeleteTimer():
                self.timers.discard(r.PutTimer(row.due, row.number, row.completion))
            case r.PutWork():
                self.work[row.work] = row
            case r.DeleteWork():
                del self.work[row.work]
            case r.PutDeployment():
                self.deployments[row.deployment] = row
            case r.PutService():
                self.service_rows[row.service] = row
            case r.PutMark():
                self.mark = row.time
            case _:
                raise AssertionError(f"no table takes {row!r}")

    # --- what is committed -----------------------------------------------------------------------------------------

    def counters(self) -> Counters:
        last = max(self.last_number, *self.invocations, 0)
        return Counters(last, max(self.work, default=0), max(self.deployments, default=0))

    def invocation(self, number: int) -> Sequence[r.Row] | None:
        row = self.invocations.get(number)
        if row is None:
            return None
        found: list[r.Row] = [row]
        sinks = [each for each in self.sinks if each.number == number]
        found += sorted(sinks, key=attrgetter("caller"))
        if row.status is not r.Status.COMPLETED:
            first = row.summary.length if row.summary is not None else 0
            found += [
                r.AppendEntry(number, first + offset, entry)
                for offset, entry in enumerate(self.entries(number, first, len(self.journal[number])))
            ]
        return found

    def find(self, id: bytes) -> int:
        return next((number for number, row in self.invocations.items() if row.id == id), 0)

    def key(self, service: str, key: str) -> Sequence[r.Row]:
        lock = self.locks.get((service, key))
        queue = self.queues.get((service, key), {})
        return [*([lock] if lock is not None else []), *(queue[position] for position in sorted(queue))]

    def promise(self, service: str, key: str, name: str) -> Sequence[r.Row]:
        done = self.promises.get((service, key, name))
        waiters = [each for each in self.promise_waiters if (each.service, each.key, each.name) == (service, key, name)]
        return [*([done] if done is not None else []), *sorted(waiters, key=attrgetter("number"))]

    def state_of(self, service: str, key: str) -> dict[bytes, bytes]:
        return dict(sorted(self.state.get((service, key), {}).items()))

    def entries(self, number: int, first: int, limit: int) -> Sequence[Command | Notification]:
        found = [msgpack.decode(data) for data in self.journal.get(number, [])[first : first + limit]]
        return [entry for entry in found if isinstance(entry, Command | Notification)]

    def services(self) -> Sequence[r.Row]:
        return [*self.deployments.values(), *self.service_rows.values()]

    def timers_due(self, now: int, limit: int) -> Sequence[r.PutTimer]:
        return sorted(timer for timer in self.timers if timer.due <= now)[:limit]

    def works(self, limit: int) -> Sequence[r.PutWork]:
        return [self.work[number] for number in sorted(self.work)][:limit]

    def invoked(self, after: int, limit: int) -> Sequence[int]:
        live = (number for number, row in self.invocations.items() if row.status is r.Status.INVOKED)
        return sorted(number for number in live if number > after)[:limit]


class Reads:
    """The reader of a `TableStore`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.counters = tables.counters
        self.invocation = tables.invocation
        self.find = tables.find
        self.key = tables.key
        self.promise = tables.promise
        self.entries = tables.entries
        self.services = tables.services
        self.timers_due = tables.timers_due
        self.works = tables.works
        self.invoked = tables.invoked

    def state(self, service: str, key: str, name: bytes) -> bytes | None:
        return self._tables.state_of(service, key).get(name)

    def state_names(self, service: str, key: str) -> Sequence[bytes]:
        return list(self._tables.state_of(service, key))

    def state_entries(self, service: str, key: str) -> Sequence[tuple[bytes, bytes]]:
        return list(self._tables.state_of(service, key).items())


class TableStore:
    """One opening of the tables.

    Args:
        tables: what is on the disk.
        cut_after: the power fails when so many batches were committed; `None` for never.
        on_cut: called then.

    Attributes:
        held: whether batches wait for `let_go` instead of being committed.
        batches: the rows of each batch that was committed.
        after: called behind each commit, when its outputs were released.
    """

    def __init__(
        self, tables: Tables, *, cut_after: int | None = None, on_cut: Callable[[], None] = lambda: None
    ) -> None:
        self.path = "tables"
        self.created = not tables.deployments
        self.unclean = tables.open
        self.mark = tables.mark
        self.reader = Reads(tables)
        self.busy = False
        self.held = False
        self.batches: list[list[r.Row]] = []
        self.after: Callable[[], None] = lambda: None
        self._tables = tables
        self._cut_after = cut_after
        self._on_cut = on_cut
        self._post = post_here()
        self._waiting: tuple[int, list[r.Row]] | None = None
        self._committed: Callable[[int], None] = lambda _: None
        self._retrying: Callable[[str], None] = lambda _: None
        self._failed: Callable[[EngineFailed], None] = lambda _: None
        tables.open = True

    def start(
        self,
        *,
        committed: Callable[[int], None],
        retrying: Callable[[str], None],
        failed: Callable[[EngineFailed], None],
    ) -> None:
        self._committed, self._retrying, self._failed = committed, retrying, failed

    def submit(self, number: int, rows: Sequence[r.Row]) -> None:
        assert not self.busy, "one batch at a time"
        self.busy = True
        self._waiting = (number, list(rows))
        if not self.held:
            self._post(self._commit)

    def let_go(self) -> None:
        """Commit what was held, and hold nothing more."""
        self.held = False
        if self._waiting is not None:
            self._post(self._commit)

    def fail(self, message: str) -> None:
        """The disk breaks."""
        self._post(self._failed, EngineFailed(message))

    def fill(self, reason: str) -> None:
        """The disk is full, for now."""
        self.held = True
        self._post(self._retrying, reason)

    def _commit(self) -> None:
        if self._waiting is None or self.held:
            return
        if self._cut_after is not None and len(self.batches) >= self._cut_after:
            self._on_cut()
            return
        (number, rows), self._waiting = self._waiting, None
        for row in rows:
            self._tables.write(row)
        self.batches.append(rows)
        self.busy = False
        self._committed(number)
        self.after()

    def close(self, *, clean: bool = True) -> None:
        if clean:
            self._tables.open = False
