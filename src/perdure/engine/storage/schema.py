"""The tables of the engine's file, and what marks a file as one of perdure.

* Invocations have an integer row id in the order of creation, and everything refers to it: rows of one invocation lie
  together, and new ones at the end.
* Ids are stored with the unique number first and the partition key behind it (`stored_id`): numbers that the engine
  makes are time-ordered, so inserts into their index stay on one page.
* The journal is written with plain inserts: a second entry at the same index is an integrity error, the last fence.
* The index `live` holds what is not completed, so that opening does not read what is.

Enumerations are stored as their numbers, points in time as milliseconds since the Unix epoch. Columns of type BLOB hold
MessagePack (`perdure.engine.storage.columns`), but for ids and state.
"""

from __future__ import annotations

from typing import Final

from perdure.engine.rows import Status

__all__ = ["APPLICATION_ID", "LIVE", "META", "TABLES", "given_id", "stored_id"]

APPLICATION_ID: Final = 0x70657264
"""Marks a file as perdure's in its header (`perd`), for `file` and for us."""

_PARTITION_KEY: Final = 8
"""Bytes of the partition key, at the start of an id."""

LIVE: Final = f"status <> {int(Status.COMPLETED)}"
"""The condition of the index `live`; a query has to repeat it word for word to use the index."""

TABLES: Final = f"""
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE invocations (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    service TEXT NOT NULL,
    handler TEXT NOT NULL,
    key TEXT NOT NULL,
    kind INTEGER NOT NULL,
    status INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    start_at INTEGER NOT NULL,
    idempotency_key TEXT,
    parent INTEGER NOT NULL,
    restarted INTEGER NOT NULL,
    completion_retention INTEGER,
    journal_retention INTEGER NOT NULL,
    position INTEGER NOT NULL,
    deployment INTEGER NOT NULL,
    protocol INTEGER NOT NULL,
    awaited BLOB,
    reason BLOB,
    summary BLOB,
    result BLOB,
    ended_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    crash_length INTEGER NOT NULL,
    crash_marked INTEGER NOT NULL
);
CREATE UNIQUE INDEX ids ON invocations (id);
CREATE INDEX live ON invocations (status, number) WHERE {LIVE};

CREATE TABLE journal (
    number INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    entry BLOB NOT NULL,
    PRIMARY KEY (number, idx)
) WITHOUT ROWID;

CREATE TABLE sinks (
    number INTEGER NOT NULL,
    caller INTEGER NOT NULL,
    completion INTEGER NOT NULL,
    PRIMARY KEY (number, caller, completion)
) WITHOUT ROWID;

CREATE TABLE locks (
    service TEXT NOT NULL,
    key TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (service, key)
) WITHOUT ROWID;

CREATE TABLE queue (
    service TEXT NOT NULL,
    key TEXT NOT NULL,
    position INTEGER NOT NULL,
    number INTEGER NOT NULL,
    edit BLOB,
    PRIMARY KEY (service, key, position)
) WITHOUT ROWID;

CREATE TABLE state (
    service TEXT NOT NULL,
    key TEXT NOT NULL,
    name BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (service, key, name)
) WITHOUT ROWID;

CREATE TABLE promises (
    service TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    result BLOB NOT NULL,
    PRIMARY KEY (service, key, name)
) WITHOUT ROWID;

CREATE TABLE promise_waiters (
    service TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    completion INTEGER NOT NULL,
    PRIMARY KEY (service, key, name, number, completion)
) WITHOUT ROWID;

CREATE TABLE timers (
    due INTEGER NOT NULL,
    number INTEGER NOT NULL,
    completion INTEGER NOT NULL,
    PRIMARY KEY (due, number, completion)
) WITHOUT ROWID;

CREATE TABLE work (
    work INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    number INTEGER NOT NULL,
    position INTEGER NOT NULL,
    service TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL
);

CREATE TABLE deployments (
    deployment INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    uri TEXT,
    whole BLOB NOT NULL
);

CREATE TABLE services (
    service TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    deployment INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    handlers BLOB NOT NULL
) WITHOUT ROWID;

INSERT INTO meta VALUES ('clean', 0), ('mark', 0), ('last_number', 0), ('repeated', 0);
"""
"""The schema of version 1.

`meta` holds `clean` (1 while no engine has the file open, and the last one closed it), `mark` (the latest engine time
that was stored), `last_number` (the highest row id of an invocation that was deleted: none is given twice) and
`repeated` (how many batches were found to be written although their commit had failed).
"""

META: Final = frozenset({"clean", "mark", "last_number", "repeated"})
"""The rows of `meta`."""


def stored_id(id: bytes) -> bytes:
    """The 24 bytes of an invocation id as they are stored: the unique number, then the partition key."""
    return id[_PARTITION_KEY:] + id[:_PARTITION_KEY]


def given_id(stored: bytes) -> bytes:
    """What `stored_id` was made from."""
    return stored[-_PARTITION_KEY:] + stored[:-_PARTITION_KEY]
