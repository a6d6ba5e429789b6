"""Finding and installing restate-server, with the real program and the real npm."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.testing import HarnessError
from perdure.testing.restate_binary import VERSION, cache_folder, check_runs, find_binary, install_binary


@pytest.fixture(scope="module")
def real() -> Path:
    """The restate-server of this machine."""
    return install_binary().path


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder with nothing in it, and no other place where a restate-server could be found."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("PERDURE_CACHE_DIR", str(cache))
    monkeypatch.delenv("RESTATE_SERVER_BIN", raising=False)
    yield cache
    shutil.rmtree(cache, ignore_errors=True)  # an installation has 220 MB; pytest would keep three


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def plant(cache: Path, program: Path) -> Path:
    """Lay a program where an installation puts it."""
    target = cache / "restate-server" / VERSION / "node_modules/@restatedev/restate-server-any/bin/restate-server"
    target.parent.mkdir(parents=True)
    target.symlink_to(program)
    return target


@pytest.mark.real_server
class TestFinding:
    """Where restate-server is looked for, in this order."""

    def test_the_environment_comes_first(
        self, real: Path, empty_cache: Path, empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chosen = tmp_path / "chosen"
        chosen.symlink_to(real)
        (empty_path / "restate-server").symlink_to(real)
        plant(empty_cache, real)
        monkeypatch.setenv("RESTATE_SERVER_BIN", str(chosen))
        assert install_binary() == (chosen, "RESTATE_SERVER_BIN")

    def test_the_path_comes_before_the_cache(self, real: Path, empty_cache: Path, empty_path: Path) -> None:
        (empty_path / "restate-server").symlink_to(real)
        plant(empty_cache, real)
        assert install_binary() == (empty_path / "restate-server", "PATH")

    def test_the_cache_comes_last(self, real: Path, empty_cache: Path, empty_path: Path) -> None:
        assert find_binary() is None
        planted = plant(empty_cache, real)
        assert install_binary() == (planted, "cache")


def test_a_chosen_program_that_cannot_be_executed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTATE_SERVER_BIN", str(tmp_path / "nowhere"))
    with pytest.raises(HarnessError, match=r"RESTATE_SERVER_BIN is .*nowhere"):
        find_binary()


def test_the_cache_folder_follows_the_conventions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_CACHE_DIR", "/chosen")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/chosen")
    monkeypatch.delenv("PERDURE_CACHE_DIR")
    assert cache_folder() == Path("/xdg/perdure")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().is_relative_to(Path.home())


def test_a_program_that_does_not_run_here_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF of another machine")
    broken.chmod(0o755)
    with pytest.raises(HarnessError, match="does not run on this machine"):
        check_runs(broken)


@pytest.mark.usefixtures("empty_cache", "empty_path")
def test_without_npm_the_message_says_what_to_install() -> None:
    with pytest.raises(HarnessError, match=r"no npm .* install Node\.js with npm, or set RESTATE_SERVER_BIN"):
        install_binary()


@pytest.mark.real_server
def test_a_failed_installation_shows_the_words_of_npm_and_leaves_nothing(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_offline", "true")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    with pytest.raises(HarnessError, match=r"(?s)npm could not install .*ENOTCACHED"):
        install_binary()
    assert [path.name for path in (empty_cache / "restate-server").iterdir()] == [f"{VERSION}.lock"]


@pytest.mark.real_server
def test_an_empty_cache_is_filled_from_npm_and_rubbish_of_a_killed_installer_goes(empty_cache: Path) -> None:
    rubbish = empty_cache / "restate-server" / f".{VERSION}-left"
    rubbish.mkdir(parents=True)
    binary = install_binary()
    assert binary.source == "cache"
    assert binary.path.is_relative_to(empty_cache)
    assert check_runs(binary.path) == f"restate-server {VERSION}"
    assert not rubbish.exists()


INSTALLER = """
import sys
from perdure.testing.restate_binary import find_binary, install_binary
assert find_binary() is None
print("looked", flush=True)
sys.stdin.readline()
print(install_binary().path, flush=True)
"""


@pytest.mark.real_server
def test_an_installer_waits_for_another_one_and_uses_what_that_installed(
    real: Path, empty_cache: Path, empty_path: Path
) -> None:
    """The second installer has no npm: it would fail if it did not find what the first one made."""
    lock = empty_cache / "restate-server" / f"{VERSION}.lock"
    lock.parent.mkdir(parents=True)
    command = [sys.executable, "-c", INSTALLER]
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        second = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with second:
            assert second.stdout is not None
            assert second.stdin is not None
            assert second.stdout.readline() == "looked\n"
            second.stdin.write("go\n")
            second.stdin.flush()
            wait_until_locked_out(second.pid)
            planted = plant(empty_cache, real)
            fcntl.flock(file, fcntl.LOCK_UN)
            assert second.stdout.readline() == f"{planted}\n"


def wait_until_locked_out(pid: int) -> None:
    """Wait until the process stands at a file lock, as the kernel's table of locks shows (``-> FLOCK``)."""
    for _ in range(1_000_000):
        waiting = [line for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
        if any(str(pid) in line.split() for line in waiting):
            return
    raise AssertionError("the second installer never waited for the lock")
