"""The embedded engine: what a durable step costs, on a file, beside the floor and DBOS.

    python benchmarks/engine.py                     # 3 rounds, every peer once per round, medians and ratios
    python benchmarks/engine.py --rounds 1 --only perdure

The **floor** is one commit of two rows through `sqlite3` with the engine's pragmas, on the same file system, its WAL
written to full length before (a WAL that still grows costs twice as much). It is measured inside the same process, in
turns with the steps: 50 commits, 50 steps, and so on, so that whatever else the machine does meets both.

Peers: perdure on asyncio and on trio; DBOS as it is shipped (its file runs with a rollback journal) and with its file
put into WAL beforehand, in an environment of its own. Files lie in the folder `--folder`, by default the temporary one.

For perdure it also counts what noise cannot blur: commits and turns of the loop per step.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers import dbos_python

CHUNK = 50
CHUNKS = 30
MANY = 100
STEPS = 10
GOAL_MICROSECONDS = 190


# --- the floor -------------------------------------------------------------------------------------------------------


class Floor:
    """Commits of two rows each, as the engine writes a step."""

    def __init__(self, path: Path) -> None:
        db = self._db = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=OFF", "wal_autocheckpoint=0"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        db.execute("CREATE TABLE journal (inv INTEGER, idx INTEGER, entry BLOB, PRIMARY KEY (inv, idx)) WITHOUT ROWID")
        db.execute("CREATE TABLE warm (b BLOB)")
        db.execute("INSERT INTO warm VALUES (zeroblob(4194304))")
        db.execute("DROP TABLE warm")
        db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        self._next = 0

    def commits(self, times: int) -> list[float]:
        """Seconds that each commit took."""
        db = self._db
        taken = []
        for _ in range(times):
            begun = time.perf_counter()
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO journal VALUES (1, ?, ?)", (self._next, b"x" * 16))
            db.execute("INSERT INTO journal VALUES (1, ?, ?)", (self._next + 1, b"y" * 16))
            db.execute("COMMIT")
            taken.append(time.perf_counter() - begun)
            self._next += 2
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return taken


# --- perdure ---------------------------------------------------------------------------------------------------------


def measure_perdure(folder: Path, backend: str) -> dict[str, float]:
    import anyio

    import perdure

    bench = perdure.Service("Bench")
    floor = Floor(folder / "floor.db")
    floors: list[float] = []
    taken: list[float] = []

    async def step() -> int:
        return 1

    @bench.handler
    async def sequential(ctx: perdure.Context, chunks: int) -> int:
        done = 0
        for _ in range(chunks):
            floors.extend(floor.commits(CHUNK))
            for _ in range(CHUNK):
                begun = time.perf_counter()
                done += await ctx.run(step)
                taken.append(time.perf_counter() - begun)
        return done

    @bench.handler
    async def steps(ctx: perdure.Context, times: int) -> int:
        done = 0
        for _ in range(times):
            done += await ctx.run(step)
        return done

    async def main() -> dict[str, float]:
        async with perdure.open_engine(folder / "engine.db", perdure.Endpoint(bench)) as engine:
            await engine.call(sequential, 4)
            floors.clear()
            taken.clear()
            pump = engine.core.pump
            before = pump.commits
            await engine.call(sequential, CHUNKS)
            commits = (pump.commits - before - 2) / (CHUNK * CHUNKS)
            rates = []
            for _ in range(5):
                begun = time.perf_counter()
                async with anyio.create_task_group() as tasks:
                    for _ in range(MANY):
                        tasks.start_soon(lambda: engine.call(steps, STEPS))
                rates.append(MANY * STEPS / (time.perf_counter() - begun))
            return {
                "floor_us": statistics.median(floors) * 1e6,
                "step_us": statistics.median(taken) * 1e6,
                "many_per_s": statistics.median(rates),
                "commits": commits,
                "turns": await turns(engine, steps),
            }

    async def turns(engine: Any, handler: Any) -> float:
        """Turns of the loop for a step, while nothing else runs on it."""
        counter = TurnCounter()
        with counter.counting():
            await engine.call(handler, 200)
        return counter.turns / 200

    return anyio.run(main, backend=backend)


class TurnCounter:
    """Counts the turns of the loop that runs, by its own means."""

    def __init__(self) -> None:
        self.turns = 0

    def counting(self) -> Any:
        import contextlib

        import sniffio

        counter = self

        @contextlib.contextmanager
        def on_asyncio() -> Any:
            import asyncio

            loop: Any = asyncio.get_running_loop()
            selector = loop._selector  # noqa: SLF001 - asyncio counts its turns nowhere
            select = selector.select

            def counted(timeout: float | None = None) -> Any:
                counter.turns += 1
                return select(timeout)

            selector.select = counted
            try:
                yield
            finally:
                del selector.select

        @contextlib.contextmanager
        def on_trio() -> Any:
            import trio

            class Instrument(trio.abc.Instrument):
                def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - trio names it
                    counter.turns += 1

            instrument = Instrument()
            trio.lowlevel.add_instrument(instrument)
            try:
                yield
            finally:
                trio.lowlevel.remove_instrument(instrument)

        return on_trio() if sniffio.current_async_library() == "trio" else on_asyncio()


# --- DBOS ------------------------------------------------------------------------------------------------------------


def measure_dbos(folder: Path, journal: str) -> dict[str, float]:
    import asyncio

    DBOS: Any = importlib.import_module("dbos").DBOS  # noqa: N806 - its name; it is in an environment of its own

    path = folder / "dbos.sqlite"
    if journal == "wal":
        db = sqlite3.connect(path)
        db.execute("PRAGMA journal_mode=WAL").fetchall()
        db.close()
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{path}", "log_level": "ERROR"})
    taken: list[float] = []

    @DBOS.step()  # type: ignore[untyped-decorator]  # see above
    async def step() -> int:
        return 1

    @DBOS.workflow()  # type: ignore[untyped-decorator]  # likewise
    async def sequential(times: int) -> int:
        done = 0
        for _ in range(times):
            begun = time.perf_counter()
            done += await step()
            taken.append(time.perf_counter() - begun)
        return done

    DBOS.launch()

    async def main() -> dict[str, float]:
        await sequential(30)
        taken.clear()
        await sequential(300)
        step_us = statistics.median(taken) * 1e6
        begun = time.perf_counter()
        await asyncio.gather(*[sequential(STEPS) for _ in range(MANY)])
        return {"step_us": step_us, "many_per_s": MANY * STEPS / (time.perf_counter() - begun)}

    try:
        return asyncio.run(main())
    finally:
        DBOS.destroy()


# --- rounds ----------------------------------------------------------------------------------------------------------

PEERS: dict[str, tuple[Callable[..., dict[str, float]], str, Callable[[], str]]] = {
    "perdure, asyncio": (measure_perdure, "asyncio", lambda: sys.executable),
    "perdure, trio": (measure_perdure, "trio", lambda: sys.executable),
    "DBOS as shipped": (measure_dbos, "delete", lambda: str(dbos_python())),
    "DBOS in WAL": (measure_dbos, "wal", lambda: str(dbos_python())),
}


def once(name: str, folder: Path) -> dict[str, float]:
    """One measurement, in a process and a folder of its own."""
    python = PEERS[name][2]()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        done = subprocess.run(
            [python, __file__, "--worker", name, "--folder", place], check=True, stdout=subprocess.PIPE, text=True
        )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="peers whose names contain this")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the files lie")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        measure, how, _ = PEERS[options.worker]
        print(json.dumps(measure(options.folder, how)), flush=True)
        sys.stdout.flush()
        os._exit(0)  # a peer may leave threads behind
    names = [name for name in PEERS if options.only is None or options.only.lower() in name.lower()]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            found[name].append(once(name, options.folder))
    result = {
        name: {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        for name, rounds in found.items()
    }
    if options.json:
        print(json.dumps(result))
        return
    report(result)


def report(result: dict[str, dict[str, float]]) -> None:
    print(f"medians; a sequential step, and {MANY} workflows of {STEPS} steps at once")
    print(f"{'':22}{'floor us':>9}{'step us':>9}{'beyond':>8}{'x floor':>8}{'steps/s':>9}{'commits':>9}{'turns':>7}")
    for name, row in result.items():
        floor = row.get("floor_us")
        beyond = f"{row['step_us'] - floor:8.0f}{row['step_us'] / floor:8.2f}" if floor else " " * 16
        counts = f"{row['commits']:9.2f}{row['turns']:7.1f}" if "commits" in row else ""
        print(f"{name:22}{floor or 0:9.0f}{row['step_us']:9.0f}{beyond}{row['many_per_s']:9.0f}{counts}")
    for name, row in result.items():
        if not name.startswith("perdure"):
            continue
        for other in ("DBOS as shipped", "DBOS in WAL"):
            if other in result:
                step = result[other]["step_us"] / row["step_us"]
                many = row["many_per_s"] / result[other]["many_per_s"]
                print(f"{name}: a step in 1/{step:.1f} of {other}, {many:.1f} times as many at once")
    print(f"goal: at most {GOAL_MICROSECONDS} us beyond the floor, 1.00 commits, at most 5 turns of the loop")


if __name__ == "__main__":
    main()
