"""Cancelled and killed invocations on a real server."""

from __future__ import annotations

import pytest

from tests.conformance.deployment import CallFailedError, Deployment
from tests.processes import wait_for

OPS = ["CALL", "SLEEP", "AWAKEABLE"]


def unlock(deployment: Deployment, key: str) -> None:
    """Let an invocation go on that waits for the awakeable it gave away."""
    wait_for(lambda: deployment.call("AwakeableHolder/hasAwakeable", key=key) is True)
    deployment.call("AwakeableHolder/unlock", "go on", key=key)


def invocation_of(deployment: Deployment, target: str, key: str) -> str:
    """The id of the one invocation of this handler that is not completed."""
    service, handler = target.split("/")

    found: list[str] = []

    def one() -> bool:
        rows = deployment.server.query(
            f"SELECT id FROM sys_invocation WHERE target_service_name = '{service}' AND target_service_key = '{key}' "
            f"AND target_handler_name = '{handler}' AND status IN ('running', 'suspended')"
        )
        found[:] = [row["id"] for row in rows]
        return len(found) == 1

    wait_for(one)
    return found[0]


def wait_until_blocked(deployment: Deployment, op: str, key: str) -> None:
    """Wait until `block` has passed its first awakeable and waits for what never comes."""
    blocked = invocation_of(deployment, "CancelTestBlockingService/block", key)
    kinds = {"CALL": "Command: Call", "SLEEP": "Command: Sleep"}

    def arrived() -> bool:
        if op == "AWAKEABLE":  # writes nothing: it is past the first awakeable when that was completed
            return any(entry["entry_type"] == "Notification: Signal" for entry in deployment.server.journal(blocked))
        commands = [entry["entry_type"] for entry in deployment.server.journal(blocked)]
        return commands.count(kinds[op]) == (2 if op == "CALL" else 1)

    wait_for(arrived)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("by", ["admin", "context"])
@pytest.mark.parametrize("whom", ["CancelTestRunner/startTest", "CancelTestBlockingService/block"])
def test_a_cancellation_ends_what_waits(deployment: Deployment, key: str, op: str, by: str, whom: str) -> None:
    assert deployment.call("CancelTestRunner/verifyTest", key=key) is False
    runner = deployment.send("CancelTestRunner/startTest", op, key=key)
    unlock(deployment, key)
    wait_until_blocked(deployment, op, key)
    cancelled = runner if whom.startswith("CancelTestRunner") else invocation_of(deployment, whom, key)
    if by == "admin":
        deployment.server.cancel(cancelled)
    else:
        deployment.call("TestUtilsService/cancelInvocation", cancelled)
    assert deployment.attach(runner) is None
    assert deployment.call("CancelTestRunner/verifyTest", key=key) is True
    # The key is free again, also for the call that the blocked invocation made to itself.
    assert deployment.call("CancelTestBlockingService/isUnlocked", key=key) is None


@pytest.mark.parametrize("op", OPS)
def test_an_invocation_that_does_not_catch_its_cancellation_fails_with_409(
    deployment: Deployment, key: str, op: str
) -> None:
    blocked = deployment.send("CancelTestBlockingService/block", op, key=key)
    unlock(deployment, key)
    wait_until_blocked(deployment, op, key)
    deployment.server.cancel(blocked)
    with pytest.raises(CallFailedError) as failed:
        deployment.attach(blocked)
    assert failed.value.status == 409
    assert "cancelled" in failed.value.message


def test_an_invocation_is_cancelled_before_it_waits_for_what_never_comes(deployment: Deployment, key: str) -> None:
    runner = deployment.send("CancelTestRunner/startTest", "SLEEP", key=key)
    wait_for(lambda: deployment.call("AwakeableHolder/hasAwakeable", key=key) is True)
    deployment.server.cancel(runner)
    assert deployment.attach(runner) is None
    assert deployment.call("CancelTestRunner/verifyTest", key=key) is True


def test_a_kill_ends_a_whole_tree_of_calls(deployment: Deployment, key: str) -> None:
    root = deployment.send("KillTestRunner/startCallTree", key=key)
    unlock(deployment, key)
    singleton = invocation_of(deployment, "KillTestSingleton/recursiveCall", key)
    wait_for(lambda: any(entry["entry_type"] == "Command: Call" for entry in deployment.server.journal(singleton)))
    deployment.server.kill(root)
    with pytest.raises(CallFailedError) as failed:
        deployment.attach(root)
    assert failed.value.status == 409
    assert deployment.call("KillTestSingleton/isUnlocked", key=key) is None


def test_the_objects_are_free_while_nothing_blocks_them(deployment: Deployment, key: str) -> None:
    assert deployment.call("CancelTestBlockingService/isUnlocked", key=key) is None
    assert deployment.call("KillTestSingleton/isUnlocked", key=key) is None
