"""The logging example, on a server that suspends at every wait: each line is there once."""

from __future__ import annotations

import json

import pytest

from perdure.testing import EndpointProcess, RestateServer

pytestmark = [pytest.mark.anyio, pytest.mark.restate(always_suspend=True)]

APP = "examples.logging_example:app"
READY = "/Bakery/bake", b'"nothing"'


async def test_every_line_is_written_once(endpoint: EndpointProcess, restate_server: RestateServer, key: str) -> None:
    before = len(endpoint.logs())
    answer = restate_server.call("/Bakery/bake", json.dumps(key).encode())
    assert json.loads(answer.body) == f"fresh {key}"
    invocation_id = answer.headers["x-restate-id"]
    lines = [line for line in endpoint.logs()[before:].splitlines() if invocation_id in line]
    events = [json.loads(line) if line.startswith("{") else line for line in lines]
    attempts = [event.pop("attempt") for event in events if isinstance(event, dict)]
    about = {"invocation_id": invocation_id, "service": "Bakery", "handler": "bake", "level": "info", "what": key}
    assert events == [
        {"event": "order taken", **about},
        f"INFO Bakery/bake {invocation_id}: heated to 220",
        f"INFO Bakery/bake {invocation_id}: {key} is in the oven",
        {"event": "done", **about},
    ]
    assert len(attempts) == 2
