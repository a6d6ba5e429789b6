"""The store of one engine: its file, opened, written through one writer and read through one reader.

Opening is synchronous and says what is wrong in one error. The order matters: the lock first; then a look at what the
file is, before anything in it is changed; then the journal mode, the migrations, the mark that an engine has it open;
and the connection to read from last, since it must be closed first.

A child that is forked while a store is open must not touch it: its descriptors of the lock are closed, its connections
are replaced by ones that refuse, and their memory is kept so that no destructor runs SQLite's closing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from perdure.engine.rows import Row
from perdure.engine.storage.bridge import post_here
from perdure.engine.storage.checks import look
from perdure.engine.storage.commits import Commits
from perdure.engine.storage.connection import FORKED, MEMORY, Connect, Connection, connect
from perdure.engine.storage.errors import Corrupt, NotWritable, StorageError, TryAgain, code_of, refuse
from perdure.engine.storage.inline import InlineWriter
from perdure.engine.storage.listener import Listener, Writer
from perdure.engine.storage.lock_file import LockFile
from perdure.engine.storage.migrations import check_version, migrate, version_of
from perdure.engine.storage.reader import StoreReader
from perdure.engine.storage.schema import META
from perdure.engine.storage.wal import CHECKPOINT_AT, WalFile, warm
from perdure.engine.storage.writer import ThreadedWriter
from perdure.exceptions import EngineFailed, UsageError

__all__ = ["Store", "Synchronous", "open_store"]

Synchronous = Literal["FULL", "NORMAL"]
"""How often SQLite waits for the disk: at every commit, or at checkpoints only.

`NORMAL` never damages a file, and loses what was acknowledged last when the machine loses power: for tests.
"""

_CACHE_KIB: Final = 16 * 1024

_log: Final = logging.getLogger("perdure.engine")

_open: Final[weakref.WeakSet[Store]] = weakref.WeakSet()


class Store:
    """One open file, or one memory. Made by `open_store`.

    Attributes:
        path: the file with all links resolved, or `":memory:"`.
        created: whether it was empty.
        unclean: whether the engine that had it open before ended without closing it.
        mark: the latest engine time that was stored, in milliseconds since the Unix epoch; 0 for a new file.
        reader: what is committed.
    """

    def __init__(
        self,
        path: str,
        *,
        created: bool,
        unclean: bool,
        mark: int,
        write_connection: Connection,
        read_connection: Connection,
        inline: bool,
        wal: WalFile | None = None,
        lock: LockFile | None = None,
    ) -> None:
        self.path: str = path
        self.created: bool = created
        self.unclean: bool = unclean
        self.reader: StoreReader = StoreReader(read_connection)
        self.mark: int = mark
        self._write_connection = write_connection
        self._read_connection = read_connection
        self._lock = lock
        self._wal = wal
        self._commits: Commits = Commits(write_connection, path, lambda: wal is not None and wal.reaches(CHECKPOINT_AT))
        self._writer: Writer = InlineWriter(self._commits) if inline else ThreadedWriter(self._commits)
        self._listener: Listener | None = None
        self._closed = False
        self._forked = False
        _open.add(self)

    def __repr__(self) -> str:
        return f"<Store {self.path}>"

    def start(
        self,
        *,
        committed: Callable[[int], object],
        retrying: Callable[[str], object],
        failed: Callable[[EngineFailed], object],
    ) -> None:
        """Begin to write. Called once, on the loop on which the three functions are to be called.

        Each is called in a turn of its own, never inside `submit`, and must not raise.

        Args:
            committed: takes the number of a batch that is durable.
            retrying: takes a line that says why a batch cannot be written now. It is kept and tried again.
            failed: takes the error after which nothing is written any more. Called at most once.
        """
        self._listener = Listener(post_here(), committed, retrying, failed)
        self._writer.start(self._listener)

    @property
    def busy(self) -> bool:
        """Whether a batch was handed over and its acknowledgement has not been given yet."""
        return self._listener is not None and self._listener.in_flight is not None

    def submit(self, number: int, rows: list[Row]) -> None:
        """Hand a batch over; at most one is in flight.

        Args:
            number: comes back with the acknowledgement.
            rows: written in their order, all or none. Not to be changed afterwards.

        Raises:
            EngineFailed: nothing is written any more.
            UsageError: one is in flight already, or the store is not started, or is closed.
        """
        listener = self._listener
        if listener is None or self._closed:
            raise UsageError(FORKED if self._forked else "the store takes batches between start and close")
        if listener.failure is not None:
            raise listener.failure
        if listener.in_flight is not None:
            raise UsageError(f"batch {listener.in_flight} is in flight; one at a time")
        listener.in_flight = number
        self._writer.submit(rows)

    def close(self, *, clean: bool = True) -> None:
        """Write what is in flight and close the file. Blocks; a second time does nothing.

        It may be called in a thread that is not the loop's. Wait for the last acknowledgement before.

        Args:
            clean: mark the file as closed by its engine, so that it is not checked when it is opened again. Without
                effect if not everything was written.
        """
        if self._closed:
            return
        self._closed = True
        _open.discard(self)
        self._writer.stop()
        failure = self._listener.failure if self._listener else None
        if clean and failure is None:
            # Without the mark the file is checked when it is opened next, which is right if it cannot be written.
            with contextlib.suppress(TryAgain, EngineFailed):
                self._commits.set_clean()
        # The last connection that is closed takes the log over into the database. After a failure it must not: what it
        # would copy may be what the disk has lost. The one that reads cannot, so then it is closed last.
        connections = [self._read_connection, self._write_connection]
        for connection in connections if failure is None else reversed(connections):
            _close(connection)
        if self._wal is not None:
            self._wal.close()
        if self._lock is not None:
            self._lock.release()

    def _abandon(self) -> None:
        """In a forked child: leave everything to the parent."""
        self._closed = self._forked = True
        self._read_connection.abandon()
        self._write_connection.abandon()


def open_store(
    path: str | os.PathLike[str],
    *,
    inline: bool = False,
    warmed: bool = True,
    synchronous: Synchronous = "FULL",
    connect: Connect = connect,
) -> Store:
    """Open the file of an engine, and make it if it is not there. Blocks, for about 20 ms.

    Args:
        path: the file; beside it lie `-wal` and `-shm` while it is open, and `-lock`. `":memory:"` keeps everything in
            memory, commits inline, and is gone when it is closed.
        inline: commit on the loop, without a thread: for virtual time.
        warmed: make the write-ahead log long at once, which takes most of the time of opening and makes each commit
            faster.
        synchronous: see `Synchronous`.
        connect: opens the connections; for tests.

    Raises:
        DatabaseInUse: another engine has it open.
        NewerSchema: a newer perdure wrote it.
        NotPerdure: it is something else.
        NotWritable: the file or its folder cannot be written.
        Corrupt: its content is damaged.
        StorageError: anything else, a full disk for one.
    """
    if os.fspath(path) == MEMORY:
        return _open_memory(connect)
    database = Path(os.path.realpath(path))  # as SQLite does, so that the names beside it are the same for every link
    if database.is_dir():
        raise NotWritable(f"{database} is a folder; name a file")
    lock = LockFile.take(database)
    with contextlib.ExitStack() as undo:
        undo.callback(lock.release)
        try:
            store = _open_file(str(database), lock, undo, connect, synchronous, inline=inline, warmed=warmed)
        except (sqlite3.Error, StorageError) as error:
            refused = refuse(error, str(database))
            if refused is error:
                raise
            raise refused from error
        undo.pop_all()
        return store


def _open_memory(connect: Connect) -> Store:
    connection = connect(MEMORY, read_only=False)
    migrate(connection, MEMORY)
    return Store(
        MEMORY,
        created=True,
        unclean=False,
        mark=0,
        write_connection=connection,
        read_connection=connection,
        inline=True,
    )


def _open_file(
    path: str,
    lock: LockFile,
    undo: contextlib.ExitStack,
    connect: Connect,
    synchronous: Synchronous,
    *,
    inline: bool,
    warmed: bool,
) -> Store:
    connection = connect(path, read_only=False)
    undo.callback(_close, connection)
    created = _prepare(connection, path, synchronous)
    meta = dict(connection.query("SELECT name, value FROM meta"))
    if not meta.keys() >= META:
        raise Corrupt(f"{path} is damaged: its table meta is not complete; perdure doctor {path} tells more")
    unclean = not created and not meta["clean"]
    if unclean:
        look(connection, path)
    if warmed:
        _warm(connection)
    connection.begin()
    connection.execute("UPDATE meta SET value=0 WHERE name='clean'")
    connection.commit()
    connection.query("PRAGMA wal_checkpoint(RESTART)")
    reader = connect(path, read_only=True)
    if reader is not connection:
        undo.callback(_close, reader)
        reader.query("SELECT count(*) FROM meta")  # opens the file: `Store.close` relies on that
    return Store(
        path,
        created=created,
        unclean=unclean,
        mark=meta["mark"],
        write_connection=connection,
        read_connection=reader,
        inline=inline,
        wal=WalFile(path),
        lock=lock,
    )


def _prepare(connection: Connection, path: str, synchronous: Synchronous) -> bool:
    """Set the connection up and bring the file to the newest schema.

    Returns:
        Whether the file was empty.
    """
    check_version(version_of(connection, path), path)  # before anything in the file is changed
    connection.execute("PRAGMA page_size=4096")
    [(mode,)] = connection.query("PRAGMA journal_mode=WAL")
    if mode != "wal":
        raise StorageError(f"{path} cannot have a write-ahead log (its journal mode stays {mode}); use a local disk")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    if sys.platform == "darwin":
        connection.execute("PRAGMA fullfsync=1")  # fsync alone does not reach the disk there
    connection.execute("PRAGMA wal_autocheckpoint=0")  # it would run inside of COMMIT, and swallow its errors
    connection.execute("PRAGMA secure_delete=0")  # some builds overwrite what is deleted
    connection.execute("PRAGMA mmap_size=0")
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    return migrate(connection, path) == 0


def _warm(connection: Connection) -> None:
    try:
        warm(connection)
    except sqlite3.Error as error:
        if code_of(error) & 0xFF not in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
            raise
        _log.warning("there is no room to make the write-ahead log long in advance; commits are slower: %s", error)


def _close(connection: Connection) -> None:
    try:
        connection.close()
    except (sqlite3.Error, UsageError) as error:
        # What is committed is in the log, which the next who opens the file takes over.
        _log.warning("a connection to the engine's file could not be closed: %s", error)


def _abandon_all() -> None:
    for store in list(_open):
        store._abandon()  # noqa: SLF001 (of this module)


os.register_at_fork(after_in_child=_abandon_all)
