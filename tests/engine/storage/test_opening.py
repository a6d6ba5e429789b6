"""A file that cannot be used is refused by one clear error, and is not changed by that."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.engine.rows import PutLock, PutMark, PutState
from perdure.engine.storage import (
    Corrupt,
    DatabaseInUse,
    NewerSchema,
    NotPerdure,
    NotWritable,
    StorageError,
    checks,
    open_store,
)
from perdure.engine.storage.migrations import SCHEMA_VERSION
from tests.engine.storage.faults import Faults, error, faulty
from tests.engine.storage.heard import listening, step
from tests.engine.storage.scripts import AS_NOBODY, run_script
from tests.engine.storage.test_rows import put

REFUSED = """\
import json, sys, tempfile
from perdure.engine.storage import open_store, StorageError
with tempfile.TemporaryDirectory() as folder:  # everything is imported while this user may read it
    open_store(folder + "/e.db", warmed=False).close()
%s
try:
    open_store(sys.argv[1], warmed=False).close()
    print(json.dumps(["opened", ""]))
except StorageError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def make(path: Path) -> None:
    """A file that was closed."""
    open_store(path, warmed=False).close()


def refusal(path: Path) -> StorageError:
    before = path.read_bytes()
    with pytest.raises(StorageError) as caught:
        open_store(path, warmed=False)
    assert path.read_bytes() == before
    assert str(path) in str(caught.value)
    again = open_store(path.with_name("other.db"), warmed=False)  # nothing is left locked
    again.close()
    return caught.value


def test_a_file_of_a_newer_schema_is_refused_and_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    make(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    connection.close()
    error = refusal(path)
    assert isinstance(error, NewerSchema)
    assert f"version {SCHEMA_VERSION + 1}, this perdure knows {SCHEMA_VERSION}" in str(error)


@pytest.mark.parametrize("content", [b"no database, but some text " * 100, b"SQLite format 4\0" + bytes(5000)])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "e.db"
    path.write_bytes(content)
    assert isinstance(refusal(path), NotPerdure)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    connection.close()
    error = refusal(path)
    assert isinstance(error, NotPerdure)
    assert "another program" in str(error)


def test_an_empty_file_is_taken_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    path.touch()
    store = open_store(path, warmed=False)
    assert store.created
    store.close()


@pytest.mark.parametrize("sql", ["DELETE FROM meta WHERE name = 'clean'", "DELETE FROM meta"])
def test_a_file_without_its_marks_is_refused(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "e.db"
    make(path)
    with sqlite3.connect(path) as connection:
        connection.execute(sql)
    connection.close()
    with pytest.raises(Corrupt, match="its table meta is not complete"):
        open_store(path, warmed=False)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotWritable, match="is a folder; name a file"):
        open_store(tmp_path)


def test_a_file_in_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotWritable, match="needs a folder that exists"):
        open_store(tmp_path / "nowhere" / "e.db")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can look into."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


def test_a_read_only_folder_is_refused(open_folder: Path) -> None:
    open_folder.chmod(0o555)
    name, message = run_script(REFUSED % AS_NOBODY, open_folder / "e.db")
    assert (name, "write to" in message) == ("NotWritable", True)


def test_a_read_only_folder_with_a_file_is_refused(open_folder: Path) -> None:
    make(open_folder / "e.db")
    (open_folder / "e.db-lock").chmod(0o666)
    (open_folder / "e.db").chmod(0o666)
    open_folder.chmod(0o555)
    name, message = run_script(REFUSED % AS_NOBODY, open_folder / "e.db")
    assert (name, "make the file and its folder writable" in message) == ("NotWritable", True)


def test_a_read_only_file_is_refused(open_folder: Path) -> None:
    make(open_folder / "e.db")
    (open_folder / "e.db-lock").chmod(0o666)
    (open_folder / "e.db").chmod(0o444)
    name, message = run_script(REFUSED % AS_NOBODY, open_folder / "e.db")
    assert (name, "make the file and its folder writable" in message) == ("NotWritable", True)


async def fill(path: Path) -> None:
    """A file of some hundred pages whose engine was killed."""
    with listening(path, clean=False) as heard:
        await heard.commit(0, put(1), *[PutState("s", str(number), b"n", bytes(3000)) for number in range(300)])
        await heard.commit(1, *[row for index in range(0, 400, 2) for row in step(1, index, bytes(200))])


@pytest.mark.anyio
async def test_a_damaged_page_is_found_after_an_unclean_end(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    await fill(path)
    content = bytearray(path.read_bytes())
    for page in range(60, 90):
        content[page * 4096 : page * 4096 + 60] = b"\x55" * 60
    path.write_bytes(content)
    error = refusal(path)
    assert isinstance(error, Corrupt)
    assert f"perdure doctor {path}" in str(error)


@pytest.mark.anyio
async def test_a_file_without_its_first_pages_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    await fill(path)
    content = bytearray(path.read_bytes())
    content[4096 : 40 * 4096] = bytes(39 * 4096)
    path.write_bytes(content)
    assert isinstance(refusal(path), Corrupt)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    make(path)
    path.write_bytes(path.read_bytes()[:5000])
    assert isinstance(refusal(path), Corrupt)


@pytest.mark.anyio
async def test_a_key_whose_holder_is_gone_is_found_after_an_unclean_end(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    with listening(path, clean=False) as heard:
        await heard.commit(0, PutLock("Thing", "k", 77))
    error = refusal(path)
    assert isinstance(error, Corrupt)
    assert "a key is held by an invocation that does not exist or is completed: ('Thing', 'k', 77)" in str(error)


@pytest.mark.anyio
async def test_a_clean_end_needs_no_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "e.db"
    looked: list[str] = []
    monkeypatch.setattr("perdure.engine.storage.store.look", lambda _, path: looked.append(path))
    with listening(path) as heard:
        await heard.commit(0, PutMark(1))
    with listening(path, clean=False):
        assert looked == []
    with listening(path):
        assert looked == [str(path)]


@pytest.mark.anyio
async def test_a_check_that_takes_too_long_is_stopped_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "e.db"
    await fill(path)
    monkeypatch.setattr(checks, "TIME_LIMIT", -1.0)
    monkeypatch.setattr("perdure.engine.storage.connection._INSTRUCTIONS", 1)
    with listening(path) as heard:
        assert heard.store.unclean
    assert "perdure doctor checks all of it" in caplog.text


def test_a_file_that_another_program_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.engine.storage.connection.BUSY_TIMEOUT", 0.01)
    path = tmp_path / "e.db"
    make(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseInUse, match="locked by another program"):
        open_store(path, warmed=False)
    other.execute("ROLLBACK")
    other.close()
    make(path)


def test_where_no_log_can_be_had_the_file_is_refused(tmp_path: Path) -> None:
    faults = Faults()

    class Without(Faults):
        def around(self, method: str, effect: object) -> object:
            assert callable(effect)
            result = faults.around(method, effect)
            return [("delete",)] if result == [("wal",)] else result

    with pytest.raises(StorageError, match=r"write-ahead log .* use a local disk"):
        open_store(tmp_path / "e.db", connect=faulty(Without()))


@pytest.mark.parametrize("method", ["begin", "execute", "commit", "query"])
def test_a_failure_anywhere_while_a_file_is_opened_leaves_nothing_open(tmp_path: Path, method: str) -> None:
    path = tmp_path / "e.db"
    faults, number = Faults(), 0
    while faults.calls.get(method, 0) >= number:
        number += 1
        faults = Faults()
        faults.arm_error(method, number, "FULL")
        try:
            open_store(path, warmed=False, connect=faulty(faults)).close()
        except StorageError:
            assert faults.calls[method] == number
    assert number > 1
    open_store(path, warmed=False).close()


def test_no_room_to_make_the_log_long_is_told_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: object) -> None:
        raise error("FULL")

    monkeypatch.setattr("perdure.engine.storage.store.warm", full)
    open_store(tmp_path / "e.db", warmed=True).close()
    assert "no room to make the write-ahead log long" in caplog.text
