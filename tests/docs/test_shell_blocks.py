"""Every command that the documentation shows is run by a test, or says why it is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLLOWED = {ROOT / "docs" / "tutorial" / f"{page}.md" for page in ("first-service", "crash", "embedded")}
"""Pages whose commands `test_tutorial.py` and `test_tutorial_engine.py` run."""

PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if not {"newsfragments", "_build"} & set(page.parts))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_is_run_or_says_why_not(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = len(re.findall(r"^```(sh|shell|bash|console)$", text, re.MULTILINE))
    excused = len(re.findall(r"^% not run: \S.+\n```sh$", text, re.MULTILINE))
    assert page in FOLLOWED or commands == excused
