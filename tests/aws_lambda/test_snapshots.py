"""What happens around a snapshot, in which order, and how its failures are told."""

from __future__ import annotations

import random
from typing import Any

import pytest

from perdure.aws_lambda import (
    LambdaEvent,
    RuntimeApiClient,
    SnapshotHookError,
    register_snapshot_resource,
    run,
    snapshots,
)
from tests.aws_lambda.runtime_server import RuntimeServer, running, runtime_server

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _own_hooks(function_env: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hooks of other tests, and a platform that takes a snapshot."""
    monkeypatch.setattr(snapshots, "_before", [])
    monkeypatch.setattr(snapshots, "_after", [])
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")


async def echo(event: LambdaEvent[Any]) -> Any:
    return event.payload


async def test_hooks_run_in_reverse_before_and_in_order_after_the_snapshot() -> None:
    log: list[str] = []
    server: RuntimeServer

    async def close() -> None:
        log.append(f"close pool, {server.restores} restores")

    register_snapshot_resource(before=close, after=lambda: log.append(f"open pool, {server.restores} restores"))
    register_snapshot_resource(before=lambda: log.append("close cache"))
    register_snapshot_resource(after=lambda: log.append("open cache"))
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        server.before_next.append(None)
        with pytest.raises(Exception, match="ended the connection"):
            await run(echo, client=client)
    assert log == ["close cache", "close pool, 0 restores", "open pool, 1 restores", "open cache"]


async def test_every_copy_has_connections_and_random_numbers_of_its_own() -> None:
    random.seed(1)
    expected = random.Random(1).random()
    async with running(echo) as server:
        assert (await server.ask("tea")).json == "tea"
        assert server.restores == 1
        assert server.connections == 2  # one before the snapshot, another one after it
    assert random.random() != expected


async def test_a_hook_that_fails_before_the_snapshot_is_an_init_error() -> None:
    def fail() -> None:
        raise ValueError("cannot close")

    register_snapshot_resource(before=fail)
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        with pytest.raises(SnapshotHookError, match="before the snapshot failed: cannot close") as caught:
            await run(echo, client=client)
        ((phase, report),) = server.reports
        assert (phase, report.json["errorType"]) == ("init", "Runtime.BeforeSnapshotError")
        assert (caught.value.exit_code, server.restores) == (64, 0)


async def test_a_hook_that_fails_after_the_restore_is_a_restore_error() -> None:
    async def fail() -> None:
        raise ValueError("cannot open")

    register_snapshot_resource(after=fail)
    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        with pytest.raises(SnapshotHookError, match="after the restore failed: cannot open") as caught:
            await run(echo, client=client)
        ((phase, report),) = server.reports
        assert (phase, report.json["errorType"]) == ("restore", "Runtime.AfterRestoreError")
        assert (caught.value.exit_code, server.restores) == (65, 1)


async def test_without_a_snapshot_no_hook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    register_snapshot_resource(before=lambda: pytest.fail("it ran"))
    async with running(echo) as server:
        assert (await server.ask("tea")).json == "tea"
        assert server.restores == 0
