"""The core in memory: microseconds per step, processed and replayed, beside the official SDK in the same run.

    python benchmarks/core.py             # a table, with the goals
    python benchmarks/core.py --json

Each round measures every peer once, in turn, so that all see the same machine; medians over the rounds are printed, and
ratios of medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from peers import OFFICIAL, official_python

WORKER = Path(__file__).with_name("core_worker.py")
BRANCHES = Path(__file__).with_name("branches_worker.py")
BRANCH_GOAL = 20.0
"""Microseconds that a branch with one step may cost over a sequential step; there is no peer to compare it with."""
PEERS = [("perdure", "asyncio"), ("perdure", "trio"), (OFFICIAL, "asyncio")]
SIZES = [0, 1, 10, 100, 1000]


def worker(python: str | Path, sdk: str, backend: str, sizes: list[int], seconds: float) -> dict[str, dict[str, float]]:
    command = [str(python), str(WORKER), sdk, "--backend", backend, "--seconds", str(seconds)]
    command += ["--sizes", ",".join(map(str, sizes))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, dict[str, float]] = json.loads(done.stdout)
    return result


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Medians in microseconds, by peer, kind and number of steps."""
    official = official_python()
    samples: dict[str, list[dict[str, dict[str, float]]]] = {}
    for number in range(rounds):
        for sdk, backend in PEERS:
            print(
                f"\rcore: round {number + 1} of {rounds}, {sdk} on {backend}      ", end="", file=sys.stderr, flush=True
            )
            python = official if sdk == OFFICIAL else sys.executable
            samples.setdefault(f"{sdk} {backend}", []).append(worker(python, sdk, backend, SIZES, seconds))
    print(file=sys.stderr)
    return {
        peer: {
            kind: {size: statistics.median(run[kind][size] for run in runs) for size in runs[0][kind]}
            for kind in ("processed", "replayed")
        }
        for peer, runs in samples.items()
    }


def per_step(peer: dict[str, dict[str, float]], kind: str, size: int) -> float:
    """Microseconds of one step: what an invocation of `size` steps costs beyond an empty one."""
    return (peer[kind][str(size)] - peer[kind]["0"]) / size


def verdicts(result: dict[str, Any]) -> list[tuple[str, float, float, float, float]]:
    """Rows: what, ours, the official SDK's, the ratio, the goal."""
    official = result[f"{OFFICIAL} asyncio"]
    rows = []
    for backend in ("asyncio", "trio"):
        ours = result[f"perdure {backend}"]
        for what, mine, theirs, goal in (
            (
                "one processed step, n = 100",
                per_step(ours, "processed", 100),
                per_step(official, "processed", 100),
                0.4,
            ),
            (
                "one replayed step, n = 1000",
                per_step(ours, "replayed", 1000),
                per_step(official, "replayed", 1000),
                0.5,
            ),
            ("an empty invocation", ours["processed"]["0"], official["processed"]["0"], 0.6),
        ):
            rows.append((f"{what} ({backend})", mine, theirs, mine / theirs, goal))
    return rows


def branches(backend: str) -> dict[str, float]:
    """Microseconds of branches: see `branches_worker.py`."""
    done = subprocess.run(
        [sys.executable, str(BRANCHES), "--backend", backend], check=True, capture_output=True, text=True
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def print_branches(backend: str, result: dict[str, float]) -> None:
    for kind in ("processed", "replayed"):
        over = result[f"branch {kind}"] - result[f"step {kind}"]
        verdict = "met" if over <= BRANCH_GOAL else "MISSED"
        print(
            f"1,000 branches of one step, {kind} ({backend})".ljust(48)
            + f"{result[f'branch {kind}']:6.1f} us each, {over:5.1f} us over a sequential step, "
            f"goal {BRANCH_GOAL:.0f}  {verdict}"
        )
    print(
        f"cancelling parked branches ({backend})".ljust(48)
        + f"{result['cancel 3000']:6.1f} us each of 3,000, {result['cancel 300']:.1f} us each of 300"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="per size and round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.rounds, options.seconds)
    rows = verdicts(result)
    many = {backend: branches(backend) for backend in ("asyncio", "trio")}
    if options.json:
        print(json.dumps({"microseconds": result, "goals": rows, "branches": many}))
        return
    for peer, kinds in result.items():
        for kind, sizes in kinds.items():
            line = "  ".join(f"n={size}: {value:9.1f}" for size, value in sizes.items())
            print(f"{peer:22} {kind:10} us per invocation   {line}")
    print()
    print(f"{'':42} {'perdure':>10} {OFFICIAL:>12} {'ratio':>7} {'goal':>6}")
    for what, mine, theirs, ratio, goal in rows:
        verdict = "met" if ratio <= goal else "MISSED"
        print(f"{what:42} {mine:7.1f} us {theirs:9.1f} us {ratio:7.2f} {goal:6.2f}  {verdict}")
    print()
    for backend, figures in many.items():
        print_branches(backend, figures)


if __name__ == "__main__":
    main()
