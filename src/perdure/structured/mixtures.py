"""Errors and the loop's cancellation, told apart where a native nursery has mixed them."""

from __future__ import annotations

import anyio

__all__ = ["split_cancelled"]


def split_cancelled(error: BaseException) -> tuple[bool, BaseException | None]:
    """Whether the loop's cancellation is (in) `error`, and the error without it, `None` when nothing is left."""
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(error, cancelled):
        return True, None
    if isinstance(error, BaseExceptionGroup):
        found, rest = error.split(cancelled)
        return found is not None, rest
    return False, error
