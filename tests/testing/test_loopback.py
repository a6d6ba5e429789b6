"""Ports and HTTP on the loopback interface."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from perdure.testing.loopback import HOST, exchange, free_ports, speaks_http2


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers a POST with what it got, over HTTP/1.1."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(418)
        self.send_header("X-Path", self.path)
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def http_1_port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_free_ports_are_all_different_and_can_be_bound() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as one:
            one.bind((HOST, port))


def test_an_exchange_returns_any_status_with_headers_and_body(http_1_port: int) -> None:
    answer = exchange("POST", f"http://{HOST}:{http_1_port}/a/b?c=d", body=b"payload")
    assert (answer.status, answer.headers["x-path"], answer.body) == (418, "/a/b?c=d", b"payload")


def test_an_exchange_ignores_the_proxies_of_the_environment(http_1_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{HOST}:1")
    assert exchange("POST", f"http://{HOST}:{http_1_port}/", body=b"").status == 418


def test_a_server_of_http_1_does_not_speak_http_2(http_1_port: int) -> None:
    assert not speaks_http2(http_1_port)


def test_nobody_speaks_http_2_on_a_closed_port() -> None:
    (port,) = free_ports(1)
    assert not speaks_http2(port)


def test_a_server_that_says_nothing_does_not_speak_http_2() -> None:
    with socket.create_server((HOST, 0)) as silent:
        assert not speaks_http2(silent.getsockname()[1], timeout=0.05)
