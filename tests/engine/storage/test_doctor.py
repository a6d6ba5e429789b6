"""The doctor finds what is wrong, says where, and changes nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from perdure.cli import main
from perdure.engine import rows as r
from perdure.engine.storage import NewerSchema, NotPerdure, NotWritable
from perdure.engine.storage.checks import ORPHANS
from perdure.engine.storage.doctor import examine
from perdure.wire.messages import Value
from tests.engine.storage.heard import Heard, listening, step
from tests.engine.storage.test_rows import put


async def write_something(heard: Heard) -> None:
    await heard.commit(0, put(1, kind=r.Kind.EXCLUSIVE), *step(1, 0), r.PutLock("Thing", "", 1))
    await heard.commit(1, put(2, status=r.Status.QUEUED, position=1), *step(2, 0), r.Enqueue("Thing", "", 1, 2))
    await heard.commit(2, put(3, status=r.Status.COMPLETED, result=Value(b"x")), *step(3, 0), r.PutTimer(5000, 3, -1))
    await heard.commit(3, r.PutSink(2, 1, 4), r.PutState("Thing", "", b"n", b"v"), r.PutWork(1, r.WorkKind.ANSWER))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    async def make() -> None:
        with listening(tmp_path / "e.db") as heard:
            await write_something(heard)

    anyio.run(make)
    return tmp_path / "e.db"


def spoil(path: Path, sql: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(sql)
    connection.close()


def test_a_file_that_is_well_has_no_findings(path: Path) -> None:
    before = path.read_bytes()
    found = examine(path)
    assert found.findings == []
    assert (found.version, found.clean) == (1, True)
    assert found.invocations == {"queued": 1, "invoked": 1, "completed": 1}
    assert (found.entries, found.timers, found.next_timer, found.work) == (6, 1, 5000, 1)
    assert found.size == len(before)
    assert path.read_bytes() == before


@pytest.mark.anyio
async def test_a_file_can_be_looked_at_while_an_engine_has_it_open(tmp_path: Path) -> None:
    with listening(tmp_path / "e.db") as heard:
        await write_something(heard)
        found = examine(tmp_path / "e.db")
        assert (found.findings, found.clean, found.entries) == ([], False, 6)
        await heard.commit(4, r.PutMark(1))


def test_a_file_whose_engine_was_killed_is_read_with_its_log_and_left_as_it_is(tmp_path: Path) -> None:
    names = ["e.db", "e.db-wal"]
    copies = tmp_path / "copies"
    copies.mkdir()

    async def make() -> None:
        with listening(tmp_path / "e.db") as heard:
            await write_something(heard)
            for name in names:
                shutil.copy(tmp_path / name, copies)

    anyio.run(make)
    before = [(copies / name).read_bytes() for name in names]
    found = examine(copies / "e.db")
    assert (found.findings, found.clean, found.entries) == ([], False, 6)
    assert [(copies / name).read_bytes() for name in names] == before


SPOILED = {
    "a key is held by an invocation that does not exist or is completed": "UPDATE locks SET number = 3",
    "something waits for a key that nobody holds": "DELETE FROM locks",
    "an invocation waits for a key that does not exist or is not waiting": "UPDATE queue SET number = 77",
    "a queued invocation is in no queue": "UPDATE queue SET position = 9",
    "an invocation that is not completed has no journal": "DELETE FROM journal WHERE number = 1",
    "a journal belongs to no invocation": "DELETE FROM invocations WHERE number = 3",
    "a journal has gaps": "DELETE FROM journal WHERE number = 3 AND idx = 0",
    "a result is waited for of an invocation that does not exist": "UPDATE sinks SET number = 77",
    "a timer belongs to an invocation that does not exist": "UPDATE timers SET number = 77",
    "an invocation waits for a promise but does not exist": "INSERT INTO promise_waiters VALUES ('f', 'k', 'p', 77, 1)",
    "a service points to a deployment that does not exist": "INSERT INTO services VALUES ('s', 1, 5, 0, x'80')",
    "an invocation is pinned to a deployment that does not exist": "UPDATE invocations SET deployment = 5",
}


def test_every_relation_is_tried() -> None:
    assert set(SPOILED) == {orphans.problem for orphans in ORPHANS}


@pytest.mark.parametrize("problem", SPOILED)
def test_a_broken_relation_is_found(path: Path, problem: str) -> None:
    spoil(path, SPOILED[problem])
    found = examine(path)
    assert any(finding.startswith(f"{problem}: ") for finding in found.findings)


@pytest.mark.parametrize(
    ("sql", "finding"),
    [
        ("UPDATE journal SET entry = x'ff' WHERE number = 2 AND idx = 1", "cannot be read: invocation 2: entry 1"),
        ("UPDATE journal SET entry = x'ff' WHERE number = 3", "cannot be read: journal of invocation 3: entry 0"),
        ("UPDATE invocations SET kind = 99 WHERE number = 1", "cannot be read: invocation 1: 99 is not a valid Kind"),
        ("UPDATE invocations SET result = x'ff' WHERE number = 3", "cannot be read: invocation 3: the column result"),
        ("UPDATE queue SET edit = x'ff'", "cannot be read: key '' of Thing: the column queue.edit"),
        ("UPDATE work SET kind = 99", "cannot be read: work: 99 is not a valid WorkKind"),
        ("INSERT INTO promises VALUES ('f', 'k', 'p', x'ff')", "cannot be read: promise 'p' of f/k: the column result"),
        ("INSERT INTO deployments VALUES (1, 'd', '', x'ff')", "cannot be read: deployments"),
    ],
)
def test_what_cannot_be_read_is_found(path: Path, sql: str, finding: str) -> None:
    spoil(path, sql)
    assert any(each.startswith(finding) for each in examine(path).findings)


def test_a_journal_that_lost_its_end_is_found(path: Path) -> None:
    async def suspend() -> None:
        with listening(path) as heard:
            await heard.commit(9, r.SetStatus(1, r.Status.SUSPENDED, 1, summary=r.Summary(length=2)))

    anyio.run(suspend)
    assert examine(path).findings == []
    spoil(path, "DELETE FROM journal WHERE number = 1 AND idx = 1")
    assert "the journal of invocation 1 has 1 entries, 2 were written" in examine(path).findings


def test_many_findings_of_a_kind_are_counted(path: Path) -> None:
    for number in range(100, 130):
        spoil(path, f"INSERT INTO timers VALUES (1, {number}, 1)")
    found = [finding for finding in examine(path).findings if finding.startswith("a timer belongs to")]
    assert len(found) == 21
    assert found[-1].endswith(": 10 more")


def test_an_empty_file_is_well(tmp_path: Path) -> None:
    (tmp_path / "e.db").touch()
    found = examine(tmp_path / "e.db")
    assert (found.version, found.clean, found.findings) == (0, True, [])


def damage(page: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        content[page * 4096 : page * 4096 + 100] = b"\x55" * 100

    return change


def test_a_damaged_page_is_found(path: Path) -> None:
    content = bytearray(path.read_bytes())
    with sqlite3.connect(path) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'journal'").fetchall()
    connection.close()
    damage(page - 1)(content)
    path.write_bytes(content)
    assert any(finding.startswith("damaged: ") for finding in examine(path).findings)


def test_what_is_no_file_of_an_engine_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(NotWritable, match="is no file"):
        examine(tmp_path / "nothing.db")
    assert not (tmp_path / "nothing.db").exists()
    (tmp_path / "text.db").write_text("text" * 2000)
    with pytest.raises(NotPerdure):
        examine(tmp_path / "text.db")
    spoil(path, "PRAGMA user_version=99")
    with pytest.raises(NewerSchema):
        examine(path)


def test_the_command_prints_what_it_found(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "  invocations  1 queued, 1 invoked, 1 completed\n" in printed
    assert "1, the first due at 1970-01-01 00:00:05 UTC" in printed
    assert printed.endswith("nothing is wrong\n")
    spoil(path, "DELETE FROM locks")
    assert main(["doctor", str(path)]) == 1
    assert "WRONG        something waits for a key that nobody holds: Thing, , 1\n" in capsys.readouterr().out


def test_the_command_prints_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["entries"], found["findings"]) == (1, 6, [])


def test_the_command_fails_for_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path / "nothing.db")]) == 1
    assert "is no file; name the file of an engine" in capsys.readouterr().err
