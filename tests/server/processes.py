"""``perdure serve`` in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.abc

__all__ = ["ServerProcess", "serve_process"]

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds that a process may take to start or to end."""


class ServerProcess:
    """A server that runs in a process of its own.

    Attributes:
        port: where it listens.
        announcement: the line it printed.
    """

    def __init__(self, process: anyio.abc.Process) -> None:
        self._process = process
        self.announcement = ""
        self.port = 0
        self.stderr = ""

    async def started(self) -> None:
        """Wait for the line that says where it listens."""
        assert self._process.stdout is not None
        with anyio.fail_after(PATIENCE):
            while not self.announcement.endswith("\n"):
                self.announcement += (await self._process.stdout.receive()).decode()
        self.port = urlsplit(self.announcement.split()[2]).port or 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        self._process.send_signal(number)

    async def exit_code(self) -> int:
        """Wait until it has ended."""
        with anyio.fail_after(PATIENCE):
            code = await self._process.wait()
        await self._read_stderr()
        return code

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self._process.returncode is None:
            self._process.kill()

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        try:
            while True:
                self.stderr += (await self._process.stderr.receive()).decode()
        except anyio.EndOfStream:
            return


@asynccontextmanager
async def serve_process(
    *arguments: str, port: str | None = "0", env: dict[str, str] | None = None
) -> AsyncIterator[ServerProcess]:
    """Run ``perdure serve`` with these arguments; it is killed at the end of the block if it still runs."""
    command = [sys.executable, "-W", "error", "-m", "perdure.cli", "serve", *arguments]
    if port is not None:
        command += ["--port", port]
    process = await anyio.open_process(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": "src", **(env or {})})
    async with process:
        server = ServerProcess(process)
        try:
            yield server
        finally:
            server.kill()
