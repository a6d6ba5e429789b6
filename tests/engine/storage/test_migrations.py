"""Files go from version to version, each in one transaction, and never back."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from perdure.engine.storage import NewerSchema, open_store
from perdure.engine.storage.connection import Connection, connect
from perdure.engine.storage.migrations import MIGRATIONS, SCHEMA_VERSION, migrate, version_of


def add_a_column(connection: Connection) -> None:
    connection.execute("ALTER TABLE work ADD COLUMN since INTEGER NOT NULL DEFAULT 7")


def break_halfway(connection: Connection) -> None:
    connection.execute("CREATE TABLE half (n INTEGER)")
    connection.execute("no such statement")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    open_store(tmp_path / "e.db", warmed=False).close()
    return tmp_path / "e.db"


def test_a_file_of_an_older_version_is_brought_to_the_newest(path: Path) -> None:
    connection = connect(str(path), read_only=False)
    connection.execute("INSERT INTO work VALUES (1, 0, 2, 3, '', '', '')")
    newer = [*MIGRATIONS, add_a_column]
    assert migrate(connection, str(path), newer) == SCHEMA_VERSION
    assert version_of(connection, str(path)) == SCHEMA_VERSION + 1
    assert connection.query("SELECT number, since FROM work") == [(2, 7)]
    assert migrate(connection, str(path), newer) == SCHEMA_VERSION + 1
    with pytest.raises(NewerSchema):
        migrate(connection, str(path))
    connection.close()


def test_a_migration_that_fails_leaves_the_version_before_it(path: Path) -> None:
    connection = connect(str(path), read_only=False)
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, str(path), [*MIGRATIONS, add_a_column, break_halfway])
    assert version_of(connection, str(path)) == SCHEMA_VERSION + 1
    assert connection.query("SELECT count(*) FROM sqlite_master WHERE name='half'") == [(0,)]
    assert not connection.in_transaction
    connection.close()
