"""A process that a test starts: its output is kept, it is ended by its id, and it does not outlive its owner.

`ChildProcess` is the ground under the private restate-server and under endpoints served in a process of their own.
Everything here blocks and is meant for threads and synchronous code; nothing in it needs an event loop.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from perdure.exceptions import PerdureError
from perdure.testing import watchdog

__all__ = ["ChildProcess", "HarnessError"]

TAIL_LINES = 30


class HarnessError(PerdureError):
    """Something that a test stands on could not be installed, started or asked; the code under test is not at fault."""


class ChildProcess:
    """A running process in a session and process group of its own, so that Ctrl-C in a terminal does not reach it.

    Args:
        command: the program and its arguments.
        log: where its standard output and standard error go, appended.
        env: its whole environment; None hands on the one of this process.
        cwd: the folder it runs in.
        directory: removed by the watchdog if this process dies before `end`.

    Raises:
        HarnessError: the program cannot be executed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        directory: Path | None = None,
    ) -> None:
        self.command: tuple[str, ...] = tuple(command)
        self.log = log
        with log.open("ab") as output:
            try:
                self._process = subprocess.Popen(  # noqa: S603 (a list, no shell; the caller says what to run)
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=env,
                    cwd=cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise HarnessError(f"{self.command[0]} could not be executed: {error}") from error
        try:
            self._watchdog = subprocess.Popen(  # noqa: S603 (this interpreter and a file of this package)
                [sys.executable, "-I", "-S", watchdog.__file__, str(self.pid), str(directory or "")],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The id of the process, which leads a group of the same number."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How the process ended (negative: by that signal), or None while it runs."""
        return self._process.poll()

    def end(self, grace: float = 10.0) -> int:
        """Send SIGTERM, wait up to `grace` seconds, then SIGKILL; return how it ended. Ending it twice does no harm."""
        if self.returncode is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        return self.kill()

    def kill(self) -> int:
        """Send SIGKILL to the process and to all it started, wait for it, and return how it ended."""
        if self._process.returncode is None:
            # The leader is not reaped yet, so its number still is this group's.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        returncode = self._process.wait()
        self._dismiss_watchdog()
        return returncode

    def text(self) -> str:
        """Everything the process has printed so far."""
        return self.log.read_text(errors="replace")

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines it printed, indented, for an error message."""
        last = self.text().splitlines()[-lines:]
        return "\n".join(f"    {line}" for line in last) if last else "    (it printed nothing)"

    def _dismiss_watchdog(self) -> None:
        guard = getattr(self, "_watchdog", None)
        if guard is None or guard.stdin is None or guard.stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.write(b".")
            guard.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.close()
        guard.wait()
