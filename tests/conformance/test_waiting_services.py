"""AwakeableHolder and BlockAndWaitWorkflow on a real server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.deployment import CallFailedError, Deployment
from tests.processes import wait_for


def test_nothing_is_held_at_first(deployment: Deployment, key: str) -> None:
    assert deployment.call("AwakeableHolder/hasAwakeable", key=key) is False


def test_unlocking_what_is_not_held_is_a_terminal_error(deployment: Deployment, key: str) -> None:
    with pytest.raises(CallFailedError) as failed:
        deployment.call("AwakeableHolder/unlock", "value", key=key)
    assert failed.value.status == 500
    assert key in failed.value.message


def test_the_last_awakeable_held_is_unlocked_with_the_input(deployment: Deployment, key: str) -> None:
    waiting = [
        deployment.send(
            "VirtualObjectCommandInterpreter/interpretCommands",
            {"commands": [{"type": "awaitOne", "command": {"type": "createAwakeable", "awakeableKey": "a"}}]},
            key=f"{key}{number}",
        )
        for number in range(2)
    ]
    for number in range(2):
        object_key = f"{key}{number}"
        wait_for(lambda k=object_key: bool(awakeable_id(deployment, k)))  # type: ignore[misc]  # mypy cannot infer defaults of lambdas
        id = awakeable_id(deployment, object_key)
        assert deployment.call("AwakeableHolder/hold", id, key=key) is None
    assert deployment.call("AwakeableHolder/hasAwakeable", key=key) is True
    assert deployment.call("AwakeableHolder/unlock", 'quoted "\U0001f600"', key=key) is None
    assert deployment.attach(waiting[1]) == 'quoted "\U0001f600"'
    deployment.server.kill(waiting[0])


def awakeable_id(deployment: Deployment, key: str) -> str:
    """The id that the interpreter registered under the key `a`, or nothing yet."""
    rows = deployment.server.query(f"SELECT value FROM state WHERE key = 'awk-a' AND service_key = '{key}'")
    return bytes.fromhex(rows[0]["value"]).decode().strip('"') if rows else ""


def test_a_workflow_waits_for_its_promise_and_returns_its_value(deployment: Deployment, key: str) -> None:
    with ThreadPoolExecutor() as threads:
        running = threads.submit(deployment.call, "BlockAndWaitWorkflow/run", "given", key=key)
        wait_for(lambda: deployment.call("BlockAndWaitWorkflow/getState", key=key) == "given")
        assert not running.done()
        assert deployment.call("BlockAndWaitWorkflow/unblock", "value", key=key) is None
        assert running.result() == "value"
    assert deployment.call("BlockAndWaitWorkflow/getState", key=key) == "given"


def test_a_workflow_that_did_not_run_has_no_state(deployment: Deployment, key: str) -> None:
    assert deployment.call("BlockAndWaitWorkflow/getState", key=key) is None


def test_a_promise_may_be_resolved_before_the_workflow_runs(deployment: Deployment, key: str) -> None:
    deployment.call("BlockAndWaitWorkflow/unblock", "early", key=key)
    assert deployment.call("BlockAndWaitWorkflow/run", "given", key=key) == "early"


def test_a_promise_is_resolved_once(deployment: Deployment, key: str) -> None:
    deployment.call("BlockAndWaitWorkflow/unblock", "first", key=key)
    with pytest.raises(CallFailedError) as failed:
        deployment.call("BlockAndWaitWorkflow/unblock", "second", key=key)
    assert failed.value.status in {409, 500}
    assert deployment.call("BlockAndWaitWorkflow/run", "given", key=key) == "first"


def test_a_workflow_runs_once(deployment: Deployment, key: str) -> None:
    deployment.call("BlockAndWaitWorkflow/unblock", "value", key=key)
    deployment.call("BlockAndWaitWorkflow/run", "given", key=key)
    with pytest.raises(CallFailedError) as failed:
        deployment.call("BlockAndWaitWorkflow/run", "again", key=key)
    assert failed.value.status == 409
    assert deployment.call("BlockAndWaitWorkflow/getState", key=key) == "given"
