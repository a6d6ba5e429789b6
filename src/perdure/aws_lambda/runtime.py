"""Running a handler on Lambda: init, the loops that serve, shutdown.

::

    async def handler(event: LambdaEvent[Order]) -> Receipt:
        ...

    main(handler)                       # a bootstrap: this process is the runtime

Nothing is served before everything is ready, and what fails until then is reported as an init error.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio

from perdure.aws_lambda.binding import Handler, service_fn
from perdure.aws_lambda.configuration import FunctionConfig, max_concurrency, starts_from_snapshot
from perdure.aws_lambda.diagnostics import diagnose
from perdure.aws_lambda.failures import RuntimeApiError
from perdure.aws_lambda.loading import load_handler
from perdure.aws_lambda.poller import Poller
from perdure.aws_lambda.records import configure_logging
from perdure.aws_lambda.runtime_api import RuntimeApiClient
from perdure.aws_lambda.service import LambdaService, Layer, layered
from perdure.exceptions import PerdureError, UsageError

if TYPE_CHECKING:
    from perdure.asgi import Endpoint
    from perdure.aws_lambda.shutdown import ShutdownHook

__all__ = ["main", "run"]

_log: Final = logging.getLogger("perdure.aws_lambda")

DEADLINE_MARGIN_SECONDS: Final = 0.1
"""Enough to report a handler that was cancelled before the platform ends the sandbox."""


async def run(
    handler: Handler | LambdaService | Endpoint | str,
    *,
    layers: Sequence[Layer] = (),
    on_shutdown: ShutdownHook | None = None,
    concurrency: int | None = None,
    deadline_margin: float | None = DEADLINE_MARGIN_SECONDS,
    client: RuntimeApiClient | None = None,
) -> None:
    """Serve invocations until the platform ends this process.

    Args:
        handler: a function (see `Handler`), a service, an endpoint with durable services, or the name of one of them as
            `module.function`.
        layers: wrapped around it; the last one runs first.
        on_shutdown: called when the sandbox ends; it has half a second. The platform then has an extension to wait for.
        concurrency: invocations at the same time; `AWS_LAMBDA_MAX_CONCURRENCY` when it is not given.
        deadline_margin: seconds before its deadline at which an invocation is cancelled and reported as
            `Function.Timeout`; `None` lets the platform kill the sandbox instead.
        client: in place of one for `AWS_LAMBDA_RUNTIME_API`; the caller closes it.

    Raises:
        UsageError: this process is not on Lambda, or the handler is none; it was reported.
        RuntimeApiError: the platform is gone, or refuses to go on.
        SnapshotHookError: a hook around the snapshot failed; it was reported.
    """
    async with AsyncExitStack() as stack:
        if client is None:
            client = await stack.enter_async_context(RuntimeApiClient())
        try:
            client.function = FunctionConfig.from_env()
            limit = _limit(concurrency)
            service = _service(handler, limit)
            call = layered(service, layers)
            await stack.enter_async_context(service.running())
        except BaseException as exc:
            if isinstance(exc, Exception | SystemExit):
                await _report_init_error(client, exc)  # noqa: ASYNC102 - no cancellation comes here
            raise
        if starts_from_snapshot():
            from perdure.aws_lambda.snapshots import through_snapshot  # noqa: PLC0415 - few functions need it

            await through_snapshot(client)
        pollers = [Poller(client, call, deadline_margin=deadline_margin, alone=limit == 1) for _ in range(limit)]
        if limit == 1 and on_shutdown is None and not service.needs_shutdown:
            await pollers[0].run()
        await _serve(client, pollers, listen=on_shutdown is not None or service.needs_shutdown)
        if on_shutdown is not None:
            from perdure.aws_lambda.shutdown import run_hook  # noqa: PLC0415 - as above

            await run_hook(on_shutdown)


async def _serve(client: RuntimeApiClient, pollers: Sequence[Poller], *, listen: bool) -> None:
    """Run all loops; returns when this process is told to end."""
    try:
        async with anyio.create_task_group() as tasks:
            if listen:
                from perdure.aws_lambda.shutdown import cancel_on_signal, hold_extension  # noqa: PLC0415 - as above

                await tasks.start(cancel_on_signal, tasks.cancel_scope)
                await tasks.start(hold_extension, client)
            for poller in pollers:
                tasks.start_soon(poller.run)
    except BaseExceptionGroup as group:
        # They all lost the same platform: the first one says it.
        raise _first_leaf(group) from None


def _first_leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _limit(concurrency: int | None) -> int:
    if concurrency is None:
        return max_concurrency()
    if concurrency < 1:
        raise UsageError(f"concurrency={concurrency}: at least one invocation runs at a time")
    return concurrency


def _service(handler: Handler | LambdaService | Endpoint | str, limit: int) -> LambdaService:
    found: Any = load_handler(handler) if isinstance(handler, str) else handler
    asgi = sys.modules.get("perdure.asgi")  # where it was not imported there is no endpoint
    if asgi is not None and isinstance(found, asgi.Endpoint):
        from perdure.aws_lambda.durable import EndpointService  # noqa: PLC0415 - few functions need it

        return EndpointService(found)
    service: LambdaService = service_fn(found, threads=limit)
    return service


async def _report_init_error(client: RuntimeApiClient, error: BaseException) -> None:
    _log.error("the function cannot start", exc_info=error)
    try:
        await client.init_error(diagnose(error))
    except RuntimeApiError as refused:
        _log.error("the error of init could not be reported: %s", refused)


def main(
    handler: Handler | LambdaService | Endpoint | str | None = None,
    *,
    backend: Literal["asyncio", "trio"] = "asyncio",
    layers: Sequence[Layer] = (),
    on_shutdown: ShutdownHook | None = None,
    concurrency: int | None = None,
    deadline_margin: float | None = DEADLINE_MARGIN_SECONDS,
) -> None:
    """Be the runtime of this process: what a bootstrap calls last.

    Returns after a shutdown that the platform announced; otherwise the process ends with an exit code. Logging is
    configured as the platform wishes, unless the program has configured it already.

    Args:
        handler: see `run`; without one, what the variable `_HANDLER` names.
        backend: the event loop.
        layers: see `run`.
        on_shutdown: see `run`.
        concurrency: see `run`.
        deadline_margin: see `run`.
    """
    configure_logging()
    serve = partial(
        run,
        os.environ.get("_HANDLER", "") if handler is None else handler,
        layers=layers,
        on_shutdown=on_shutdown,
        concurrency=concurrency,
        deadline_margin=deadline_margin,
    )
    try:
        anyio.run(serve, backend=backend)
    except PerdureError as exc:
        # One line for what was reported already, or can be reported to nobody; other errors keep their traceback.
        _log.critical("the runtime ends: %s", exc)
        sys.exit(getattr(exc, "exit_code", 1))
