"""``kill -9`` under mixed load: nothing that was answered is lost, and every counter is exact.

`PERDURE_KILLS` says how often the program is killed on each loop; 200 is the long run.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.processes import wait_for

WORKER = Path(__file__).with_name("kill_worker.py")
KILLS = int(os.environ.get("PERDURE_KILLS", "2"))


def start(folder: Path, backend: str, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), str(folder), backend, how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_a_program_that_is_killed_again_and_again_loses_nothing(tmp_path: Path, anyio_backend: str) -> None:
    chance = random.Random(7)
    for _ in range(KILLS):
        done = len(lines(tmp_path / "answers"))
        with start(tmp_path, anyio_backend, "load") as program:
            try:
                # Without any progress in five lives an invocation would be taken for what ends the process.
                wait_for(lambda done=done: len(lines(tmp_path / "answers")) >= done + 6, 60)  # type: ignore[misc]  # a lambda with a default
                time.sleep(chance.uniform(0.05, 0.5))
            finally:
                program.kill()
            errors = program.communicate()[1]
        assert program.returncode == -9, errors

    with start(tmp_path, anyio_backend, "finish") as program:
        try:
            errors = program.communicate(timeout=120)[1]
        finally:
            program.kill()
    assert program.returncode == 0, errors

    [written] = lines(tmp_path / "result")
    result = json.loads(written)
    made = result["made"]
    assert result["totals"] == {"a": made, "b": made, "later": made}
    answers = lines(tmp_path / "answers")
    assert len(answers) == made == len(set(answers))
    steps = Counter(lines(tmp_path / "steps"))
    assert all(steps[name] >= 1 and steps[f"{name} again"] >= 1 for name in answers)
    assert sum(steps[name] for name in answers) <= made + 6 * KILLS, "only what ran when it was killed ran again"
