"""An endpoint served in a process of its own, so that a test can kill it and start it again.

::

    with serve_in_subprocess("shop:app", "trio", cwd=folder) as endpoint:
        server.register(endpoint.url)
        endpoint.kill()          # SIGKILL, in the middle of whatever it was doing
        endpoint.start()         # on the same port, so that the server finds it again

The process is hypercorn in one process with no worker processes: killing it kills all of it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias

from perdure.testing.child_process import ChildProcess, HarnessError
from perdure.testing.loopback import HOST, free_ports, speaks_http2

__all__ = ["Backend", "EndpointProcess", "serve_in_subprocess"]

Backend: TypeAlias = Literal["asyncio", "trio"]

BIND: Final = "{bind}"
"""Stands in a command for ``host:port``."""

START_TIMEOUT_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.01
_TRIES: Final = 5  # for a port that was taken between being chosen and being bound
_PORT_TAKEN: Final = "address already in use"


class _PortTakenError(Exception):
    """Somebody else bound the chosen port first; another port is worth a try."""


class EndpointProcess:
    """A server of HTTP/2 on the loopback interface that runs in a process of its own.

    Args:
        command: the program and its arguments; `BIND` in one of them is replaced by ``host:port``.
        port: the port to use; None chooses a free one. It stays the same over a restart.
        env: environment variables, added to those of this process.
        cwd: the folder it runs in.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.command: tuple[str, ...] = tuple(command)
        self._port = port
        self._env = {**os.environ, **(env or {})}
        self._cwd = cwd
        self._process: ChildProcess | None = None
        self._directory: Path | None = None

    @property
    def port(self) -> int:
        """The port that the endpoint listens on."""
        if self._port is None:
            raise RuntimeError("this endpoint has no port yet; start it, or use it inside its with block")
        return self._port

    @property
    def url(self) -> str:
        """The address to register: ``http://127.0.0.1:<port>``."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._running.pid

    @property
    def returncode(self) -> int | None:
        """How the process ended (negative: by that signal), or None while it runs."""
        return self._running.returncode

    def start(self, *, timeout: float = START_TIMEOUT_SECONDS) -> None:
        """Start the process, again on the same port if it ran before, and return when it answers HTTP/2.

        Raises:
            HarnessError: it ended, or did not answer within `timeout` seconds; the message ends with what it printed.
            RuntimeError: it runs already.
        """
        if self._process is not None and self._process.returncode is None:
            raise RuntimeError("this endpoint is running already")
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="perdure-endpoint-"))
        try:
            if self._port is not None:
                self._start_on(self._port, timeout)
            else:
                self._port = self._start_anywhere(timeout)
        except BaseException:
            self.stop()
            raise

    def terminate(self, grace: float = 10.0) -> int:
        """Send SIGTERM, wait up to `grace` seconds, then SIGKILL; return how it ended."""
        return self._running.end(grace)

    def kill(self) -> int:
        """Send SIGKILL and return how it ended."""
        return self._running.kill()

    def stop(self) -> None:
        """End the process if it runs, and remove its log. Stopping it twice does no harm."""
        if self._process is not None:
            self._process.end()
            self._process = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def logs(self) -> str:
        """Everything it has printed so far, earlier runs on the same port included."""
        return self._running.text()

    @property
    def _running(self) -> ChildProcess:
        if self._process is None:
            raise RuntimeError("this endpoint was not started")
        return self._process

    def _start_anywhere(self, timeout: float) -> int:
        for _ in range(_TRIES):
            (port,) = free_ports(1)
            try:
                self._start_on(port, timeout)
            except _PortTakenError:
                continue
            return port
        raise HarnessError(f"the endpoint found its port taken {_TRIES} times")

    def _start_on(self, port: int, timeout: float) -> None:
        assert self._directory is not None
        command = [part.replace(BIND, f"{HOST}:{port}") for part in self.command]
        if self._process is not None:
            self._process.end()  # an earlier run or try; also lets its watchdog go
        process = ChildProcess(
            command, log=self._directory / f"{port}.log", env=self._env, cwd=self._cwd, directory=self._directory
        )
        self._process = process
        deadline = time.monotonic() + timeout
        while not speaks_http2(port):
            if process.returncode is not None:
                if self._port is None and _PORT_TAKEN in process.text().lower():
                    raise _PortTakenError
                raise HarnessError(f"the endpoint ended with {process.returncode}; it printed:\n{process.tail()}")
            if time.monotonic() > deadline:
                printed = process.tail()
                raise HarnessError(f"nothing answered HTTP/2 on port {port} within {timeout} s; it printed:\n{printed}")
            time.sleep(POLL_SECONDS)


@contextmanager
def serve_in_subprocess(
    app: str,
    backend: Backend = "asyncio",
    *,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[EndpointProcess]:
    """Serve an ASGI app with hypercorn in a process of its own, and end it behind the block.

    Args:
        app: where the app is, as ``package.module:name``; importable from `cwd`.
        backend: the event loop, which is hypercorn's worker class.
        port: the port to use; None chooses a free one.
        env: environment variables, added to those of this process.
        cwd: the folder it runs in.

    Raises:
        HarnessError: it did not start.
    """
    command = [sys.executable, "-m", "hypercorn", "--workers", "0", "--worker-class", backend, "--bind", BIND, app]
    endpoint = EndpointProcess(command, port=port, env=env, cwd=cwd)
    try:
        endpoint.start()
        yield endpoint
    finally:
        endpoint.stop()
