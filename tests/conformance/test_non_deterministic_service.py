"""NonDeterministic on a real server that suspends every wait and makes one attempt after a failure."""

from __future__ import annotations

import json

import pytest

from tests.conformance.deployment import CallFailedError, Deployment

HANDLERS = {
    "eitherSleepOrCall": ("sleep", "call Counter/get (key 'abc')"),
    "callDifferentMethod": ("call Counter/get (key 'abc')", "call Counter/reset (key 'abc')"),
    "backgroundInvokeWithDifferentTargets": ("send Counter/get (key 'abc')", "send Counter/reset (key 'abc')"),
    "setDifferentKey": ("set state 'a'", "set state 'b'"),
}


@pytest.mark.noisy
@pytest.mark.configurations("one-attempt")
@pytest.mark.parametrize("handler", HANDLERS)
def test_a_replay_that_differs_from_the_journal_fails_with_570(deployment: Deployment, key: str, handler: str) -> None:
    with pytest.raises(CallFailedError) as failed:
        deployment.call(f"NonDeterministic/{handler}", key=key)
    recorded, issued = HANDLERS[handler]
    assert failed.value.body["code"] == 570
    assert f"recorded: {recorded}" in failed.value.message
    assert f"now:      {issued}" in failed.value.message
    assert "non_deterministic.py" in failed.value.message  # the user's line
    assert deployment.call("Counter/get", key=key) == 0


@pytest.mark.noisy
@pytest.mark.configurations("suspending", "serve-suspending", "http11")
def test_a_mismatch_is_retried_by_default_and_told_to_the_operator(deployment: Deployment, key: str) -> None:
    id = deployment.send("NonDeterministic/setDifferentKey", key=key)
    row = deployment.server.wait_for_status(id, "backing-off")
    assert row["last_failure_error_code"] == "RT0016"
    assert "journal mismatch" in row["last_failure"]
    deployment.server.kill(id)
    assert deployment.call("Counter/get", key=key) == 0


@pytest.mark.noisy
@pytest.mark.configurations("v7-suspending")
def test_a_mismatch_pauses_the_invocation_where_the_server_can_be_asked_to(deployment: Deployment, key: str) -> None:
    id = deployment.send("NonDeterministic/setDifferentKey", key=key)
    deployment.server.wait_for_status(id, "paused")
    events = deployment.server.query(f"SELECT event_json FROM sys_journal_events WHERE id = '{id}'")
    failures = [json.loads(event["event_json"]).get("last_failure") for event in events]
    (failure,) = [failure for failure in failures if failure is not None]
    assert failure["error_code"] == 570
    assert "journal mismatch" in failure["error_message"]
    deployment.server.kill(id)
    assert deployment.call("Counter/get", key=key) == 0
