"""Handlers in other processes on the whole engine: registered, called, retried, and mixed with those of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

import perdure
from perdure import Context, ObjectContext, Service, TerminalError, VirtualObject
from perdure.engine.admin import Admin
from perdure.engine.remote.deployments import about
from perdure.engine.remote.errors import DiscoveryError
from perdure.testing.loopback import free_ports
from tests.engine.test_ingress import Answered, ask
from tests.server.serving import serving

pytestmark = pytest.mark.anyio

near = Service("Near")
far = Service("Far")
cart = VirtualObject("Cart")
tries: list[int] = []


@near.handler
async def through(ctx: Context, name: str) -> str:
    return await ctx.call(greet, name)


@far.handler
async def greet(ctx: Context, name: str) -> str:
    """Say hello."""
    greeting = await ctx.run(lambda: f"Hello {name}", name="greet", returns=str)
    await ctx.sleep(0.001)
    return greeting


@far.handler
async def back(ctx: Context, name: str) -> str:
    return await ctx.call(through, name)


@far.handler(retry=perdure.RetryPolicy(initial_interval=0.001, max_attempts=5))
async def flaky(ctx: Context) -> int:
    del ctx
    tries.append(1)
    if len(tries) < 3:
        raise RuntimeError("not yet")
    return len(tries)


@far.handler
async def fail(ctx: Context) -> None:
    raise TerminalError("no", code=418)


@cart.handler
async def add(ctx: ObjectContext, item: str) -> list[str]:
    items = (await ctx.get("items", list[str]) or []) + [item]
    ctx.set("items", items)
    return items


@asynccontextmanager
async def engine_and_server(path: str = ":memory:") -> AsyncIterator[tuple[perdure.Engine, str]]:
    tries.clear()
    async with (
        serving(perdure.Endpoint(far, cart)) as server,
        perdure.open_engine(path, perdure.Endpoint(near)) as engine,
    ):
        yield engine, f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize("http1", [False, True])
async def test_handlers_of_another_process_run_on_the_engine(http1: bool) -> None:
    async with engine_and_server() as (engine, url):
        registered = await engine.core.remote.register(engine.core, url, http1=http1)
        assert registered.created
        assert registered.deployment.bidirectional is not http1
        assert about(registered.deployment, ":frames") == "msgpack"
        with anyio.fail_after(20):
            assert await engine.call(greet, "ada") == "Hello ada"
            assert await engine.call(through, "bob") == "Hello bob"
            assert await engine.call(back, "eve") == "Hello eve"
            assert await engine.call(flaky) == 3
            assert await engine.call(add, "apple", key="a/b") == ["apple"]
            assert await engine.call(add, "pear", key="a/b") == ["apple", "pear"]
            with pytest.raises(TerminalError) as caught:
                await engine.call(fail)
        assert caught.value.code == 418


async def test_a_deployment_is_remembered_in_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "engine.db")
    async with serving(perdure.Endpoint(far)) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with perdure.open_engine(path, perdure.Endpoint(near)) as engine:
            first = await engine.core.remote.register(engine.core, url)
        async with perdure.open_engine(path, perdure.Endpoint(near)) as engine:
            with anyio.fail_after(20):
                assert await engine.call(greet, "ada") == "Hello ada"
            again = await engine.core.remote.register(engine.core, f"{url}/?x=1".partition("?")[0])
            assert (again.created, again.deployment.id) == (False, first.deployment.id)
            forced = await engine.core.remote.register(engine.core, url, force=True)
            assert (forced.created, forced.deployment.id) == (False, first.deployment.id)


async def test_an_endpoint_that_is_down_is_waited_for() -> None:
    (port,) = free_ports(1)
    async with perdure.open_engine(":memory:", perdure.Endpoint(near)) as engine:
        with pytest.raises(DiscoveryError):
            await engine.core.remote.register(engine.core, f"http://127.0.0.1:{port}")
        async with serving(perdure.Endpoint(far)) as server:
            await engine.core.remote.register(engine.core, f"http://127.0.0.1:{server.port}")
        sent = await engine.send(greet, "ada")
        await anyio.wait_all_tasks_blocked()
        assert await sent.output() is None


async def test_leaving_the_engine_suspends_what_runs_elsewhere() -> None:
    waiting = Service("Waiting")

    @waiting.handler
    async def wait(ctx: Context) -> str:
        return await ctx.awakeable(str)

    async with (
        serving(perdure.Endpoint(waiting)) as server,
        perdure.open_engine(":memory:", perdure.Endpoint(near)) as engine,
    ):
        await engine.core.remote.register(engine.core, f"http://127.0.0.1:{server.port}")
        await engine.send(wait)
        with anyio.fail_after(20):
            while not len(engine.core.attempts):
                await anyio.lowlevel.checkpoint()
    assert len(engine.core.attempts) == 0


async def test_handlers_elsewhere_that_only_wait_make_room_for_others() -> None:
    waiting = Service("Waiting")

    @waiting.handler
    async def wait(ctx: Context) -> str:
        return await ctx.awakeable(str)

    @waiting.handler
    async def hello(ctx: Context) -> str:
        del ctx
        return "hello"

    async with (
        serving(perdure.Endpoint(waiting)) as server,
        perdure.open_engine(":memory:", perdure.Endpoint(near), limit=1) as engine,
    ):
        await engine.core.remote.register(engine.core, f"http://127.0.0.1:{server.port}")
        await engine.send(wait)
        with anyio.fail_after(20):
            assert await engine.call(hello) == "hello"


async def admin(engine: perdure.Engine, method: str, path: str, body: Any = None) -> Answered:
    data = b"" if body is None else msgspec.json.encode(body)
    return await ask(Admin(engine, "http://127.0.0.1:8080"), method, path, data)  # type: ignore[arg-type]  # any application


async def test_the_admin_api_registers_and_lists_deployments() -> None:
    async with engine_and_server() as (engine, url):
        dry = await admin(engine, "POST", "/v4/deployments", {"uri": url, "dry_run": True})
        assert dry.status == 201
        assert (await admin(engine, "GET", f"/deployments/{dry.json['id']}")).status == 404
        first = await admin(
            engine, "POST", "/deployments", {"uri": url, "additional_headers": {"x-tok": "s3"}, "new": 1}
        )
        assert first.status == 201
        assert first.headers["location"] == f"deployments/{first.json['id']}"
        assert first.json["sdk_version"].startswith("perdure/")
        assert [each["name"] for each in first.json["services"]] == ["Cart", "Far"]
        assert (await admin(engine, "POST", "/deployments", {"uri": url})).status == 200
        assert (await admin(engine, "POST", "/v2/deployments", {"uri": url})).json["id"] == first.json["id"]
        listed = (await admin(engine, "GET", "/v3/deployments")).json["deployments"]
        assert [each.get("uri") for each in listed] == [None, url]
        (one,) = [each for each in listed if "uri" in each]
        assert [each["name"] for each in one["services"]] == ["Cart", "Far"]
        assert (one["protocol_type"], one["http_version"]) == ("BidiStream", "HTTP/2.0")
        assert (await admin(engine, "GET", f"/deployments/{one['id']}")).json["services"][0]["ty"] == "VirtualObject"
        assert (await admin(engine, "GET", "/services/Far")).json["deployment_id"] == one["id"]


async def test_the_openapi_of_a_service_names_every_way_to_its_handlers() -> None:
    async with engine_and_server() as (engine, url):
        await admin(engine, "POST", "/deployments", {"uri": url})
        found = (await admin(engine, "GET", "/services/Cart/openapi")).json
        assert found["openapi"].startswith("3.1")
        assert list(found["paths"]) == [
            "/restate/call/Cart/{key}/add",
            "/restate/send/Cart/{key}/add",
            "/restate/invocation/Cart/{key}/add/{idempotencyKey}/attach",
            "/restate/invocation/Cart/{key}/add/{idempotencyKey}/output",
        ]
        assert found["components"]["schemas"]["addRequest"] == {"type": "string"}
        far_api = (await admin(engine, "GET", "/services/Far/openapi")).json
        assert far_api["paths"]["/restate/call/Far/greet"]["post"]["description"] == "Say hello."


async def test_the_admin_api_tells_how_it_is_and_what_it_refuses() -> None:
    async with engine_and_server() as (engine, url):
        assert (await admin(engine, "GET", "/health")).status == 200
        version = (await admin(engine, "GET", "/version")).json
        assert (version["min_admin_api_version"], version["max_admin_api_version"]) == (2, 4)
        assert version["ingress_endpoint"] == "http://127.0.0.1:8080/"
        for method, path, body, status in [
            ("GET", "/v5/deployments", None, 404),
            ("GET", "/deployments/dp_1x", None, 404),
            ("GET", "/services/Nobody", None, 404),
            ("GET", "/services/Nobody/openapi", None, 404),
            ("DELETE", "/deployments/dp_1x", None, 405),
            ("POST", "/deployments", None, 400),
            ("POST", "/deployments", {}, 422),
            ("POST", "/deployments", {"arn": "arn:aws:lambda:x"}, 501),
            ("POST", "/deployments", {"uri": "nonsense"}, 400),
        ]:
            answer = await admin(engine, method, path, body)
            assert answer.status == status, (method, path, answer)
            assert set(answer.json) == {"message", "restate_code"}
        taken = perdure.Endpoint(Service("Cart").handler(_same).service)
        await admin(engine, "POST", "/deployments", {"uri": url})
        async with serving(taken) as other:
            answer = await admin(engine, "POST", "/deployments", {"uri": f"http://127.0.0.1:{other.port}"})
        assert (answer.status, answer.json["restate_code"]) == (409, "META0006")


async def _same(ctx: Context) -> None:
    del ctx
