"""A disk whose power fails: the files of a SQLite database as they may be found afterwards.

`Disk` is a file system in memory that SQLite writes to through apsw. It keeps, for every file, what was synced and what
was written since; a *power cut* keeps what was synced and any of the 512-byte sectors written since, drawn at random,
each in any of its versions. What a program was told by then (`acknowledge`) must be in every image that a cut leaves.

Not modelled: a disk that says it has written what it has not.

There is no shared memory, so the connection locks the database exclusively and reading uses the same connection.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from perdure.engine.storage.connection import Connection

SECTOR = 512
KEPT = (0.0, 0.5, 0.9)
"""How many of the unsynced sectors an image keeps."""


class Disk:
    """Files in memory, and what of them is on the platter.

    Args:
        seed: of the random choices.
        every: images are taken at every so many writes, besides those at every acknowledgement.
        limit: no more images than this.

    Attributes:
        files: what a program sees.
        images: the number of the last acknowledged batch, -1 for none, and the files as a power cut left them.
        syncs: how often a file was synced.
    """

    def __init__(self, *, seed: int = 0, every: int = 7, limit: int = 10_000) -> None:
        self.files: dict[str, bytearray] = {}
        self.images: list[tuple[int, dict[str, bytes]]] = []
        self.syncs = 0
        self._durable: dict[str, bytearray] = {}
        self._pending: dict[str, list[tuple[int, bytes] | int]] = {}
        self._random = random.Random(seed)
        self._acknowledged = -1
        self._writes = 0
        self._every = every
        self._limit = limit

    def write(self, name: str, offset: int, data: bytes) -> None:
        self._write(self.files[name], offset, data)
        self._pending[name].append((offset, bytes(data)))
        self._writes += 1
        if self._writes % self._every == 0:
            self._take()

    def truncate(self, name: str, size: int) -> None:
        del self.files[name][size:]
        self._pending[name].append(size)

    def sync(self, name: str) -> None:
        self.syncs += 1
        self._durable[name] = bytearray(self.files[name])
        self._pending[name].clear()

    def create(self, name: str) -> None:
        # Making and removing files is taken to be durable at once: SQLite syncs the folder where it matters.
        self.files[name] = bytearray()
        self._durable[name] = bytearray()
        self._pending[name] = []

    def delete(self, name: str) -> None:
        for table in (self.files, self._durable, self._pending):
            table.pop(name, None)

    def acknowledge(self, number: int) -> None:
        """A program was told that batch `number` is durable."""
        self._acknowledged = number
        self._take()

    def _take(self) -> None:
        for kept in KEPT:
            if len(self.images) < self._limit:
                self.images.append((self._acknowledged, self._image(kept)))

    def _image(self, kept: float) -> dict[str, bytes]:
        image = {}
        for name, durable in self._durable.items():
            content = bytearray(durable)
            for change in self._pending[name]:
                if isinstance(change, int):
                    if self._random.random() < kept:
                        del content[change:]
                    continue
                offset, data = change
                for start, end in _sectors(offset, len(data)):
                    if self._random.random() < kept:
                        self._write(content, start, data[start - offset : end - offset])
            image[name] = bytes(content)
        return image

    @staticmethod
    def _write(content: bytearray, offset: int, data: bytes) -> None:
        if offset > len(content):
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data


def _sectors(offset: int, length: int) -> Iterator[tuple[int, int]]:
    end = offset + length
    while offset < end:
        border = min(end, (offset // SECTOR + 1) * SECTOR)
        yield offset, border
        offset = border


def lay_out(image: dict[str, bytes], folder: Path) -> Path:
    """Write an image to a folder, and return the path of the database in it."""
    folder.mkdir()
    for name, content in image.items():
        (folder / Path(name).name).write_bytes(content)
    return folder / Path(min(image, key=len)).name


class _File(apsw.VFSFile):
    """One open file of a `Disk`."""

    def __init__(self, disk: Disk, name: str) -> None:
        # The base class would open a real file.
        self._disk = disk
        self._name = name
        self._lock = 0

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 (SQLite's name)
        return bytes(self._disk.files[self._name][offset : offset + amount])

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 (SQLite's name)
        self._disk.write(self._name, offset, bytes(data))

    def xTruncate(self, size: int) -> None:  # noqa: N802 (SQLite's name)
        self._disk.truncate(self._name, size)

    def xSync(self, flags: int) -> None:  # noqa: N802 (SQLite's name)
        self._disk.sync(self._name)

    def xFileSize(self) -> int:  # noqa: N802 (SQLite's name)
        return len(self._disk.files[self._name])

    def xLock(self, level: int) -> None:  # noqa: N802 (SQLite's name)
        self._lock = level

    def xUnlock(self, level: int) -> None:  # noqa: N802 (SQLite's name)
        self._lock = level

    def xCheckReservedLock(self) -> bool:  # noqa: N802 (SQLite's name)
        return self._lock > apsw.SQLITE_LOCK_SHARED

    def xSectorSize(self) -> int:  # noqa: N802 (SQLite's name)
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802 (SQLite's name)
        return 0

    def xFileControl(self, op: int, pointer: int) -> bool:  # noqa: N802 (SQLite's name)
        return False

    def xClose(self) -> None:  # noqa: N802 (SQLite's name)
        pass


class _FileSystem(apsw.VFS):
    """Gives SQLite the files of a `Disk`; time, randomness and sleep are those of the usual one."""

    def __init__(self, name: str, disk: Disk) -> None:
        super().__init__(name, base="", maxpathname=1024)
        self._disk = disk

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802 (SQLite's name)
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        if path not in self._disk.files:
            self._disk.create(path)
        flags[1] = flags[0]
        return _File(self._disk, path)

    def xAccess(self, path: str, flags: int) -> bool:  # noqa: N802 (SQLite's name)
        return path in self._disk.files

    def xDelete(self, path: str, sync: bool) -> None:  # noqa: N802 (SQLite's name)
        self._disk.delete(path)

    def xFullPathname(self, name: str) -> str:  # noqa: N802 (SQLite's name)
        return name


class ApswConnection:
    """A `Connection` of apsw, to a database on a `Disk`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, columns: Sequence[Any] = (), /) -> object:
        return self.query(sql, columns)

    def query(self, sql: str, columns: Sequence[Any] = (), /) -> list[Any]:
        try:
            return list(self._connection.execute(sql, columns))
        except apsw.Error as error:
            translated = sqlite3.OperationalError(str(error))
            translated.sqlite_errorcode = getattr(error, "extendedresult", 0)
            raise translated from error

    def begin(self) -> None:
        self.query("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.query("COMMIT")

    def rollback(self) -> None:
        self.query("ROLLBACK")

    def checkpoint(self) -> None:
        self.query("PRAGMA wal_checkpoint(PASSIVE)")

    def limit(self, seconds: float | None) -> None:
        pass

    def abandon(self) -> None:
        raise AssertionError("nobody forks here")

    def close(self) -> None:
        self._connection.close()


def connect_to(disk: Disk, name: str) -> Callable[..., Connection]:
    """A `Connect` to a database on a disk; the file system is registered under `name` while the result lives."""
    system = _FileSystem(name, disk)
    connections: list[ApswConnection] = []

    def connect(path: str, *, read_only: bool) -> Connection:
        if read_only:
            return connections[-1]
        connection = apsw.Connection(path, vfs=name)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connections.append(ApswConnection(connection))
        return connections[-1]

    connect.system = system  # type: ignore[attr-defined]  # kept alive: apsw forgets a file system that nobody holds
    return connect
