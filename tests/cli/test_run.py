"""``perdure run`` as a user meets it: a process, two ports, a file."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from perdure.cli import main
from perdure.cli.reloading import changed, snapshot
from tests.processes import wait_for

SOURCE = """
import logging
import perdure

shop = perdure.Service("Shop")
log = logging.getLogger("shop")

@shop.handler
async def greet(ctx: perdure.Context, name: str) -> str:
    return f"Hello {name}"

@shop.handler
async def wait(ctx: perdure.Context) -> str:
    log.info("waiting")
    return await ctx.awakeable(str)

app = perdure.Endpoint(shop)
nothing = 3
"""


class Running:
    """One process of the command."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.announcement = process.stdout.readline() if process.stdout is not None else ""
        found: list[str] = re.findall(r"http://\S+:\d+", self.announcement) or ["", ""]
        self.ingress, self.admin = found

    def call(self, path: str, value: Any = None, *, url: str | None = None) -> Any:
        body = None if value is None else json.dumps(value).encode()
        request = urllib.request.Request((url or self.ingress) + path, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop_app.py").write_text(SOURCE)
    return tmp_path


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "perdure.cli", "run", "shop_app:app", "--port", "0", "--admin-port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    with (
        (folder / "log").open("a") as log,
        subprocess.Popen(
            [*command, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            yield Running(process)
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_work_goes_on_after_the_process_was_killed(folder: Path, backend: str) -> None:
    with running(folder, "--backend", backend) as first:
        assert first.announcement == (
            f"perdure runs Shop on {backend}: ingress {first.ingress}, admin {first.admin}, journal perdure.db\n"
        )
        assert first.call("/Shop/greet", "ada") == "Hello ada"
        sent = first.call("/Shop/wait/send", "")["invocationId"]
        wait_for(lambda: "waiting" in (folder / "log").read_text())
        first.process.kill()
        first.process.wait(20)
    with running(folder, "--backend", backend) as second:
        wait_for(lambda: (folder / "log").read_text().count("waiting") == 2)
        assert second.call("/services", url=second.admin)["services"][0]["name"] == "Shop"
        assert second.call("/restate/lookup", {"target": "invocation", "invocationId": sent}) == {"invocationId": sent}
        assert second.end() == 0


def test_a_taken_port_is_a_line_and_an_exit_code(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with running(folder, "--port", port) as process:
            assert process.process.wait(20) == 1
    log = (folder / "log").read_text()
    assert log.startswith(f"perdure run: cannot listen on 127.0.0.1:{port}: the port is taken")
    assert log.count("\n") == 1


def test_a_locked_file_is_a_line_and_an_exit_code(folder: Path) -> None:
    with running(folder) as first:
        with running(folder) as second:
            assert second.process.wait(20) == 1
        assert first.end(signal.SIGINT) == 0
    (line,) = [each for each in (folder / "log").read_text().splitlines() if each.startswith("perdure run: ")]
    assert "perdure.db" in line


def test_who_waits_when_the_process_ends_is_told(folder: Path) -> None:
    with running(folder) as process:
        host, _, port = process.ingress.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(b"GET /Shop/wait HTTP/1.1\r\nhost: x\r\n\r\n")
            wait_for(lambda: "waiting" in (folder / "log").read_text())
            assert process.end() == 0
            assert connection.recv(4096).startswith(b"HTTP/1.1 503")


def test_only_an_endpoint_is_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    (folder / "other_app.py").write_text("async def app(scope, receive, send): ...")
    assert main(["run", "other_app:app"]) == 1
    assert "is no perdure.Endpoint" in capsys.readouterr().err


def test_a_changed_file_starts_it_anew(folder: Path) -> None:
    with running(folder, "--reload") as process:
        assert process.call("/Shop/greet", "ada") == "Hello ada"
        (folder / "shop_app.py").write_text(SOURCE.replace("Hello", "Good day"))
        again = Running(process.process)
        assert again.call("/Shop/greet", "ada") == "Good day ada"
        assert process.end() == 0


def test_files_are_compared_by_their_times(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "a.py").touch()
    (tmp_path / "b.txt").touch()
    before = snapshot(tmp_path)
    assert before == {}
    (tmp_path / "c.py").touch()
    after = snapshot(tmp_path)
    assert changed(before, after) == str(tmp_path / "c.py")
    assert changed(after, after) is None
    assert changed(after, before) == str(tmp_path / "c.py")
