"""Hooks around a snapshot (SnapStart): what to close before it is taken, what to open again in each copy.

Connections, secrets with a short life and random state do not survive being copied. The runtime does its own part: it
drops its connections and seeds `random` anew.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from perdure.aws_lambda.diagnostics import Diagnostic, diagnose
from perdure.aws_lambda.runtime_api import RuntimeApiClient
from perdure.exceptions import PerdureError

__all__ = ["SnapshotHookError", "register_snapshot_resource", "through_snapshot"]

Hook: TypeAlias = Callable[[], Awaitable[object] | object]

BEFORE_FAILED: Final = 64
AFTER_FAILED: Final = 65
"""Exit codes by which the platform tells the two failures apart."""


class SnapshotHookError(PerdureError):
    """A hook around the snapshot failed; it was reported to the platform.

    Attributes:
        exit_code: what the process ends with.
    """

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


_before: Final[list[Hook]] = []
_after: Final[list[Hook]] = []


def register_snapshot_resource(*, before: Hook | None = None, after: Hook | None = None) -> None:
    """Register hooks around the snapshot; plain or async functions without arguments.

    Args:
        before: runs before the snapshot is taken, the hook registered last first.
        after: runs in every copy before its first invocation, in the order of registration.
    """
    if before is not None:
        _before.append(before)
    if after is not None:
        _after.append(after)


async def through_snapshot(client: RuntimeApiClient) -> None:
    """Run the hooks, and let the platform take its snapshot between them.

    Raises:
        SnapshotHookError: a hook failed.
        RuntimeApiError: the platform took no snapshot.
    """
    try:
        for hook in reversed(_before):
            await _run(hook)
    except Exception as exc:
        await client.init_error(_named(diagnose(exc), "Runtime.BeforeSnapshotError"))  # noqa: ASYNC120 - the platform must hear it
        raise SnapshotHookError(f"a hook before the snapshot failed: {exc}", exit_code=BEFORE_FAILED) from exc
    await client.restore_next()
    await client.reset()
    if (random := sys.modules.get("random")) is not None:
        random.seed()
    try:
        for hook in _after:
            await _run(hook)
    except Exception as exc:
        await client.restore_error(_named(diagnose(exc), "Runtime.AfterRestoreError"))  # noqa: ASYNC120 - as above
        raise SnapshotHookError(f"a hook after the restore failed: {exc}", exit_code=AFTER_FAILED) from exc


async def _run(hook: Hook) -> None:
    result = hook()
    if inspect.isawaitable(result):
        await result


def _named(error: Diagnostic, error_type: str) -> Diagnostic:
    return Diagnostic(error_type, f"{error.error_type}: {error.error_message}", error.frames)
