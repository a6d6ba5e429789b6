"""The write-ahead log as a file: making it long at open, and seeing when it is long.

Overwriting a log in place takes half the time of letting it grow, because growing changes the size of the file, which
the disk has to store too (SQLite keeps the file when it starts over). So it is made long once, at open.

How many frames are in use is read from the file: each restart of the log changes the salt in its header, and every
frame carries the salt of its time. Reading it is safe beside SQLite, which holds no locks on this file.

Source: https://sqlite.org/fileformat2.html#walformat, section 4.
"""

from __future__ import annotations

import os
from typing import Final

from perdure.engine.storage.connection import Connection

__all__ = ["CHECKPOINT_AT", "WalFile", "warm"]

CHECKPOINT_AT: Final = 1000
"""Frames from which on the log is checkpointed."""

_WARM_BYTES: Final = 4_200_000
"""A little more than `CHECKPOINT_AT` frames."""

_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_PAGE_SIZE: Final = slice(8, 12)
_SALTS: Final = slice(16, 24)
_FRAME_SALTS: Final = slice(8, 16)


def warm(connection: Connection) -> None:
    """Make the log as long as it gets before it starts over; takes 10 to 20 ms.

    The pages are written because the cache is made too small for them, and then rolled back, so the database itself
    does not grow. The commit behind it brings them to the disk.
    """
    [(cache,)] = connection.query("PRAGMA cache_size")
    connection.execute("PRAGMA cache_size=16")
    try:
        connection.begin()
        try:
            connection.execute("CREATE TABLE warming (content BLOB)")
            connection.execute("INSERT INTO warming VALUES (zeroblob(?))", (_WARM_BYTES,))
        finally:
            if connection.in_transaction:
                connection.rollback()
    finally:
        connection.execute(f"PRAGMA cache_size={cache}")


class WalFile:
    """Tells how much of a log is in use.

    Args:
        database: path of the database; its log lies beside it.
    """

    __slots__ = ("_descriptor", "_path")

    def __init__(self, database: str) -> None:
        self._path = f"{database}-wal"
        self._descriptor = -1

    def reaches(self, frames: int) -> bool:
        """Whether at least so many frames are in use."""
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
        header = os.pread(self._descriptor, _HEADER, 0)
        page = int.from_bytes(header[_PAGE_SIZE], "big")
        frame = os.pread(self._descriptor, _FRAME_HEADER, _HEADER + (frames - 1) * (_FRAME_HEADER + page))
        return len(frame) == _FRAME_HEADER and frame[_FRAME_SALTS] == header[_SALTS]

    def close(self) -> None:
        """Let go of the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
