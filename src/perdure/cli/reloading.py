"""Running a command in a process of its own, started anew whenever a Python file changes: for development."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["changed", "run_and_reload", "snapshot"]

INTERVAL: Final = 0.5
"""Seconds between looks at the files."""

_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


def run_and_reload(arguments: Sequence[str] | None = None, *, folder: Path | None = None) -> int:
    """Run this command line without `--reload`, again and again; returns the exit code of the last process.

    It ends when the process is told to by a signal, or by the exit code 0. A process that failed is started anew when
    a file has changed.

    Args:
        arguments: of the command line; those of this process without them.
        folder: what is looked at, with everything below it; the current one without it.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = [sys.executable, "-m", "perdure.cli", *(each for each in given if each != "--reload")]
    root = Path.cwd() if folder is None else folder
    stopping: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _: stopping.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        return _supervise(command, root, stopping)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _supervise(command: Sequence[str], root: Path, stopping: Sequence[int]) -> int:
    seen = snapshot(root)
    process = _start(command)
    while True:
        time.sleep(INTERVAL)
        if stopping:
            process.send_signal(signal.SIGTERM)
            return process.wait()
        code = process.poll()
        if code == 0:
            return code
        now = snapshot(root)
        what = changed(seen, now)
        if what is None:
            continue
        seen = now
        print(f"perdure: {what} changed, starting anew", file=sys.stderr, flush=True)
        if code is None:
            process.send_signal(signal.SIGTERM)
            process.wait()
        process = _start(command)


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    # A group of its own: a Ctrl-C of the terminal reaches this process alone, which passes it on once.
    return subprocess.Popen(command, process_group=0)  # noqa: S603 - this command line


def snapshot(root: Path) -> dict[str, int]:
    """Every Python file below a folder, with the time of its last change in nanoseconds."""
    return dict(_files(root))


def _files(root: Path) -> Iterator[tuple[str, int]]:
    for folder, folders, names in os.walk(root):
        folders[:] = [each for each in folders if each not in _SKIPPED and not each.startswith(".")]
        for name in names:
            if name.endswith(".py"):
                path = Path(folder, name)
                try:
                    yield str(path), path.stat().st_mtime_ns
                except FileNotFoundError:
                    continue  # it went away meanwhile


def changed(before: dict[str, int], after: dict[str, int]) -> str | None:
    """A file that is new, gone or different; `None` when there is none."""
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            return path
    return None
