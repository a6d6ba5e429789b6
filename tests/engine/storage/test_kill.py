"""The process ends at any moment: what was acknowledged is there, and the next process goes on from it.

`kill -9` says nothing about the disk, which keeps what the kernel has; that is the matter of `test_power_loss`.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.engine.storage import open_store
from tests.engine.storage.killed import FATAL_BATCH, POINTS, last_whole
from tests.engine.storage.profile import PATIENCE, scaled
from tests.engine.storage.scripts import ROOT

ROUNDS = scaled(2, 100)
"""On each event loop."""


def run(path: Path, backend: str, *, kill_after: int = 1_000_000, point: str = "") -> list[int]:
    """Run the program until so many batches were acknowledged or it ends itself; returns what was."""
    acknowledged = []
    command = [sys.executable, "-m", "tests.engine.storage.killed", str(path), backend, *point.split()]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            acknowledged.append(int(line))
            if len(acknowledged) == kill_after:
                process.kill()
    assert process.returncode == (9 if point else -9)
    return acknowledged


def reached(path: Path) -> int:
    """The last batch in a file that was not closed; the next process shall find it so too."""
    store = open_store(path, warmed=False)
    assert store.unclean
    last = last_whole(store)
    store.close(clean=False)
    return last


@PATIENCE
def test_what_was_acknowledged_survives_being_killed_again_and_again(tmp_path: Path, anyio_backend: str) -> None:
    chance = random.Random(ROUNDS)
    path, last = tmp_path / "e.db", -1
    for _ in range(ROUNDS):
        acknowledged = run(path, anyio_backend, kill_after=chance.randrange(1, 200))
        assert acknowledged == list(range(last + 1, acknowledged[-1] + 1))
        last = reached(path)
        assert last - acknowledged[-1] in {0, 1}  # one may be on its way


@pytest.mark.parametrize("point", POINTS)
def test_the_process_may_end_at_each_point_of_a_batch(tmp_path: Path, point: str) -> None:
    path = tmp_path / "e.db"
    acknowledged = run(path, "asyncio", point=point)
    assert len(acknowledged) == FATAL_BATCH - 1
    committed = point in {"after commit", "acknowledged"}
    assert reached(path) == acknowledged[-1] + committed
