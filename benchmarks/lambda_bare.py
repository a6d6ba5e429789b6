"""The floor: the Runtime API with nothing but anyio and h11, as short as it can be written."""

from __future__ import annotations

import json
import os
import sys

import anyio
import h11

HOST, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
COUNT = int(os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "1"))


async def handler(event: object) -> object:
    if COUNT > 1:
        await anyio.sleep(0.02)
    return event


async def exchange(stream: anyio.abc.SocketStream, http: h11.Connection, request: h11.Request, body: bytes) -> tuple:
    data = http.send(request) or b""
    if body:
        data += http.send(h11.Data(data=body)) or b""
    http.send(h11.EndOfMessage())
    await stream.send(data)
    headers, pieces = [], b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await stream.receive())
        elif isinstance(event, h11.Response):
            headers = event.headers
        elif isinstance(event, h11.Data):
            pieces += event.data
        else:
            http.start_next_cycle()
            return headers, pieces


async def loop() -> None:
    host = ("host", f"{HOST}:{PORT}")
    async with await anyio.connect_tcp(HOST, int(PORT)) as stream:
        http = h11.Connection(h11.CLIENT)
        poll = h11.Request(method="GET", target="/2018-06-01/runtime/invocation/next", headers=[host])
        while True:
            headers, body = await exchange(stream, http, poll, b"")
            request_id = next(value for name, value in headers if name == b"lambda-runtime-aws-request-id").decode()
            answer = json.dumps(await handler(json.loads(body))).encode()
            target = f"/2018-06-01/runtime/invocation/{request_id}/response"
            fields = [host, ("content-type", "application/json"), ("content-length", str(len(answer)))]
            await exchange(stream, http, h11.Request(method="POST", target=target, headers=fields), answer)


async def main() -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(COUNT):
            tasks.start_soon(loop)


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1])
