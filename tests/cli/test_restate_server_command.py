"""`perdure restate-server`, with the real program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.cli import main
from perdure.testing.restate_binary import VERSION, install_binary

pytestmark = pytest.mark.real_server


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The restate-server of this machine, named by the environment."""
    path = install_binary().path
    monkeypatch.setenv("RESTATE_SERVER_BIN", str(path))
    return path


@pytest.mark.parametrize("action", ["install", "path"])
def test_the_path_is_printed_alone(action: str, real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["restate-server", action]) == 0
    assert capsys.readouterr() == (f"{real}\n", "")


@pytest.mark.parametrize("action", ["install", "path"])
def test_json_tells_where_it_was_found(action: str, real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["restate-server", action, "--json"]) == 0
    expected = {"path": str(real), "source": "RESTATE_SERVER_BIN", "version": None}
    assert json.loads(capsys.readouterr().out) == expected


def test_path_installs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RESTATE_SERVER_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PERDURE_CACHE_DIR", str(tmp_path))
    assert main(["restate-server", "path"]) == 1
    assert "`perdure restate-server install` installs it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_run_becomes_the_server_and_hands_on_its_arguments(real: Path) -> None:
    command = [sys.executable, "-m", "perdure.cli", "restate-server", "run", "--", "--version"]
    env = os.environ | {"RESTATE_SERVER_BIN": str(real)}
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert result.stdout == f"restate-server {VERSION}\n"


def test_an_installation_is_announced_and_a_failed_one_tells_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RESTATE_SERVER_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PERDURE_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["restate-server", "install"]) == 1
    announced, failed = capsys.readouterr().err.splitlines()[:2]
    assert announced.startswith(f"installing @restatedev/restate-server {VERSION}")
    assert "no npm to install it with" in failed
