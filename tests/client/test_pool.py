"""The pool: reuse, limit, repetition, cancellation, TLS."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from perdure.client.connection import ConnectError, DisconnectedError, ResponseError
from perdure.client.pool import ConnectionPool
from perdure.exceptions import UsageError
from tests.client.scripted_server import Peer, always, answering, reply, serve

pytestmark = pytest.mark.anyio

NO_DELAYS = (0.0, 0.0)


async def read_then_leave(peer: Peer) -> None:
    await peer.request()


# -- reuse and limit ---------------------------------------------------------------------------------------------------


async def test_requests_one_after_another_share_a_connection() -> None:
    async with serve(always(reply(200, b"x"))) as server, ConnectionPool(server.url) as pool:
        for _ in range(10):
            assert (await pool.request("GET", "/")).body == b"x"
        assert server.connections == 1


async def test_the_path_of_the_url_comes_before_every_target() -> None:
    async with serve(always(reply())) as server, ConnectionPool(f"{server.url}/base/") as pool:
        await pool.request("GET", "/a?b=c")
        assert server.requests[0].target == "/base/a?b=c"


async def test_a_connection_that_the_server_will_close_is_not_kept() -> None:
    async with serve(always(reply(200, b"x", {"Connection": "close"}))) as server, ConnectionPool(server.url) as pool:
        await pool.request("GET", "/")
        await pool.request("GET", "/")
        assert server.connections == 2


async def test_a_connection_idle_for_too_long_is_not_used_again() -> None:
    async with serve(always(reply())) as server, ConnectionPool(server.url, idle_timeout=0) as pool:
        await pool.request("GET", "/")
        await pool.request("GET", "/")
        assert server.connections == 2


async def test_requests_at_the_same_time_have_a_connection_each() -> None:
    everybody = anyio.Event()

    async def together(peer: Peer) -> None:
        request = await peer.request()
        if len(peer.server.requests) == 5:
            everybody.set()
        await everybody.wait()
        await peer.send(reply(200, request.body))

    answers: dict[bytes, bytes] = {}

    async with serve(together) as server, ConnectionPool(server.url, limit=5) as pool:

        async def ask(body: bytes) -> None:
            answers[body] = (await pool.request("POST", "/", body=body)).body

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(ask, b"%d" % number)
        assert server.connections == 5
    assert answers == {b"%d" % number: b"%d" % number for number in range(5)}


async def test_no_more_connections_than_the_limit_are_open_at_a_time() -> None:
    async with serve(always(reply())) as server, ConnectionPool(server.url, limit=3) as pool:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(pool.request, "POST", "/")
        assert len(server.requests) == 50
        assert server.connections == 3


async def test_requests_are_served_first_come_first_served() -> None:
    go = anyio.Event()

    async def held(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(reply())
        while True:
            await peer.request()
            await peer.send(reply())

    async with serve(held) as server, ConnectionPool(server.url, limit=1) as pool:
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(pool.request, "GET", f"/{number}")
                await anyio.wait_all_tasks_blocked()
            go.set()
        assert [request.target for request in server.requests] == [f"/{number}" for number in range(10)]


async def test_a_pool_is_used_inside_its_block_only() -> None:
    pool = ConnectionPool("http://127.0.0.1:1")
    with pytest.raises(UsageError, match="async with"):
        await pool.request("GET", "/")
    async with pool:
        with pytest.raises(UsageError, match="open already"):
            await pool.__aenter__()
    with pytest.raises(UsageError, match="async with"):
        await pool.request("GET", "/")


async def test_a_pool_may_be_made_without_a_running_loop_and_opened_again() -> None:
    async with serve(always(reply())) as server:
        pool = await anyio.to_thread.run_sync(ConnectionPool, server.url)
        for _ in range(2):
            async with pool:
                await pool.request("GET", "/")
        assert server.connections == 2


async def test_leaving_the_block_closes_the_connections() -> None:
    gone = anyio.Event()

    async def until_gone(peer: Peer) -> None:
        try:
            while True:
                await peer.request()
                await peer.send(reply())
        finally:
            gone.set()

    async with serve(until_gone) as server:
        async with ConnectionPool(server.url) as pool:
            await pool.request("GET", "/")
            assert not gone.is_set()
        await gone.wait()


async def test_a_connection_in_use_when_the_pool_closes_is_closed_after_its_answer() -> None:
    arrived, go, gone = anyio.Event(), anyio.Event(), anyio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await go.wait()
        await peer.send(reply(200, b"late"))
        try:
            await peer.request()
        finally:
            gone.set()

    bodies: list[bytes] = []

    async with serve(slow) as server, anyio.create_task_group() as tasks:
        pool = ConnectionPool(server.url, limit=1)

        async def ask() -> None:
            bodies.append((await pool.request("GET", "/")).body)

        async def wait_in_vain() -> None:
            with pytest.raises(UsageError, match="closed while"):
                await pool.request("GET", "/")

        async with pool:
            tasks.start_soon(ask)
            await arrived.wait()
            tasks.start_soon(wait_in_vain)
            await anyio.wait_all_tasks_blocked()
        go.set()
        await gone.wait()
    assert bodies == [b"late"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(UsageError):
        ConnectionPool("http://127.0.0.1", limit=limit)


# -- repetition --------------------------------------------------------------------------------------------------------


async def test_a_connection_closed_while_idle_is_replaced_unseen() -> None:
    async with serve(answering(reply(200, b"a")), always(reply(200, b"b"))) as server:
        async with ConnectionPool(server.url) as pool:
            assert (await pool.request("POST", "/")).body == b"a"
            while server.ended == 0:
                await anyio.lowlevel.checkpoint()
            assert (await pool.request("POST", "/")).body == b"b"
        assert len(server.requests) == 2


async def test_a_repeatable_request_that_got_no_answer_is_repeated_once() -> None:
    async with serve(read_then_leave, always(reply(200, b"b"))) as server, ConnectionPool(server.url) as pool:
        assert (await pool.request("POST", "/", body=b"x", repeatable=True)).body == b"b"
        assert [request.body for request in server.requests] == [b"x", b"x"]


async def test_a_repeatable_request_is_repeated_no_more_than_once() -> None:
    async with serve(read_then_leave) as server, ConnectionPool(server.url) as pool:
        with pytest.raises(DisconnectedError):
            await pool.request("POST", "/", repeatable=True)
        assert len(server.requests) == 2


async def test_a_request_that_may_have_arrived_is_not_repeated() -> None:
    async with serve(read_then_leave, always(reply())) as server, ConnectionPool(server.url) as pool:
        with pytest.raises(DisconnectedError) as caught:
            await pool.request("POST", "/")
        assert caught.value.complete
        assert len(server.requests) == 1


async def test_a_request_that_never_left_in_full_is_repeated() -> None:
    async def leaving(peer: Peer) -> None:
        await peer.stream.receive()
        await peer.reset()

    body = b"x" * (16 * 1024 * 1024)
    async with serve(leaving, always(reply(200, b"b"))) as server, ConnectionPool(server.url) as pool:
        assert (await pool.request("POST", "/", body=body)).body == b"b"
        assert server.requests[0].body == body


async def test_an_answer_that_is_no_response_is_not_asked_for_again() -> None:
    async with serve(answering(b"garbage\r\n\r\n")) as server, ConnectionPool(server.url) as pool:
        with pytest.raises(ResponseError):
            await pool.request("GET", "/", repeatable=True)
        assert server.connections == 1


async def test_connecting_is_tried_as_often_as_there_are_delays_and_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    async def refuse(*_: object, **__: object) -> None:
        nonlocal tries
        tries += 1
        raise ConnectError("nobody there")

    monkeypatch.setattr("perdure.client.pool.open_connection", refuse)
    async with ConnectionPool("http://127.0.0.1:1", connect_delays=NO_DELAYS) as pool:
        with pytest.raises(ConnectError, match="nobody there"):
            await pool.request("POST", "/")
    assert tries == 3


async def test_a_server_that_comes_up_between_two_tries_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(always(reply())) as gone:
        pass
    async with AsyncExitStack() as later:

        async def start_it(delay: float) -> None:
            assert delay == 0.125
            await later.enter_async_context(serve(always(reply(200, b"up")), port=gone.port))

        monkeypatch.setattr("perdure.client.pool.anyio.sleep", start_it)
        async with ConnectionPool(gone.url, connect_delays=(0.125,)) as pool:
            assert (await pool.request("POST", "/")).body == b"up"


async def test_a_server_that_does_not_finish_the_handshake_is_given_up() -> None:
    async def mute(peer: Peer) -> None:
        await peer.stream.receive()
        await anyio.sleep_forever()

    async with (
        serve(mute) as server,
        ConnectionPool(f"https://127.0.0.1:{server.port}", connect_timeout=0.05, connect_delays=()) as pool,
    ):
        with pytest.raises(ConnectError, match=r"no answer within 0\.05 s"):
            await pool.request("GET", "/")


# -- cancellation ------------------------------------------------------------------------------------------------------


async def test_a_cancelled_request_leaves_the_pool_whole() -> None:
    arrived = anyio.Event()

    async def never(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await anyio.sleep_forever()

    async with serve(never, always(reply(200, b"fine"))) as server, ConnectionPool(server.url, limit=1) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.request, "POST", "/")
            await arrived.wait()
            tasks.cancel_scope.cancel()
        assert (await pool.request("POST", "/")).body == b"fine"
        assert server.connections == 2


@pytest.mark.parametrize("body", [b"small", b"x" * 300_000], ids=["small", "large"])
async def test_a_request_cancelled_at_any_moment_leaves_the_pool_whole(body: bytes) -> None:
    """Cancelled after 1, 2, 3... steps of the event loop, from before the connection is made until after the answer."""
    answered = 0

    async def ask(pool: ConnectionPool) -> None:
        nonlocal answered
        await pool.request("POST", "/", body=body)
        answered += 1

    async with serve(always(reply(200, b"fine"))) as server, ConnectionPool(server.url, limit=1) as pool:
        steps = 0
        while answered < 3:
            steps += 1
            assert steps < 1000
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, pool)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            assert (await pool.request("POST", "/")).body == b"fine"


async def test_a_late_answer_to_a_cancelled_request_reaches_nobody() -> None:
    arrived, cancelled = anyio.Event(), anyio.Event()

    async def late(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await cancelled.wait()
        await peer.send(reply(200, b"late"))
        await peer.request()

    async with serve(late, always(reply(200, b"own"))) as server, ConnectionPool(server.url, limit=1) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.request, "POST", "/")
            await arrived.wait()
            tasks.cancel_scope.cancel()
        cancelled.set()
        assert (await pool.request("POST", "/")).body == b"own"


async def test_a_request_cancelled_while_it_waits_for_its_turn_costs_nothing() -> None:
    arrived, go = anyio.Event(), anyio.Event()

    async def held(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await go.wait()
        await peer.send(reply())
        await always(reply())(peer)

    async with serve(held) as server, ConnectionPool(server.url, limit=1) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.request, "GET", "/first")
            await arrived.wait()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await pool.request("GET", "/never")
            tasks.start_soon(pool.request, "GET", "/second")
            await anyio.wait_all_tasks_blocked()
            go.set()
        assert [request.target for request in server.requests] == ["/first", "/second"]
        assert server.connections == 1


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key, signed by itself, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture(scope="module")
def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


async def test_https_is_spoken_to_a_server_whose_certificate_is_trusted(
    server_context: ssl.SSLContext, certificate: Path
) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    async with (
        serve(always(reply(200, b"secret")), ssl_context=server_context) as server,
        ConnectionPool(server.url, ssl_context=trusting) as pool,
    ):
        for _ in range(3):
            assert (await pool.request("POST", "/", body=b"x" * 200_000)).body == b"secret"
        assert server.connections == 1


async def test_a_certificate_that_is_not_trusted_is_refused_at_once(server_context: ssl.SSLContext) -> None:
    async with (
        serve(always(reply()), ssl_context=server_context) as server,
        ConnectionPool(server.url, connect_delays=(3600,)) as pool,
    ):
        with pytest.raises(ConnectError, match="certificate verify failed"):
            await pool.request("GET", "/")
        assert server.requests == []


async def test_a_server_without_tls_is_told_as_such() -> None:
    async def plain(peer: Peer) -> None:
        await peer.stream.receive()
        await peer.send(reply(400))

    async with (
        serve(plain) as server,
        ConnectionPool(f"https://127.0.0.1:{server.port}", connect_delays=(3600,)) as pool,
    ):
        with pytest.raises(ConnectError, match=r"no TLS with https://127\.0\.0\.1"):
            await pool.request("GET", "/")


async def test_a_tls_connection_torn_off_in_the_middle_is_no_response(
    server_context: ssl.SSLContext, certificate: Path
) -> None:
    """A body that ends with the connection must end with TLS's goodbye: else anybody could cut it short."""
    trusting = ssl.create_default_context(cafile=certificate)
    async with (
        serve(answering(b"HTTP/1.1 200 OK\r\n\r\nhalf"), ssl_context=server_context) as server,
        ConnectionPool(server.url, ssl_context=trusting) as pool,
    ):
        with pytest.raises(DisconnectedError, match="in the middle"):
            await pool.request("GET", "/")
