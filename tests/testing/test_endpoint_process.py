"""Endpoints in processes of their own."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import pytest

from perdure.testing import EndpointProcess, HarnessError, serve_in_subprocess
from perdure.testing.endpoint_process import Backend
from perdure.testing.loopback import HOST, speaks_http2

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_endpoint_answers_http_2_on_either_backend(backend: Backend) -> None:
    with serve_in_subprocess("tests.echo_endpoint:app", backend, cwd=ROOT) as endpoint:
        assert speaks_http2(endpoint.port)
    assert not speaks_http2(endpoint.port)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_endpoint_that_was_killed_starts_again_on_the_same_port(backend: Backend) -> None:
    with serve_in_subprocess("tests.echo_endpoint:app", backend, cwd=ROOT) as endpoint:
        before = endpoint.port, endpoint.pid
        assert endpoint.kill() == -signal.SIGKILL
        assert not speaks_http2(endpoint.port)
        endpoint.start()
        assert endpoint.port == before[0]
        assert endpoint.pid != before[1]
        assert speaks_http2(endpoint.port)


def test_an_endpoint_that_cannot_start_shows_what_it_printed() -> None:
    with pytest.raises(HarnessError, match="no_such_module"), serve_in_subprocess("no_such_module:app", cwd=ROOT):
        pass


def test_a_taken_port_that_was_asked_for_is_an_error() -> None:
    with socket.create_server((HOST, 0)) as taken:
        endpoint = serve_in_subprocess("tests.echo_endpoint:app", port=taken.getsockname()[1], cwd=ROOT)
        with pytest.raises(HarnessError, match=r"(?i)address already in use"), endpoint:
            pass


def test_a_port_that_was_taken_meanwhile_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((HOST, 0)) as taken, socket.create_server((HOST, 0)) as free:
        ports = [[taken.getsockname()[1]], [free.getsockname()[1]]]
        free.close()
        monkeypatch.setattr("perdure.testing.endpoint_process.free_ports", lambda _: ports.pop(0))
        with serve_in_subprocess("tests.echo_endpoint:app", cwd=ROOT) as endpoint:
            assert speaks_http2(endpoint.port)
    assert not ports


def test_an_endpoint_is_not_started_twice() -> None:
    with (
        serve_in_subprocess("tests.echo_endpoint:app", cwd=ROOT) as endpoint,
        pytest.raises(RuntimeError, match="already"),
    ):
        endpoint.start()


def test_an_endpoint_that_was_not_started_has_no_port() -> None:
    with pytest.raises(RuntimeError, match="no port yet"):
        _ = EndpointProcess(["true"]).port


def test_the_environment_of_an_endpoint_is_added_to_the_one_of_the_test() -> None:
    program = "import os, sys; print(os.environ['ADDED'], 'PATH' in os.environ); sys.exit(3)"
    endpoint = EndpointProcess([sys.executable, "-c", program], env={"ADDED": "yes"})
    with pytest.raises(HarnessError, match=r"ended with 3; it printed:\s+yes True"):
        endpoint.start()
    endpoint.stop()
