"""Durable nurseries, deadlines and compensations on a real server, which sees their await trees (version 7)."""

from __future__ import annotations

import pytest

from tests.conformance.deployment import CallFailedError, Deployment

pytestmark = pytest.mark.configurations("default", "suspending", "v7", "v7-suspending")


def test_fifty_branches_run_concurrently_through_every_suspension(deployment: Deployment) -> None:
    assert deployment.call("StructureProbes/fanOut", 50) == [4 * number for number in range(50)]


def test_a_deadline_over_a_nursery_cancels_the_calls_of_its_branches_on_the_server(
    deployment: Deployment, key: str
) -> None:
    assert deployment.call("StructureProbes/deadline", key) == [True]
    # Both callees block their object for ever unless they are cancelled; then it answers.
    assert deployment.call("StructureLedger/read", key=key) == []


def test_a_failing_branch_undoes_what_was_done(deployment: Deployment, key: str) -> None:
    with pytest.raises(CallFailedError) as raised:
        deployment.call("StructureProbes/undo", key)
    assert raised.value.status == 418
    assert deployment.call("StructureLedger/read", key=key)[-1] == "undo"
