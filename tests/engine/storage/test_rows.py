"""Rows come back as they went in, of every class, and what is loaded is what the rows amount to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.engine import rows as r
from perdure.engine.storage import reader
from perdure.engine.storage.commits import Commits
from perdure.engine.storage.connection import MEMORY, connect
from perdure.engine.storage.migrations import migrate
from perdure.engine.storage.reader import StoreReader
from perdure.engine.storage.statements import WRITERS
from perdure.exceptions import EngineFailed
from perdure.wire.messages import InputCommand
from tests.engine.storage.batches import ROWS, batch
from tests.engine.storage.profile import PATIENCE, scaled
from tests.engine.tables import Reads, Tables

pytestmark = PATIENCE

KEYS = [(service, key) for service in ("Thing", "Flow") for key in ("", "k", "k\0k", "ключ")]


class Memory:
    """A store in memory, without a loop; open in a block."""

    def __init__(self) -> None:
        self.connection = connect(MEMORY, read_only=False)
        migrate(self.connection, MEMORY)
        self.commits = Commits(self.connection, MEMORY, lambda: False)
        self.reader = StoreReader(self.connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


@pytest.fixture
def memory() -> Iterator[Memory]:
    with Memory() as opened:
        yield opened


def everything(reader: Any, numbers: Sequence[int], ids: Sequence[bytes]) -> dict[str, Any]:
    """All that a reader can tell."""
    return {
        "invocations": {number: reader.invocation(number) for number in numbers},
        "journals": {number: reader.entries(number, 0, 1000) for number in numbers},
        "tails": {number: reader.entries(number, 1, 2) for number in numbers},
        "found": {id: reader.find(id) for id in ids},
        "keys": {name: reader.key(*name) for name in KEYS},
        "promises": {(*name, promise): reader.promise(*name, promise) for name in KEYS for promise in "pq"},
        "names": {name: list(reader.state_names(*name)) for name in KEYS},
        "states": {name: list(reader.state_entries(*name)) for name in KEYS},
        "values": {(*name, each): reader.state(*name, each) for name in KEYS for each in (b"", b"n", b"\xff\0")},
        "timers": [list(reader.timers_due(now, limit)) for now in (0, 3, 9) for limit in (2, 1000)],
        "works": [list(reader.works(limit)) for limit in (1, 1000)],
        "invoked": [list(reader.invoked(after, limit)) for after in (0, 1, 2) for limit in (1, 1000)],
    }


def services(reader: Any) -> list[r.Row]:
    def place(row: Any) -> tuple[bool, Any]:
        service = isinstance(row, r.PutService)
        return service, row.service if service else row.deployment

    return sorted(reader.services(), key=place)


@given(st.data())
@settings(max_examples=scaled(20, 2000))
def test_what_is_read_after_every_batch_is_what_its_rows_say(data: st.DataObject) -> None:
    tables = Tables()
    known: dict[int, bytes] = {}
    with Memory() as memory:
        for _ in range(data.draw(st.integers(1, 5))):
            rows = data.draw(batch(tables))
            memory.commits.write(rows)
            known |= {row.number: row.id for row in rows if isinstance(row, r.PutInvocation)}
            numbers, ids = [*known, 99], [*known.values(), bytes(24)]
            assert everything(memory.reader, numbers, ids) == everything(Reads(tables), numbers, ids)
            assert services(memory.reader) == services(tables)
            assert memory.reader.mark() == tables.mark


@pytest.mark.parametrize("cls", ROWS, ids=lambda cls: cls.__name__)
@given(data=st.data())
@settings(max_examples=scaled(3, 200))
def test_a_row_of_each_class_is_stored(cls: type[r.Row], data: st.DataObject) -> None:
    tables = Tables()
    first = data.draw(batch(tables, 3))
    basis = [
        *data.draw(ROWS[r.PutInvocation](tables).map(lambda row: [row])),
        r.PutWork(50, r.WorkKind.ANSWER),
        r.Enqueue("Thing", "k", 1, 5),
    ]
    for row in basis:
        tables.write(row)
    row = data.draw(ROWS[cls](tables))
    tables.write(row)
    numbers = [*tables.invocations, 1, 2]
    with Memory() as memory:
        memory.commits.write([*first, *basis, row])
        assert everything(memory.reader, numbers, []) == everything(Reads(tables), numbers, [])
        assert services(memory.reader) == services(tables)


def test_every_class_of_rows_has_a_statement_and_a_strategy() -> None:
    classes = {cls for cls in vars(r).values() if isinstance(cls, type) and issubclass(cls, r.Row)} - {r.Row}
    assert set(WRITERS) == classes
    assert set(ROWS) == classes


@given(st.data())
@settings(max_examples=scaled(8, 500))
def test_a_batch_without_entries_can_be_written_twice(data: st.DataObject) -> None:
    tables = Tables()
    first = data.draw(batch(tables))
    rows = [row for row in data.draw(batch(tables, 12)) if not isinstance(row, r.AppendEntry)]
    with Memory() as once, Memory() as twice:
        for memory, times in ((once, 1), (twice, 2)):
            memory.commits.write(first)
            for _ in range(times):
                memory.commits.write(rows)
        numbers = list(range(1, 12))
        assert everything(once.reader, numbers, []) == everything(twice.reader, numbers, [])


def put(number: int, **changes: Any) -> r.PutInvocation:
    fields: dict[str, Any] = {
        "id": bytes(8) + number.to_bytes(16, "big"),
        "service": "Thing",
        "handler": "do",
        "key": "",
        "kind": r.Kind.SERVICE,
        "status": r.Status.INVOKED,
        "created_at": 1,
        "modified_at": 1,
    }
    return r.PutInvocation(number=number, **(fields | changes))


def test_a_second_entry_at_the_same_index_fails_the_engine_and_changes_nothing(memory: Memory) -> None:
    memory.commits.write([put(1), r.AppendEntry(1, 0, InputCommand(name="first"))])
    with pytest.raises(EngineFailed, match="already holds what was to be written"):
        memory.commits.write([r.PutMark(7), r.AppendEntry(1, 0, InputCommand(name="second"))])
    assert memory.reader.entries(1, 0, 10) == [InputCommand(name="first")]
    assert memory.reader.mark() == 0
    assert not memory.connection.in_transaction


def test_a_second_invocation_with_the_same_id_fails_the_engine_and_replaces_nothing(memory: Memory) -> None:
    memory.commits.write([put(1)])
    with pytest.raises(EngineFailed, match="UNIQUE"):
        memory.commits.write([put(2, id=put(1).id)])
    assert memory.reader.invocation(1) == [put(1)]
    assert memory.reader.invocation(2) is None


@pytest.mark.parametrize(
    "row",
    [
        put(1, handler="\ud800"),
        put(1, created_at=2**63),
        r.AppendEntry(1, 0, InputCommand(name="\udfff")),
    ],
    ids=["text", "number", "entry"],
)
def test_what_cannot_be_stored_fails_the_engine_and_leaves_no_transaction(memory: Memory, row: r.Row) -> None:
    with pytest.raises(EngineFailed, match="cannot be stored"):
        memory.commits.write([r.PutMark(7), row])
    assert memory.reader.mark() == 0
    assert not memory.connection.in_transaction


def test_numbers_are_not_given_twice_even_when_everything_was_forgotten(memory: Memory) -> None:
    memory.commits.write([put(number) for number in (1, 2, 3)])
    memory.commits.write([r.DeleteInvocation(number, put(number).id) for number in (3, 1, 2)])
    assert memory.reader.counters().invocation == 3
    memory.commits.write([put(4), r.PutWork(8, r.WorkKind.ANSWER)])
    counters = memory.reader.counters()
    assert (counters.invocation, counters.work, counters.deployment, counters.attempt) == (4, 8, 0, 0)


def test_a_gap_in_a_journal_is_reported_and_not_read_over(memory: Memory) -> None:
    memory.commits.write([put(1), *(r.AppendEntry(1, index, InputCommand()) for index in range(4))])
    memory.connection.execute("DELETE FROM journal WHERE idx = 2")
    with pytest.raises(EngineFailed, match="gap"):
        memory.reader.entries(1, 0, 10)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE journal SET entry = x'ff'", "entry 0 of the journal of invocation 1 cannot be read"),
        ("UPDATE invocations SET awaited = x'ff'", "invocations.awaited holds 1 bytes that cannot be read"),
    ],
)
def test_bytes_that_cannot_be_read_are_reported_by_their_place(memory: Memory, sql: str, message: str) -> None:
    memory.commits.write([put(1), r.AppendEntry(1, 0, InputCommand())])
    memory.connection.execute(sql)
    with pytest.raises(EngineFailed, match=message):
        memory.reader.invocation(1)


def test_opening_reads_only_what_is_not_completed(memory: Memory) -> None:
    [(*_, plan)] = memory.connection.query(f"EXPLAIN QUERY PLAN {reader._INVOKED}", (0, 10))
    assert "COVERING INDEX live (status=? AND number>?)" in plan
