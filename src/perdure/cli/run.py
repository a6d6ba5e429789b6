"""``perdure run module:app``: the embedded engine, with its ingress and admin port, around the services of an endpoint.

SIGTERM and SIGINT end it: what waits is suspended, steps get ``--drain-timeout`` seconds, and everything goes on when
the file is opened again. A second signal stops at once. With ``--reload`` a process of its own runs the engine, and is
started anew whenever a Python file below the current folder changes.
"""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.abc

from perdure.cli.application import load_application
from perdure.cli.arguments import LEVELS, port, seconds
from perdure.cli.hard_exit import HardExit
from perdure.cli.reloading import run_and_reload
from perdure.exceptions import PerdureError, UsageError

if TYPE_CHECKING:
    from perdure.asgi import Endpoint

__all__ = ["add_arguments", "run"]

INGRESS_PORT: Final = 8080
ADMIN_PORT: Final = 9070
DATABASE: Final = "perdure.db"

DRAIN_GRACE: Final = 5.0
"""Seconds beyond the drain's own until the process is ended hard."""

STOP_GRACE: Final = 2.0
"""The same, after a second signal."""

_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_LEAVE_SECONDS: Final = 1.0
"""How long requests that were answered when the engine closed may take to be sent."""

_log: Final = logging.getLogger("perdure.run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.add_argument("application", metavar="module:app", help="a perdure.Endpoint")
    parser.add_argument(
        "--db", default=DATABASE, metavar="FILE", help="the journal; made when it is not there (%(default)s)"
    )
    parser.add_argument(
        "--backend", choices=("asyncio", "trio"), default="asyncio", help="the event loop (%(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address that both ports listen on (%(default)s)")
    parser.add_argument(
        "--port",
        type=port,
        default=INGRESS_PORT,
        help="port of the ingress; 0 lets the system choose (%(default)s)",
    )
    parser.add_argument(
        "--admin-port",
        type=port,
        default=ADMIN_PORT,
        metavar="PORT",
        help="port of the admin API; 0 lets the system choose (%(default)s)",
    )
    parser.add_argument(
        "--drain-timeout",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long steps may go on after SIGTERM (10)",
    )
    parser.add_argument(
        "--identity-key",
        metavar="FILE",
        help="PEM file with the ed25519 key that signs requests to endpoints in other processes",
    )
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="what is logged to stderr (%(default)s)")
    parser.add_argument(
        "--reload", action="store_true", help="start anew when a Python file below the current folder changes"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run until a signal, and return the exit code."""
    if arguments.reload:
        return run_and_reload()
    endpoint = _endpoint(arguments.application)
    _set_up_logging(arguments.log_level)
    hard_exit = HardExit()

    def heard(count: int) -> None:
        hard_exit.arm(arguments.drain_timeout + DRAIN_GRACE if count == 1 else STOP_GRACE)

    anyio.run(partial(_serve, endpoint, arguments, heard), backend=arguments.backend)
    return 0


def _endpoint(path: str) -> Endpoint:
    from perdure.asgi import Endpoint  # noqa: PLC0415 - takes long, and `--help` needs it not

    found = load_application(path)
    if not isinstance(found, Endpoint):
        raise UsageError(
            f"{path} is no perdure.Endpoint, and the engine runs nothing else: app = perdure.Endpoint(...); other ASGI "
            "applications open an engine themselves (perdure.open_engine)"
        )
    return found


def _set_up_logging(level: str) -> None:
    """Log to stderr, repeated lines of replays left out; an application that set up logging itself is left alone."""
    from perdure.instrumentation import AttemptFilter  # noqa: PLC0415 - as above

    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.addFilter(AttemptFilter())
    root.addHandler(handler)
    root.setLevel(level.upper())


async def _serve(endpoint: Endpoint, arguments: argparse.Namespace, heard: Callable[[int], None]) -> None:
    """The engine, and two servers that outlive it just long enough to hand out its last answers."""
    failure: PerdureError | None = None
    stop, closed = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(_obey_signals, stop, heard)
        async with anyio.create_task_group() as servers:
            try:
                await _engine(endpoint, arguments, servers, stop, closed)
            except PerdureError as error:  # raised below: the group would wrap it
                failure = error
                servers.cancel_scope.cancel()
            closed.set()
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _obey_signals(
    stop: anyio.Event, heard: Callable[[int], None], *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    count = 0
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        async for number in received:
            count += 1
            _log.info("%s received", number.name)
            heard(count)
            stop.set()


async def _engine(
    endpoint: Endpoint,
    arguments: argparse.Namespace,
    servers: anyio.abc.TaskGroup,
    stop: anyio.Event,
    closed: anyio.Event,
) -> None:
    from perdure.engine.admin import Admin  # noqa: PLC0415 - as above
    from perdure.engine.engine import open_engine  # noqa: PLC0415 - as above
    from perdure.engine.ingress import Ingress  # noqa: PLC0415 - as above
    from perdure.server import serve  # noqa: PLC0415 - as above

    server = partial(serve, host=arguments.host, shutdown=closed.wait, drain_timeout=_LEAVE_SECONDS)
    options = {"grace": arguments.drain_timeout, "identity_key": arguments.identity_key}
    async with open_engine(arguments.db, endpoint, **options) as engine:
        ingress: list[str] = await servers.start(partial(server, Ingress(engine), port=arguments.port))
        admin: list[str] = await servers.start(partial(server, Admin(engine, ingress[0]), port=arguments.admin_port))
        print(
            f"perdure runs {', '.join(endpoint.registry.services)} on {arguments.backend}: ingress {ingress[0]}, "
            f"admin {admin[0]}, journal {arguments.db}",
            flush=True,
        )
        await stop.wait()
