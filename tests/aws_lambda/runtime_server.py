"""A Runtime API on a real socket that is as strict as the platform, and does what the emulator cannot be made to do.

It refuses what the platform refuses: a second answer (403), an unknown request id (400), the invocation id of another
try (410), more than 6 MiB (413). Lambda's Invoke API is on the same port, so that a restate-server can invoke the
function. A test may put *interludes* before its own answers: raw bytes, or `None` to end the connection instead.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import h11
import msgspec
from anyio.abc import ByteStream, SocketAttribute

from perdure.aws_lambda import LambdaContext, RuntimeApiClient, run

__all__ = ["Answered", "RuntimeServer", "running", "runtime_server"]

Interlude = bytes | None

PAYLOAD_LIMIT = 6 * 1024 * 1024 + 100


@dataclass(frozen=True)
class Answered:
    """What the runtime answered to an invocation."""

    kind: str  # response, error
    headers: Mapping[str, str]
    body: bytes
    trailers: Mapping[str, str]
    pieces: Sequence[bytes] = ()

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass
class RuntimeServer:
    """The state of the platform."""

    prefix: str = ""
    address: str = ""
    connections: int = 0
    polls: int = 0
    answers: dict[str, Answered] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    reports: list[tuple[str, Answered]] = field(default_factory=list)  # init and restore errors
    restores: int = 0
    extensions: list[str] = field(default_factory=list)
    before_next: deque[Interlude] = field(default_factory=deque)
    before_answer: deque[Interlude] = field(default_factory=deque)  # in place of taking it
    after_answer: deque[Interlude] = field(default_factory=deque)  # in place of saying that it was taken
    requests: list[h11.Request] = field(default_factory=list)
    _streams: list[ByteStream] = field(default_factory=list)
    _given: int = 0
    _ids: dict[str, str | None] = field(default_factory=dict)
    _waiting: deque[tuple[bytes, list[tuple[str, str]]]] = field(default_factory=deque)
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def give(self, payload: object = None, headers: Mapping[str, str] | None = None) -> str:
        """Queue an invocation, and return its request id."""
        self._given += 1
        request_id = f"request-{self._given}"
        fields = {"Lambda-Runtime-Aws-Request-Id": request_id, **(headers or {})}
        lower = {name.lower(): value for name, value in fields.items()}
        self._ids[request_id] = lower.get("lambda-runtime-invocation-id")
        body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        self._waiting.append((body, list(fields.items())))
        self._tell()
        return request_id

    async def answered(self, request_id: str) -> Answered:
        """Wait for the answer to an invocation."""
        while request_id not in self.answers:
            await self._changed.wait()
        return self.answers[request_id]

    async def ask(self, payload: object = None, headers: Mapping[str, str] | None = None) -> Answered:
        """Give an invocation, and wait for its answer."""
        with anyio.fail_after(20):
            return await self.answered(self.give(payload, headers))

    async def until(self, polls: int) -> None:
        """Wait until the runtime has polled so often."""
        with anyio.fail_after(20):
            while self.polls < polls:
                await self._changed.wait()

    def expire(self, request_id: str, invocation_id: str) -> None:
        """The platform gives up on a try: answers must carry another invocation id now."""
        self._ids[request_id] = invocation_id

    async def end_connections(self) -> None:
        """End every connection, as a sandbox that was frozen finds them."""
        for stream in self._streams:
            await stream.aclose()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # --- one connection --------------------------------------------------------------------------------------------

    async def serve(self, stream: ByteStream) -> None:
        self.connections += 1
        self._streams.append(stream)
        http = h11.Connection(h11.SERVER)
        async with stream:
            try:
                while await self._exchange(stream, http):
                    http.start_next_cycle()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, h11.RemoteProtocolError):
                return

    async def _exchange(self, stream: ByteStream, http: h11.Connection) -> bool:
        head: h11.Request | None = None
        pieces: list[bytes] = []
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await stream.receive())
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                self.requests.append(head)
                trailers = {name.decode(): value.decode() for name, value in event.headers}
                return await self._answer(stream, http, head, pieces, trailers)
            else:
                raise anyio.EndOfStream

    async def _answer(
        self,
        stream: ByteStream,
        http: h11.Connection,
        head: h11.Request,
        pieces: Sequence[bytes],
        trailers: Mapping[str, str],
    ) -> bool:
        path = head.target.decode()
        assert path.startswith(self.prefix), path
        path = path.removeprefix(self.prefix)
        headers = {name.decode(): value.decode("utf-8") for name, value in head.headers}
        answered = Answered(path.rpartition("/")[2], headers, b"".join(pieces), trailers, pieces)
        match path.split("/")[1:]:
            case ["2018-06-01", "runtime", "invocation", "next"]:
                return await self._next(stream, http)
            case ["2018-06-01", "runtime", "invocation", request_id, "response" | "error"]:
                return await self._take(stream, http, request_id, answered)
            case ["2018-06-01", "runtime", "init" | "restore" as phase, "error"]:
                self.reports.append((phase, answered))
                self._tell()
                return await self._send(stream, http, 202)
            case ["2018-06-01", "runtime", "restore", "next"]:
                self.restores += 1
                return await self._send(stream, http, 200)
            case ["2015-03-31", "functions", _, "invocations"]:
                return await self._invoke(stream, http, answered.body)
            case ["2020-01-01", "extension", "register"]:
                self.extensions.append(headers["lambda-extension-name"])
                return await self._send(stream, http, 200, [("Lambda-Extension-Identifier", "extension-1")])
            case ["2020-01-01", "extension", "event", "next"]:
                await anyio.sleep_forever()
        return await self._send(stream, http, 404)

    async def _interlude(self, stream: ByteStream, http: h11.Connection, queue: deque[Interlude]) -> bool | None:
        """Say what the test wants said; `None` when there is nothing."""
        if not queue:
            return None
        interlude = queue.popleft()
        if interlude is None:
            return False
        for byte in interlude:
            await stream.send(bytes([byte]))
        # h11 is told of an answer that was sent behind its back.
        http.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        http.send(h11.EndOfMessage())
        return True

    async def _next(self, stream: ByteStream, http: h11.Connection) -> bool:
        self.polls += 1
        self._tell()
        if (done := await self._interlude(stream, http, self.before_next)) is not None:
            return done
        while not self._waiting:
            await self._changed.wait()
        body, fields = self._waiting.popleft()
        return await self._send(stream, http, 200, fields, body)

    async def _invoke(self, stream: ByteStream, http: h11.Connection, payload: bytes) -> bool:
        """Lambda's Invoke API, as far as restate-server uses it."""
        if len(payload) > PAYLOAD_LIMIT:
            return await self._send(stream, http, 413)
        deadline = {"Lambda-Runtime-Deadline-Ms": str(int((time.time() + 30) * 1000))}
        answered = await self.answered(self.give(payload, deadline))
        fields = [("X-Amz-Function-Error", "Unhandled")] if answered.kind == "error" else []
        return await self._send(stream, http, 200, fields, answered.body)

    async def _take(self, stream: ByteStream, http: h11.Connection, request_id: str, answered: Answered) -> bool:
        if (done := await self._interlude(stream, http, self.before_answer)) is not None:
            return done
        if (status := self._refusal(request_id, answered)) is not None:
            self.refused.append(status)
            self._tell()
            return await self._send(stream, http, status)
        self.answers[request_id] = answered
        self._tell()
        if (done := await self._interlude(stream, http, self.after_answer)) is not None:
            return done
        return await self._send(stream, http, 202)

    def _refusal(self, request_id: str, answered: Answered) -> int | None:
        if request_id not in self._ids:
            return 400
        if request_id in self.answers:
            return 403
        if len(answered.body) > PAYLOAD_LIMIT:
            return 413
        if answered.headers.get("lambda-runtime-invocation-id") != self._ids[request_id]:
            return 410
        return None

    async def _send(
        self,
        stream: ByteStream,
        http: h11.Connection,
        status: int,
        fields: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> bool:
        if body is None:
            word = "OK" if status < 300 else "refused"
            body = msgspec.json.encode(
                {"status": word} if status < 300 else {"errorType": "Refused", "errorMessage": word}
            )
        headers = [(name.encode(), value.encode()) for name, value in fields]
        headers.append((b"Content-Length", str(len(body)).encode()))
        head = h11.Response(status_code=status, headers=headers)
        data = (http.send(head) or b"") + (http.send(h11.Data(data=body)) or b"")
        http.send(h11.EndOfMessage())
        await stream.send(data)
        return True


@asynccontextmanager
async def runtime_server(prefix: str = "") -> AsyncIterator[RuntimeServer]:
    """Listen on a free port of the loopback interface."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    server = RuntimeServer(prefix, f"http://127.0.0.1:{port}{prefix}")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def running(handler: Any, **options: Any) -> AsyncIterator[RuntimeServer]:
    """A server, and a runtime that serves it."""
    async with (
        runtime_server() as server,
        RuntimeApiClient(server.address) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(partial(run, handler, client=client, **options))
        yield server
        tasks.cancel_scope.cancel()


def context(request_id: str) -> LambdaContext:
    """The context of an invocation that a test answers itself."""
    return LambdaContext(request_id=request_id)
