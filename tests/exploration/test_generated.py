"""Any program bears any schedule: generated programs, explored. `nox -s exploration` does it ten thousand times."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from perdure.testing.exploring.attempts import listening
from perdure.testing.exploring.plays import play
from perdure.testing.exploring.schedule import Schedule
from perdure.wire.versions import ProtocolVersion
from tests.exploration.campaign import RAREST, VERSIONS, Shape, explored
from tests.exploration.generated import programs
from tests.exploration.interpreter import Program
from tests.exploration.programs import Block


@pytest.mark.timeout(600)  # for shrinking, when there is anything to shrink
@given(programs(), st.integers(0, 2**32 - 1), VERSIONS)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
def test_any_program_bears_any_schedule(program: Block, chance: int, version: ProtocolVersion | None) -> None:
    explored(program, chance, version)


def test_most_programs_are_large_and_every_construct_is_in_many_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    shape = Shape()

    @seed(3)
    @settings(max_examples=100, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(programs())
    def one(program: Block) -> None:
        with listening(subject := Program(program).subject):
            shape.add(program, len(play(subject, Schedule()).journal))

    one()
    with capsys.disabled():
        print(f"\n{shape}")  # noqa: T201 - figures that people want to see
    assert shape.share_of_large >= 0.5
    assert shape.rarest[1] >= RAREST
