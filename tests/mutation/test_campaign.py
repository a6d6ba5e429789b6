"""A whole campaign, against a package of three functions and its tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.campaign import Fate, Mutant, sample
from tests.mutation.operators import changes

SOURCE = """\
def larger(a, b):
    return a if a > b else b


def total(numbers):
    result = 0
    while numbers:
        result += numbers.pop()
    return result


def nobody_calls(a):
    return a + 1
"""

TESTS = """\
from small.sums import larger, total


def test_larger():
    assert larger(1, 2) == 2
    assert larger(2, 1) == 2


def test_total():
    assert total([1, 2, 3]) == 6
    assert total([]) == 0
"""

CAMPAIGN = """\
import sys
from pathlib import Path
from tests.mutation.campaign import mutants_of, try_all
from tests.mutation.trial import Ground, load_third_party

root = Path(sys.argv[1])
ground = Ground(root, "small", {"small.sums": root / "small/sums.py"}, ("test_sums.py",))
load_third_party(ground)
mutants = mutants_of("small", ground, ["small.sums"])
fates = try_all(ground, mutants, workers=2, progress=lambda mutant, fate: None, cpu_seconds=1)
for mutant, fate in fates.items():
    print("fate:", mutant.change.before, "->", mutant.change.after, "|", fate.value)
"""

ROOT = Path(__file__).parents[2]


def campaign(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    (folder / "small").mkdir()
    (folder / "small" / "__init__.py").touch()
    (folder / "small" / "sums.py").write_text(SOURCE)
    (folder / "test_sums.py").write_text(tests)
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['.']\n")
    command = [sys.executable, "-c", CAMPAIGN, str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_changes_that_tests_notice_are_told_from_those_that_they_do_not(tmp_path: Path) -> None:
    ended = campaign(tmp_path, TESTS)
    assert ended.returncode == 0, ended.stderr
    found = dict(
        line.removeprefix("fate: ").split(" | ") for line in ended.stdout.splitlines() if line.startswith("fate: ")
    )
    assert found == {
        "return a if a > b else b -> return None": "killed",
        "a > b -> a >= b": "survived",  # equal numbers: nothing changes
        "0 -> 1": "killed",
        "numbers -> not numbers": "killed",
        "result += numbers.pop() -> pass": "timeout",
        "result += numbers.pop() -> result -= numbers.pop()": "killed",
        "return result -> return None": "killed",
        "return a + 1 -> return None": "unreached",
        "a + 1 -> a - 1": "unreached",
        "1 -> 2": "unreached",
        "1 -> 0": "unreached",
    }


def test_nothing_is_tried_when_the_tests_fail_without_a_change(tmp_path: Path) -> None:
    ended = campaign(tmp_path, TESTS.replace("== 6", "== 7"))
    assert ended.returncode == 1
    assert "without any change, pytest ended with 1" in ended.stderr


@pytest.fixture
def mutants() -> list[Mutant]:
    return [Mutant("small", "small.sums", Path("sums.py"), change) for change in changes(SOURCE)]


def test_a_sample_depends_on_its_seed_alone(mutants: list[Mutant]) -> None:
    assert sample(mutants, 5, seed=1) == sample(mutants, 5, seed=1)
    assert sample(mutants, 5, seed=1) != sample(mutants, 5, seed=2)


def test_a_sample_that_asks_for_more_than_there_is_gets_everything(mutants: list[Mutant]) -> None:
    assert sample(mutants, 1000, seed=1) == sample(mutants, None, seed=1) == mutants


def test_only_what_a_test_saw_is_noticed() -> None:
    assert {fate for fate in Fate if fate.noticed} == {Fate.KILLED, Fate.TIMEOUT}
