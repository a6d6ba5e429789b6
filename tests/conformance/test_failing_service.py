"""Failing on a real server: terminal errors, errors that pass, steps that are tried again."""

from __future__ import annotations

import pytest

from tests.conformance.deployment import CallFailedError, Deployment

METADATA = {"reason": "none", "näme": "välue \U0001f600"}


@pytest.mark.parametrize(
    "handler", ["terminallyFailingCall", "callTerminallyFailingCall", "terminallyFailingSideEffect"]
)
def test_a_terminal_error_reaches_the_caller_with_its_metadata(deployment: Deployment, key: str, handler: str) -> None:
    with pytest.raises(CallFailedError) as failed:
        deployment.call(f"Failing/{handler}", {"errorMessage": "it is so", "metadata": METADATA}, key=key)
    assert (failed.value.status, failed.value.message) == (500, "it is so")
    assert failed.value.body["metadata"] == METADATA


@pytest.mark.parametrize(
    "handler", ["terminallyFailingCall", "callTerminallyFailingCall", "terminallyFailingSideEffect"]
)
@pytest.mark.parametrize("more", [{}, {"metadata": None}, {"metadata": {}, "unknown": [1]}], ids=str)
def test_a_terminal_error_may_have_no_metadata(
    deployment: Deployment, key: str, handler: str, more: dict[str, object]
) -> None:
    with pytest.raises(CallFailedError) as failed:
        deployment.call(f"Failing/{handler}", {"errorMessage": "it is so", **more}, key=key)
    assert (failed.value.status, failed.value.message) == (500, "it is so")
    assert not failed.value.body.get("metadata")


@pytest.mark.noisy
def test_a_handler_that_fails_three_times_succeeds_the_fourth(deployment: Deployment, key: str) -> None:
    assert deployment.call("Failing/failingCallWithEventualSuccess", key=key) == 4
    assert deployment.call("Failing/failingCallWithEventualSuccess", key=key) == 4


@pytest.mark.parametrize("more", [1, 3, 20])
def test_a_step_is_tried_until_it_succeeds(deployment: Deployment, key: str, more: int) -> None:
    before = deployment.call("Failing/sideEffectSucceedsAfterGivenAttempts", 0, key=key)
    wanted = before + more
    assert deployment.call("Failing/sideEffectSucceedsAfterGivenAttempts", wanted, key=key) == wanted


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_step_that_never_succeeds_is_given_up_after_its_attempts(deployment: Deployment, key: str, most: int) -> None:
    before = deployment.call("Failing/sideEffectFailsAfterGivenAttempts", 1, key=key)
    assert deployment.call("Failing/sideEffectFailsAfterGivenAttempts", most, key=key) == before + most
