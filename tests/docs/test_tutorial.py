"""Follows the tutorial to the letter: writes its files, runs its commands, compares what it says will appear.

What is different here: ports (others may use the usual ones), the backend, and how long tea takes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.testing import EndpointProcess, RestateServer
from perdure.testing.loopback import free_ports
from tests.processes import wait_for

DOCS = Path(__file__).parents[2] / "docs" / "tutorial"
BLOCK = re.compile(
    r"(?P<skip>% not run: [^\n]+\n)?```(?P<kind>sh|text|\{code-block\} python\n:caption: (?P<file>[\w.]+)\n)\n"
    r"(?P<body>.*?)```\n",
    re.DOTALL,
)
BREWING = "ctx.sleep(20)", "ctx.sleep(1)"


class Reader:
    """Somebody who does what the tutorial says."""

    def __init__(self, folder: Path, server: RestateServer, endpoint: EndpointProcess) -> None:
        self.folder = folder
        self.server = server
        self.endpoint = endpoint
        self.invocation = ""
        self.seen = ""
        self.earlier_calls = 0
        self.earlier_calls = self.calls()

    def read(self, page: str) -> None:
        """Do everything that is on a page, in order."""
        blocks = list(BLOCK.finditer((DOCS / page).read_text(encoding="utf-8")))
        assert blocks
        for block in blocks:
            if block["skip"]:
                continue
            if block["file"]:
                self.write(block["file"], block["body"])
            elif block["kind"] == "text":
                assert self.seen.strip() == block["body"].strip()
            else:
                self.do(block["body"].strip())

    def write(self, name: str, body: str) -> None:
        (self.folder / name).write_text(self.adapted(body).replace(*BREWING), encoding="utf-8")

    def do(self, command: str) -> None:
        if command == "perdure serve tea:app":
            self.endpoint.start()
        elif command == "perdure restate-server run":
            assert self.server.pid  # it runs already; the command itself is tested elsewhere
        elif command.startswith("pkill -KILL"):
            wait_for(self.timer_is_set)  # a reader is not as fast as to kill between a step and its result
            assert self.boiled() == self.calls()
            self.endpoint.kill()
        else:
            assert command.startswith(("curl ", "python ")), f"the tutorial has a command that is not known: {command}"
            self.seen = self.shell(command)
            if '"invocationId":"' in self.seen:
                self.invocation = self.seen.partition('"invocationId":"')[2].partition('"')[0]
            if command.startswith("curl http://127.0.0.1:9070/deployments"):
                assert '"Kitchen"' in self.seen
                self.server.wait_until_callable("/Kitchen/make_tea/send", b'"first"')
                wait_for(lambda: self.boiled() == 1)

    def boiled(self) -> int:
        """How often water was boiled, all runs of the service together."""
        return self.endpoint.logs().count("boiling water")

    def timer_is_set(self) -> bool:
        """Whether the last call has come to its timer, so that the result of its step is stored."""
        return any("Sleep" in entry["entry_type"] for entry in self.server.journal(self.invocation))

    def calls(self) -> int:
        """How many calls the server has had from this reader."""
        [row] = self.server.query("SELECT count(1) AS n FROM sys_invocation")
        return int(row["n"]) - self.earlier_calls

    def adapted(self, text: str) -> str:
        """A command or a file with the addresses that things have here."""
        for shown, real in {
            "http://127.0.0.1:8080": self.server.ingress_url,
            "http://127.0.0.1:9070": self.server.admin_url,
            "http://127.0.0.1:9080": self.endpoint.url,
            "inv_1...": self.invocation,
        }.items():
            text = text.replace(shown, real)
        return text

    def shell(self, command: str) -> str:
        """Run a command in the reader's folder; returns what it printed."""
        command = self.adapted(command)
        env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "NO_PROXY": "*"}
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=env, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def port() -> int:
    """The same on both loops: for the server the second reader's service is the first one's, started again."""
    [port] = free_ports(1)
    return port


@pytest.fixture
def reader(tmp_path: Path, anyio_backend: str, port: int, restate_server: RestateServer) -> Iterator[Reader]:
    command = [sys.executable, "-m", "perdure.cli", "serve", "tea:app", "--backend", anyio_backend]
    endpoint = EndpointProcess([*command, "--port", str(port)], port=port, cwd=tmp_path)
    yield Reader(tmp_path, restate_server, endpoint)
    endpoint.stop()


def test_the_tutorial_works_as_it_says(reader: Reader) -> None:
    reader.read("first-service.md")
    before = reader.calls()
    reader.read("crash.md")
    assert reader.calls() == before + 1
    assert reader.boiled() == reader.calls()  # each call boiled once, the one that was killed too
