"""Connections that fail: at the k-th call of a kind, before it has an effect or after it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from perdure.engine.storage.connection import Connection, connect

ERRORS = {
    "FULL": sqlite3.SQLITE_FULL,
    "BUSY": sqlite3.SQLITE_BUSY,
    "IOERR_WRITE": sqlite3.SQLITE_IOERR_WRITE,
    "IOERR_FSYNC": sqlite3.SQLITE_IOERR_FSYNC,
    "IOERR_READ": sqlite3.SQLITE_IOERR_READ,
    "CORRUPT": sqlite3.SQLITE_CORRUPT,
    "READONLY": sqlite3.SQLITE_READONLY,
    "NOTADB": sqlite3.SQLITE_NOTADB,
}


def error(name: str) -> sqlite3.Error:
    """An error as SQLite raises it."""
    made = sqlite3.OperationalError(f"injected {name}")
    made.sqlite_errorcode = ERRORS[name]
    made.sqlite_errorname = f"SQLITE_{name}"
    return made


class Faults:
    """What goes wrong, and when.

    Attributes:
        calls: how often each method was called since `arm`.
        log: the names of all calls since `arm`, in order.
    """

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.log: list[str] = []
        self._armed: dict[tuple[str, int], tuple[Callable[[], object], bool]] = {}

    def arm(self, method: str, at: int, fault: Callable[[], object], *, after: bool = False) -> None:
        """From now on: at the call number `at` (from 1) of a method do something, before its effect or after it."""
        self.calls.clear()
        self.log.clear()
        self._armed[method, at] = (fault, after)

    def arm_error(self, method: str, at: int, name: str, *, after: bool = False) -> None:
        """Raise an error of SQLite there."""

        def fail() -> None:
            raise error(name)

        self.arm(method, at, fail, after=after)

    def disarm(self) -> None:
        """Nothing goes wrong any more."""
        self._armed.clear()

    def around(self, method: str, effect: Callable[[], Any]) -> Any:
        """Call something that may go wrong."""
        self.calls[method] = number = self.calls.get(method, 0) + 1
        self.log.append(method)
        fault, after = self._armed.get((method, number), (None, False))
        if fault is not None and not after:
            fault()
        result = effect()
        if fault is not None and after:
            fault()
        return result


class FaultyConnection:
    """A connection all of whose calls go through `Faults`."""

    def __init__(self, inner: Connection, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    @property
    def in_transaction(self) -> bool:
        return self._inner.in_transaction

    def execute(self, sql: str, columns: Sequence[Any] = (), /) -> object:
        return self._faults.around("execute", lambda: self._inner.execute(sql, columns))

    def query(self, sql: str, columns: Sequence[Any] = (), /) -> list[Any]:
        rows: list[Any] = self._faults.around("query", lambda: self._inner.query(sql, columns))
        return rows

    def begin(self) -> None:
        self._faults.around("begin", self._inner.begin)

    def commit(self) -> None:
        self._faults.around("commit", self._inner.commit)

    def rollback(self) -> None:
        self._faults.around("rollback", self._inner.rollback)

    def checkpoint(self) -> None:
        self._faults.around("checkpoint", self._inner.checkpoint)

    def limit(self, seconds: float | None) -> None:
        self._inner.limit(seconds)

    def abandon(self) -> None:
        self._inner.abandon()

    def close(self) -> None:
        self._faults.around("close", self._inner.close)


def faulty(faults: Faults) -> Callable[..., Connection]:
    """A `Connect` whose connection to write with fails; the one to read from does not."""

    def open_(path: str, *, read_only: bool) -> Connection:
        inner = connect(path, read_only=read_only)
        return inner if read_only else FaultyConnection(inner, faults)

    return open_
