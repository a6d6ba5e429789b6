"""Replay of any prefix of a journal does what the first run did, with nurseries, scopes, deadlines and cancellation.

`PERDURE_PROGRAMS=2000` draws that many programs.
"""

from __future__ import annotations

import os
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.wire.versions import ProtocolVersion
from tests.durable.programs import Await, Block, Call, Combine, Nest, Run, Sleep, Within, structured_blocks
from tests.durable.test_replay import Case, check, check_whole_replays, run_to_the_end
from tests.durable.worlds import World


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


def hundred() -> Block:
    """A hundred children that each take a step, race a call with a timer, and work under a deadline."""
    children: list[Block] = [
        (
            Await(Run("suspends", f"step {number}")),
            Await(Combine("select", (Call(f"call {number}", fails=False), Sleep(3)))),
            Within((Await(Sleep(2)), Await(Run("value", f"last {number}"))), 3, shield=False),
            Await(Sleep(number % 5)),
        )
        for number in range(100)
    ]
    return (Nest(tuple(children), (Await(Sleep(1)),), contain=True),)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_hundred_branches_replay_exactly_after_crashes_on_either_loop(seed: int) -> None:
    random = Random(seed)
    case = Case(hundred(), random)
    world = World(random)
    versions = [ProtocolVersion.V6, ProtocolVersion.V7]
    trace = run_to_the_end(case, world, random, lazy=False, versions=versions)
    check_whole_replays(case, world, trace, versions)
    assert len(world.journal) > 1_000
