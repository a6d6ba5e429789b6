"""One engine per file: a lock of the operating system on a file beside the database.

The lock is on a file of its own, because SQLite's locks on the database belong to the process and are gone as soon as
any descriptor of the database is closed in it. The file stays when the lock is released; it holds the process id of the
last who had it, for the message of whoever comes second.

Children: a program that is started does not inherit the descriptor, and a forked child closes its copy at once, since
the lock is free only when all copies are closed. Within one process a registry by inode finds a second engine on the
same file under any name.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from perdure.engine.storage.errors import DatabaseInUse, NotWritable, StorageError

__all__ = ["SUFFIX", "LockFile"]

SUFFIX: Final = "-lock"
"""Added to the name of the database."""

_MODE: Final = 0o644
_PID_LENGTH: Final = 32
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR})

_held: Final[dict[int, LockFile]] = {}
"""Those of this process, by descriptor."""


class LockFile:
    """The lock of one database, held from `take` to `release`."""

    __slots__ = ("_database", "_descriptor")

    def __init__(self, database: Path, descriptor: int) -> None:
        self._database: Path = database
        self._descriptor: int = descriptor

    @classmethod
    def take(cls, database: Path) -> LockFile:
        """Take the lock of a database, which need not exist yet.

        Args:
            database: its path, with all links resolved.

        Raises:
            DatabaseInUse: another engine has it, in this process or in another.
            NotWritable: the lock file cannot be made.
            StorageError: the file system knows no locks.
        """
        _refuse_second(database)
        path = f"{database}{SUFFIX}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise StorageError(f"{path} cannot be opened: {error.strerror}") from error
            raise NotWritable(
                f"{path} cannot be made: {error.strerror}; the engine needs a folder that exists and that this "
                "user may write to"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, _PID_LENGTH, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise DatabaseInUse(
                f"{database} is open in another engine, in process {owner or '(unknown)'}; one process at a time has a "
                "file: run one worker, or give each its own file, or use restate-server for several"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise StorageError(f"{path} cannot be locked: {error.strerror}; use a local disk") from error
        lock = cls(database, descriptor)
        _held[descriptor] = lock
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            # A full disk: the name of the owner is a courtesy, the lock is held all the same.
            return lock
        return lock

    @property
    def held(self) -> bool:
        """Whether it is held by this process."""
        return self._descriptor >= 0

    def release(self) -> None:
        """Give it back; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            _held.pop(descriptor, None)
            os.close(descriptor)


def _refuse_second(database: Path) -> None:
    for lock in _held.values():
        if lock._database == database or _same(lock._database, database):  # noqa: SLF001 - another of the class
            raise DatabaseInUse(
                f"{database} is already open in an engine of this process; close that one first, or share it"
            )


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False  # one of them does not exist yet


def _forget() -> None:
    """In a forked child: close the copies, so that the parent alone keeps its locks."""
    for lock in list(_held.values()):
        lock.release()


os.register_at_fork(after_in_child=_forget)
