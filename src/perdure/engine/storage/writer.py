"""The writer of a file: a thread of its own, so that a slow disk does not stop the loop of the program.

A batch goes there through a queue and comes back as one call to the loop, so a commit costs two hand-overs. The
acknowledgement is sent first; only then the log is checkpointed, while the loop is busy with what it was told.
"""

from __future__ import annotations

import queue
import threading

from perdure.engine.storage.commits import Commits, closed_too_soon, pauses
from perdure.engine.storage.errors import TryAgain
from perdure.engine.storage.listener import Listener, Rows
from perdure.exceptions import EngineFailed

__all__ = ["ThreadedWriter"]


class ThreadedWriter:
    """Commits batches in a thread.

    Args:
        commits: what it writes with.
    """

    __slots__ = ("_commits", "_queue", "_stopping", "_thread")

    def __init__(self, commits: Commits) -> None:
        self._commits = commits
        self._queue: queue.SimpleQueue[Rows | None] = queue.SimpleQueue()
        self._stopping: threading.Event = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, listener: Listener) -> None:
        """Start the thread. It is a daemon: a program that ends without closing its engine ends as in a crash."""
        self._thread = threading.Thread(target=self._run, args=(listener,), name="perdure-writer", daemon=True)
        self._thread.start()

    def submit(self, rows: Rows) -> None:
        """Hand a batch over."""
        self._queue.put(rows)

    def stop(self) -> None:
        """Let the thread finish what it has, and join it."""
        self._stopping.set()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _run(self, listener: Listener) -> None:
        try:
            self._write_all(listener)
        except EngineFailed as error:
            listener.tell_failed(error)
        except BaseException as error:  # a thread that dies silently would leave the engine waiting for ever
            failure = EngineFailed(f"the writer of the engine's file died: {error!r}; this is a bug of perdure")
            failure.__cause__ = error
            listener.tell_failed(failure)
            raise

    def _write_all(self, listener: Listener) -> None:
        commits = self._commits
        while (rows := self._queue.get()) is not None:
            try:
                commits.write(rows)
            except TryAgain as problem:
                self._repeat(rows, problem, listener)
            listener.tell_committed()
            commits.checkpoint()

    def _repeat(self, rows: Rows, problem: TryAgain, listener: Listener) -> None:
        """Try a batch until it is written; once more when the engine is being closed.

        Raises:
            EngineFailed: it cannot be written, or not before the end.
        """
        for pause in pauses():
            listener.tell_retrying(problem.reason)
            last = self._stopping.wait(pause)
            try:
                self._commits.write(rows, again=True)
            except TryAgain as next_problem:
                problem = next_problem
                if last:
                    raise closed_too_soon(problem) from problem
            else:
                return
