"""Measures one SDK in this process; `benchmarks/core.py` starts one worker per SDK and event loop."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import anyio

sys.path.insert(0, str(Path(__file__).parent))

from core_apps import APPS
from fake_server import FakeServer, lifespan

from perdure.testing.runtime import InMemoryRuntime
from perdure.wire.messages import OutputCommand

FEWEST_RUNS = 5


async def processed(app: Any, version: int, n: int) -> float:
    """Seconds of an invocation of `n` steps, all of them executed."""
    runtime = InMemoryRuntime(str(n).encode())
    server = FakeServer("Bench/steps", version)
    started = time.perf_counter()
    await server.invoke(app, runtime)
    return time.perf_counter() - started


async def journal(app: Any, version: int, n: int) -> InMemoryRuntime:
    """A runtime whose journal holds `n` steps, and no output yet."""
    runtime = InMemoryRuntime(str(n).encode())
    await FakeServer("Bench/steps", version).invoke(app, runtime)
    runtime.journal = [entry for entry in runtime.journal if not isinstance(entry, OutputCommand)]
    return runtime


async def replayed(app: Any, version: int, runtime: InMemoryRuntime) -> float:
    """Seconds of an attempt that only replays."""
    kept = list(runtime.journal)
    server = FakeServer("Bench/steps", version)
    started = time.perf_counter()
    await server.invoke(app, runtime, close_after_journal=True)
    elapsed = time.perf_counter() - started
    runtime.journal = kept
    return elapsed


async def measure(app: Any, version: int, sizes: list[int], seconds: float) -> dict[str, dict[int, float]]:
    """Medians, in microseconds: of a whole invocation by its number of steps, executed and replayed."""
    async with lifespan(app):
        return await measure_running(app, version, sizes, seconds)


async def measure_running(app: Any, version: int, sizes: list[int], seconds: float) -> dict[str, dict[int, float]]:
    result: dict[str, dict[int, float]] = {"processed": {}, "replayed": {}}
    for n in sizes:
        runtime = await journal(app, version, n)
        runs: dict[str, list[float]] = {"processed": [], "replayed": []}
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline or len(runs["replayed"]) < FEWEST_RUNS:
            gc.collect(0)
            runs["processed"].append(await processed(app, version, n))
            runs["replayed"].append(await replayed(app, version, runtime))
        for kind, times in runs.items():
            result[kind][n] = statistics.median(times) * 1e6
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sdk", choices=sorted(APPS))
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--protocol", type=int, default=6)
    parser.add_argument("--sizes", default="0,1,10,100,1000")
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    sizes = [int(size) for size in options.sizes.split(",")]
    result = anyio.run(measure, APPS[options.sdk](), options.protocol, sizes, options.seconds, backend=options.backend)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
