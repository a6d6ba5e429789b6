"""SIGTERM and SIGINT: what a process does that is told to end."""

from __future__ import annotations

import signal

import anyio
import pytest
from h2.errors import ErrorCodes

from tests.http2 import connect
from tests.server.processes import serve_process

pytestmark = pytest.mark.anyio

APP = "tests.server.applications:app"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_server_ends_at_once(anyio_backend: str, number: signal.Signals) -> None:
    async with serve_process(APP, "--backend", anyio_backend) as server:
        await server.started()
        server.signal(number)
        assert await server.exit_code() == 0
        assert "Traceback" not in server.stderr


async def test_a_request_in_flight_ends_and_the_process_with_it(anyio_backend: str) -> None:
    async with serve_process(APP, "--backend", anyio_backend, "--drain-timeout", "60") as server:
        await server.started()
        async with connect(server.port) as client:
            stream = client.request("/echo")
            client.send(stream, b"before ")
            await client.body_of(stream, 7)
            server.signal(signal.SIGTERM)
            await client.until(lambda: bool(client.goaways))
            client.send(stream, b"after", end=True)
            assert (await client.answer(stream)).body == b"before after"
            await client.eof()
        assert await server.exit_code() == 0


async def test_an_application_that_listens_ends_its_requests_itself(anyio_backend: str) -> None:
    async with serve_process(APP, "--backend", anyio_backend, "--drain-timeout", "60") as server:
        await server.started()
        async with connect(server.port) as client:
            stream = client.request("/told")
            await client.body_of(stream, 7)
            server.signal(signal.SIGTERM)
            assert (await client.answer(stream)).body == b"started and ended"
        assert await server.exit_code() == 0


async def test_a_request_that_never_ends_is_cut_after_the_drain_timeout(anyio_backend: str) -> None:
    async with serve_process(APP, "--backend", anyio_backend, "--drain-timeout", "0.2") as server:
        await server.started()
        async with connect(server.port) as client:
            stream = client.request("/hang")
            await client.body_of(stream, 7)
            server.signal(signal.SIGTERM)
            assert (await client.answer(stream)).reset == ErrorCodes.CANCEL
            await client.eof()
        assert await server.exit_code() == 0
        assert "were cancelled" in server.stderr
        assert "Traceback" not in server.stderr


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_process_at_once(anyio_backend: str, second: signal.Signals) -> None:
    async with serve_process(APP, "--backend", anyio_backend, "--drain-timeout", "3600") as server:
        await server.started()
        async with connect(server.port) as client:
            stream = client.request("/hang")
            await client.body_of(stream, 7)
            server.signal(signal.SIGTERM)
            await client.until(lambda: bool(client.goaways))
            server.signal(second)
            assert (await client.answer(stream)).reset == ErrorCodes.CANCEL
        assert await server.exit_code() == 0


@pytest.mark.parametrize("path", ["/stubborn", "/thread"])
async def test_what_cannot_be_cancelled_does_not_keep_the_process(anyio_backend: str, path: str) -> None:
    async with serve_process(APP, "--backend", anyio_backend, "--drain-timeout", "3600") as server:
        await server.started()
        async with connect(server.port) as client:
            stream = client.request(path)
            await client.body_of(stream, 7)
            server.signal(signal.SIGTERM)
            await client.until(lambda: bool(client.goaways))
            server.signal(signal.SIGTERM)
            assert await server.exit_code() == 1
            assert "ending the process hard" in server.stderr


async def test_a_stream_nobody_reads_does_not_keep_the_process(anyio_backend: str) -> None:
    async with serve_process(APP, "--backend", anyio_backend, "--drain-timeout", "0.2") as server:
        await server.started()
        async with connect(server.port) as client:
            stream = client.request("/hang")
            await client.settled()
            while client.h2.local_flow_control_window(stream) > 0:
                client.send(stream, bytes(min(16384, client.h2.local_flow_control_window(stream))))
            await client.flush()
            server.signal(signal.SIGTERM)
            assert await server.exit_code() == 0


async def test_the_process_survives_what_ends_hypercorn(anyio_backend: str) -> None:
    async with serve_process(APP, "--backend", anyio_backend, "--drain-timeout", "1") as server:
        await server.started()
        async with connect(server.port) as good:
            witness = good.request("/echo")
            await good.status_of(witness)
            async with connect(server.port) as late:  # DATA after the answer
                stream = late.request("/early")
                await late.answer(stream)
                for _ in range(10):
                    late.send(stream, b"x")
                await late.settled()
            async with connect(server.port) as many:  # more than 1000 streams at once
                streams = [many.request("/hang") for _ in range(1100)]
                assert (await many.answer(streams[-1])).reset == ErrorCodes.REFUSED_STREAM
            for garbage in (b"\x00\xff\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xee" * 50):
                async with await anyio.connect_tcp("127.0.0.1", server.port) as socket:
                    await socket.send(garbage)
            good.send(witness, b"still here", end=True)
            assert (await good.answer(witness)).body == b"still here"
        server.signal(signal.SIGTERM)
        assert await server.exit_code() == 0
        assert "Traceback" not in server.stderr
