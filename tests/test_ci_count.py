"""What `.ci/count.py` says about JUnit files that pytest wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

COUNT = Path(__file__).parents[1] / ".ci" / "count.py"


def count(pytester: pytest.Pytester, tests: str, *failed_steps: str) -> tuple[int, list[str]]:
    """Run the tests and count them; return the exit code and what was printed."""
    reports = pytester.mkdir("reports")
    if tests:
        pytester.makepyfile(tests)
        pytester.runpytest_inprocess("-p", "no:perdure", f"--junitxml={reports}/run.xml")
    command = [sys.executable, str(COUNT), str(reports), *failed_steps]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout.splitlines()


def test_passing_tests_are_counted(pytester: pytest.Pytester) -> None:
    code, lines = count(pytester, "def test_a(): pass\ndef test_b(): pass")
    assert (code, lines[-1]) == (0, "2 passed, 0 failed")


@pytest.mark.parametrize("body", ["assert False", "raise RuntimeError"])
def test_a_failed_test_fails_the_run_and_is_named(pytester: pytest.Pytester, body: str) -> None:
    code, lines = count(pytester, f"def test_a(): pass\ndef test_b(): {body}")
    assert (code, lines[-1]) == (1, "1 passed, 1 failed")
    assert "failed: run test_a_failed_test_fails_the_run_and_is_named::test_b" in lines


def test_a_module_that_cannot_be_imported_fails_the_run(pytester: pytest.Pytester) -> None:
    assert count(pytester, "import no_such_module") == (
        1,
        [
            "failed: run ::test_a_module_that_cannot_be_imported_fails_the_run",
            "run: 1 failed",
            "no test passed",
            "0 passed, 1 failed",
        ],
    )


def test_a_skipped_test_fails_the_run(pytester: pytest.Pytester) -> None:
    code, lines = count(pytester, "import pytest\ndef test_a(): pass\n@pytest.mark.skip\ndef test_b(): pass")
    assert (code, lines[-2:]) == (1, ["1 tests were skipped, and none may be", "1 passed, 0 failed"])


def test_an_expected_failure_is_neither_a_skip_nor_a_pass(pytester: pytest.Pytester) -> None:
    code, lines = count(pytester, "import pytest\ndef test_a(): pass\n@pytest.mark.xfail\ndef test_b(): assert False")
    assert (code, lines[-1]) == (0, "1 passed, 0 failed")


def test_no_test_at_all_fails_the_run(pytester: pytest.Pytester) -> None:
    assert count(pytester, "") == (1, ["no test passed", "0 passed, 0 failed"])


def test_a_failed_step_fails_the_run_even_if_every_test_passed(pytester: pytest.Pytester) -> None:
    code, lines = count(pytester, "def test_a(): pass", "lint")
    assert (code, lines[-2:]) == (1, ["failed step: lint", "1 passed, 1 failed"])
