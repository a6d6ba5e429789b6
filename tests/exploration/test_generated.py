"""Any program bears any schedule: generated programs, explored."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.testing.explore import Explorer
from perdure.testing.exploring.search import Search
from perdure.wire.versions import ProtocolVersion
from tests.exploration.generated import programs
from tests.exploration.interpreter import Program
from tests.exploration.programs import Block


@given(programs(), st.integers(0, 2**32 - 1), st.sampled_from([None, None, ProtocolVersion.V5]))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_program_bears_any_schedule(program: Block, seed: int, version: ProtocolVersion | None) -> None:
    drawn = Program(program, version)
    Explorer(drawn.subject, shrink=False).many(Search(4, Random(seed), cancel=True, listed=False), progress=False)
