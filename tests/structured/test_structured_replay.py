"""Replay of any prefix of a journal does what the first run did, with nurseries, scopes, deadlines and cancellation.

`PERDURE_PROGRAMS=2000` draws that many programs.
"""

from __future__ import annotations

import os
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.durable.programs import Block, structured_blocks
from tests.durable.test_replay import Case, check


@st.composite
def cases(draw: st.DrawFn) -> tuple[Block, Random, int | None, bool]:
    program = draw(structured_blocks())
    cancel_at = draw(st.none() | st.integers(1, 40))
    return program, Random(draw(st.integers(0, 2**32 - 1))), cancel_at, draw(st.booleans())


@given(cases())
@settings(
    max_examples=int(os.environ.get("PERDURE_PROGRAMS", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
def test_any_structured_program_replays_at_every_prefix_of_its_journal(
    drawn: tuple[Block, Random, int | None, bool],
) -> None:
    program, random, cancel_at, twice = drawn
    check(Case(program, random), random, cancel_at=cancel_at, twice=twice)
