"""What has to hold in the file, as queries that find what does not; nothing is repaired silently.

After an engine ended without closing its file, `look` runs at the next open, for two seconds at most. `perdure doctor`
runs everything.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import Final, NamedTuple

from perdure.engine.rows import Status
from perdure.engine.storage.connection import Connection
from perdure.engine.storage.errors import Corrupt, code_of
from perdure.engine.storage.schema import LIVE

__all__ = ["ORPHANS", "Orphans", "look"]

TIME_LIMIT: Final = 2.0
"""Seconds that the check at open may take."""

_log: Final = logging.getLogger("perdure.engine")


class Orphans(NamedTuple):
    """A relation between tables.

    Attributes:
        problem: what its violation is called.
        sql: finds the violations; its columns tell which.
        quick: whether the engine cannot work when it is violated, and looking costs little.
    """

    problem: str
    sql: str
    quick: bool


_COMPLETED: Final = int(Status.COMPLETED)

ORPHANS: Final = (
    Orphans(
        "a key is held by an invocation that does not exist or is completed",
        "SELECT locks.service, locks.key, locks.number FROM locks LEFT JOIN invocations USING (number) "
        f"WHERE invocations.number IS NULL OR invocations.status = {_COMPLETED}",
        quick=True,
    ),
    Orphans(
        "something waits for a key that nobody holds",
        "SELECT queue.service, queue.key, queue.position FROM queue "
        "LEFT JOIN locks ON locks.service = queue.service AND locks.key = queue.key WHERE locks.number IS NULL",
        quick=True,
    ),
    Orphans(
        "an invocation waits for a key that does not exist or is not waiting",
        "SELECT queue.service, queue.key, queue.number FROM queue LEFT JOIN invocations USING (number) "
        f"WHERE queue.number <> 0 AND coalesce(invocations.status, -1) <> {int(Status.QUEUED)}",
        quick=True,
    ),
    Orphans(
        "a queued invocation is in no queue",
        "SELECT invocations.number FROM invocations LEFT JOIN queue ON queue.service = invocations.service "
        "AND queue.key = invocations.key AND queue.position = invocations.position "
        f"AND queue.number = invocations.number WHERE invocations.status = {int(Status.QUEUED)} AND "
        f"invocations.{LIVE} AND queue.number IS NULL",
        quick=False,
    ),
    Orphans(
        "an invocation that is not completed has no journal",
        f"SELECT number FROM invocations WHERE {LIVE} "
        "AND NOT EXISTS (SELECT 1 FROM journal WHERE journal.number = invocations.number AND idx = 0)",
        quick=False,
    ),
    Orphans(
        "a journal belongs to no invocation",
        "SELECT DISTINCT journal.number FROM journal LEFT JOIN invocations USING (number) "
        "WHERE invocations.number IS NULL",
        quick=False,
    ),
    Orphans(
        "a journal has gaps",
        "SELECT number FROM journal GROUP BY number HAVING count(*) <> max(idx) + 1 OR min(idx) <> 0",
        quick=False,
    ),
    Orphans(
        "a result is waited for of an invocation that does not exist",
        "SELECT sinks.number, sinks.caller, sinks.completion FROM sinks LEFT JOIN invocations USING (number) "
        "WHERE invocations.number IS NULL",
        quick=False,
    ),
    Orphans(
        "a timer belongs to an invocation that does not exist",
        "SELECT timers.due, timers.number, timers.completion FROM timers LEFT JOIN invocations USING (number) "
        "WHERE invocations.number IS NULL",
        quick=False,
    ),
    Orphans(
        "an invocation waits for a promise but does not exist",
        "SELECT w.service, w.key, w.name, w.number FROM promise_waiters AS w LEFT JOIN invocations USING (number) "
        "WHERE invocations.number IS NULL",
        quick=False,
    ),
    Orphans(
        "a service points to a deployment that does not exist",
        "SELECT services.service, services.deployment FROM services LEFT JOIN deployments USING (deployment) "
        "WHERE deployments.deployment IS NULL",
        quick=False,
    ),
    Orphans(
        "an invocation is pinned to a deployment that does not exist",
        "SELECT invocations.number, invocations.deployment FROM invocations LEFT JOIN deployments USING (deployment) "
        "WHERE invocations.deployment <> 0 AND deployments.deployment IS NULL",
        quick=False,
    ),
)
"""Every relation that is checked."""


def look(connection: Connection, path: str) -> None:
    """Check a file whose engine ended without closing it, for as long as opening may take.

    Raises:
        Corrupt: something does not hold.
    """
    connection.limit(TIME_LIMIT)
    try:
        findings = [str(finding) for (finding,) in connection.query("PRAGMA quick_check(5)")]
        if findings != ["ok"]:
            raise Corrupt(f"{path} is damaged: {'; '.join(findings)}; perdure doctor {path} tells more")
        for orphans in ORPHANS:
            if orphans.quick and (found := connection.query(f"{orphans.sql} LIMIT 1")):
                raise Corrupt(f"{path} is damaged: {orphans.problem}: {found[0]}; perdure doctor {path} tells more")
    except sqlite3.Error as error:
        if code_of(error) != sqlite3.SQLITE_INTERRUPT:
            raise
        _log.warning(
            "%s was not closed by its engine and is too large to be checked in %.0f s; perdure doctor checks all of it",
            path,
            TIME_LIMIT,
        )
    finally:
        connection.limit(None)
