"""Handlers written with the official Python SDK run on the engine as they do on restate-server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from benchmarks.peers import official_python

import perdure
from perdure import Context, Service, TerminalError
from perdure.engine.remote.deployments import about
from perdure.testing import EndpointProcess

pytestmark = [pytest.mark.anyio, pytest.mark.real_server]

near = Service("Near")


@near.handler
async def through(ctx: Context, name: str) -> str:
    greeting: str = json.loads(await ctx.generic_call("OfficialShop", "greet", json.dumps(name).encode()))
    return greeting


@pytest.fixture(scope="module")
def official() -> Iterator[EndpointProcess]:
    python = official_python()
    command = [str(python), "-m", "hypercorn", "official_app:app", "--bind", "{bind}"]
    process = EndpointProcess(command, cwd=Path(__file__).parent)
    process.start()
    yield process
    process.stop()


@pytest.mark.parametrize("http1", [False, True])
async def test_every_kind_of_step_of_the_official_sdk_works(official: EndpointProcess, http1: bool) -> None:
    async with perdure.open_engine(":memory:", perdure.Endpoint(near)) as engine:
        registered = await engine.core.remote.register(engine.core, official.url, http1=http1)
        assert registered.deployment.bidirectional is not http1
        assert (about(registered.deployment, ":sdk") or "").startswith("restate-sdk-python/")
        assert about(registered.deployment, ":frames") == "protobuf"

        async def call(service: str, handler: str, value: Any = None, key: str | None = None) -> Any:
            body = b"" if value is None else json.dumps(value).encode()
            return json.loads(await engine.generic_call(service, handler, body, key=key) or b"null")

        with anyio.fail_after(60):
            assert await call("OfficialShop", "greet", "ada") == "Hello ada"
            assert await engine.call(through, "eve") == "Hello eve"
            assert (await call("OfficialShop", "flaky", "bob")).startswith("bob ")
            assert await call("OfficialShop", "fill", ["apple", "pear"]) == ["apple", "pear"]
            with pytest.raises(TerminalError, match="no, ada") as caught:
                await call("OfficialShop", "refuse", "ada")
            assert caught.value.code == 418
            waiting = await engine.generic_send("OfficialShop", "wait", b'"k"')
            name = ""
            while not name:
                name = await call("OfficialCart", "kept", key="k")
            await engine.resolve_awakeable(name, "yes")
            assert await waiting.attach() == b'"yes"'
            workflow = await engine.generic_send("OfficialOrder", "run", b'"apple"', key="w")
            await call("OfficialOrder", "approve", "granted", key="w")
            assert await workflow.attach() == b'"apple: granted"'
