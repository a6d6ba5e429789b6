"""A disk that is full, for real: nothing acknowledged is lost, nothing is written twice, and it goes on by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.engine.rows import PutState
from perdure.engine.storage import commits, open_store
from tests.engine.storage.heard import listening
from tests.engine.storage.scripts import run_script

pytestmark = pytest.mark.anyio

FILE_SIZE_LIMIT = """\
import json, resource, signal, sys
import anyio
from perdure.engine.rows import AppendEntry, PutState
from perdure.engine.storage import commits, open_store
from perdure.wire.messages import InputCommand, Value

path, backend = sys.argv[1:]
commits._FIRST_PAUSE, commits._LONGEST_PAUSE = 0.001, 0.01
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
LIMIT = 300_000

async def main():
    store = open_store(path, warmed=False)
    told = {"committed": [], "reasons": [], "failed": []}
    news = anyio.Event()

    def hear(kind, what):
        nonlocal news
        told[kind].append(what)
        if len(told["reasons"]) == 5 and kind == "reasons":
            # Room again. Meanwhile what was acknowledged is what can be read.
            assert len(store.reader.entries(1, 0, -1)) == len(told["committed"])
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        news.set()
        news = anyio.Event()

    store.start(
        committed=lambda number: hear("committed", number),
        retrying=lambda reason: hear("reasons", reason),
        failed=lambda error: hear("failed", str(error)),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))
    for number in range(200):
        entry = InputCommand(value=Value(number.to_bytes(4, "big") * 1000))
        heard = news
        store.submit(number, [AppendEntry(1, number, entry)])
        while number not in told["committed"] and not told["failed"]:
            await heard.wait()
            heard = news
    told["entries"] = [int.from_bytes(entry.value.content[:4], "big") for entry in store.reader.entries(1, 0, -1)]
    store.close()
    print(json.dumps(told))

anyio.run(main, backend=backend)
"""


async def test_a_file_that_may_not_grow_is_waited_for(tmp_path: Path, anyio_backend: str) -> None:
    told = run_script(FILE_SIZE_LIMIT, tmp_path / "e.db", anyio_backend)
    assert told["failed"] == []
    assert len(told["reasons"]) >= 5
    assert "cannot grow, is the disk full?" in told["reasons"][0]
    assert told["committed"] == list(range(200))
    assert told["entries"] == list(range(200))
    store = open_store(tmp_path / "e.db", warmed=False)
    assert not store.unclean
    store.close()


@pytest.mark.parametrize("kind", ["thread", "inline", "memory"])
async def test_a_database_that_has_all_its_pages_is_waited_for(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(commits, "_LONGEST_PAUSE", 0.002)
    path = ":memory:" if kind == "memory" else tmp_path / "e.db"
    with listening(path, inline=kind == "inline") as heard:
        connection = heard.store._write_connection
        [(pages,)] = connection.query("PRAGMA page_count")
        connection.query(f"PRAGMA max_page_count={pages + 20}")
        number = 0
        while not heard.retrying:
            number += 1
            heard.store.submit(number, [PutState("s", "k", bytes([number, each]), bytes(3000)) for each in range(5)])
            await heard.news()
        assert "SQLITE_FULL" in heard.retrying[0]
        assert heard.committed == list(range(1, number))
        assert len(heard.store.reader.state_names("s", "k")) == 5 * (number - 1)
        connection.query("PRAGMA max_page_count=100000")
        while number not in heard.committed:
            await heard.news()
        assert heard.failed == []
        assert len(heard.store.reader.state_names("s", "k")) == 5 * number
