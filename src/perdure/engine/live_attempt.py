"""An attempt whose code runs, and the context that all of them are started in."""

from __future__ import annotations

import math
import sys
from contextvars import Context, copy_context
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from perdure.engine.in_process import InProcessChannel
    from perdure.engine.remote.channel import RemoteChannel
    from perdure.engine.session import AttemptSession
    from perdure.wire.messages import ErrorMessage

__all__ = ["LiveAttempt", "opening_context"]


def opening_context() -> Context:
    """The context variables of whoever opens the engine, for every attempt: it is started from anywhere.

    On asyncio that may be a callback, where nobody is a task, and so nothing tells which loop runs: say it.
    """
    context = copy_context()
    trio, sniffio = sys.modules.get("trio"), sys.modules.get("sniffio")  # anyio asks sniffio, where it is installed
    if sniffio is not None and not (trio is not None and trio.lowlevel.in_trio_run()):
        context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


class LiveAttempt:
    """An attempt whose code runs.

    Attributes:
        session: the engine's side of it.
        channel: its transport.
        path: the handler, `Shop/checkout`.
        abort: seconds that it has to stop, once it was asked to.
        stopped_at: when the engine left it, seconds since the epoch.
        told_at: when people were last told that it has not stopped.
        scope: around all of it; cancelled where finding its peer gone did not stop it.
        error: why it was broken off, if it was.
        infrastructure: whether its handler never came to hear of it.
    """

    __slots__ = ("abort", "channel", "error", "infrastructure", "path", "scope", "session", "stopped_at", "told_at")

    def __init__(
        self, session: AttemptSession, channel: InProcessChannel | RemoteChannel, path: str, abort: float
    ) -> None:
        self.session: AttemptSession = session
        self.infrastructure: bool = False
        self.channel: InProcessChannel | RemoteChannel = channel
        self.path: str = path
        self.abort: float = abort
        self.stopped_at: float = math.inf
        self.told_at: float = math.inf
        self.scope: anyio.CancelScope = anyio.CancelScope()
        self.error: ErrorMessage | None = None

    @property
    def deadline(self) -> float:
        """When to look at it next."""
        return self.told_at + self.abort if self.channel.gone else self.session.deadline

    def committed(self, batch: int) -> None:
        """What it wrote up to this batch is on disk."""
        session = self.session
        overdrawn = session.overdrawn
        session.committed(batch)
        if overdrawn and not session.overdrawn:
            self.channel.wake()
