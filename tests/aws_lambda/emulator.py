"""AWS's own Runtime Interface Emulator around a bootstrap of ours, on the loopback interface."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from perdure.testing.child_process import ChildProcess
from perdure.testing.loopback import HOST, Answer, exchange, free_ports
from tests.aws_lambda.sam_wheel import rie

__all__ = ["Emulator", "emulator"]

ROOT = Path(__file__).parents[2]
INVOCATIONS = "/2015-03-31/functions/function/invocations"


class Emulator:
    """A running emulator."""

    def __init__(self, process: ChildProcess, port: int) -> None:
        self.process = process
        self.url = f"http://{HOST}:{port}{INVOCATIONS}"

    def invoke(self, payload: object, headers: Mapping[str, str] | None = None) -> Answer:
        """Invoke, and return the whole answer."""
        body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        return exchange("POST", self.url, body=body, headers=headers, timeout=60)

    def result(self, payload: object, headers: Mapping[str, str] | None = None) -> Any:
        """Invoke, and return the decoded body."""
        return msgspec.json.decode(self.invoke(payload, headers).body)

    def log(self) -> str:
        """What the emulator and the function have printed."""
        return self.process.text()


@contextmanager
def emulator(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> Iterator[Emulator]:
    """Start the emulator.

    Args:
        command: arguments of Python that start the runtime.
        folder: for the log.
        env: more environment variables.
    """
    invoke_port, api_port = free_ports(2)
    addresses = ["--runtime-interface-emulator-address", f"{HOST}:{invoke_port}"]
    addresses += ["--runtime-api-address", f"{HOST}:{api_port}"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "_LAMBDA"))}
    process = ChildProcess(
        [str(rie()), *addresses, sys.executable, *command],
        log=folder / "emulator.log",
        env={**inherited, **(env or {})},
        cwd=ROOT,
    )
    try:
        _wait_for(invoke_port, process)
        yield Emulator(process, invoke_port)
    finally:
        process.end()


def _wait_for(port: int, process: ChildProcess) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.returncode is None, process.tail()
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise AssertionError(f"the emulator does not listen:\n{process.tail()}")
