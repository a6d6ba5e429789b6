"""What can go wrong with the file, and what is to be done about each.

::

    EngineError
    └── StorageError            the file cannot be used
        ├── DatabaseInUse       another engine has it open
        ├── NewerSchema         a newer perdure wrote it
        ├── NotPerdure          it is something else
        ├── NotWritable         the file or its folder cannot be written
        └── Corrupt             its content is damaged

These are raised when a file is opened. Once it is open there are two kinds: what passes by itself or when somebody
makes room (`TryAgain`; the batch is kept and tried again), and everything else, which fails the engine. A failed
`fsync` is of the second kind for good: the kernel may have dropped what it could not write, and a second `fsync` that
succeeds proves nothing.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from perdure.exceptions import EngineError, EngineFailed

__all__ = [
    "Corrupt",
    "DatabaseInUse",
    "NewerSchema",
    "NotPerdure",
    "NotWritable",
    "StorageError",
    "TryAgain",
    "code_of",
    "describe",
    "judge",
    "refuse",
]

_PRIMARY: Final = 0xFF
"""The lower byte of an extended result code is the primary one."""

_PASSING: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY})
"""Primary codes of what passes."""

_PASSING_IO: Final = frozenset({sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
"""Extended codes of what passes: both mean, on Linux, that there is no room."""

_LATER: Final = "nothing that was accepted is lost; it goes on when there is room"


class StorageError(EngineError):
    """The file of the engine cannot be used; the message says which, why, and what to do."""


class DatabaseInUse(StorageError):  # noqa: N818 - a state of the file
    """Another engine, or another program, has the file open."""


class NewerSchema(StorageError):  # noqa: N818 - a state of the file
    """The file was written by a newer perdure."""


class NotPerdure(StorageError):  # noqa: N818 - a state of the file
    """The file is no database, or not one of perdure."""


class NotWritable(StorageError):  # noqa: N818 - a state of the file
    """The file or its folder does not exist, or cannot be written."""


class Corrupt(StorageError):  # noqa: N818 - a state of the file
    """The content of the file is damaged."""


class TryAgain(Exception):  # noqa: N818 - an answer between the parts of this folder, seen by nobody else
    """The batch could not be written now; it is kept.

    Attributes:
        reason: one line for people.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def code_of(error: BaseException) -> int:
    """The extended result code of SQLite; 0 for an error that has none."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code if isinstance(code, int) else 0


def describe(error: BaseException) -> str:
    """An error of SQLite with the name of its code, as its documentation has it."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else f"{type(error).__name__}: {error}"


def judge(error: Exception, path: str) -> TryAgain | EngineFailed:
    """What an error in a batch means.

    Args:
        error: what was raised while the batch was written.
        path: the file, for the message.
    """
    code = code_of(error)
    if code & _PRIMARY in _PASSING or code in _PASSING_IO:
        if code & _PRIMARY == sqlite3.SQLITE_BUSY:
            return TryAgain(f"{path} is locked by another program: {describe(error)}; {_LATER}")
        return TryAgain(f"{path} cannot grow, is the disk full? {describe(error)}; {_LATER}")
    if isinstance(error, sqlite3.IntegrityError):
        return EngineFailed(
            f"{path} already holds what was to be written: {describe(error)}; either something else writes to the "
            "file, or this is a bug of perdure"
        )
    if not code:
        return EngineFailed(f"a change cannot be stored in {path}: {describe(error)}; this is a bug of perdure")
    return EngineFailed(
        f"{path} cannot be written: {describe(error)}; whether the last changes were stored is known when it is opened "
        f"again. Look at the disk, then at the file: perdure doctor {path}"
    )


def refuse(error: Exception, path: str) -> StorageError:
    """What an error means that was raised while a file was opened.

    Args:
        error: what SQLite or the operating system raised.
        path: the file, for the message.
    """
    if isinstance(error, StorageError):
        return error
    code = code_of(error)
    match code & _PRIMARY:
        case sqlite3.SQLITE_NOTADB:
            return NotPerdure(f"{path} is no SQLite database; name another file")
        case sqlite3.SQLITE_CORRUPT:
            return Corrupt(f"{path} is damaged: {describe(error)}; perdure doctor {path} tells more")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return NotWritable(
                f"{path} cannot be written: {describe(error)}; make the file and its folder writable for this user"
            )
        case sqlite3.SQLITE_CANTOPEN:
            return NotWritable(
                f"{path} cannot be opened: {describe(error)}; make the file and its folder writable for this user"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DatabaseInUse(f"{path} is locked by another program: {describe(error)}; end that program's access")
        case sqlite3.SQLITE_FULL:
            return StorageError(f"{path} cannot grow, is the disk full? {describe(error)}")
        case _:
            return StorageError(f"{path} cannot be opened: {describe(error)}")
