"""What the HTTP server alone costs: an ASGI app that speaks just enough of the protocol, without any SDK.

It knows one handler, `Bench/steps`, and does for each request what an SDK would do on the wire: 10 steps, each one
piece out (the command and its result) and one piece in (the stored completion). It decodes nothing but frame headers,
so it is the floor of every SDK on the same server.
"""

from __future__ import annotations

import json
import struct
from typing import Any

STEPS = 10
ENTRIES = 2  # of a fresh invocation: the start message and the input; nothing is ever retried here
_HEADER = struct.Struct(">HHI")
_RUN, _PROPOSE, _COMPLETION = 0x0411, 0x0005, 0x8011
_OUTPUT, _END = 0x0401, 0x0003

MANIFEST = json.dumps(
    {
        "protocolMode": "BIDI_STREAM",
        "minProtocolVersion": 5,
        "maxProtocolVersion": 6,
        "services": [{"name": "Bench", "ty": "SERVICE", "handlers": [{"name": "steps"}]}],
    }
).encode()


def frame(code: int, payload: bytes) -> bytes:
    return _HEADER.pack(code, 0, len(payload)) + payload


def step(number: int) -> bytes:
    """The frames of one step: a run command named `step`, and the proposal of the result `1`."""
    run = b"\x58" + bytes([number]) + b"\x62\x04step"
    proposal = b"\x08" + bytes([number]) + b"\x72\x011"
    return frame(_RUN, run) + frame(_PROPOSE, proposal)


STEP_FRAMES = [step(number) for number in range(1, STEPS + 1)]
LAST_FRAMES = frame(_OUTPUT, b"\x72\x04\x0a\x0210") + frame(_END, b"")


class Frames:
    """Counts the frames of one type in a stream of bytes."""

    def __init__(self) -> None:
        self._buffer = b""
        self.known: int | None = None

    def feed(self, data: bytes) -> list[int]:
        buffer = self._buffer + data
        codes = []
        offset = 0
        while len(buffer) - offset >= _HEADER.size:
            code, _, length = _HEADER.unpack_from(buffer, offset)
            if len(buffer) - offset - _HEADER.size < length:
                break
            codes.append(code)
            offset += _HEADER.size + length
        self._buffer = buffer[offset:]
        return codes


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = dict(scope["headers"])
    if scope["path"].endswith("/discover"):
        media_type = b"application/vnd.restate.endpointmanifest.v2+json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", media_type)]})
        await send({"type": "http.response.body", "body": MANIFEST})
        return
    content_type = headers[b"content-type"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
    frames = Frames()
    entries = 0
    while entries < ENTRIES:
        entries += len(frames.feed((await receive())["body"]))
    for piece in STEP_FRAMES:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        stored = False
        while not stored:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            stored = _COMPLETION in frames.feed(message["body"])
    await send({"type": "http.response.body", "body": LAST_FRAMES, "more_body": True})
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
