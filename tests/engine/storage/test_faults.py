"""Every call to SQLite may fail, before its effect or after: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import anyio
import pytest

from perdure.engine.rows import PutMark, Row
from perdure.engine.storage import commits, open_store
from perdure.exceptions import EngineFailed, UsageError
from tests.engine.storage.faults import ERRORS, Faults, faulty
from tests.engine.storage.heard import listening, step
from tests.engine.storage.profile import FULL
from tests.engine.storage.test_rows import put

pytestmark = pytest.mark.anyio

PASSING = ["FULL", "BUSY", "IOERR_WRITE"]
FINAL = sorted(set(ERRORS) - set(PASSING))
CALLS = [("begin", 1), ("execute", 1), ("execute", 2), ("execute", 3), ("commit", 1)]


class Case(NamedTuple):
    """Where an error comes."""

    method: str
    at: int
    after: bool
    inline: bool = False

    def __str__(self) -> str:
        where = f"{'after' if self.after else 'before'}-{self.method}-{self.at}"
        return f"inline-{where}" if self.inline else where


CASES = [Case(*call, after) for call in CALLS for after in (False, True)]
CASES += [Case("commit", 1, after, inline=True) for after in (False, True)]


def crossed(names: list[str], usual: str) -> list[tuple[str, Case]]:
    """Each case with the usual error and each error in one case; every pair in the full profile."""
    return [(name, case) for name in names for case in CASES if FULL or name == usual or case == CASES[-3]]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(commits, "_LONGEST_PAUSE", 0.002)


def rows_of(batch: int) -> list[Row]:
    return [PutMark(batch), *step(1, 2 * batch)]


@pytest.mark.parametrize(("name", "case"), crossed(PASSING, "FULL"), ids=str)
async def test_what_passes_is_repeated_and_acknowledged_once(tmp_path: Path, case: Case, name: str) -> None:
    faults = Faults()
    with listening(tmp_path / "e.db", connect=faulty(faults), inline=case.inline) as heard:
        await heard.commit(0, put(1), *rows_of(0))
        faults.arm_error(case.method, case.at, name, after=case.after)
        await heard.commit(1, *rows_of(1))
        faults.disarm()
        await heard.commit(2, *rows_of(2))
        assert heard.committed == [0, 1, 2]
        assert len(heard.retrying) == 1
        assert name in heard.retrying[0]
        assert "nothing that was accepted is lost" in heard.retrying[0]
        assert len(heard.store.reader.entries(1, 0, 100)) == 6
        assert heard.store.reader.mark() == 2
    assert not open_and_close(tmp_path / "e.db")


def open_and_close(path: Path) -> bool:
    store = open_store(path, warmed=False)
    store.close()
    return store.unclean


@pytest.mark.parametrize(("name", "case"), crossed(FINAL, "IOERR_FSYNC"), ids=str)
async def test_what_does_not_pass_fails_the_engine_once_and_is_not_repeated(
    tmp_path: Path, case: Case, name: str
) -> None:
    faults = Faults()
    with listening(tmp_path / "e.db", connect=faulty(faults), inline=case.inline) as heard:
        await heard.commit(0, put(1), *rows_of(0))
        faults.arm_error(case.method, case.at, name, after=case.after)
        with pytest.raises(EngineFailed, match=f"injected {name}"):
            await heard.commit(1, *rows_of(1))
        assert faults.log.count("begin") == 1
        assert (heard.committed, heard.retrying, len(heard.failed)) == ([0], [], 1)
        with pytest.raises(EngineFailed, match=f"injected {name}"):
            heard.store.submit(2, rows_of(2))
    store = open_store(tmp_path / "e.db", warmed=False)
    try:
        assert store.unclean
        entries = len(store.reader.entries(1, 0, 100))
        # What was acknowledged is there; what was not is there whole, or not at all.
        assert (entries, store.reader.mark()) == ((4, 1) if (case.method, case.after) == ("commit", True) else (2, 0))
    finally:
        store.close()


async def test_it_is_tried_again_until_it_works(tmp_path: Path) -> None:
    faults = Faults()
    with listening(tmp_path / "e.db", connect=faulty(faults)) as heard:
        for at in range(1, 6):
            faults.arm_error("commit", at, "FULL")
        await heard.commit(0, PutMark(1))
        assert len(heard.retrying) == 5
        assert heard.committed == [0]


async def test_a_commit_that_happened_although_it_failed_is_covered_by_another_sync(tmp_path: Path) -> None:
    faults = Faults()
    with listening(tmp_path / "e.db", connect=faulty(faults)) as heard:
        await heard.commit(0, put(1), *rows_of(0))
        faults.arm_error("commit", 1, "IOERR_WRITE", after=True)
        await heard.commit(1, *rows_of(1))
        # A commit that changes nothing would not sync.
        assert heard.store._write_connection.query("SELECT value FROM meta WHERE name='repeated'") == [(1,)]
        assert faults.log[:-1] == [
            "begin",
            "execute",
            "execute",
            "execute",
            "commit",
            "begin",
            "query",
            "execute",
            "commit",
        ]


@pytest.mark.parametrize("inline", [False, True], ids=["thread", "inline"])
async def test_closing_while_the_disk_is_full_tries_once_more_and_says_so(tmp_path: Path, inline: bool) -> None:
    faults = Faults()
    with listening(tmp_path / "e.db", connect=faulty(faults), inline=inline) as heard:
        await heard.commit(0, put(1), *rows_of(0))
        for at in range(1, 1000):
            faults.arm_error("commit", at, "FULL")
        heard.store.submit(1, rows_of(1))
        await heard.news()
        heard.store.close()
        while not heard.failed:
            await heard.news()
        assert "closed before its last changes could be written" in str(heard.failed[0])
        assert heard.committed == [0]
    store = open_store(tmp_path / "e.db", warmed=False)
    assert store.unclean
    assert len(store.reader.entries(1, 0, 100)) == 2
    store.close()


@pytest.mark.parametrize("inline", [False, True], ids=["thread", "inline"])
async def test_closing_when_there_is_room_again_writes_what_was_kept(
    tmp_path: Path, inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "_FIRST_PAUSE", 3600)
    monkeypatch.setattr(commits, "_LONGEST_PAUSE", 3600)
    faults = Faults()
    with listening(tmp_path / "e.db", connect=faulty(faults), inline=inline) as heard:
        await heard.commit(0, put(1), *rows_of(0))
        faults.arm_error("commit", 1, "FULL")
        heard.store.submit(1, rows_of(1))
        await heard.news()
        await anyio.to_thread.run_sync(heard.store.close)
        while len(heard.committed) < 2:
            await heard.news()
    assert not open_and_close(tmp_path / "e.db")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_that_dies_fails_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise SystemExit

    with listening(tmp_path / "e.db") as heard:
        monkeypatch.setattr("perdure.engine.storage.commits.write", die)
        with pytest.raises(EngineFailed, match="the writer of the engine's file died"):
            await heard.commit(0, PutMark(1))


async def test_a_failing_checkpoint_for_want_of_room_is_told_and_commits_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(commits, "_LOOK_EVERY", 1)
    monkeypatch.setattr("perdure.engine.storage.store.CHECKPOINT_AT", 1)
    faults = Faults()
    with listening(tmp_path / "e.db", connect=faulty(faults)) as heard:
        faults.arm_error("checkpoint", 1, "FULL")
        for number in range(3):
            await heard.commit(number, PutMark(number))
    assert faults.calls["checkpoint"] >= 2
    assert [record.message for record in caplog.records if "write-ahead log is not taken over" in record.message]


async def test_a_checkpoint_whose_sync_fails_fails_the_engine_after_the_acknowledgement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "_LOOK_EVERY", 1)
    monkeypatch.setattr("perdure.engine.storage.store.CHECKPOINT_AT", 1)
    faults = Faults()
    with listening(tmp_path / "e.db", connect=faulty(faults)) as heard:
        faults.arm_error("checkpoint", 1, "IOERR_FSYNC")
        await heard.commit(0, PutMark(1))
        while not heard.failed:
            await heard.news()
        assert heard.committed == [0]


async def test_after_a_failed_sync_the_log_is_not_taken_over_when_the_file_is_closed(tmp_path: Path) -> None:
    faults = Faults()
    with listening(tmp_path / "e.db", connect=faulty(faults)) as heard:
        await heard.commit(0, put(1), *rows_of(0))
        faults.arm_error("commit", 1, "IOERR_FSYNC")
        with pytest.raises(EngineFailed):
            await heard.commit(1, *rows_of(1))
        before = (tmp_path / "e.db").read_bytes()
    assert (tmp_path / "e.db").read_bytes() == before
    assert (tmp_path / "e.db-wal").stat().st_size > 0
    store = open_store(tmp_path / "e.db", warmed=False)
    assert len(store.reader.entries(1, 0, 100)) == 2
    store.close()


async def test_a_closed_store_takes_nothing(tmp_path: Path) -> None:
    with listening(tmp_path / "e.db") as heard:
        heard.store.close()
        with pytest.raises(UsageError, match="between start and close"):
            heard.store.submit(0, [PutMark(1)])
