"""Follows the page on the embedded engine to the letter.

What is different here: how long tea takes, and when the program is killed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.docs.test_tutorial import BLOCK, DOCS

SERVICE = re.compile(r":caption: tea.py\n\n(?P<body>.*?)```\n", re.DOTALL)
SHORT, LONG = "ctx.sleep(0.2)", "ctx.sleep(3)"


class Reader:
    """Somebody who does what the page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = SERVICE.search((DOCS / "first-service.md").read_text(encoding="utf-8"))
        assert found is not None
        self.service = found["body"]
        assert "ctx.sleep(20)" in self.service
        self.seen = ""
        self.brewing(SHORT)

    def brewing(self, sleep: str) -> None:
        """Let tea take its time."""
        (self.folder / "tea.py").write_text(self.service.replace("ctx.sleep(20)", sleep), encoding="utf-8")

    def read(self) -> list[str]:
        """Do everything that is on the page, in order; the commands."""
        commands: list[str] = []
        for block in BLOCK.finditer((DOCS / "embedded.md").read_text(encoding="utf-8")):
            if block["file"]:
                body = block["body"].replace("before + 20", "before + 0.2")
                (self.folder / block["file"]).write_text(body, encoding="utf-8")
            elif block["kind"] == "text":
                assert self.seen.strip() == block["body"].strip()
            else:
                commands.append(block["body"].strip())
                self.do(commands[-1])
        return commands

    def do(self, command: str) -> None:
        killed = command.startswith("timeout --signal=KILL")
        self.brewing(LONG if killed else SHORT)
        command = command.replace("KILL 5", "KILL 2")
        env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode in ((137, -9) if killed else (0,)), f"{command}\n{done.stdout}\n{done.stderr}"
        self.seen = done.stdout


def test_the_page_works_as_it_says(tmp_path: Path) -> None:
    commands = Reader(tmp_path).read()
    assert [command.split()[0] for command in commands] == ["python", "python", "rm", "timeout", "python", "python"]
