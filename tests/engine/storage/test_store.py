"""A store hears of its commits on the loop, one batch at a time, in files and in memory, with a thread and without."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from perdure.engine.rows import PutMark, PutState
from perdure.engine.storage import Store, commits, open_store
from perdure.exceptions import UsageError
from tests.engine.storage.faults import Faults, faulty
from tests.engine.storage.heard import Heard, listening, step
from tests.engine.storage.test_rows import put

pytestmark = pytest.mark.anyio

KINDS = ["thread", "inline", "memory"]


@pytest.fixture(params=KINDS)
def options(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    path = ":memory:" if request.param == "memory" else tmp_path / "e.db"
    return {"path": path, "inline": request.param == "inline"}


async def test_a_batch_is_told_and_can_be_read_then(options: dict[str, Any]) -> None:
    with listening(**options) as heard:
        await heard.commit(7, put(1), *step(1, 0))
        assert heard.committed == [7]
        assert len(heard.store.reader.entries(1, 0, 10)) == 2


async def test_nothing_is_told_inside_of_submit(options: dict[str, Any]) -> None:
    with listening(**options) as heard:
        heard.store.submit(0, [PutMark(1)])
        assert heard.committed == []
        assert heard.store.busy
        await heard.news()
        assert heard.committed == [0]
        assert not heard.store.busy


async def test_what_is_told_is_told_on_the_loop(options: dict[str, Any]) -> None:
    store = open_store(options["path"], inline=options["inline"], warmed=False)
    told = anyio.Event()
    threads = []

    def committed(_: int) -> None:
        threads.append(threading.get_ident())
        told.set()

    store.start(committed=committed, retrying=str, failed=str)
    store.submit(0, [PutMark(1)])
    await told.wait()
    store.close()
    assert threads == [threading.get_ident()]


async def test_one_batch_is_in_flight_at_most(options: dict[str, Any]) -> None:
    with listening(**options) as heard:
        heard.store.submit(0, [PutMark(1)])
        with pytest.raises(UsageError, match="batch 0 is in flight"):
            heard.store.submit(1, [PutMark(2)])
        await heard.news()
        assert heard.store.reader.mark() == 1


async def test_the_next_batch_may_be_handed_over_when_one_is_told(options: dict[str, Any]) -> None:
    store = open_store(options["path"], inline=options["inline"], warmed=False)
    told: list[int] = []
    done = anyio.Event()

    def committed(number: int) -> None:
        told.append(number)
        if number < 200:
            store.submit(number + 1, [PutMark(number)])
        else:
            done.set()

    store.start(committed=committed, retrying=str, failed=str)
    store.submit(0, [PutMark(0)])
    with anyio.fail_after(60):
        await done.wait()
    store.close()
    assert told == list(range(201))


async def test_a_store_that_is_not_started_takes_nothing(options: dict[str, Any]) -> None:
    store = open_store(options["path"], inline=options["inline"], warmed=False)
    with pytest.raises(UsageError, match="between start and close"):
        store.submit(0, [PutMark(1)])
    store.close()
    store.close()


async def test_a_new_file_is_created_and_one_that_was_closed_is_clean(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    with listening(path) as heard:
        assert (heard.store.created, heard.store.unclean, heard.store.mark) == (True, False, 0)
        await heard.commit(0, PutMark(5))
    with listening(path) as heard:
        assert (heard.store.created, heard.store.unclean, heard.store.mark) == (False, False, 5)
    assert names_in(tmp_path) == ["e.db", "e.db-lock"]


async def test_a_file_that_was_not_closed_cleanly_is_unclean_until_it_is(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    with listening(path, clean=False):
        pass
    with listening(path, clean=False) as heard:
        assert heard.store.unclean
    with listening(path) as heard:
        assert heard.store.unclean
    with listening(path) as heard:
        assert not heard.store.unclean


async def test_closing_writes_what_is_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    with listening(path) as heard:
        heard.store.submit(0, [PutMark(5)])
        await anyio.to_thread.run_sync(heard.store.close)
        await heard.news()
        assert heard.committed == [0]
    with listening(path) as heard:
        assert (heard.store.unclean, heard.store.mark) == (False, 5)


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def writing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "perdure-writer"]


async def test_memory_is_gone_when_it_is_closed_and_has_no_thread() -> None:
    with listening(":memory:") as heard:
        await heard.commit(0, PutMark(5))
        assert not writing_threads()
    with listening(":memory:") as heard:
        assert (heard.store.created, heard.store.mark) == (True, 0)


async def test_an_inline_store_has_no_thread(tmp_path: Path) -> None:
    with listening(tmp_path / "e.db", inline=True) as heard:
        await heard.commit(0, PutMark(5))
        assert not writing_threads()


async def test_the_thread_of_a_file_ends_with_its_store(tmp_path: Path) -> None:
    with listening(tmp_path / "e.db"):
        assert len(writing_threads()) == 1
    assert not writing_threads()


async def test_the_acknowledgement_comes_before_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "_LOOK_EVERY", 1)
    monkeypatch.setattr("perdure.engine.storage.store.CHECKPOINT_AT", 1)
    faults = Faults()
    heard_of_it = threading.Event()
    with listening(tmp_path / "e.db", connect=faulty(faults)) as heard:
        faults.arm("checkpoint", 1, lambda: heard_of_it.wait(30))  # the thread stands here until the loop has heard
        await heard.commit(0, PutMark(1))
        heard_of_it.set()
        await heard.commit(1, PutMark(2))
    assert faults.log.index("commit") < faults.log.index("checkpoint")


async def test_a_read_does_not_wait_for_a_commit(tmp_path: Path) -> None:
    faults = Faults()
    go_on = threading.Event()
    with listening(tmp_path / "e.db", connect=faulty(faults)) as heard:
        await heard.commit(0, PutState("s", "k", b"n", b"old"))
        faults.arm("commit", 1, lambda: go_on.wait(30))
        heard.store.submit(1, [PutState("s", "k", b"n", b"new")])
        assert heard.store.reader.state("s", "k", b"n") == b"old"
        go_on.set()
        await heard.news()
        assert heard.store.reader.state("s", "k", b"n") == b"new"


async def write_pages(heard: Heard, *numbers: int) -> None:
    """Batches of about 100 pages each."""
    for number in numbers:
        await heard.commit(number, *[PutState("s", str(each), b"n", bytes([number]) * 3000) for each in range(100)])


@pytest.mark.parametrize("warmed", [False, True])
async def test_the_log_starts_over_and_keeps_its_length(tmp_path: Path, warmed: bool) -> None:
    with listening(tmp_path / "e.db", warmed=warmed) as heard:
        await write_pages(heard, *range(60))
        log = (tmp_path / "e.db-wal").stat().st_size
        assert 3_900_000 < log < 6_500_000  # 60 batches are 25 MB
        await write_pages(heard, *range(60, 80))
        assert (tmp_path / "e.db-wal").stat().st_size == log


async def test_the_log_is_long_from_the_start_and_the_database_is_not(tmp_path: Path) -> None:
    with listening(tmp_path / "e.db", warmed=True):
        assert (tmp_path / "e.db-wal").stat().st_size > 4_000_000
        assert (tmp_path / "e.db").stat().st_size < 200_000


async def test_the_connection_is_set_up_as_the_rules_say(tmp_path: Path) -> None:
    store: Store = open_store(tmp_path / "e.db", warmed=False)

    def pragma(name: str) -> Any:
        return store._write_connection.query(f"PRAGMA {name}")[0][0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2
    assert pragma("wal_autocheckpoint") == 0
    assert pragma("page_size") == 4096
    assert pragma("secure_delete") == 0
    assert pragma("mmap_size") == 0
    assert pragma("cache_size") == -16384
    assert pragma("journal_size_limit") == -1
    store.close()


def test_an_event_loop_that_ended_without_closing_does_not_hang_the_writer(
    tmp_path: Path, anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    faults = Faults()
    store = open_store(tmp_path / "e.db", warmed=False, connect=faulty(faults))

    async def leave() -> None:
        store.start(committed=str, retrying=str, failed=str)
        faults.arm("commit", 1, lambda: gate.wait(30))
        store.submit(0, [PutMark(9)])

    anyio.run(leave, backend=anyio_backend)
    gate.set()
    store.close()
    assert "event loop ended before the engine was closed" in caplog.text
    again = open_store(tmp_path / "e.db", warmed=False)
    assert again.mark == 9
    again.close()
