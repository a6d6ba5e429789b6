"""The frame of the command line."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from perdure.cli import COMMANDS, main


def imported_by(*arguments: str) -> set[str]:
    """Run the command in a fresh interpreter; return the modules of perdure that it had imported at its end."""
    program = f"""
import sys
from perdure.cli import main
try:
    main({list(arguments)!r})
except SystemExit:
    pass
print("modules:", *[name for name in sys.modules if name.startswith(("perdure", "anyio", "trio", "hypercorn"))])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.rpartition("modules:")[2].split())


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    for name, command in COMMANDS.items():
        assert f"{name} {command.help}" in printed


def test_the_version_is_the_one_that_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"perdure {metadata.version('perdure')}\n")


@pytest.mark.parametrize("arguments", [[], ["nonsense"]], ids=["no command", "an unknown command"])
def test_wrong_arguments_end_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: perdure" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: perdure {name}" in capsys.readouterr().out


def test_help_imports_no_command_and_no_event_loop() -> None:
    assert imported_by("--help") == {"perdure", "perdure.cli"}


def test_a_command_imports_no_other_command() -> None:
    imported = {name for name in imported_by("restate-server", "--help") if name.startswith("perdure.cli.")}
    assert imported == {"perdure.cli.restate_server"}


def test_an_error_of_perdure_is_one_line_and_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTATE_SERVER_BIN", "/nowhere")
    assert main(["restate-server", "path"]) == 1
    assert capsys.readouterr().err.startswith("perdure restate-server: RESTATE_SERVER_BIN is '/nowhere'")


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("perdure.cli.restate_server.find_binary", broken)
    with pytest.raises(ZeroDivisionError):
        main(["restate-server", "path"])


def test_ctrl_c_ends_a_command_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("perdure.cli.restate_server.find_binary", interrupted)
    assert main(["restate-server", "path"]) == 130


def test_the_package_runs_as_a_module() -> None:
    result = subprocess.run([sys.executable, "-m", "perdure.cli", "--help"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("usage: perdure")
