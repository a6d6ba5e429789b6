"""The engine's store: a commit against its floor, and whether anything grows with the file.

    python benchmarks/engine_storage.py
    python benchmarks/engine_storage.py --growth 1000 1000000

The floor is what a commit of two rows costs with SQLite alone, on the same file system, with the same pragmas and a
write-ahead log at its full length; it is measured in turns with the store. The store adds the way to its thread and
back, which is what keeps a slow disk from stopping the loop.

With `--growth` files of so many completed invocations, four journal entries each, are made (a million takes a minute
and 0.7 GB), and the same operations are measured on all of them in turns. The goal: at most 1.3 times, p50 and mean.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

from perdure.engine import rows as r
from perdure.engine.storage import Store, open_store
from perdure.engine.storage.statements import write
from perdure.engine.storage.wal import warm
from perdure.wire.messages import InputCommand, OutputCommand, RunCommand, RunCompletion, Value

GOAL = 1.3
CONTENT = Value(b"x" * 40)
PRAGMAS = ("page_size=4096", "journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0", "secure_delete=0")


class Floor:
    """SQLite alone: two rows a commit."""

    def __init__(self, path: Path) -> None:
        from perdure.engine.storage.connection import connect

        self.connection = connect(str(path), read_only=False)
        for pragma in PRAGMAS:
            self.connection.query(f"PRAGMA {pragma}")
        self.connection.execute("CREATE TABLE j (n INTEGER, i INTEGER, e BLOB, PRIMARY KEY (n, i)) WITHOUT ROWID")
        warm(self.connection)
        self.connection.execute("PRAGMA user_version=1")
        self.connection.query("PRAGMA wal_checkpoint(RESTART)")
        self._index = 0

    def commit(self) -> None:
        connection = self.connection
        connection.begin()
        connection.execute("INSERT INTO j VALUES (1, ?, ?)", (self._index, bytes(20)))
        connection.execute("INSERT INTO j VALUES (1, ?, ?)", (self._index + 1, bytes(60)))
        connection.commit()
        self._index += 2
        if self._index % 600 == 0:
            connection.checkpoint()  # not timed by any caller in particular: it falls where it falls


class Client:
    """Hands batches over and waits for them, as an engine does that has nothing else to do."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._number = 0
        self._done = anyio.Event()
        store.start(committed=self._committed, retrying=self._refuse, failed=self._refuse)

    def _committed(self, _: int) -> None:
        self._done.set()

    def _refuse(self, problem: object) -> None:
        raise SystemExit(f"the store cannot write: {problem}")

    async def commit(self, rows: list[r.Row]) -> None:
        self._done = anyio.Event()
        self._number += 1
        self.store.submit(self._number, rows)
        await self._done.wait()


def step(number: int, index: int) -> list[r.Row]:
    completion = index // 2 + 1
    return [
        r.AppendEntry(number, index, RunCommand(completion, "step")),
        r.AppendEntry(number, index + 1, RunCompletion(completion, CONTENT)),
    ]


def start(number: int, now: int) -> list[r.Row]:
    # The unique number is time-ordered, as those that the engine makes.
    unique = now.to_bytes(6, "big") + os.urandom(2) + number.to_bytes(8, "big")
    invocation = r.PutInvocation(
        number=number,
        id=os.urandom(8) + unique,
        service="Shop",
        handler="checkout",
        key="",
        kind=r.Kind.SERVICE,
        status=r.Status.INVOKED,
        created_at=now,
        modified_at=now,
    )
    return [invocation, r.AppendEntry(number, 0, InputCommand(value=CONTENT))]


def end(number: int, length: int, now: int) -> list[r.Row]:
    return [
        r.AppendEntry(number, length, OutputCommand(result=CONTENT)),
        r.EndInvocation(number, CONTENT, now, now + 86_400_000, r.Summary(length=length + 1)),
        r.PutTimer(now + 86_400_000, number, r.FORGET),
    ]


def figures(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "p50_us": statistics.median(ordered) * 1e6,
        "mean_us": statistics.fmean(ordered) * 1e6,
        "p99_us": ordered[len(ordered) * 99 // 100] * 1e6,
    }


@contextmanager
def timed(times: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    times.append(time.perf_counter() - began)


async def commits(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Commits of two rows: the floor, through the thread, and on the loop, in turns of fifty."""
    threaded = Client(open_store(folder / "thread.db"))
    inline = Client(open_store(folder / "inline.db", inline=True))
    floor = Floor(folder / "floor.db")
    times: dict[str, list[float]] = {"floor": [], "thread": [], "inline": []}
    for index in range(0, 2 * 50 * rounds, 100):
        for _ in range(50):
            with timed(times["floor"]):
                floor.commit()
        for name, client in (("thread", threaded), ("inline", inline)):
            for each in range(index, index + 100, 2):
                rows = step(1, each)
                with timed(times[name]):
                    await client.commit(rows)
    for store in (threaded.store, inline.store):
        store.close()
    floor.connection.close()
    return {name: figures(each) for name, each in times.items()}


def populate(path: Path, count: int) -> None:
    """Completed invocations with four entries each, and a timer for each that ends its retention."""
    open_store(path, warmed=False).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    now, page = 1_700_000_000_000, 10_000
    for first in range(1, count + 1, page):
        print(f"\rpopulate: {first - 1} of {count}   ", end="", file=sys.stderr, flush=True)
        connection.execute("BEGIN")
        for number in range(first, min(first + page, count + 1)):
            write(connection.execute, [*start(number, now + number), *step(number, 1), *end(number, 3, now + number)])
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    print(file=sys.stderr)


class Grown:
    """Operations on a file that holds so many invocations."""

    def __init__(self, path: Path, count: int) -> None:
        populate(path, count)
        self.path, self.count = path, count
        began = time.perf_counter()
        self.client = Client(open_store(path))
        self.opened = time.perf_counter() - began
        self.next = count + 1
        self.now = 1_800_000_000_000
        self.index = 1
        self._first = self.next
        self.times: dict[str, list[float]] = {}

    async def begin(self) -> None:
        await self.client.commit(start(self.next, self.now))
        self.next += 1

    async def measure(self, name: str, operation: Callable[[], Awaitable[None]]) -> None:
        with timed(self.times.setdefault(name, [])):
            await operation()

    async def round(self, number: int) -> None:
        reader = self.client.store.reader
        for _ in range(10):
            await self.measure("step", self._step)
        await self.measure("start and end", self._start_and_end)
        await self.measure("50 starts", self._starts)
        await self.measure("timer", lambda: self.client.commit([r.PutTimer(self.now + number, self._first, 1)]))
        old = number * 7919 % self.count + 1
        rows = reader.invocation(old)
        assert rows is not None
        [put] = rows
        assert isinstance(put, r.PutInvocation)
        with timed(self.times.setdefault("load by id", [])):
            reader.invocation(reader.find(put.id))
        with timed(self.times.setdefault("load a journal", [])):
            reader.entries(old, 0, -1)

    async def _step(self) -> None:
        await self.client.commit(step(self._first, self.index))
        self.index += 2

    async def _start_and_end(self) -> None:
        number, self.next = self.next, self.next + 1
        await self.client.commit(start(number, self.now))
        await self.client.commit(end(number, 1, self.now))

    async def _starts(self) -> None:
        rows = [row for number in range(self.next, self.next + 50) for row in start(number, self.now)]
        self.next += 50
        await self.client.commit(rows)

    async def pages(self) -> dict[str, float]:
        """How many pages each operation writes, which no noise of the machine can blur."""
        connection = self.client.store._write_connection  # noqa: SLF001 (nobody else writes now)
        operations = {"step": self._step, "start and end": self._start_and_end, "50 starts": self._starts}
        found = {}
        for name, operation in operations.items():
            counts = []
            for _ in range(20):
                connection.query("PRAGMA wal_checkpoint(PASSIVE)")  # so that the log starts over
                await operation()
                [(_, frames, _)] = connection.query("PRAGMA wal_checkpoint(PASSIVE)")
                counts.append(frames)
            found[name] = statistics.fmean(counts)
        return found

    async def close(self) -> dict[str, Any]:
        pages = await self.pages()
        began = time.perf_counter()
        self.client.store.reader.timers_due(self.now, 256)
        page = time.perf_counter() - began
        self.client.store.close(clean=False)
        began = time.perf_counter()
        store = open_store(self.path)
        unclean = time.perf_counter() - began
        store.close()
        return {
            "operations": {name: figures(times) for name, times in self.times.items()},
            "pages": pages,
            "open_s": self.opened,
            "open_unclean_s": unclean,
            "first_256_timers_ms": page * 1e3,
            "size_mb": self.path.stat().st_size / 1e6,
        }


async def growth(folder: Path, counts: list[int], rounds: int) -> dict[int, dict[str, Any]]:
    files = [Grown(folder / f"{count}.db", count) for count in counts]
    for file in files:
        await file.begin()
    for number in range(rounds):
        print(f"\rgrowth: round {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        for file in files:
            await file.round(number)
    print(file=sys.stderr)
    return {file.count: await file.close() for file in files}


def print_commits(backend: str, found: dict[str, dict[str, float]]) -> None:
    floor = found["floor"]["p50_us"]
    for name, each in found.items():
        columns = f"p50 {each['p50_us']:6.0f}  mean {each['mean_us']:6.0f}  p99 {each['p99_us']:6.0f} us"
        print(f"{backend:<8} {name:<7} {columns}   floor {each['p50_us'] - floor:+5.0f} us")


def print_growth(found: dict[int, dict[str, Any]]) -> None:
    small, *others = sorted(found)
    for count in sorted(found):
        file = found[count]
        print(
            f"{count:>9,} invocations: {file['size_mb']:.0f} MB, opened in {file['open_s']:.2f} s, after a crash in "
            f"{file['open_unclean_s']:.2f} s, first 256 due timers in {file['first_256_timers_ms']:.1f} ms"
        )
        for name, each in file["operations"].items():
            line = (
                f"    {name:<15} p50 {each['p50_us']:6.0f}  mean {each['mean_us']:6.0f}  p99 {each['p99_us']:6.0f} us"
            )
            if count in others:
                base = found[small]["operations"][name]
                ratios = [each[key] / base[key] for key in ("p50_us", "mean_us")]
                met = "met" if max(ratios) <= GOAL else f"MISSED ({GOAL})"
                line += f"   x {ratios[0]:.2f} p50, {ratios[1]:.2f} mean: {met}"
            pages = f"   {file['pages'][name]:.1f} pages" if name in file["pages"] else ""
            print(line + pages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="of fifty commits of each kind")
    parser.add_argument("--growth", type=int, nargs="+", default=[], metavar="COUNT", help="stored invocations")
    parser.add_argument("--backend", choices=("asyncio", "trio"), help="one event loop instead of both")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; default: the current folder")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.folder or Path.cwd()) as name:
        for backend in [options.backend] if options.backend else ["asyncio", "trio"]:
            folder = Path(name) / backend
            folder.mkdir()
            result[backend] = anyio.run(commits, folder, options.rounds, backend=backend)
            if not options.json:
                print_commits(backend, result[backend])
        if options.growth:
            found = anyio.run(growth, Path(name), options.growth, 5 * options.rounds)
            result["growth"] = found
            if not options.json:
                print_growth(found)
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
