"""A process that ends another one when its owner is gone.

A test process can die in ways that run no ``finally``: SIGKILL, a crash of the interpreter, ``os._exit``. What it
started would go on for ever, a restate-server with 200 MB of memory included. So every child gets a watchdog: this
file, run by path in a bare interpreter (no site packages, nothing of perdure), whose standard input is a pipe that
only the owner holds.

- The owner writes one byte: the child was ended in the ordinary way, nothing is left to do.
- The pipe closes without it: the owner is gone. The child's process group gets SIGTERM, a bounded time, SIGKILL, and
  the directory that belongs to it is removed.

`PR_SET_PDEATHSIG` looks simpler and is wrong here: its signal comes when the *thread* that started the child ends, and
anyio's worker threads end after some idle seconds.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time

GRACE_SECONDS = 2.0
POLL_SECONDS = 0.05


def open_process(pid: int) -> int | None:
    """Return a descriptor that stands for this process and never for a later one with its number.

    Only Linux has them; elsewhere, and when the process is gone already, the answer is None.
    """
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def has_ended(process: int | None) -> bool:
    """Tell whether the process behind a descriptor ended; without a descriptor nobody knows, and the answer is no."""
    return process is not None and bool(select.select([process], [], [], 0)[0])


def end_group(group: int, grace: float = GRACE_SECONDS) -> None:
    """Send SIGTERM to the process group, wait up to `grace` seconds, then send SIGKILL."""
    try:
        os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return  # all of it has ended


def main(arguments: list[str]) -> None:
    """Wait for the owner, then clean up if it left without a word.

    Args:
        arguments: the process that leads the group, and the directory to remove (empty: none).
    """
    leader, directory = int(arguments[0]), arguments[1]
    process = open_process(leader)
    if os.read(sys.stdin.fileno(), 1):
        return
    if not has_ended(process):  # else its number may belong to somebody else by now
        end_group(leader)
    if directory:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
