"""The in-memory runtime as an HTTP server would show it to an ASGI app: one invocation, frames, no network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from perdure.testing.runtime import AttemptOver, InMemoryRuntime
from perdure.wire.decoder import Decoder
from perdure.wire.frames import encode_frames
from perdure.wire.messages import Message


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """Start and stop an app as servers do; one that knows no lifespan is left alone."""
    started, stop = anyio.Event(), anyio.Event()
    received = False

    async def receive() -> dict[str, Any]:
        nonlocal received
        if received:
            await stop.wait()
            return {"type": "lifespan.shutdown"}
        received = True
        return {"type": "lifespan.startup"}

    async def send(_: dict[str, Any]) -> None:
        started.set()

    async def live() -> None:
        try:
            await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
        except Exception:  # noqa: BLE001 - ASGI's way of saying that there is none
            started.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live)
        await started.wait()
        yield
        stop.set()


class FakeServer:
    """Drives any ASGI app through invocations of one handler.

    Args:
        path: of the handler, `Service/handler`.
        version: of the service protocol.
    """

    def __init__(self, path: str, version: int) -> None:
        self._content_type = f"application/vnd.restate.invocation.v{version}".encode()
        self._path = f"/invoke/{path}"
        self.sends = 0

    async def invoke(self, app: Any, runtime: InMemoryRuntime, *, close_after_journal: bool = False) -> None:
        """Run one attempt; the runtime then knows how it ended."""
        runtime.begin(close_after_journal=close_after_journal)
        decoder = Decoder()
        pending: list[Message] = runtime.take_pending()
        first = encode_frames(pending)
        begun = False
        ended = False
        arrived = anyio.Event()

        async def receive() -> dict[str, Any]:
            nonlocal begun, arrived, ended
            if not begun:
                begun = True
                return {"type": "http.request", "body": first, "more_body": not close_after_journal}
            while True:
                messages = runtime.take_pending()
                if messages:
                    return {"type": "http.request", "body": encode_frames(messages), "more_body": True}
                if runtime.over is not None:
                    if ended or close_after_journal:
                        return {"type": "http.disconnect"}
                    ended = True
                    return {"type": "http.request", "body": b"", "more_body": False}
                arrived = anyio.Event()
                await arrived.wait()

        async def send(message: dict[str, Any]) -> None:
            body = message.get("body")
            if body:
                self.sends += 1
                decoder.receive_data(body)
                runtime.take(decoder.messages())
                arrived.set()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "2",
            "method": "POST",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(b"content-type", self._content_type), (b"accept", self._content_type)],
        }
        await app(scope, receive, send)
        if runtime.over is not AttemptOver.ENDED:
            raise RuntimeError(f"the attempt ended as {runtime.over}: {runtime.errors}")
