"""A program that writes batches until it is killed: `python -m tests.engine.storage.killed FILE BACKEND [POINT]`.

Each batch is one number further than the one before, in several tables. A number is printed when it is acknowledged,
and `POINT` names where the process ends itself: a call to SQLite, before or after it, or the acknowledgement.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import anyio

from perdure.engine.rows import AppendEntry, DeleteInvocation, PutMark, PutState, Row
from perdure.engine.storage import Store, open_store
from perdure.engine.storage.connection import connect
from perdure.wire.messages import InputCommand, Value
from tests.engine.storage.faults import Faults, faulty
from tests.engine.storage.heard import Heard, step
from tests.engine.storage.test_rows import put

POINTS: Final = ("after begin", "before execute", "after execute", "before commit", "after commit", "acknowledged")
"""Named points at which a process can end itself, in the order in which a batch passes them."""

FATAL_BATCH: Final = 15
"""The batch, counted from the start of the process, in which it does."""


def batch(number: int) -> list[Row]:
    """Something of everything; `mark` and a state say how far it is, and entry `number` is in journal 1."""
    rows: list[Row] = [
        PutMark(number),
        AppendEntry(1, number, InputCommand(value=Value(number.to_bytes(4, "big") * (number * 37 % 400)))),
        PutState("Thing", "k", b"n", number.to_bytes(4, "big")),
    ]
    if number == 0:
        return [put(1), *rows]
    rows += [put(number + 1), *step(number + 1, 0, bytes(number % 3000))]
    if number > 20:
        rows.append(DeleteInvocation(number - 10, put(number - 10).id))
    return rows


def last_whole(store: Store) -> int:
    """The last batch that is in a store, -1 for none; nothing of any later one may be."""
    last, reader = store.reader.mark(), store.reader
    journal = reader.entries(1, 0, 1_000_000)
    if not journal:
        assert reader.counters().invocation == last == 0
        assert reader.state("Thing", "k", b"n") is None
        return -1
    assert len(journal) == last + 1
    assert reader.state("Thing", "k", b"n") == last.to_bytes(4, "big")
    assert reader.counters().invocation == last + 1
    if last:
        assert reader.find(put(last + 1).id) == last + 1
        assert len(reader.entries(last + 1, 0, 10)) == 2
    if last > 20:
        assert reader.invocation(last - 10) is None
    return last


def _end() -> None:
    os._exit(9)


def _arm(faults: Faults, point: str) -> None:
    when, _, method = point.partition(" ")
    before = sum(len(batch(number)) for number in range(FATAL_BATCH - 1))
    at = before + 2 if method == "execute" else FATAL_BATCH
    faults.arm(method, at, _end, after=when == "after")


async def main(path: str, point: str) -> None:
    """Write until the end."""
    faults = Faults()
    store = open_store(path, warmed=False, connect=faulty(faults) if point else connect)
    number = last_whole(store) + 1
    if point not in {"", "acknowledged"}:
        _arm(faults, point)
    heard = Heard(store)
    while True:
        await heard.commit(number, *batch(number))
        if point == "acknowledged" and len(heard.committed) == FATAL_BATCH:
            _end()
        os.write(sys.stdout.fileno(), b"%d\n" % number)
        number += 1


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], " ".join(sys.argv[3:]), backend=sys.argv[2])
