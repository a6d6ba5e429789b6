"""An endpoint of a few bytes, served by hypercorn in tests of the harness itself; it knows nothing of perdure.

Its handlers stand for what the harness must cope with: one that answers, one that fails, one that never answers.
The messages are written by hand: 0x0401 is the output command (its field 14 holds a value, whose field 1 holds bytes),
0x0003 the end.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any, Final

SERVICE: Final = os.environ.get("ECHO_SERVICE", "Echo")
MANIFEST: Final = {
    "protocolMode": "REQUEST_RESPONSE",
    "minProtocolVersion": 5,
    "maxProtocolVersion": 7,
    "services": [
        {"name": SERVICE, "ty": "SERVICE", "handlers": [{"name": "whoami"}, {"name": "fail"}, {"name": "hang"}]},
    ],
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer the server's discovery and its invocations."""
    if scope["type"] != "http":
        raise NotImplementedError("no lifespan")
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    while (await receive()).get("more_body"):
        pass
    path = scope["path"]
    if path == "/discover":
        await answer(send, 200, "application/vnd.restate.endpointmanifest.v4+json", json.dumps(MANIFEST).encode())
    elif path.endswith("/fail"):
        await answer(send, 500, "text/plain", b"no")
    elif path.endswith("/hang"):
        while (await receive())["type"] != "http.disconnect":
            pass
    else:
        facts = json.dumps({"pid": os.getpid(), "signed": "x-restate-jwt-v1" in headers}).encode()
        await answer(send, 200, headers["content-type"], frame(0x0401, field(14, field(1, facts))) + frame(0x0003, b""))


async def answer(send: Any, status: int, content_type: str, body: bytes) -> None:
    """Send a whole HTTP answer."""
    start = {"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type.encode())]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def frame(code: int, payload: bytes) -> bytes:
    """Put the header of the service protocol before a message."""
    return struct.pack(">HHI", code, 0, len(payload)) + payload


def field(number: int, content: bytes) -> bytes:
    """Write a protobuf field of bytes, shorter than 128 and with a number below 16."""
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content
