"""One engine per file: in this process, in another, under another name, in a forked child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.engine.storage import DatabaseInUse, open_store
from perdure.engine.storage.lock_file import LockFile
from tests.engine.storage.scripts import ROOT, run_script

HOLDER = """\
import sys
from perdure.engine.storage import open_store
store = open_store(sys.argv[1], warmed=False)
print("open", flush=True)
sys.stdin.read()
store.close()
"""

FORK = """\
import asyncio, gc, json, os, sys
from perdure.engine.rows import PutMark
from perdure.engine.storage import open_store, DatabaseInUse
from perdure.exceptions import UsageError

path = sys.argv[1]

def told(action):
    try:
        action()
    except (DatabaseInUse, UsageError) as error:
        return [type(error).__name__, str(error)]
    return ["nothing", ""]

async def commit(store, number):
    done = asyncio.Event()
    store.start(committed=lambda _: done.set(), retrying=print, failed=print)
    store.submit(0, [PutMark(number)])
    await done.wait()

store = open_store(path, warmed=False)
asyncio.run(commit(store, 1))
answer, question = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    found = {
        "second": told(lambda: open_store(path)),
        "submit": told(lambda: store.submit(1, [PutMark(9)])),
        "read": told(store.reader.mark),
        "close": told(store.close),
    }
    del store
    gc.collect()
    os.write(answer[1], json.dumps(found).encode())
    os.close(answer[1])
    os.close(question[1])
    os.read(question[0], 1)  # until the parent has ended
    sys.exit()
os.close(answer[1])
found = json.loads(os.read(answer[0], 10_000))
found["parent"] = os.getpid()
done = []
store.submit(1, [PutMark(2)])
store.close()
again = open_store(path, warmed=False)  # while the child lives
found["again"] = [again.mark, again.unclean]
again.close()
os.close(question[1])
found["status"] = os.waitpid(child, 0)[1]
print(json.dumps(found))
"""


def test_a_second_engine_in_the_same_process_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "e.db", warmed=False)
    with pytest.raises(DatabaseInUse, match="already open in an engine of this process"):
        open_store(tmp_path / "e.db")
    store.close()
    open_store(tmp_path / "e.db", warmed=False).close()


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["symbolic", "hard"])
def test_a_second_engine_under_another_name_is_refused(tmp_path: Path, link: object) -> None:
    store = open_store(tmp_path / "e.db", warmed=False)
    assert callable(link)
    link(tmp_path / "other.db", tmp_path / "e.db")
    with pytest.raises(DatabaseInUse, match="already open in an engine of this process"):
        open_store(tmp_path / "other.db")
    store.close()


def test_a_second_engine_in_another_process_is_refused_and_told_which_has_it(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(DatabaseInUse, match=f"in another engine, in process {holder.pid}; one process at a time"):
            open_store(path)
        holder.kill()
    store = open_store(path, warmed=False)  # the lock ended with the process
    assert store.unclean
    store.close()


def test_a_forked_child_can_use_neither_the_store_nor_its_file_and_does_not_keep_the_lock(tmp_path: Path) -> None:
    found = run_script(FORK, tmp_path / "e.db")
    name, message = found["second"]
    assert name == "DatabaseInUse"
    assert f"in process {found['parent']}" in message
    for use in ("submit", "read"):
        name, message = found[use]
        assert (name, "process that this one was forked from" in message) == ("UsageError", True)
    assert found["close"] == ["nothing", ""]
    assert found["again"] == [2, False]
    assert found["status"] == 0


def test_a_program_that_is_started_does_not_inherit_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    store = open_store(path, warmed=False)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        store.close()
        open_store(path, warmed=False).close()
        child.kill()


def test_the_lock_is_not_given_back_twice(tmp_path: Path) -> None:
    lock = LockFile.take(tmp_path / "e.db")
    held = [lock.held]
    lock.release()
    taken = os.open(tmp_path, os.O_RDONLY)  # gets the number of the descriptor that was closed
    lock.release()
    held.append(lock.held)
    assert held == [True, False]
    os.fstat(taken)
    os.close(taken)
