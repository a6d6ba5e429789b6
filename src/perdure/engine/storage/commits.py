"""One batch, one transaction: what both writers do, whatever thread they do it in.

After an error the batch is rolled back, if SQLite has not done so itself: after some errors no transaction is open any
more, and statements that went on would be committed one by one. What may pass is answered with `TryAgain` and the same
batch is written again; everything else ends the engine.

A commit that failed may have happened all the same. So a repeated batch is looked up first: an entry of the journal is
written once, and if the last one of the batch is there, all of it is. What is found is not acknowledged before another
commit has succeeded, whose sync covers the log up to there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from perdure.engine.rows import Row
from perdure.engine.storage.connection import Connection
from perdure.engine.storage.errors import TryAgain, judge
from perdure.engine.storage.statements import last_entry, write
from perdure.exceptions import EngineFailed
from perdure.wire.msgpack import encode

__all__ = ["Commits", "closed_too_soon", "pauses"]

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0

_LOOK_EVERY: Final = 200
"""Rows written, a commit counting as two, between two looks at the length of the log."""

_ENTRY: Final = "SELECT entry FROM journal WHERE number=? AND idx=?"
_COUNT: Final = "UPDATE meta SET value=value+1 WHERE name='repeated'"  # the same value again would write no page
_SET_CLEAN: Final = "UPDATE meta SET value=1 WHERE name='clean'"

_log: Final = logging.getLogger("perdure.engine")


def pauses() -> Iterator[float]:
    """Seconds to wait before each repetition of a batch."""
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)


def closed_too_soon(problem: TryAgain) -> EngineFailed:
    """The end of a batch that was being retried when the engine was closed."""
    return EngineFailed(f"the engine was closed before its last changes could be written: {problem.reason}")


class Commits:
    """Writes batches through one connection.

    Args:
        connection: to write with.
        path: the file, for messages.
        long: tells whether the log is long enough for a checkpoint.
    """

    __slots__ = ("_checkpoint_failed", "_connection", "_long", "_path", "_written")

    def __init__(self, connection: Connection, path: str, long: Callable[[], bool]) -> None:
        self._connection = connection
        self._path = path
        self._long = long
        self._written = 0
        self._checkpoint_failed = False

    def write(self, rows: Sequence[Row], *, again: bool = False) -> None:
        """Write a batch, and return when it is durable.

        Args:
            rows: the batch.
            again: whether this very batch was tried before.

        Raises:
            TryAgain: it was not written, but can be later.
            EngineFailed: it cannot be written.
        """

        def change() -> None:
            if again and self._is_written(rows):
                self._connection.execute(_COUNT)
            else:
                write(self._connection.execute, rows)

        self._transact(change)
        self._written += len(rows) + 2

    def _transact(self, change: Callable[[], object]) -> None:
        connection = self._connection
        try:
            try:
                connection.begin()
                change()
                connection.commit()
            except BaseException:
                if connection.in_transaction:
                    connection.rollback()
                raise
        except Exception as error:
            raise judge(error, self._path) from error

    def _is_written(self, rows: Sequence[Row]) -> bool:
        entry = last_entry(rows)
        if entry is None:
            return False  # everything else can be done twice
        return self._connection.query(_ENTRY, (entry.number, entry.index)) == [(encode(entry.entry),)]

    def checkpoint(self) -> None:
        """Shorten the log if it is long; called once the acknowledgement of a batch is on its way.

        A disk that is full is told in the log of the program: commits go on for as long as the log can grow.

        Raises:
            EngineFailed: the database cannot be written, and not for lack of room.
        """
        if self._written < _LOOK_EVERY:
            return
        self._written = 0
        if not self._long():
            return
        try:
            self._connection.checkpoint()
        except Exception as error:
            problem = judge(error, self._path)
            if not isinstance(problem, TryAgain):
                raise problem from error
            if not self._checkpoint_failed:
                _log.warning("the write-ahead log is not taken over into the database: %s", problem.reason)
            self._checkpoint_failed = True
        else:
            self._checkpoint_failed = False

    def set_clean(self) -> None:
        """Mark the file as closed by its engine: the last thing that is written to it.

        Raises:
            TryAgain: that cannot be written now.
            EngineFailed: it cannot be written.
        """
        self._transact(lambda: self._connection.execute(_SET_CLEAN))
