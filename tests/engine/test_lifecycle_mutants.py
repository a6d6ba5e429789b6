"""The test of the tests: each one-line mutant of the engine is found out by the model.

By default only those are tried that a few histories find out; where `PERDURE_EXAMPLES` is set, as `nox -s lifecycle`
does, all of them. Trying stops at the first history that finds one out, so there may be many of them: which ones
Hypothesis draws depends on the modules that were imported before.
"""

from __future__ import annotations

import os

import pytest

from tests.engine.mutants import MUTANTS, QUICK, Mutant, survives

THOROUGH = "PERDURE_EXAMPLES" in os.environ
EXAMPLES = 2000


@pytest.mark.parametrize("mutant", MUTANTS if THOROUGH else QUICK, ids=lambda mutant: mutant.name)
def test_a_mutant_is_found_out(mutant: Mutant) -> None:
    assert not survives(mutant, EXAMPLES)


def test_what_is_not_mutated_survives() -> None:
    assert survives(None, 5)


def test_there_are_twelve_mutants_in_the_ordinary_suite() -> None:
    assert len(QUICK) >= 12
