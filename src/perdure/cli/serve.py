"""``perdure serve module:app``: an ASGI application over HTTP/2 and HTTP/1.1, on asyncio or trio.

SIGTERM or SIGINT drains: requests in progress get ``--drain-timeout`` seconds, and the application is told (perdure's
endpoint suspends its attempts, so that restate-server goes on elsewhere). A second one stops at once. The exit code is
0 after both; 1 when the server could not start, or had to be ended hard because something in it would not stop.
"""

from __future__ import annotations

import argparse
import logging
import os
from functools import partial
from typing import Final

import anyio
import anyio.abc

from perdure.cli.application import load_application
from perdure.cli.arguments import LEVELS, port, seconds
from perdure.cli.hard_exit import HardExit
from perdure.server import Settings, serve

__all__ = ["add_arguments", "run"]

PORT: Final = 9080

DRAIN_GRACE: Final = 5.0
"""Seconds beyond the drain's own until the process is ended hard."""

STOP_GRACE: Final = 2.0
"""The same, after a second signal."""

MIB: Final = 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.add_argument("application", metavar="module:app", help="the ASGI application, such as a perdure.Endpoint")
    parser.add_argument(
        "--backend",
        choices=("asyncio", "trio"),
        default="asyncio",
        help="the event loop; asyncio is the default because hypercorn alone answers 1.6 times as many requests there;"
        " here trio is about as fast",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all of IPv4 (%(default)s)"
    )
    parser.add_argument(
        "--port",
        type=port,
        default=os.environ.get("PORT") or str(PORT),
        help=f"port to listen on; 0 lets the system choose ($PORT, or {PORT})",
    )
    parser.add_argument(
        "--drain-timeout",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long requests may go on after SIGTERM (10)",
    )
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="what is logged to stderr (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal, and return the exit code."""
    application = load_application(arguments.application)
    # After the import, so that an application that sets up logging itself is left alone.
    logging.basicConfig(level=arguments.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    drain_timeout: float = arguments.drain_timeout
    hard_exit = HardExit()

    def heard(count: int) -> None:
        hard_exit.arm(drain_timeout + DRAIN_GRACE if count == 1 else STOP_GRACE)

    anyio.run(
        partial(
            serve,
            application,
            host=arguments.host,
            port=arguments.port,
            drain_timeout=drain_timeout,
            on_signal=heard,
            task_status=_Announcement(arguments.backend, drain_timeout),
        ),
        backend=arguments.backend,
    )
    return 0


class _Announcement(anyio.abc.TaskStatus[list[str]]):
    """Prints one line when the server has started."""

    def __init__(self, backend: str, drain_timeout: float) -> None:
        self._backend = backend
        self._drain_timeout = drain_timeout

    def started(self, value: list[str] | None = None) -> None:
        settings = Settings()
        print(
            f"perdure serves {' and '.join(value or [])} on {self._backend}"
            f" (HTTP/2 and HTTP/1.1; {settings.max_streams} requests a connection,"
            f" windows {settings.stream_window // MIB} and {settings.connection_window // MIB} MiB,"
            f" idle {settings.idle_timeout / 60:g} min, drain {self._drain_timeout:g} s)",
            flush=True,
        )
