"""SIGTERM and SIGINT: the first drains a server, the second ends it at once.

hypercorn handles them on asyncio only; on trio the process dies in the middle of its requests.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Final

import anyio
import anyio.abc

from perdure.server.lifecycle import Server

__all__ = ["obey_signals"]

logger: Final = logging.getLogger("perdure.server")

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def obey_signals(
    server: Server,
    heard: Callable[[int], None] | None = None,
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Pass signals of this process on to a server, until cancelled. Only the main thread can.

    Args:
        server: what to drain and to stop.
        heard: called at each signal with their number so far, before the server is told.
        task_status: told when signals are received.
    """
    count = 0
    with anyio.open_signal_receiver(*SIGNALS) as received:
        task_status.started()
        async for number in received:
            count += 1
            logger.info("%s received", number.name)
            if heard is not None:
                heard(count)
            if count == 1:
                server.drain()
            else:
                server.stop()
