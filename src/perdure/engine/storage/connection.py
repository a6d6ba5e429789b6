"""One connection to the file: the only place where SQLite is called, and so the one seam where faults are put in.

A `Connection` is given to whoever opens a store (`open_store(connect=...)`); tests hand in connections that raise,
stall or die at a chosen call, and one that runs on a file system which loses power.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, TypeAlias

from perdure.exceptions import UsageError

__all__ = ["FORKED", "MEMORY", "Columns", "Connect", "Connection", "Executor", "SqliteConnection", "connect"]

MEMORY: Final = ":memory:"
"""The path of a store that is kept in memory and is gone when it is closed."""

FORKED: Final = (
    "this engine was opened by the process that this one was forked from, and can only be used there; open an engine "
    "on a file of its own in the child, or start the child by exec (multiprocessing's 'spawn')"
)
"""What a forked child is told that uses the store of its parent."""

BUSY_TIMEOUT: Final = 1.0
"""Seconds that SQLite itself waits for a lock of another program before it reports BUSY."""

_STATEMENTS: Final = 256
"""Prepared statements kept; there are fewer."""

_INSTRUCTIONS: Final = 20_000
"""Instructions of SQLite's machine between two looks at the time limit: about a millisecond."""

Column: TypeAlias = int | str | bytes | None
Columns: TypeAlias = Sequence[Column]


class Connection(Protocol):
    """What a store needs of a database connection. Errors are those of `sqlite3`, with their codes."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; SQLite ends one by itself after some errors."""
        ...

    def execute(self, sql: str, columns: Columns = (), /) -> object:
        """Run a statement that returns no rows."""
        ...

    def query(self, sql: str, columns: Columns = (), /) -> list[Any]:
        """Run a statement and return all its rows, as tuples; no cursor stays open."""
        ...

    def begin(self) -> None:
        """Begin a transaction that may write."""
        ...

    def commit(self) -> None:
        """End it, and return when it is durable."""
        ...

    def rollback(self) -> None:
        """End it without effect."""
        ...

    def checkpoint(self) -> None:
        """Move what nobody reads any more from the write-ahead log to the database, without waiting for anybody."""
        ...

    def limit(self, seconds: float | None) -> None:
        """Interrupt (`SQLITE_INTERRUPT`) whatever statement runs in so many seconds; `None` lifts the limit."""
        ...

    def abandon(self) -> None:
        """Forget the database without touching it: this process is a forked child of the one that opened it."""
        ...

    def close(self) -> None:
        """Close it; what was not committed is gone."""
        ...


class Connect(Protocol):
    """Opens a connection."""

    def __call__(self, path: str, *, read_only: bool) -> Connection:
        """Open `path`; a connection to read from is opened after the one to write with, and closed before it.

        It may return the writing connection again, where a second one cannot be had.
        """
        ...


class SqliteConnection:
    """A `Connection` of the standard library's `sqlite3`. It may be used by one thread at a time."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: Any = connection

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self._connection.in_transaction)

    def execute(self, sql: str, columns: Columns = (), /) -> object:
        """Run a statement that returns no rows."""
        return self._connection.execute(sql, columns)

    def query(self, sql: str, columns: Columns = (), /) -> list[Any]:
        """Run a statement and return all its rows."""
        rows: list[Any] = self._connection.execute(sql, columns).fetchall()
        return rows

    def begin(self) -> None:
        """Begin a transaction that may write."""
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End it, and return when it is durable."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """End it without effect."""
        self._connection.execute("ROLLBACK")

    def checkpoint(self) -> None:
        """Move what it can from the write-ahead log to the database."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def limit(self, seconds: float | None) -> None:
        """Interrupt whatever statement runs in so many seconds."""
        if seconds is None:
            self._connection.set_progress_handler(None, 0)
            return
        deadline = time.monotonic() + seconds
        self._connection.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS)

    def abandon(self) -> None:
        """Forget the database without touching it."""
        _abandoned.append(self._connection)
        self._connection = _Abandoned()

    def close(self) -> None:
        """Close it."""
        self._connection.close()


_abandoned: Final[list[object]] = []
"""Connections of the parent process, kept so that no destructor of the child closes them."""


class _Abandoned:
    """Stands where a connection was before the fork."""

    def __getattr__(self, name: str) -> NoReturn:
        raise UsageError(FORKED)


def connect(path: str, *, read_only: bool) -> Connection:
    """Open a database with the standard library's `sqlite3`; the usual `Connect`.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    options: dict[str, Any] = {
        "timeout": BUSY_TIMEOUT,
        "isolation_level": None,  # transactions are begun and ended by name
        "check_same_thread": False,  # opened on the loop, written by the writer's thread
        "cached_statements": _STATEMENTS,
    }
    if path == MEMORY:
        return SqliteConnection(sqlite3.connect(path, **options))
    mode = "ro" if read_only else "rwc"
    return SqliteConnection(sqlite3.connect(f"{Path(path).as_uri()}?mode={mode}", uri=True, **options))


Executor: TypeAlias = Callable[[str, Columns], object]
"""`Connection.execute`."""
