"""The loop's own cancellation, raised where it would not reach."""

from __future__ import annotations

from typing import NoReturn

import anyio

__all__ = ["raise_cancelled"]


async def raise_cancelled() -> NoReturn:
    """Raise the loop's own cancellation, even inside a native shield.

    It is raised in a fresh scope that is cancelled on the spot, and carried out of it: a bare checkpoint would not
    raise under a shield, and on asyncio it may return without raising below a cancelled group.
    """
    error: BaseException | None = None
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as cancelled:  # noqa: ASYNC103 - raised again below, outside the scope
            error = cancelled
    assert error is not None
    raise error
