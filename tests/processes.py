"""Looking at other processes: they have no event to wait for, so one looks again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["runs", "wait_for"]


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Look until the condition holds, and fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
