"""Runs mypy and pyright over the programs of this folder.

The programs beside this file must have no error; they say with `assert_type` what is inferred. Those in `negative` are
wrong on purpose: a line that ends with ``# wrong: call-arg / reportCallIssue`` must have these errors, mypy's code on
the left and pyright's rule on the right (``-`` for none), and no other line must have any.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
POSITIVE = sorted(path for path in HERE.glob("*.py") if path != Path(__file__))
NEGATIVE = sorted((HERE / "negative").glob("*.py"))
MARK = re.compile(r"# wrong: (?P<mypy>.+) / (?P<pyright>.+)$")

Errors: TypeAlias = dict[tuple[str, int], set[str]]
"""Error codes by file name and line, counted from 1."""


def marked(checker: str) -> dict[tuple[str, int], str]:
    codes: dict[tuple[str, int], str] = {}
    for path in NEGATIVE:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            mark = MARK.search(line)
            if mark is not None and mark[checker] != "-":
                codes[path.name, number] = mark[checker]
    return codes


def differences(found: Errors, marks: dict[tuple[str, int], str]) -> list[str]:
    """Say where a checker and the marks disagree: on a line, or on the code that must be among its errors."""
    return [
        f"{name}:{line}: found {sorted(found.get((name, line), set()))}, marked {marks.get((name, line))}"
        for name, line in sorted(found.keys() | marks.keys())
        if marks.get((name, line)) not in found.get((name, line), set())
    ]


def collect(found: list[tuple[Path, int, str]]) -> tuple[list[str], Errors]:
    """Sort errors into those of positive files, as text, and those of negative ones."""
    positive: list[str] = []
    negative: Errors = {}
    for path, line, code in found:
        if path.parent.name == "negative":
            negative.setdefault((path.name, line), set()).add(code)
        else:
            positive.append(f"{path.name}:{line}: {code}")
    return positive, negative


@pytest.fixture(scope="module")
def mypy() -> tuple[list[str], Errors]:
    command = [sys.executable, "-m", "mypy", "--output=json", *map(str, POSITIVE + NEGATIVE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert not done.stderr, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    return collect(
        [(ROOT / report["file"], report["line"], report["code"]) for report in reports if report["severity"] == "error"]
    )


@pytest.fixture(scope="module")
def pyright() -> tuple[list[str], Errors]:
    # Its own configuration: the project's leaves the wrong programs out.
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "-p", str(HERE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] >= len(POSITIVE + NEGATIVE)
    return collect(
        [
            (Path(error["file"]), error["range"]["start"]["line"] + 1, error.get("rule", "syntax"))
            for error in report["generalDiagnostics"]
            if error["severity"] == "error"
        ]
    )


def test_mypy_strict_agrees_with_what_is_asserted(mypy: tuple[list[str], Errors]) -> None:
    assert mypy[0] == []


def test_pyright_strict_agrees_with_what_is_asserted(pyright: tuple[list[str], Errors]) -> None:
    assert pyright[0] == []


def test_mypy_finds_exactly_the_marked_mistakes(mypy: tuple[list[str], Errors]) -> None:
    assert differences(mypy[1], marked("mypy")) == []


def test_pyright_finds_exactly_the_marked_mistakes(pyright: tuple[list[str], Errors]) -> None:
    assert differences(pyright[1], marked("pyright")) == []


def test_every_negative_file_has_marks_for_both() -> None:
    for checker in ("mypy", "pyright"):
        assert {name for name, _ in marked(checker)} == {path.name for path in NEGATIVE}
