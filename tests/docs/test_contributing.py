"""CONTRIBUTING says what there is."""

from __future__ import annotations

import re
from pathlib import Path

from tests.test_layers import LAYERS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_nox_session_is_in_the_table_of_checks() -> None:
    source = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    sessions = set(re.findall(r"^@nox\.session.*\n(?:@.*\n)*def (\w+)", source, re.MULTILINE))
    described = {name.partition("-")[0] for name in re.findall(r"^\| `([\w.-]+)`", TEXT, re.MULTILINE)}
    assert len(sessions) > 5
    assert sorted(sessions - described) == []


def test_the_layers_are_those_that_are_checked() -> None:
    rows = {name: int(height) for height, name in re.findall(r"^\| (\d) \| `(\w+)(?:\.py)?` \|", TEXT, re.MULTILINE)}
    existing = {name: height for name, height in LAYERS.items() if any((ROOT / "src" / "perdure").glob(f"{name}*"))}
    assert rows == existing
