"""What the README shows works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from perdure.testing import run

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


async def test_the_example_is_a_program_that_can_be_replayed() -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    program: dict[str, Any] = {"__name__": "onboarding"}
    exec(compile(code, "README.md", "exec", dont_inherit=True), program)
    ran = await run(program["welcome"], "ada@example.org", always_replay=True)
    assert ran.result == ["'welcome' to ada@example.org", "'how is it going?' to ada@example.org"]
    assert ran.attempts > 2


def test_every_folder_and_file_that_it_names_exists() -> None:
    named = set(re.findall(r"`((?:docs|examples)[\w/-]*|[A-Z]+\.md)`", TEXT)) - {"docs/_build/html"}
    assert len(named) > 6
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
