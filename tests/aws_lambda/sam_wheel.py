"""The wheel of AWS's own SAM CLI: AWS's sample events, and AWS's emulator of the Runtime API.

It is downloaded once, with pip and pip's own configuration, into perdure's cache folder, under a file lock; nothing of
it is installed or imported. Without a network the wheel can be put into the folder by hand, and `PERDURE_CACHE_DIR`
names the folder.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from perdure.testing.restate_binary import cache_folder

__all__ = ["VERSION", "rie", "samples", "wheel"]

VERSION: Final = "1.170.0"
_DOWNLOAD_SECONDS: Final = 300
_EVENTS: Final = "samcli/lib/generated_sample_events"
_MACHINES: Final = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


@functools.cache
def wheel() -> Path:
    """The wheel, downloaded when it is not in the cache (8 MB)."""
    home = cache_folder() / "aws-sam-cli"
    path = home / f"aws_sam_cli-{VERSION}-py3-none-any.whl"
    home.mkdir(parents=True, exist_ok=True)
    with _lock(home / f"{VERSION}.lock"):
        if not path.is_file():
            with tempfile.TemporaryDirectory(prefix=f".{VERSION}-", dir=home) as folder:
                _download(Path(folder))
                (Path(folder) / path.name).rename(path)
    return path


@functools.cache
def rie() -> Path:
    """AWS's Runtime Interface Emulator for this machine, as an executable."""
    name = f"aws-lambda-rie-{_MACHINES[platform.machine().lower()]}"
    path = wheel().parent / f"{name}-{VERSION}"
    with _lock(path.parent / f"{VERSION}.lock"):
        if not path.is_file():
            part = path.with_suffix(".part")
            with (
                zipfile.ZipFile(wheel()) as archive,
                archive.open(f"samcli/local/rapid/{name}") as source,
                part.open("wb") as target,
            ):
                shutil.copyfileobj(source, target)
            part.chmod(0o755)
            part.rename(path)
    return path


@functools.cache
def samples() -> dict[str, bytes]:
    """Every sample event with its default values filled in, by service and file: `sqs/Sqs`."""
    with zipfile.ZipFile(wheel()) as archive:
        mapping = json.loads(archive.read(f"{_EVENTS}/event-mapping.json"))
        tags = {
            f"{service}/{kind['filename']}": kind.get("tags", {})
            for service, kinds in mapping.items()
            for kind in kinds.values()
        }
        found = {}
        for member in archive.namelist():
            if member.startswith(f"{_EVENTS}/events/") and member.endswith(".json"):
                name = member.removeprefix(f"{_EVENTS}/events/").removesuffix(".json")
                found[name] = _rendered(archive.read(member).decode(), tags.get(name, {}))
    return found


def _rendered(template: str, tags: dict[str, dict[str, Any]]) -> bytes:
    """Fill in the default values, which is what the CLI does when it is told no others."""
    values: dict[str, str] = {}
    for tag, properties in tags.items():
        default = properties.get("default", "")
        for name, how in {tag: properties, **properties.get("children", {})}.items():
            name = name.replace("-", "_")  # noqa: PLW2901 - the mapping's spelling is not the template's
            value = _transformed(default, how)
            if how.get("type") == "dict":
                template = template.replace(f'"{{{{{{{name}}}}}}}"', value)
            values[name] = json.dumps(value)[1:-1]
    text = re.sub(r"\{\{\{\s*(\w+)\s*\}\}\}", lambda match: values.get(match[1], ""), template)
    json.loads(text)  # a sample that is no JSON would be the renderer's fault
    return text.encode()


def _transformed(value: str, how: dict[str, Any]) -> str:
    match how.get("encoding"):
        case "base64":
            value = base64.b64encode(value.encode()).decode()
        case "url":
            value = urllib.parse.quote(value)
    return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest() if how.get("hashing") == "md5" else value


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", f"--dest={folder}", f"aws-sam-cli=={VERSION}"]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False, env={**os.environ}
    )
    if result.returncode:
        raise RuntimeError(
            f"pip could not download aws-sam-cli {VERSION}; put its wheel into {folder.parent}. pip said:\n"
            f"{result.stderr}"
        )


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the file lock; the kernel frees it when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
