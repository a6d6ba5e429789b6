"""The interpreters that peers run in: perdure's own, and one with the official SDK beside perdure."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

OFFICIAL = "restate-sdk"
ROOT = Path(__file__).resolve().parent.parent


def official_python(folder: Path | None = None) -> Path:
    """A virtual environment with the official SDK, made once per folder; perdure is in it for the fake server."""
    folder = folder if folder is not None else Path(tempfile.gettempdir()) / "perdure-bench-peer"
    python = folder / "bin" / "python"
    mark = folder / "complete"
    if not mark.exists():
        print(f"installing {OFFICIAL} into an environment of its own ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", OFFICIAL, str(ROOT)], check=True, stderr=subprocess.DEVNULL
        )
        mark.touch()
    return python
