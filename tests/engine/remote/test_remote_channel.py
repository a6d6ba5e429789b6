"""Attempts over HTTP against perdure's own endpoint, both under its server and under hypercorn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import perdure
from perdure import Context, ObjectContext, Service, VirtualObject
from perdure.engine.remote.discovery import discover
from perdure.engine.remote.endpoint import RemoteEndpoint
from perdure.testing.loopback import free_ports
from perdure.wire.manifest import ProtocolMode
from perdure.wire.messages import EndMessage, SuspensionMessage, Value
from perdure.wire.versions import ProtocolVersion
from tests.engine.remote.hosting import Host, endpoint_at, served, under_hypercorn

pytestmark = pytest.mark.anyio

greeter = Service("Greeter")
counter = VirtualObject("Counter")


def shout(text: str) -> str:
    return text.upper()


@greeter.handler
async def greet(ctx: Context, name: str) -> str:
    first = await ctx.run(shout, name)
    second = await ctx.run(shout, f"{first}!")
    return f"Hello {second}"


@greeter.handler
async def approve(ctx: Context) -> str:
    answer = ctx.awakeable(str)
    return f"approved by {await answer}"


@greeter.handler
async def large(ctx: Context, size: int) -> int:
    text = await ctx.run(lambda: "x" * size, name="make", returns=str)
    return len(text)


@greeter.handler
async def echo(ctx: Context, text: str) -> str:
    del ctx
    return text


@counter.handler
async def whoami(ctx: ObjectContext) -> str:
    return ctx.key


def app() -> perdure.Endpoint:
    return perdure.Endpoint(greeter, counter)


@asynccontextmanager
async def kinds_of_server(kind: str, **options: Any) -> AsyncIterator[RemoteEndpoint]:
    async with AsyncExitStack() as stack:
        if kind == "perdure":
            yield await stack.enter_async_context(served(app(), **options))
        else:
            (port,) = free_ports(1)
            yield await stack.enter_async_context(under_hypercorn(app(), port, **options))


@pytest.mark.parametrize("server", ["perdure", "hypercorn"])
@pytest.mark.parametrize("packed", [False, True])
async def test_a_handler_runs_in_one_two_way_attempt(server: str, packed: bool) -> None:
    async with kinds_of_server(server) as endpoint:
        host = Host(b'"ada"')
        assert await host.finish(endpoint, "Greeter/greet", packed=packed) == Value(b'"Hello ADA!"')
        assert host.attempts == ["EndMessage"]
        assert host.commands() == ["InputCommand", "RunCommand", "RunCommand", "OutputCommand"]


@pytest.mark.parametrize("server", ["perdure", "hypercorn"])
@pytest.mark.parametrize("packed", [False, True])
async def test_over_http1_every_wait_is_the_end_of_an_attempt(server: str, packed: bool) -> None:
    async with kinds_of_server(server, http1=True) as endpoint:
        found = await discover(endpoint)
        assert found.manifest.protocol_mode is ProtocolMode.REQUEST_RESPONSE
        assert found.http_version == "HTTP/1.1"
        host = Host(b'"ada"')
        result = await host.finish(endpoint, "Greeter/greet", bidirectional=False, packed=packed)
        assert result == Value(b'"Hello ADA!"')
        assert host.attempts[-1] == "EndMessage"
        assert set(host.attempts[:-1]) <= {"SuspensionMessage"}
        assert len(endpoint._single) == 1  # the connection was used again


@pytest.mark.parametrize("version", list(ProtocolVersion))
async def test_every_version_of_the_protocol_is_spoken(version: ProtocolVersion) -> None:
    async with served(app()) as endpoint:
        assert await Host(b'"ada"').finish(endpoint, "Greeter/greet", version=version) == Value(b'"Hello ADA!"')


@pytest.mark.parametrize("packed", [False, True])
async def test_what_comes_later_reaches_a_handler_that_runs(packed: bool) -> None:
    async with served(app()) as endpoint, anyio.create_task_group() as tasks:
        host = Host()

        async def attempt() -> None:
            await host.attempt(endpoint, "Greeter/approve", packed=packed)

        tasks.start_soon(attempt)
        while host.channel is None or host.channel.session.has_output:
            await anyio.lowlevel.checkpoint()
        host.signal(17, b'"bob"')
        await host.until(EndMessage)
        assert host.output == Value(b'"approved by bob"')


async def test_a_handler_that_only_waits_is_known_to() -> None:
    async with served(app()) as endpoint, anyio.create_task_group() as tasks:
        host = Host()
        tasks.start_soon(host.attempt, endpoint, "Greeter/approve")
        with anyio.fail_after(20):
            await host.rest.wait()
        assert host.channel is not None
        before = host.channel.resting
        host.signal(17, b'"bob"')
        assert (before, host.channel.resting) == (True, False)
        await host.until(EndMessage)


async def test_a_closed_input_makes_a_handler_suspend() -> None:
    async with served(app()) as endpoint:
        host = Host()
        assert await host.attempt(endpoint, "Greeter/approve", inactivity=0) is None
        assert isinstance(host.last, SuspensionMessage)
        host.signal(17, b'"bob"')
        assert await host.finish(endpoint, "Greeter/approve") == Value(b'"approved by bob"')


async def test_the_key_of_an_object_travels() -> None:
    async with served(app()) as endpoint:
        assert await Host(key="a b/ü").finish(endpoint, "Counter/whoami") == Value('"a b/ü"'.encode())


@pytest.mark.parametrize("http1", [False, True])
async def test_values_larger_than_any_window_travel_both_ways(http1: bool) -> None:
    async with served(app(), http1=http1) as endpoint:
        body = b'"' + b"x" * (5 * 1024 * 1024) + b'"'
        host = Host(body)
        assert await host.finish(endpoint, "Greeter/echo", bidirectional=not http1) == Value(body)


async def test_an_attempt_that_is_cut_leaves_the_connection_to_others() -> None:
    async with served(app()) as endpoint:
        stuck = Host()
        async with anyio.create_task_group() as tasks:

            async def attempt() -> None:
                assert await stuck.attempt(endpoint, "Greeter/approve") is None

            tasks.start_soon(attempt)
            while stuck.channel is None or stuck.channel.session.has_output:
                await anyio.lowlevel.checkpoint()
            stuck.channel.cut()
        assert stuck.attempts == ["left"]
        assert await Host(b'"ada"').finish(endpoint, "Greeter/greet") == Value(b'"Hello ADA!"')
        assert len(endpoint._shared) == 1


async def test_a_hundred_attempts_share_a_connection() -> None:
    async with served(app()) as endpoint:
        hosts = [Host(b'"ada"') for _ in range(100)]

        async def attempt(host: Host) -> None:
            assert await host.finish(endpoint, "Greeter/greet") == Value(b'"Hello ADA!"')

        async with anyio.create_task_group() as tasks:
            for host in hosts:
                tasks.start_soon(attempt, host)
        assert len(endpoint._shared) == 1


async def test_nobody_at_the_address_is_told_apart_from_a_handler_that_fails() -> None:
    (port,) = free_ports(1)
    async with endpoint_at(f"http://127.0.0.1:{port}") as endpoint:
        broken = await Host().attempt(endpoint, "Greeter/greet")
    assert broken is not None
    assert broken.infrastructure
    assert broken.error.message == f"[RT0010] cannot connect to http://127.0.0.1:{port}: Connection refused"


async def test_perdure_finds_perdure_at_discovery() -> None:
    async with served(app()) as endpoint:
        found = await discover(endpoint)
    assert found.packed
    assert found.bidirectional
    assert found.sdk is not None
    assert found.sdk.startswith("perdure/")
    assert {service.name for service in found.manifest.services} == {"Greeter", "Counter"}
