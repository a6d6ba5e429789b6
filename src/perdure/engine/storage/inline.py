"""The writer without a thread: commits on the loop.

For stores in memory, where a commit costs nothing, and for virtual time: a clock that moves when nothing is left to do
must not move while a commit is in its thread. What is told is told as by the other writer, in a turn of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from perdure.engine.storage.commits import Commits, closed_too_soon, pauses
from perdure.engine.storage.errors import TryAgain
from perdure.engine.storage.listener import Listener, Rows
from perdure.exceptions import EngineFailed

__all__ = ["InlineWriter"]


class InlineWriter:
    """Commits batches where they are handed over.

    Args:
        commits: what it writes with.
    """

    __slots__ = ("_commits", "_kept", "_listener", "_lock", "_pauses", "_timer")

    def __init__(self, commits: Commits) -> None:
        self._commits = commits
        self._listener: Listener | None = None
        self._kept: Rows | None = None
        self._pauses: Iterator[float] = iter(())
        self._timer: threading.Timer | None = None
        self._lock: threading.Lock = threading.Lock()  # `stop` may be called from another thread

    def start(self, listener: Listener) -> None:
        """Begin."""
        self._listener = listener

    def submit(self, rows: Rows) -> None:
        """Write a batch; blocks while it is written."""
        self._pauses = pauses()
        self._write(rows, again=False)

    def _write(self, rows: Rows, *, again: bool) -> None:
        listener = self._listener
        assert listener is not None
        self._kept = rows
        try:
            self._commits.write(rows, again=again)
            self._kept = None
            listener.tell_committed()
            self._commits.checkpoint()
        except TryAgain as problem:
            listener.tell_retrying(problem.reason)
            # Only a disk that is full, or somebody else's lock, leads here; a timer of the loop needs a task of ours.
            self._timer = threading.Timer(next(self._pauses), listener.call, (self._again,))
            self._timer.daemon = True
            self._timer.start()
        except EngineFailed as error:
            self._kept = None
            listener.tell_failed(error)

    def _again(self) -> None:
        with self._lock:
            if self._kept is not None:
                self._write(self._kept, again=True)

    def stop(self) -> None:
        """Try once more what is kept, and end."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            rows, self._kept = self._kept, None
            listener = self._listener
            if rows is None or listener is None:
                return
            try:
                self._commits.write(rows, again=True)
            except TryAgain as problem:
                listener.tell_failed(closed_too_soon(problem))
            except EngineFailed as error:
                listener.tell_failed(error)
            else:
                listener.tell_committed()
