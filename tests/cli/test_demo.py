"""`perdure demo`, as a newcomer runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import runs

pytestmark = [pytest.mark.real_server, pytest.mark.parametrize("backend", ["asyncio", "trio"])]


def demo(*arguments: str, cwd: Path) -> str:
    """Run the demo and return what it printed."""
    command = [sys.executable, "-m", "perdure.cli", "demo", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_order_finishes_although_the_service_was_killed(backend: str, tmp_path: Path) -> None:
    outcome = json.loads(demo("--backend", backend, "--json", cwd=tmp_path))
    assert outcome["order"]["total"] == 27.5
    assert outcome["order"]["parcel"] == "parcel-1001"
    assert outcome["ran"] == {
        "charge 27.50 to 4242": 1,
        "pack 1001 begins": 2,  # once before the crash and once more behind it
        "pack 1001 done": 1,
        "ship parcel-1001": 1,
    }
    assert not runs(outcome["killed"])
    assert not list(tmp_path.iterdir())


def test_the_story_can_be_read(backend: str, tmp_path: Path) -> None:
    printed = demo("--backend", backend, cwd=tmp_path)
    beats = [
        "restate-server is up",
        "order sent",
        "kill -9",
        "service is up again",
        "order finished",
        "what really happened",
    ]
    places = [printed.find(beat) for beat in beats]
    assert -1 not in places
    assert places == sorted(places)
    assert "2 x  pack 1001 begins" in printed
