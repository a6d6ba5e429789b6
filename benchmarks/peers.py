"""The interpreters that peers run in: perdure's own, one with the official SDK beside perdure, one with DBOS."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

OFFICIAL = "restate-sdk"
DBOS = "dbos==3.4.*"
ROOT = Path(__file__).resolve().parent.parent


def official_python(folder: Path | None = None) -> Path:
    """A virtual environment with the official SDK, made once per folder; perdure is in it for the fake server."""
    return _environment(folder, "perdure-bench-peer", OFFICIAL, str(ROOT))


def dbos_python(folder: Path | None = None) -> Path:
    """A virtual environment with DBOS, made once per folder."""
    return _environment(folder, "perdure-bench-dbos", DBOS)


def _environment(folder: Path | None, name: str, *packages: str) -> Path:
    folder = folder if folder is not None else Path(tempfile.gettempdir()) / name
    python = folder / "bin" / "python"
    mark = folder / "complete"
    if not mark.exists():
        print(f"installing {packages[0]} into an environment of its own ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", *packages], check=True, stderr=subprocess.DEVNULL
        )
        mark.touch()
    return python
