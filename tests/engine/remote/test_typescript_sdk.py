"""Handlers written with the official TypeScript SDK run on the engine as they do on restate-server."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

import perdure
from perdure import Service, TerminalError
from perdure.engine.remote.deployments import about
from perdure.testing import EndpointProcess

pytestmark = [pytest.mark.anyio, pytest.mark.real_server]

SDK: Final = "@restatedev/restate-sdk@1"
APP: Final = Path(__file__).with_name("official_app.mjs")


def folder_with_sdk() -> Path:
    """A folder with the SDK, filled once; no scripts of packages are run."""
    folder = Path(tempfile.gettempdir()) / "perdure-node-sdk"
    if not (folder / "complete").exists():
        folder.mkdir(exist_ok=True)
        options = ["--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(["npm", "install", *options, "--prefix", str(folder), SDK], check=True)
        (folder / "complete").touch()
    return folder


@pytest.fixture(scope="module")
def node() -> Iterator[EndpointProcess]:
    folder = folder_with_sdk()
    shutil.copy(APP, folder / APP.name)
    command = ["sh", "-c", f'exec node {APP.name} "${{1##*:}}"', "sh", "{bind}"]
    process = EndpointProcess(command, cwd=folder)
    process.start()
    yield process
    process.stop()


async def test_every_kind_of_step_of_the_typescript_sdk_works(node: EndpointProcess) -> None:
    async with perdure.open_engine(":memory:", perdure.Endpoint(Service("Near"))) as engine:
        registered = await engine.core.remote.register(engine.core, node.url)
        assert registered.deployment.bidirectional
        assert (about(registered.deployment, ":sdk") or "").startswith("restate-sdk-typescript/")

        async def call(service: str, handler: str, value: Any = None, key: str | None = None) -> Any:
            body = b"" if value is None else json.dumps(value).encode()
            return json.loads(await engine.generic_call(service, handler, body, key=key) or b"null")

        with anyio.fail_after(60):
            assert await call("NodeShop", "greet", "ada") == "Hello ada"
            assert await call("NodeShop", "both", ["a", "b"]) == ["A", "B"]
            assert await call("NodeShop", "fill", ["apple", "pear"]) == ["apple", "pear"]
            with pytest.raises(TerminalError, match="no, ada") as caught:
                await call("NodeShop", "refuse", "ada")
            assert caught.value.code == 418
            waiting = await engine.generic_send("NodeShop", "wait", b'"k"')
            name = ""
            while not name:
                name = await call("NodeCart", "kept", key="k")
            await engine.resolve_awakeable(name, "yes")
            assert await waiting.attach() == b'"yes"'
