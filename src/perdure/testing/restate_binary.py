"""The restate-server program: which version, where it is looked for, how it gets here.

Looked for in this order:

1. the environment variable ``RESTATE_SERVER_BIN``;
2. ``restate-server`` on the PATH;
3. the cache folder, filled from the npm package ``@restatedev/restate-server`` when it is empty.

The package is installed with npm's own configuration, so a registry mirror set there is used. Scripts of packages do
not run: one dependency has a script that reports each installation to its maker, and none is needed. Two processes that
install at the same time wait for each other at a file lock, and what is in the cache is always complete: it is made
beside its final place and then renamed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from perdure.testing.child_process import HarnessError

__all__ = ["NPM_PACKAGE", "VERSION", "Binary", "cache_folder", "find_binary", "install_binary"]

NPM_PACKAGE: Final = "@restatedev/restate-server"
VERSION: Final = "1.7.12"
"""The restate-server that perdure is tested with. This is the only place that names it."""

INSTALL_TIMEOUT_SECONDS: Final = 600.0
_ERROR_LINES: Final = 15


class Binary(NamedTuple):
    """A restate-server program and how it was found."""

    path: Path
    source: Literal["RESTATE_SERVER_BIN", "PATH", "cache"]


def cache_folder() -> Path:
    """Where perdure keeps what it downloads.

    ``PERDURE_CACHE_DIR`` if it is set, else ``perdure`` in the user's cache folder (``XDG_CACHE_HOME``, ``~/.cache``,
    on macOS ``~/Library/Caches``).
    """
    if chosen := os.environ.get("PERDURE_CACHE_DIR"):
        return Path(chosen)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "perdure"
    caches = Path("Library/Caches") if sys.platform == "darwin" else Path(".cache")
    return Path.home() / caches / "perdure"


def find_binary() -> Binary | None:
    """Find restate-server without installing anything; None when it is not here.

    Raises:
        HarnessError: ``RESTATE_SERVER_BIN`` names a file that cannot be executed.
    """
    if chosen := os.environ.get("RESTATE_SERVER_BIN"):
        path = Path(chosen)
        if not path.is_file() or not os.access(path, os.X_OK):
            raise HarnessError(f"RESTATE_SERVER_BIN is {chosen!r}, which is no file that can be executed")
        return Binary(path, "RESTATE_SERVER_BIN")
    if found := shutil.which("restate-server"):
        return Binary(Path(found), "PATH")
    if cached := _binary_in(_home()):
        return Binary(cached, "cache")
    return None


def install_binary() -> Binary:
    """Find restate-server, or else install the npm package into the cache folder; takes some seconds and 220 MB once.

    Raises:
        HarnessError: npm is missing or failed, or the program does not run here; the message says what to do.
    """
    if found := find_binary():
        return found
    home = _home()
    home.parent.mkdir(parents=True, exist_ok=True)
    with _lock(home.parent / f"{VERSION}.lock"):
        if cached := _binary_in(home):  # another process installed it while this one waited
            return Binary(cached, "cache")
        for left in home.parent.glob(f".{VERSION}-*"):  # by an installer that was killed; a living one holds the lock
            shutil.rmtree(left, ignore_errors=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{VERSION}-", dir=home.parent))
        try:
            _npm_install(workshop)
            made = _binary_in(workshop)
            if made is None:
                raise HarnessError(
                    f"the npm package {NPM_PACKAGE} {VERSION} holds no restate-server for {sys.platform}; install one "
                    "yourself and set RESTATE_SERVER_BIN to its path"
                )
            check_runs(made)
            if home.exists():  # incomplete, left by something else than this function
                shutil.rmtree(home)
            workshop.rename(home)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    installed = _binary_in(home)
    assert installed is not None
    return Binary(installed, "cache")


def check_runs(binary: Path) -> str:
    """Run the program with ``--version`` and return what it prints.

    Raises:
        HarnessError: it does not run on this machine.
    """
    try:
        result = subprocess.run(  # noqa: S603 (a list, no shell)
            [binary, "--version"], capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError(f"{binary} does not run on this machine: {error}") from error
    if result.returncode != 0:
        raise HarnessError(f"{binary} --version ended with {result.returncode}:\n{_last_lines(result.stderr)}")
    return result.stdout.strip()


def _home() -> Path:
    return cache_folder() / "restate-server" / VERSION


def _binary_in(folder: Path) -> Path | None:
    """Find the program in an npm folder: it is in the package of the platform, not in the launcher for node."""
    found = sorted((folder / "node_modules" / "@restatedev").glob("restate-server-*/bin/restate-server"))
    return found[0] if found else None


def _npm_install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise HarnessError(
            "there is no restate-server on this machine, and no npm to install it with; install Node.js with npm, or "
            "set RESTATE_SERVER_BIN to the path of a restate-server"
        )
    command = [
        npm,
        "install",
        "--ignore-scripts",
        "--include=optional",  # the program is in an optional dependency, one for each platform
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--loglevel=error",
        f"--prefix={folder}",
        f"{NPM_PACKAGE}@{VERSION}",
    ]
    try:
        result = subprocess.run(  # noqa: S603 (a list, no shell)
            command,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_SECONDS,
            check=False,
            cwd=folder,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"npm did not install {NPM_PACKAGE} within {INSTALL_TIMEOUT_SECONDS:.0f} seconds") from error
    if result.returncode != 0:
        raise HarnessError(
            f"npm could not install {NPM_PACKAGE} {VERSION} (exit code {result.returncode}); set RESTATE_SERVER_BIN to "
            f"use another restate-server. npm said:\n{_last_lines(result.stderr or result.stdout)}"
        )


def _last_lines(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-_ERROR_LINES:])


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the file lock; the kernel frees it when its holder dies, so a dead installer blocks nobody."""
    import fcntl  # noqa: PLC0415 (POSIX only; the rest of perdure.testing works elsewhere)

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
