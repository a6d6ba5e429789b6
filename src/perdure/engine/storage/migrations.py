"""From the schema that a file has to the one this perdure writes.

The version is SQLite's `user_version`, and each migration is one transaction that ends with it: a crash leaves the file
at one version or at the next. Files only go forward; one of a newer version is refused, since what it means is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from perdure.engine.storage.connection import Connection
from perdure.engine.storage.errors import NewerSchema, NotPerdure
from perdure.engine.storage.schema import APPLICATION_ID, TABLES

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "Migration", "check_version", "migrate", "version_of"]

Migration: TypeAlias = Callable[[Connection], None]
"""Changes a file from one version to the next; runs in a transaction."""


def _create(connection: Connection) -> None:
    for statement in TABLES.split(";"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")


MIGRATIONS: Final[Sequence[Migration]] = (_create,)
"""The first makes version 1 of an empty file, and so on. What is released is never changed."""

SCHEMA_VERSION: Final = len(MIGRATIONS)
"""The version that this perdure writes."""


def version_of(connection: Connection, path: str) -> int:
    """The schema version of a file; 0 when it is empty.

    Raises:
        NotPerdure: it is a database of something else.
    """
    [(application,)] = connection.query("PRAGMA application_id")
    [(version,)] = connection.query("PRAGMA user_version")
    if application == APPLICATION_ID:
        return int(version)
    [(objects,)] = connection.query("SELECT count(*) FROM sqlite_master")
    if application or version or objects:
        raise NotPerdure(f"{path} is a SQLite database of another program; name another file")
    return 0


def check_version(version: int, path: str, newest: int = SCHEMA_VERSION) -> None:
    """Refuse a file that a newer perdure wrote.

    Raises:
        NewerSchema: it is newer.
    """
    if version > newest:
        raise NewerSchema(
            f"{path} was written by a newer perdure: its schema has version {version}, this perdure knows {newest}; "
            "install that perdure again, or a newer one"
        )


def migrate(connection: Connection, path: str, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Bring a file to the newest schema.

    Args:
        connection: to the file, outside of any transaction.
        path: for messages.
        migrations: all there are, in order.

    Returns:
        The version that the file had; 0 for a new one.

    Raises:
        NewerSchema: the file is newer; it was not changed.
        NotPerdure: the file is something else; it was not changed.
    """
    found = version_of(connection, path)
    check_version(found, path, len(migrations))
    for version, change in enumerate(migrations[found:], start=found + 1):
        connection.begin()
        try:
            change(connection)
            connection.execute(f"PRAGMA user_version={version}")
            connection.commit()
        except BaseException:
            if connection.in_transaction:
                connection.rollback()
            raise
    return found
