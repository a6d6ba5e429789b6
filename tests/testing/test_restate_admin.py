"""The admin API of a server that is busy with itself, or refuses; the API's own behaviour is tested on a real one."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from perdure.testing import restate_admin
from perdure.testing.restate_admin import AdminError, RestateAdmin


class Changing(HTTPServer):
    """Answers with the statuses given, the last one from then on."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Changing

    def do_PATCH(self) -> None:
        self.server.asked.append(self.path)
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def server() -> Iterator[Changing]:
    with Changing() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def admin(server: Changing) -> RestateAdmin:
    return RestateAdmin(admin_url=f"http://127.0.0.1:{server.server_port}", ingress_url="http://127.0.0.1:1")


def test_an_operation_is_asked_again_while_a_partition_changes_its_leader(server: Changing) -> None:
    server.statuses = [503, 503, 202]
    admin(server).kill("inv_1")
    assert server.asked == ["/invocations/inv_1/kill"] * 3


def test_a_refused_operation_is_not_asked_again(server: Changing) -> None:
    server.statuses = [409, 202]
    with pytest.raises(AdminError, match="PATCH /invocations/inv_1/cancel was answered with 409"):
        admin(server).cancel("inv_1")
    assert len(server.asked) == 1


def test_a_cluster_that_stays_without_leader_is_told(server: Changing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restate_admin, "PATIENCE_SECONDS", 0.02)
    server.statuses = [503]
    with pytest.raises(AdminError, match="was answered with 503"):
        admin(server).pause("inv_1")
    assert len(server.asked) > 1
