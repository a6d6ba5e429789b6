"""Processes of tests: how they end, and that they do not outlive their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perdure.testing.child_process import ChildProcess, HarnessError
from tests.processes import runs, wait_for

LISTENER = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("ready", flush=True)
signal.pause()
"""
DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
signal.pause()
"""
PARENT = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("ready", child.pid, flush=True)
signal.pause()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], ChildProcess]]:
    started: list[ChildProcess] = []

    def start(program: str) -> ChildProcess:
        child = ChildProcess([sys.executable, "-c", program], log=tmp_path / "log")
        started.append(child)
        wait_for(lambda: "ready" in child.text())
        return child

    yield start
    for child in started:
        child.kill()


def test_a_process_may_end_in_its_own_way_after_sigterm(start: Callable[[str], ChildProcess]) -> None:
    assert start(LISTENER).end() == 7


def test_a_process_that_ignores_sigterm_is_killed(start: Callable[[str], ChildProcess]) -> None:
    assert start(DEAF).end(grace=0.1) == -signal.SIGKILL


def test_ending_twice_gives_the_same_answer(start: Callable[[str], ChildProcess]) -> None:
    child = start(LISTENER)
    assert child.end() == child.end() == 7


def test_killing_a_process_kills_what_it_started(start: Callable[[str], ChildProcess]) -> None:
    parent = start(PARENT)
    grandchild = int(parent.text().split()[1])
    parent.kill()
    wait_for(lambda: not runs(grandchild))


def test_ctrl_c_in_a_terminal_does_not_reach_a_child(start: Callable[[str], ChildProcess]) -> None:
    assert os.getsid(start(LISTENER).pid) != os.getsid(0)


def test_the_watchdog_ends_with_the_process(start: Callable[[str], ChildProcess]) -> None:
    child = start(LISTENER)
    child.end()
    assert child._watchdog.returncode == 0


def test_a_program_that_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no-such-program could not be executed"):
        ChildProcess(["no-such-program"], log=tmp_path / "log")


def test_the_tail_holds_the_last_lines_printed(start: Callable[[str], ChildProcess]) -> None:
    child = start("for n in range(50): print(n)\nprint('ready', flush=True)")
    assert child.tail(2) == "    49\n    ready"


@pytest.mark.parametrize("program", [LISTENER, DEAF], ids=["one that listens", "one that ignores SIGTERM"])
def test_a_child_and_its_folder_are_gone_after_its_owner_was_killed(program: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    owner_program = f"""
import pathlib, signal, sys
from perdure.testing import watchdog
from perdure.testing.child_process import ChildProcess
folder = pathlib.Path({str(folder)!r})
child = ChildProcess([sys.executable, "-c", {program!r}], log=folder / "log", directory=folder)
while "ready" not in child.text():
    pass
print(child.pid, flush=True)
signal.pause()
"""
    owner = subprocess.Popen([sys.executable, "-c", owner_program], stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        owner.kill()
    wait_for(lambda: not runs(child) and not folder.exists())
