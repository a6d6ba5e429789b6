"""What importing costs, in a fresh process each time: medians of wall time beyond a bare interpreter.

python benchmarks/import_time.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from peers import OFFICIAL, official_python

STATEMENTS = {
    "nothing": "",
    "import perdure": "import perdure",
    "perdure.Endpoint": "from perdure import Endpoint, Service",
    "anyio alone": "import anyio",
    "anyio and msgspec": "import anyio, anyio.to_thread, msgspec",
}


def once(python: str, statement: str) -> float:
    started = time.perf_counter()
    subprocess.run([python, "-c", statement], check=True)
    return (time.perf_counter() - started) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    peers = {name: (sys.executable, statement) for name, statement in STATEMENTS.items()}
    peers[f"{OFFICIAL}: import restate"] = (str(official_python()), "import restate")
    times: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(options.rounds):
        for name, (python, statement) in peers.items():
            times[name].append(once(python, statement))
    floor = statistics.median(times["nothing"])
    result = {name: statistics.median(values) - floor for name, values in times.items() if name != "nothing"}
    if options.json:
        print(json.dumps({"interpreter_ms": floor, "milliseconds": result}))
        return
    print(f"a bare interpreter: {floor:.1f} ms; beyond it:")
    for name, value in result.items():
        print(f"  {name:28} {value:7.1f} ms")


if __name__ == "__main__":
    main()
