"""Looks at a whole file and says what is wrong with it; changes nothing.

An engine may have the file open meanwhile: everything is read in one transaction, as it was when that began.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from perdure.engine.rows import PutInvocation, Status
from perdure.engine.storage.checks import ORPHANS, Orphans
from perdure.engine.storage.connection import Connection, connect
from perdure.engine.storage.errors import NotWritable, StorageError, describe, refuse
from perdure.engine.storage.migrations import SCHEMA_VERSION, check_version, version_of
from perdure.engine.storage.reader import StoreReader
from perdure.exceptions import EngineFailed

__all__ = ["Examination", "examine"]

_SHOWN: Final = 20
"""Findings of one kind that are listed; the rest is counted."""

_PAGE: Final = 1000

_STATUSES: Final = "SELECT status, count(*) FROM invocations GROUP BY status ORDER BY status"
_NUMBERS: Final = "SELECT number FROM invocations WHERE number > ? ORDER BY number LIMIT ?"
_TIMERS: Final = "SELECT count(*), min(due) FROM timers"
_KEYS: Final = "SELECT service, key FROM locks UNION SELECT service, key FROM queue"
_PROMISES: Final = "SELECT service, key, name FROM promises UNION SELECT service, key, name FROM promise_waiters"
_WORKS: Final = "SELECT count(*) FROM work"
_SIZES: Final = ("page_size", "page_count", "freelist_count")


class Examination(msgspec.Struct):
    """What was found in a file.

    Attributes:
        path: the file.
        version: of its schema.
        clean: whether the last engine closed it, or none has it open now.
        size: bytes of the database, without its log.
        free: bytes of it that are not used.
        invocations: how many there are, by status.
        entries: journal entries.
        timers: how many are set.
        next_timer: when the first is due, in milliseconds since the Unix epoch; 0 without one.
        work: how many pieces of work are stored.
        findings: what is wrong, a line each; empty for a file that is well.
    """

    path: str
    version: int
    clean: bool
    size: int = 0
    free: int = 0
    invocations: dict[str, int] = {}
    entries: int = 0
    timers: int = 0
    next_timer: int = 0
    work: int = 0
    findings: list[str] = []


def examine(path: str | os.PathLike[str]) -> Examination:
    """Check a file: its pages and indexes, the relations between its tables, and that everything in it can be read.

    Takes some seconds for a gigabyte.

    Args:
        path: the file of an engine.

    Raises:
        NewerSchema: a newer perdure wrote it.
        NotPerdure: it is something else.
        NotWritable: it does not exist or cannot be opened.
        StorageError: it is so damaged that nothing can be read.
    """
    database = os.path.realpath(path)
    if not Path(database).is_file():
        raise NotWritable(f"{database} is no file; name the file of an engine")
    try:
        connection = connect(database, read_only=True)
        try:
            return _examine(connection, database)
        finally:
            connection.close()
    except (sqlite3.Error, StorageError) as error:
        refused = refuse(error, database)
        if refused is error:
            raise
        raise refused from error


def _examine(connection: Connection, path: str) -> Examination:
    version = version_of(connection, path)
    check_version(version, path)
    if version == 0:
        return Examination(path, 0, clean=True)
    connection.execute("BEGIN")
    found = Examination(path, version, clean=False)
    _try(found, lambda: _check_pages(connection, found))
    if version == SCHEMA_VERSION:
        _try(found, lambda: _measure(connection, found))
        for orphans in ORPHANS:
            _try(found, partial(_check_relation, connection, found, orphans))
        _try(found, lambda: _read_everything(connection, found))
    else:
        found.findings.append(
            f"the schema has version {version}; an engine brings it to version {SCHEMA_VERSION} when it opens the file"
        )
    connection.execute("ROLLBACK")
    return found


def _try(found: Examination, part: Callable[[], None]) -> None:
    """Look at a part of the file; that it cannot be read is a finding, once."""
    try:
        part()
    except sqlite3.DatabaseError as error:
        finding = f"damaged: {describe(error)}"
        if finding not in found.findings:
            found.findings.append(finding)


def _check_pages(connection: Connection, found: Examination) -> None:
    lines = [str(line) for (line,) in connection.query("PRAGMA integrity_check")]
    if lines != ["ok"]:
        _note(found, "damaged", lines)


def _check_relation(connection: Connection, found: Examination, orphans: Orphans) -> None:
    _note(found, orphans.problem, connection.query(orphans.sql))


def _measure(connection: Connection, found: Examination) -> None:
    [(clean,)] = connection.query("SELECT value FROM meta WHERE name = 'clean'") or [(0,)]
    found.clean = bool(clean)
    sizes = {name: connection.query(f"PRAGMA {name}")[0][0] for name in _SIZES}
    found.size = sizes["page_size"] * sizes["page_count"]
    found.free = sizes["page_size"] * sizes["freelist_count"]
    known = {int(status): status.name.lower() for status in Status}
    found.invocations = {known.get(status, f"status {status}"): count for status, count in connection.query(_STATUSES)}
    [(found.timers, first)] = connection.query(_TIMERS)
    found.next_timer = first or 0
    [(found.work,)] = connection.query(_WORKS)


def _read_everything(connection: Connection, found: Examination) -> None:
    reader = StoreReader(connection)
    unreadable: list[str] = []

    def read(what: str, function: Any, *arguments: object) -> Any:
        try:
            return function(*arguments)
        except (EngineFailed, ValueError, TypeError) as error:
            unreadable.append(f"{what}: {error}")
            return None

    number = 0
    while page := connection.query(_NUMBERS, (number, _PAGE)):
        for (number,) in page:
            rows = read(f"invocation {number}", reader.invocation, number)
            entries = read(f"journal of invocation {number}", reader.entries, number, 0, -1) or []
            found.entries += len(entries)
            if rows is not None:
                _check_length(found, rows[0], len(entries))
    for service, key in connection.query(_KEYS):
        read(f"key {key!r} of {service}", reader.key, service, key)
    for service, key, name in connection.query(_PROMISES):
        read(f"promise {name!r} of {service}/{key}", reader.promise, service, key, name)
    read("deployments and services", reader.services)
    read("work", reader.works, -1)
    _note(found, "cannot be read", unreadable)


def _check_length(found: Examination, put: PutInvocation, entries: int) -> None:
    if put.status is not Status.COMPLETED and put.summary is not None and entries < put.summary.length:
        found.findings.append(
            f"the journal of invocation {put.number} has {entries} entries, {put.summary.length} were written"
        )


def _note(found: Examination, problem: str, cases: list[Any]) -> None:
    found.findings += [f"{problem}: {_words(case)}" for case in cases[:_SHOWN]]
    if len(cases) > _SHOWN:
        found.findings.append(f"{problem}: {len(cases) - _SHOWN} more")


def _words(case: Any) -> str:
    return ", ".join(map(str, case)) if isinstance(case, tuple) else str(case)
