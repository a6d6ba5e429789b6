"""The checkout example on the embedded engine: killed in the middle, it goes on where it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(tmp_path: Path, anyio_backend: str) -> dict[str, str]:
    return os.environ | {
        "CHECKOUT_FILE": str(tmp_path / "shop.db"),
        "CHECKOUT_LEDGER": str(tmp_path / "ledger"),
        "CHECKOUT_BACKEND": anyio_backend,
    }


def start(environment: dict[str, str], pace: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "examples.embedded", "order-1"]
    env = environment | {"CHECKOUT_PACE": str(pace)}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ledger(environment: dict[str, str]) -> list[str]:
    """What really happened in the outside world."""
    path = Path(environment["CHECKOUT_LEDGER"])
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_an_order_that_was_killed_is_charged_once_and_shipped(environment: dict[str, str]) -> None:
    with start(environment, pace=0.2) as first:
        wait_for(lambda: "pack order-1 begins" in ledger(environment))
        first.kill()
    charged = [line for line in ledger(environment) if line.startswith("charge")]
    assert charged == ["charge 27.50 to 4242"]

    with start(environment, pace=0) as second:
        printed, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert printed.splitlines()[-1].startswith("order-1: 27.50, paid with pay-")
    assert ledger(environment) == [
        "charge 27.50 to 4242",
        "pack order-1 begins",
        "pack order-1 begins",
        "pack order-1 done",
        "ship parcel-order-1",
    ]

    with start(environment, pace=0) as third:
        again, errors = third.communicate(timeout=60)
    assert third.returncode == 0, errors
    assert again.splitlines()[-1] == printed.splitlines()[-1]
    assert len(ledger(environment)) == 5
