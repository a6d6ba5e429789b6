"""The end of the sandbox.

A sandbox without extensions is killed at once. One with an extension, even one that wants no events, is told by SIGTERM
and has some hundred milliseconds. So whoever wants to know of the end registers one.
"""

from __future__ import annotations

import inspect
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import anyio
from anyio.abc import TaskStatus

from perdure.aws_lambda.failures import RuntimeApiError
from perdure.aws_lambda.runtime_api import RuntimeApiClient

__all__ = ["EXTENSION_NAME", "HOOK_SECONDS", "ShutdownHook", "cancel_on_signal", "hold_extension", "run_hook"]

ShutdownHook: TypeAlias = Callable[[], Awaitable[object] | object]
"""A plain or async function without arguments."""

EXTENSION_NAME: Final = "perdure-shutdown"

HOOK_SECONDS: Final = 0.5
"""What the hook has; the platform kills the sandbox soon after it has sent SIGTERM."""

_log: Final = logging.getLogger("perdure.aws_lambda")


async def hold_extension(
    client: RuntimeApiClient, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Register an internal extension, and wait for the event that never comes, as every extension must."""
    try:
        identifier = await client.register_extension(EXTENSION_NAME)
    except RuntimeApiError as error:
        _log.warning("the sandbox will end without a SIGTERM, since no extension could be registered: %s", error)
        task_status.started()
        return
    task_status.started()
    try:
        await client.next_extension_event(identifier)
    except RuntimeApiError as error:
        _log.debug("the platform ended the wait of the extension: %s", error)


async def cancel_on_signal(
    scope: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Cancel a scope when this process is told to end (SIGTERM, SIGINT)."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return


async def run_hook(hook: ShutdownHook) -> None:
    """Run the hook, as long as the platform leaves; what it raises is logged, since nobody is left to hear it."""
    with anyio.move_on_after(HOOK_SECONDS, shield=True) as scope:
        try:
            result = hook()
            if inspect.isawaitable(result):
                await result
        except Exception:  # noqa: BLE001 - it is logged
            _log.exception("the shutdown hook failed")
    if scope.cancelled_caught:
        _log.warning("the shutdown hook did not end within %s s", HOOK_SECONDS)
