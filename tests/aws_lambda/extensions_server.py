"""A strict Extensions, Telemetry and Logs API on loopback, as AWS documents it, and the platform's deliveries.

AWS's emulator has no telemetry, and starts external extensions from `/opt/extensions` alone; what it does have is
tested against it (`test_flush_extension.py`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute, SocketStream

from perdure.aws_lambda.runtime_api import RuntimeApiClient

__all__ = ["Deliverer", "Platform", "platform"]

LIMITS: Final = {"timeoutMs": (25, 30_000), "maxBytes": (262_144, 1_048_576), "maxItems": (1_000, 10_000)}


class Platform:
    """The platform's side of one extension.

    Attributes:
        calls: methods and paths, in their order.
        registered: the name and the events.
        reported: error reports: when, header and body.
        subscribed: bodies of subscriptions by path.
        schemas: versions of telemetry that are known; without any the platform has none.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.registered: tuple[str, list[str]] | None = None
        self.reported: list[tuple[str, str, dict[str, Any]]] = []
        self.subscribed: dict[str, dict[str, Any]] = {}
        self.schemas: set[str] = {"2022-12-13", "2025-01-29"}
        self.refuse_registration = False
        self.address = ""
        self._send, self._events = anyio.create_memory_object_stream[dict[str, Any]](10)
        self._asked = False

    def give(self, **event: Any) -> None:
        """Queue an event."""
        self._send.send_nowait(event)

    def client(self) -> RuntimeApiClient:
        return RuntimeApiClient(self.address)

    async def answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], Any]:
        self.calls.append(f"{method} {path}")
        if path == "/2020-01-01/extension/register":
            return self._register(headers, json.loads(body))
        if headers.get("lambda-extension-identifier") != "id-1":
            return 403, {}, failure("Extension.UnknownExtensionIdentifier", "who is this?")
        match method, path:
            case "GET", "/2020-01-01/extension/event/next":
                self._asked = True
                event = await self._events.receive()
                return 200, {"lambda-extension-event-identifier": "e"}, event
            case "POST", "/2020-01-01/extension/init/error":
                if self._asked:
                    return 403, {}, failure("Extension.InvalidExtensionState", "init is over")
                return self._report("init", headers, body)
            case "POST", "/2020-01-01/extension/exit/error":
                return self._report("exit", headers, body)
            case "PUT", "/2022-07-01/telemetry" | "/2020-08-15/logs":
                return self._subscribe(path, json.loads(body))
        return 404, {}, failure("NotFound", path)

    def _register(self, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if self.refuse_registration:
            return 403, {}, failure("Extension.RegistrationClosed", "init is over")
        self.registered = (headers["lambda-extension-name"], body["events"])
        found = {"functionName": "books", "functionVersion": "7", "handler": "app.handler"}
        if headers.get("lambda-extension-accept-feature") == "accountId":
            found["accountId"] = "210987654321"
        return 200, {"Lambda-Extension-Identifier": "id-1"}, found

    def _report(self, when: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], Any]:
        self.reported.append((when, headers["lambda-extension-function-error-type"], json.loads(body)))
        return 202, {}, {"status": "OK"}

    def _subscribe(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        telemetry = path.endswith("telemetry")
        if telemetry and not self.schemas:
            return 202, {}, failure("Telemetry.NotSupported", "Telemetry API is not supported")
        known = self.schemas if telemetry else {"2021-03-18"}
        if body["schemaVersion"] not in known:
            return 400, {}, failure("ValidationError", f"unknown schemaVersion {body['schemaVersion']}")
        for name, (low, high) in LIMITS.items():
            if not low <= body["buffering"][name] <= high:
                return 400, {}, failure("ValidationError", name)
        if not body["destination"]["URI"].startswith("http://sandbox.localdomain:"):
            return 400, {}, failure("ValidationError", "destination")
        self.subscribed[path] = body
        return 200, {}, "OK"

    def port(self, path: str = "/2022-07-01/telemetry") -> int:
        """Where deliveries go to."""
        return int(self.subscribed[path]["destination"]["URI"].split(":")[2].partition("/")[0])

    async def serve(self, stream: ByteStream) -> None:
        async with stream:
            connection = h11.Connection(h11.SERVER)
            try:
                while True:
                    request, body = await read_message(connection, stream)
                    if not isinstance(request, h11.Request):
                        return
                    headers = {name.decode(): value.decode() for name, value in request.headers}
                    status, more, found = await self.answer(
                        request.method.decode(), request.target.decode(), headers, body
                    )
                    content = json.dumps(found).encode()
                    fields = [*more.items(), ("content-length", str(len(content)))]
                    await stream.send(
                        (connection.send(h11.Response(status_code=status, headers=fields)) or b"")
                        + (connection.send(h11.Data(data=content)) or b"")
                        + (connection.send(h11.EndOfMessage()) or b"")
                    )
                    connection.start_next_cycle()
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
                return


def failure(kind: str, message: str) -> dict[str, str]:
    return {"errorType": kind, "errorMessage": message}


async def read_message(connection: h11.Connection, stream: ByteStream) -> tuple[object, bytes]:
    head: object = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            try:
                connection.receive_data(await stream.receive())
            except anyio.EndOfStream:
                connection.receive_data(b"")
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, (h11.Request, h11.Response)):
            head = event
        else:
            return head, body


@asynccontextmanager
async def platform() -> AsyncIterator[Platform]:
    """Run a platform on a free port."""
    found = Platform()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        found.address = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.start_soon(listener.serve, found.serve)
        yield found
        tasks.cancel_scope.cancel()
    with found._send, found._events:
        pass


class Deliverer:
    """A connection on which the platform delivers.

    Args:
        stream: to the listener.
    """

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.connection = h11.Connection(h11.CLIENT)

    @staticmethod
    async def connect(port: int) -> Deliverer:
        return Deliverer(await anyio.connect_tcp("127.0.0.1", port))

    async def post(
        self, records: Any, path: str = "/telemetry", method: str = "POST", *, size: int | None = None
    ) -> tuple[int, str]:
        """Deliver once; returns the status and the text of the answer."""
        body = records if isinstance(records, bytes) else json.dumps(records).encode()
        length = str(len(body) if size is None else size)
        headers = [("host", "sandbox.localdomain"), ("content-length", length), ("sequence-id", "1")]
        connection = self.connection
        data = connection.send(h11.Request(method=method, target=path, headers=headers)) or b""
        if size is None:
            data += connection.send(h11.Data(data=body)) or b""
            data += connection.send(h11.EndOfMessage()) or b""
            await self.stream.send(data)
        else:  # what is left out is never sent: the answer comes before
            await self.stream.send(data + body)
        head, text = await read_message(connection, self.stream)
        assert isinstance(head, h11.Response)
        if connection.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            connection.start_next_cycle()
        return head.status_code, text.decode()

    async def aclose(self) -> None:
        await self.stream.aclose()
