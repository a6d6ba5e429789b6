"""The Lambda runtime beside its peers: a bare loop of anyio and h11, and AWS's own runtime client (awslambdaric).

python benchmarks/aws_lambda.py

One server plays the Runtime API for all of them, over loopback. Three questions: invocations per second one after the
other, with events of 200 bytes; with 64 at a time that wait 20 ms each, and the memory that takes; milliseconds from
the start of the process to its first poll. Every round asks every peer; printed are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RIC = "awslambdaric"
EVENT = json.dumps({"text": "x" * 186}).encode()
ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'


def head(number: int) -> bytes:
    return (
        "HTTP/1.1 200 OK\r\n"
        "Content-Type: application/json\r\n"
        f"Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-{number:012}\r\n"
        f"Lambda-Runtime-Deadline-Ms: {int(time.time() * 1000) + 60_000}\r\n"
        "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:bench\r\n"
        "Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1\r\n"
        f"Content-Length: {len(EVENT)}\r\n\r\n"
    ).encode()


class Api(asyncio.Protocol):
    """One connection to the Runtime API."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            size = end + 4
            if self.buffer.startswith(b"POST"):
                low = self.buffer[:end].lower()
                start = low.index(b"content-length:") + 15
                stop = low.find(b"\r\n", start)
                size += int(low[start : stop if stop >= 0 else end])
                if len(self.buffer) < size:
                    return
                if b"/error" in low[: low.index(b"\r\n")]:
                    raise RuntimeError(self.buffer[end:size].decode())
                self.transport.write(ACCEPTED)
                self.run.answered()
            else:
                self.run.polled()
                if self.run.given < self.run.total:
                    self.run.given += 1
                    self.transport.write(head(self.run.given) + EVENT)
            self.buffer = self.buffer[size:]


class Run:
    """What one process did."""

    def __init__(self, total: int, warm_up: int) -> None:
        self.total = total
        self.warm_up = warm_up
        self.given = 0
        self.done = 0
        self.first_poll = 0.0
        self.began = 0.0
        self.ended = asyncio.get_running_loop().create_future()

    def polled(self) -> None:
        if not self.first_poll:
            self.first_poll = time.perf_counter()
            if not self.total:
                self.ended.set_result(time.perf_counter())

    def answered(self) -> None:
        self.done += 1
        if self.done == self.warm_up:
            self.began = time.perf_counter()
        if self.done == self.total:
            self.ended.set_result(time.perf_counter())


def processor_seconds(pid: int) -> float:
    """What a process has used, system included."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, field: str) -> float:
    """MiB of a process and all that it started."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    own = next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(f"{field}:"))
    return own + sum(memory(int(child), field) for child in children)


async def measure(command: list[str], env: dict[str, str], total: int, warm_up: int) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    run = Run(total, warm_up)
    server = await loop.create_server(lambda: Api(run), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = {
        **os.environ,
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "LAMBDA_TASK_ROOT": str(HERE),
        **env,
    }
    started = time.perf_counter()
    process = subprocess.Popen(  # noqa: ASYNC220 - before anything is measured
        command, env=settings, cwd=HERE, start_new_session=True
    )
    try:
        ended = await asyncio.wait_for(run.ended, 120)
        busy = processor_seconds(process.pid)
        used = {field: memory(process.pid, field) for field in ("Rss", "Pss")}
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        server.close()
    per_second = (total - warm_up) / (ended - run.began) if total else 0.0
    return {
        "per_second": per_second,
        "processor_us": busy / max(total, 1) * 1e6,
        "init_ms": (run.first_poll - started) * 1000,
        "rss": used["Rss"],
        "pss": used["Pss"],
    }


def ric_python() -> str:
    """A virtual environment with awslambdaric, made once."""
    folder = Path(tempfile.gettempdir()) / "perdure-bench-lambda"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"installing {RIC} into an environment of its own ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", RIC], check=True, stderr=subprocess.DEVNULL)
        (folder / "complete").touch()
    return str(python)


def peers(ric: str, function: str) -> dict[str, tuple[list[str], dict[str, str]]]:
    found: dict[str, tuple[list[str], dict[str, str]]] = {}
    for backend in ("asyncio", "trio"):
        found[f"bare {backend}"] = ([sys.executable, str(HERE / "lambda_bare.py"), backend], {})
        program = [sys.executable, "-m", "perdure.aws_lambda", f"lambda_function.{function}", "--backend", backend]
        found[f"perdure {backend}"] = (program, {})
    program = [ric, "-m", RIC, f"lambda_function.ric_{function}"]
    found[f"{RIC}, direct"] = (program, {})
    found[f"{RIC}, as the platform polls"] = (program, {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"})
    return found


def rounds(
    names: dict[str, tuple[list[str], dict[str, str]]],
    count: int,
    total: int,
    warm_up: int,
    env: dict[str, str],
) -> dict[str, dict[str, float]]:
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(count):
        for name, (command, extra) in names.items():
            results[name].append(asyncio.run(measure(command, {**extra, **env}, total, warm_up)))
    return {
        name: {key: statistics.median(each[key] for each in found) for key in found[0]}
        for name, found in results.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--invocations", type=int, default=10_000)
    parser.add_argument("--only", choices=("sequential", "concurrent", "init"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ric = ric_python()
    results: dict[str, dict[str, dict[str, float]]] = {}
    if options.only in {None, "sequential"}:
        results["sequential"] = rounds(peers(ric, "echo"), options.rounds, options.invocations, 500, {})
    if options.only in {None, "concurrent"}:
        some = {name: value for name, value in peers(ric, "wait").items() if "polls" not in name}
        limit = {"AWS_LAMBDA_MAX_CONCURRENCY": "64"}
        results["concurrent"] = rounds(some, options.rounds, options.invocations, 1000, limit)
    if options.only in {None, "init"}:
        results["init"] = rounds(peers(ric, "echo"), 4 * options.rounds, 0, 0, {})
    if options.json:
        print(json.dumps(results))
        return
    for kind, found in results.items():
        bare = {name.split()[1]: values for name, values in found.items() if name.startswith("bare")}

        def ratio(name: str, key: str, bare: dict[str, dict[str, float]] = bare, found: Any = found) -> str:
            backend = name.split()[1]
            return (
                f"  {found[name][key] / bare[backend][key]:.2f} of the bare loop" if name.startswith("perdure") else ""
            )

        print(f"\n{kind}")
        for name, values in found.items():
            if kind == "init":
                print(f"  {name:36} {values['init_ms']:8.1f} ms{ratio(name, 'init_ms')}")
            elif kind == "concurrent":
                text = f"{values['per_second']:8.0f}/s {values['rss']:7.1f} MiB resident, {values['pss']:.1f} own share"
                print(f"  {name:36} {text}{ratio(name, 'per_second')}")
            else:
                busy = f"{values['processor_us']:6.0f} us of processor time each, init included"
                print(f"  {name:36} {values['per_second']:8.0f}/s{ratio(name, 'per_second')}  {busy}")


if __name__ == "__main__":
    main()
