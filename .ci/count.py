"""Count the tests in a folder of JUnit files, and end with 1 unless all is well.

Usage: count.py FOLDER [FAILED STEP...]. All is well when no step and no test failed, at least one test ran, and none
was skipped; an expected failure (xfail) is neither a skip nor a pass. The last line is ``N passed, N failed``; where
steps failed and no test did, the steps are counted.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET


def outcomes(folder: Path) -> Counter[str]:
    """Return how many tests passed, failed and were skipped, and print the names of those that did not pass."""
    counted: Counter[str] = Counter(passed=0, failed=0, skipped=0)
    for file in sorted(folder.glob("*.xml")):
        here: Counter[str] = Counter()
        for case in ET.parse(file).iter("testcase"):  # noqa: S314 (written by the tests that just ran)
            outcome = "passed"
            for result in case:
                if result.tag in {"failure", "error"}:
                    outcome = "failed"
                elif result.tag == "skipped":
                    outcome = "failed as expected" if result.get("type") == "pytest.xfail" else "skipped"
            here[outcome] += 1
            if outcome != "passed":
                print(f"{outcome}: {file.stem} {case.get('classname')}::{case.get('name')}")
        print(f"{file.stem}: " + ", ".join(f"{number} {outcome}" for outcome, number in sorted(here.items())))
        counted += here
    return counted


def main(folder: str, *failed_steps: str) -> int:
    """Print what was counted and return the exit code."""
    counted = outcomes(Path(folder))
    for step in failed_steps:
        print(f"failed step: {step}")
    passed, failed, skipped = counted["passed"], counted["failed"], counted["skipped"]
    if not passed:
        print("no test passed")
    if skipped:
        print(f"{skipped} tests were skipped, and none may be")
    print(f"{passed} passed, {failed or len(failed_steps)} failed")
    return 0 if passed and not failed and not skipped and not failed_steps else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
