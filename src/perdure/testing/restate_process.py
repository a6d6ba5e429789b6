"""A private, real restate-server for tests: its own ports, its own folder, gone when the test is.

::

    with RestateServer(protocol_v7=True) as server:              # synchronous code, pytest fixtures
        server.register("http://127.0.0.1:9080")
        print(server.call("/Greeter/greet", b'"Ada"').body)

    async with restate_server(always_suspend=True) as server:    # trio and asyncio
        await server.register("http://127.0.0.1:9080")

What *ready* means: the server's health is green about half a second before it can run anything, because its partitions
have no leaders yet. `RestateServer.start` therefore asks for something that every partition must answer, the number of
its invocations; from then on a call is answered (measured: 1 s after the process started, the first call 10 ms later).

How it ends: SIGTERM, ten seconds, SIGKILL, the folder removed. If the test process dies first, a watchdog does it (see
`perdure.testing.watchdog`).

The server is told to send no telemetry. Version 1.7.12 also asks once, at its start, which release is the newest; that
cannot be turned off, and does no harm where there is no network.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, Unpack

import anyio
import anyio.to_thread

from perdure.testing.child_process import ChildProcess, HarnessError
from perdure.testing.loopback import HOST, exchange, free_ports
from perdure.testing.restate_admin import POLL_SECONDS, RestateAdmin
from perdure.testing.restate_binary import install_binary
from perdure.testing.restate_options import RestateOptions, Setting, check_options, environment, missing_keys, settings

__all__ = ["AsyncRestateServer", "RestateServer", "restate_server"]

P = ParamSpec("P")
T = TypeVar("T")

START_TIMEOUT_SECONDS: Final = 60.0
_TRIES: Final = 5  # for ports that were taken between being chosen and being bound
_PORT_TAKEN: Final = "failed binding to address"


class _PortTakenError(Exception):
    """Somebody else bound a chosen port first; other ports are worth a try."""


class RestateServer(RestateAdmin):
    """A restate-server in a process of its own, with blocking methods; `aio` has the same ones to be awaited.

    The program is found or installed as `perdure.testing.restate_binary` tells. Every setting that is not an option is
    the server's default, and ``RESTATE_...`` variables of this process are not handed on.

    Args:
        options: see `RestateOptions`.

    Raises:
        TypeError: an unknown option.
    """

    def __init__(self, **options: Unpack[RestateOptions]) -> None:
        check_options(options)
        super().__init__(admin_url="", ingress_url="")
        self.options = options
        self.node_url: str = ""
        self._process: ChildProcess | None = None
        self._directory: Path | None = None

    @property
    def pid(self) -> int:
        """The id of the server's process."""
        return self._running.pid

    @property
    def aio(self) -> AsyncRestateServer:
        """The same server with methods to be awaited; needed where the endpoint runs in the same event loop."""
        return AsyncRestateServer(self)

    def start(self, *, timeout: float = START_TIMEOUT_SECONDS) -> None:
        """Start the server and return when it can run invocations; the first time the program may be installed.

        Args:
            timeout: seconds from the start of the process until it is ready.

        Raises:
            HarnessError: it could not be installed or did not become ready; the message ends with what it logged.
            RuntimeError: it runs already.
        """
        if self._process is not None:
            raise RuntimeError("this restate-server is running already")
        binary = install_binary().path
        for attempt in range(1, _TRIES + 1):
            self._directory = Path(tempfile.mkdtemp(prefix="perdure-restate-"))
            try:
                self._launch(binary)
                self._wait_until_ready(timeout)
            except _PortTakenError as error:
                self.stop()
                if attempt == _TRIES:
                    raise HarnessError(f"restate-server found its ports taken {_TRIES} times: {error}") from error
            except BaseException:
                self.stop()
                raise
            else:
                return

    def stop(self) -> None:
        """End the server and remove its folder. Stopping it twice does no harm."""
        if self._process is not None:
            self._process.end()
            self._process = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def logs(self) -> str:
        """Everything the server has logged so far."""
        return self._running.text()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _running(self) -> ChildProcess:
        if self._process is None:
            raise RuntimeError("this restate-server is not running; start it, or use it inside its with block")
        return self._process

    def _launch(self, binary: Path) -> None:
        assert self._directory is not None
        ingress, admin, node = free_ports(3)
        self.ingress_url: str = f"http://{HOST}:{ingress}"
        self.admin_url: str = f"http://{HOST}:{admin}"
        self.node_url = f"http://{HOST}:{node}"
        chosen = settings(self.options, directory=self._directory)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RESTATE_")}
        own = environment(
            {
                "bind-ip": HOST,
                "bind-port": node,
                "listen-mode": "tcp",
                "admin.bind-port": admin,
                "ingress.bind-port": ingress,
                "base-dir": str(self._directory / "data"),
                "node-name": "perdure-test",
                "disable-telemetry": True,
                "log-format": "compact",
                "log-disable-ansi-codes": True,
                **chosen,
            }
        )
        env = {**inherited, **own, **self.options.get("env", {})}
        if config := self.options.get("config"):
            _check_keys(config, binary, env)
        log = self._directory / "server.log"
        self._process = ChildProcess([str(binary), "--no-logo"], log=log, env=env, directory=self._directory)

    def _wait_until_ready(self, timeout: float) -> None:
        process = self._running
        deadline = time.monotonic() + timeout
        last = "it was never asked"
        while time.monotonic() < deadline:
            if process.returncode is not None:
                if _PORT_TAKEN in process.text():
                    raise _PortTakenError(process.tail(1).strip())
                raise HarnessError(f"restate-server ended with {process.returncode}; it logged:\n{process.tail()}")
            try:
                if exchange("GET", f"{self.admin_url}/health", timeout=1.0).status == http.HTTPStatus.OK:
                    self.query("SELECT count(1) AS n FROM sys_invocation_status")
                    exchange("GET", f"{self.ingress_url}/restate/health", timeout=1.0)
                    return
            except (OSError, http.client.HTTPException, HarnessError) as error:
                last = str(error)
            time.sleep(POLL_SECONDS)
        raise HarnessError(f"restate-server was not ready within {timeout} s ({last}); it logged:\n{process.tail()}")


def _check_keys(config: Mapping[str, Setting], binary: Path, env: Mapping[str, str]) -> None:
    """Refuse keys that the server does not know; it would ignore them."""
    dump = subprocess.run(  # noqa: S603 (a list, no shell)
        [binary, "--dump-config"], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if dump.returncode != 0:
        raise HarnessError(f"restate-server refuses its configuration:\n{dump.stderr or dump.stdout}")
    if missing := missing_keys(config, dump.stdout):
        raise HarnessError(f"restate-server does not know these keys of its configuration: {', '.join(missing)}")


def _in_thread(
    method: Callable[Concatenate[RestateServer, P], T],
) -> Callable[Concatenate[AsyncRestateServer, P], Coroutine[Any, Any, T]]:
    """Make the blocking method one that runs it in a worker thread."""

    async def run(self: AsyncRestateServer, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await anyio.to_thread.run_sync(partial(method, self.blocking, *args, **kwargs))

    run.__doc__ = method.__doc__
    return run


class AsyncRestateServer:
    """A running `RestateServer` for code in an event loop: its methods run in worker threads and are awaited.

    Attributes:
        blocking: the server itself.
    """

    def __init__(self, blocking: RestateServer) -> None:
        self.blocking = blocking

    @property
    def ingress_url(self) -> str:
        """Where handlers are called: ``http://127.0.0.1:<port>``."""
        return self.blocking.ingress_url

    @property
    def admin_url(self) -> str:
        """Where the admin API is: ``http://127.0.0.1:<port>``."""
        return self.blocking.admin_url

    @property
    def pid(self) -> int:
        """The id of the server's process."""
        return self.blocking.pid

    def logs(self) -> str:
        """Everything the server has logged so far."""
        return self.blocking.logs()

    register: Final = _in_thread(RestateServer.register)
    query: Final = _in_thread(RestateServer.query)
    invocation: Final = _in_thread(RestateServer.invocation)
    journal: Final = _in_thread(RestateServer.journal)
    cancel: Final = _in_thread(RestateServer.cancel)
    kill: Final = _in_thread(RestateServer.kill)
    pause: Final = _in_thread(RestateServer.pause)
    resume: Final = _in_thread(RestateServer.resume)
    call: Final = _in_thread(RestateServer.call)
    wait_until_callable: Final = _in_thread(RestateServer.wait_until_callable)
    wait_for_status: Final = _in_thread(RestateServer.wait_for_status)


@asynccontextmanager
async def restate_server(**options: Unpack[RestateOptions]) -> AsyncGenerator[AsyncRestateServer]:
    """Start a private restate-server, ready for calls, and end it behind the block; for trio and asyncio.

    Args:
        options: see `RestateOptions`.

    Raises:
        HarnessError: it could not be installed or started.
    """
    server = RestateServer(**options)
    try:
        await anyio.to_thread.run_sync(server.start)
        yield server.aio
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(server.stop)
