"""The private restate-server, with the real program."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import hypercorn.asyncio
import hypercorn.config
import hypercorn.trio
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from perdure.testing import (
    AdminError,
    EndpointProcess,
    HarnessError,
    RestateServer,
    restate_server,
    serve_in_subprocess,
)
from perdure.testing.loopback import HOST, exchange, free_ports
from tests.echo_endpoint import app
from tests.processes import runs, wait_for

pytestmark = pytest.mark.real_server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[EndpointProcess]:
    with serve_in_subprocess("tests.echo_endpoint:app", cwd=ROOT) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def server(endpoint: EndpointProcess) -> Iterator[RestateServer]:
    with RestateServer() as server:
        server.register(endpoint.url)
        yield server


def refuses(url: str) -> bool:
    """Tell whether nobody listens at the address."""
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((HOST, parts.port or 0)) != 0


def start_hanging(server: RestateServer, handler: str = "hang") -> str:
    """Send a call that gives no result; return the invocation's id."""
    answer = json.loads(server.call(f"/Echo/{handler}/send").body)
    identifier: str = answer["invocationId"]
    return identifier


def test_a_started_server_is_healthy_at_its_three_addresses(server: RestateServer) -> None:
    assert exchange("GET", f"{server.admin_url}/health").status == 200
    assert exchange("GET", f"{server.ingress_url}/restate/health").status == 200
    assert not refuses(server.node_url)


def test_the_first_call_right_after_the_start_is_answered(endpoint: EndpointProcess) -> None:
    with RestateServer() as server:
        server.register(endpoint.url)
        answer = server.call("/Echo/whoami", timeout=5.0)
    assert (answer.status, json.loads(answer.body)["pid"]) == (200, endpoint.pid)


def test_registration_describes_the_deployment(server: RestateServer, endpoint: EndpointProcess) -> None:
    deployment = server.register(endpoint.url)
    assert [service["name"] for service in deployment["services"]] == ["Echo"]


def test_registering_what_does_not_run_is_refused(server: RestateServer) -> None:
    (port,) = free_ports(1)
    with pytest.raises(AdminError, match="META0003") as caught:
        server.register(f"http://{HOST}:{port}")
    assert caught.value.status == 500


def test_an_endpoint_that_was_killed_and_started_again_is_found_again(server: RestateServer) -> None:
    with serve_in_subprocess("tests.echo_endpoint:app", env={"ECHO_SERVICE": "Other"}, cwd=ROOT) as other:
        server.register(other.url)
        before = json.loads(server.wait_until_callable("/Other/whoami").body)["pid"]
        other.kill()
        other.start()
        after = json.loads(server.wait_until_callable("/Other/whoami").body)["pid"]
        assert before != after == other.pid


def test_waiting_for_an_unknown_service_ends_with_the_last_answer(server: RestateServer) -> None:
    with pytest.raises(HarnessError, match="status=404"):
        server.wait_until_callable("/Nobody/nothing", timeout=0.2)


def test_a_query_returns_rows_as_dictionaries(server: RestateServer) -> None:
    assert server.query("SELECT 1 AS a, 'x' AS b") == [{"a": 1, "b": "x"}]


def test_a_query_that_does_not_parse_is_refused_with_the_reason(server: RestateServer) -> None:
    with pytest.raises(AdminError, match="SQL error"):
        server.query("SELEC 1")


def test_an_unknown_invocation_is_none_and_cannot_be_cancelled(server: RestateServer) -> None:
    unknown = "inv_106mpCTpo4Ye2Or6CTBjq1xpCiJx3LED8w"
    assert server.invocation(unknown) is None
    with pytest.raises(AdminError) as caught:
        server.cancel(unknown)
    assert caught.value.status == 404


def test_a_text_with_a_quote_is_no_way_into_a_query(server: RestateServer) -> None:
    with pytest.raises(AdminError, match="non valid invocation id"):
        server.invocation("x' OR 'a' = 'a")


def test_a_running_invocation_is_ended_by_kill(server: RestateServer) -> None:
    invocation = start_hanging(server)
    server.wait_for_status(invocation, "running")
    assert server.journal(invocation)[0]["entry_type"] == "Command: Input"
    server.kill(invocation)
    assert server.wait_for_status(invocation, "completed")["completion_failure"] == "[409] killed"


def test_a_failing_invocation_is_paused_and_resumed(server: RestateServer) -> None:
    invocation = start_hanging(server, "fail")
    server.wait_for_status(invocation, "backing-off")
    server.pause(invocation)
    server.wait_for_status(invocation, "paused")
    server.resume(invocation)
    server.wait_for_status(invocation, "running", "backing-off")
    server.kill(invocation)


def test_cancelling_a_running_invocation_leaves_a_signal_in_its_journal(server: RestateServer) -> None:
    invocation = start_hanging(server)
    server.wait_for_status(invocation, "running")
    server.cancel(invocation)
    assert server.journal(invocation)[-1]["entry_type"] == "Notification: Signal"
    server.kill(invocation)


def test_waiting_for_a_status_that_does_not_come_tells_the_last_row(server: RestateServer) -> None:
    invocation = start_hanging(server)
    with pytest.raises(HarnessError, match=r"was not paused or completed within 0\.1 seconds; last: {.*'Echo/hang'"):
        server.wait_for_status(invocation, "paused", "completed", timeout=0.1)
    server.kill(invocation)


def test_the_log_of_the_server_can_be_read(server: RestateServer) -> None:
    assert "Starting Restate Server" in server.logs()


def test_a_stopped_server_leaves_no_process_no_folder_and_no_listener() -> None:
    server = RestateServer()
    server.start()
    pid, folder, addresses = server.pid, server._directory, (server.ingress_url, server.admin_url, server.node_url)
    assert folder is not None
    server.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()
    assert all(refuses(address) for address in addresses)
    server.stop()


def test_a_server_is_not_started_twice(server: RestateServer) -> None:
    with pytest.raises(RuntimeError, match="is running already"):
        server.start()


def test_a_server_that_was_not_started_says_so() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        RestateServer().logs()


def test_a_server_that_does_not_come_up_shows_what_it_logged() -> None:
    server = RestateServer(identity_key=b"no key")
    with pytest.raises(HarnessError, match=r"restate-server ended with -?\d+; it logged:(?s:.*)identity"):
        server.start()
    assert server._directory is None


def test_a_server_that_is_not_ready_in_time_is_ended() -> None:
    server = RestateServer()
    with pytest.raises(HarnessError, match=r"not ready within 0\.05 s"):
        server.start(timeout=0.05)
    assert server._process is None


def test_a_key_of_the_configuration_that_the_server_does_not_know_is_refused() -> None:
    with pytest.raises(HarnessError, match=r"does not know these keys of its configuration: worker\.nonsense"):
        RestateServer(config={"worker.nonsense": 1}).start()


def test_a_value_that_the_server_refuses_is_told() -> None:
    with pytest.raises(HarnessError, match=r"(?s)refuses its configuration.*INACTIVITY"):
        RestateServer(config={"worker.invoker.inactivity-timeout": "soon"}).start()


def test_ports_that_were_taken_meanwhile_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((HOST, 0)) as taken:
        chosen = [[taken.getsockname()[1], *free_ports(2)], free_ports(3)]
        monkeypatch.setattr("perdure.testing.restate_process.free_ports", lambda _: chosen.pop(0))
        with RestateServer() as server:
            assert server.query("SELECT 1 AS a") == [{"a": 1}]
    assert not chosen


def test_settings_of_the_surrounding_environment_do_not_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTATE_CONFIG", "/nowhere.toml")
    with RestateServer() as server:
        assert "/nowhere.toml" not in server.logs()


@pytest.mark.parametrize(("enabled", "version"), [(False, 6), (True, 7)])
def test_protocol_seven_is_spoken_only_when_it_is_asked_for(
    endpoint: EndpointProcess, enabled: bool, version: int
) -> None:
    with RestateServer(protocol_v7=enabled) as server:
        server.register(endpoint.url)
        invocation = server.call("/Echo/whoami").headers["x-restate-id"]
        row = server.wait_for_status(invocation, "completed")
    assert row["pinned_service_protocol_version"] == version


def test_with_one_attempt_a_failure_is_final(endpoint: EndpointProcess) -> None:
    with RestateServer(one_attempt=True) as server:
        server.register(endpoint.url)
        assert server.call("/Echo/fail", timeout=5.0).status == 500


def test_with_an_identity_key_requests_are_signed(endpoint: EndpointProcess) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with RestateServer(identity_key=pem) as server:
        server.register(endpoint.url)
        assert json.loads(server.call("/Echo/whoami").body)["signed"]


def test_a_server_is_gone_after_its_owner_was_killed() -> None:
    program = """
import signal
from perdure.testing import RestateServer
server = RestateServer()
server.start()
print(server.pid, server._directory, flush=True)
signal.pause()
"""
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        owner.send_signal(signal.SIGKILL)
    wait_for(lambda: not runs(int(pid)) and not Path(folder).exists())


@pytest.mark.anyio
async def test_in_an_event_loop_the_endpoint_may_live_in_the_same_loop(anyio_backend_name: str) -> None:
    (port,) = free_ports(1)
    stop = anyio.Event()
    async with restate_server() as server, anyio.create_task_group() as tasks:
        tasks.start_soon(serve_here, port, anyio_backend_name, stop)
        await server.register(f"http://{HOST}:{port}")
        answer = await server.wait_until_callable("/Echo/whoami")
        stop.set()
    assert json.loads(answer.body)["pid"] == os.getpid()
    assert refuses(server.admin_url)


@pytest.mark.anyio
async def test_a_server_ends_when_its_block_is_cancelled() -> None:
    with anyio.CancelScope() as scope:
        async with restate_server() as server:
            scope.cancel()
            await anyio.sleep_forever()
    assert refuses(server.admin_url)


async def serve_here(port: int, backend: str, stop: anyio.Event) -> None:
    """Serve the echo endpoint in this event loop until told to stop."""
    config = hypercorn.config.Config()
    config.bind = [f"{HOST}:{port}"]
    config.errorlog = None
    if backend == "trio":
        await hypercorn.trio.serve(app, config, shutdown_trigger=stop.wait, mode="asgi")
    else:
        await hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait, mode="asgi")
