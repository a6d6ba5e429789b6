"""Long journals: microseconds and memory per replayed step, at 1,000 and at 100,000 entries.

    python benchmarks/replay.py

A journal entry is a command or a notification, so 100,000 entries are 50,000 steps. The goal: a step at the long
journal costs at most 1.3 times one at the short.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tracemalloc
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent))

from core_apps import perdure_app
from core_worker import journal, replayed
from fake_server import lifespan

SHORT, LONG = 1_000, 100_000
GOAL = 1.3


async def measure(rounds: int) -> dict[str, float]:
    app = perdure_app()
    async with lifespan(app):
        short = await journal(app, 6, SHORT // 2)
        long = await journal(app, 6, LONG // 2)
        times: dict[int, list[float]] = {SHORT: [], LONG: []}
        for number in range(rounds):
            print(f"\rreplay: round {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
            times[LONG].append(await replayed(app, 6, long))
            times[SHORT].append(statistics.median([await replayed(app, 6, short) for _ in range(20)]))
        print(file=sys.stderr)
        tracemalloc.start()
        await replayed(app, 6, long)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return {
        "short_us_per_step": statistics.median(times[SHORT]) / (SHORT // 2) * 1e6,
        "long_us_per_step": statistics.median(times[LONG]) / (LONG // 2) * 1e6,
        "bytes_per_entry": peak / LONG,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = anyio.run(measure, options.rounds, backend=options.backend)
    result["ratio"] = result["long_us_per_step"] / result["short_us_per_step"]
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"replay on {options.backend}, a journal of {SHORT:,} entries:   {result['short_us_per_step']:6.2f} us per step"
    )
    print(f"replay on {options.backend}, a journal of {LONG:,} entries: {result['long_us_per_step']:6.2f} us per step")
    print(f"ratio {result['ratio']:.2f}, goal {GOAL}: {'met' if result['ratio'] <= GOAL else 'MISSED'}")
    print(
        f"memory of the attempt at its peak: {result['bytes_per_entry']:.0f} bytes per entry (request bytes included)"
    )


if __name__ == "__main__":
    main()
