"""Sockets that listen, and what accepting can meet."""

from __future__ import annotations

import errno
import socket
from typing import Any

import anyio
import pytest

from perdure.server import ServerError, listeners, serve
from perdure.server.listeners import accept_connections, listen, urls
from tests.server.serving import echo

pytestmark = pytest.mark.anyio


async def test_a_taken_port_is_told_in_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=rf"^cannot listen on 127.0.0.1:{port}: the port is taken; .*$"):
            await serve(echo, port=port, shutdown=anyio.sleep_forever)


async def test_an_unknown_host_is_told_in_a_line() -> None:
    with pytest.raises(ServerError, match=r"^cannot listen on no\.such\.host\.invalid: .*$"):
        await listen("no.such.host.invalid", 0, backlog=1)


async def test_an_address_of_another_machine_is_told_in_a_line() -> None:
    with pytest.raises(ServerError, match="this is no address of this machine"):
        await listen("192.0.2.1", 0, backlog=1)


async def test_ipv6_addresses_are_bracketed() -> None:
    sockets = await listen("::1", 0, backlog=1)
    try:
        assert urls(sockets) == [f"http://[::1]:{sockets[0].getsockname()[1]}"]
    finally:
        for bound in sockets:
            bound.close()


class Script:
    """A listening socket whose `accept` does what the script says, then waits for ever."""

    def __init__(self, listening: socket.socket, script: list[int]) -> None:
        self._listening = listening
        self._script = script

    def accept(self) -> tuple[socket.socket, Any]:
        if self._script:
            number = self._script.pop(0)
            raise OSError(number, errno.errorcode[number])
        return self._listening.accept()

    def fileno(self) -> int:
        return self._listening.fileno()


async def test_accepting_goes_on_after_errors_that_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "OVERLOAD_PAUSE", 0.001)
    (listening,) = await listen("127.0.0.1", 0, backlog=1)
    accepted: list[socket.socket] = []
    arrived = anyio.Event()

    def start(connected: socket.socket) -> None:
        accepted.append(connected)
        arrived.set()

    script: Any = Script(listening, [errno.EMFILE, errno.ECONNABORTED, errno.ENOBUFS, errno.EPROTO])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept_connections, script, start)
        async with await anyio.connect_tcp("127.0.0.1", listening.getsockname()[1]):
            with anyio.fail_after(20):
                await arrived.wait()
        tasks.cancel_scope.cancel()
    accepted[0].close()
    listening.close()


async def test_accepting_from_a_broken_socket_is_an_error() -> None:
    with socket.socket() as unused:
        script: Any = Script(unused, [errno.EBADF])
        with pytest.raises(OSError, match="EBADF"):
            await accept_connections(script, lambda connected: connected.close())
