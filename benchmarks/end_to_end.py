"""End to end: 64 clients, 10 steps each, through a real restate-server, with `wrk` as the load.

    python benchmarks/end_to_end.py                # 5 rounds, every peer once per round, medians and ratios
    python benchmarks/end_to_end.py --rounds 1 --only perdure,hypercorn

Peers: perdure under `perdure serve`, on asyncio and on trio; hypercorn with no SDK at all (`bare_app.py`: the floor),
on both; the official SDK under hypercorn on asyncio. Every measurement has a fresh server and a fresh endpoint. Beside
the requests per second stands the processor time that the endpoint's process used for one request.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from peers import OFFICIAL, official_python

from perdure.testing import EndpointProcess, RestateServer
from perdure.testing.loopback import free_ports

HERE = Path(__file__).resolve().parent
CLIENTS = 64
STEPS = 10
PATH = "/Bench/steps"
GOAL = 0.85
SCRIPT = f'wrk.method = "POST"\nwrk.body = "{STEPS}"\nwrk.headers["content-type"] = "application/json"\n'


class Peer(NamedTuple):
    """One endpoint: how it is called, and the command that serves it on a port."""

    name: str
    command: Callable[[int], list[str]]


def hypercorn(python: str, app: str, backend: str) -> Callable[[int], list[str]]:
    options = ["--workers", "0", "--worker-class", backend, "--keep-alive", "900"]
    return lambda port: [python, "-m", "hypercorn", *options, "--bind", f"127.0.0.1:{port}", app]


def perdure_serve(app: str, backend: str) -> Callable[[int], list[str]]:
    command = [sys.executable, "-m", "perdure.cli", "serve", app, "--backend", backend, "--log-level", "error"]
    return lambda port: [*command, "--port", str(port)]


def peers() -> list[Peer]:
    return [
        Peer("hypercorn, no SDK, asyncio", hypercorn(sys.executable, "bare_app:app", "asyncio")),
        Peer("perdure, asyncio", perdure_serve("served_perdure:app", "asyncio")),
        Peer("hypercorn, no SDK, trio", hypercorn(sys.executable, "bare_app:app", "trio")),
        Peer("perdure, trio", perdure_serve("served_perdure:app", "trio")),
        Peer(f"{OFFICIAL}, asyncio", hypercorn(str(official_python()), "served_official:app", "asyncio")),
    ]


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(wrk: str, script: Path, url: str, seconds: int) -> float:
    """Requests per second; every answer must be a success."""
    command = [wrk, "--threads", "1", "--connections", str(CLIENTS), "--duration", f"{seconds}s", "--timeout", "30s"]
    done = subprocess.run([*command, "--script", str(script), url], check=True, capture_output=True, text=True)
    if "Non-2xx" in done.stdout:
        raise RuntimeError(f"requests failed:\n{done.stdout}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    return float(found.group(1))


def measure(peer: Peer, wrk: str, script: Path, seconds: int) -> tuple[float, float]:
    """Requests per second, and microseconds of the endpoint's processor time for one of them."""
    [port] = free_ports(1)
    endpoint = EndpointProcess(peer.command(port), port=port, cwd=HERE)
    with RestateServer(partitions=4) as server:
        try:
            endpoint.start()
            server.register(endpoint.url)
            answer = server.wait_until_callable(PATH, str(STEPS).encode())
            assert answer.body == str(STEPS).encode(), answer
            load(wrk, script, server.ingress_url + PATH, 1)
            before = processor_seconds(endpoint.pid)
            rate = load(wrk, script, server.ingress_url + PATH, seconds)
            used = processor_seconds(endpoint.pid) - before
        finally:
            endpoint.stop()
    return rate, used / (rate * seconds) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--only", default="", help="parts of peers' names, separated by commas")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    wrk = shutil.which("wrk")
    if wrk is None:
        sys.exit("end_to_end.py needs wrk, the load generator: install it with your system's package manager")
    parts = [part for part in options.only.split(",") if part]
    chosen = [peer for peer in peers() if not parts or any(part in peer.name for part in parts)]
    rates: dict[str, list[float]] = {peer.name: [] for peer in chosen}
    costs: dict[str, list[float]] = {peer.name: [] for peer in chosen}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "body.lua"
        script.write_text(SCRIPT)
        for number in range(options.rounds):
            for peer in chosen:
                print(f"\rround {number + 1} of {options.rounds}: {peer.name:32}", end="", file=sys.stderr, flush=True)
                rate, cost = measure(peer, wrk, script, options.seconds)
                rates[peer.name].append(rate)
                costs[peer.name].append(cost)
    print(file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {}
    for backend in ("asyncio", "trio"):
        floor, ours = medians.get(f"hypercorn, no SDK, {backend}"), medians.get(f"perdure, {backend}")
        if floor and ours:
            ratios[f"perdure to hypercorn without an SDK, {backend}"] = (ours / floor, GOAL)
        official = medians.get(f"{OFFICIAL}, asyncio")
        if official and ours:
            ratios[f"perdure on {backend} to {OFFICIAL} on asyncio"] = (ours / official, None)
    if options.json:
        print(json.dumps({"requests_per_second": rates, "endpoint_us_per_request": costs, "ratios": ratios}))
        return
    print(f"{CLIENTS} clients, {STEPS} steps each, median of {options.rounds}, interleaved")
    for name, rate in medians.items():
        spread = f"{min(rates[name]):.0f} to {max(rates[name]):.0f}"
        print(f"  {name:30} {rate:7.1f}/s  ({spread})   endpoint {statistics.median(costs[name]):6.0f} us per request")
    for what, (ratio, goal) in ratios.items():
        verdict = "" if goal is None else f"  goal {goal:.2f}: {'met' if ratio >= goal else 'MISSED'}"
        print(f"  {what:55} {ratio:5.2f}{verdict}")


if __name__ == "__main__":
    main()
