"""An endpoint as a service of the runtime: the events of a restate-server, and everything that is none."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from backports import zstd

from perdure import Context, Endpoint, Service
from perdure.aws_lambda import Invocation, PayloadError
from perdure.aws_lambda.durable import EndpointService
from perdure.exceptions import UsageError
from perdure.wire.decoder import Decoder
from perdure.wire.frames import encode_frames
from perdure.wire.messages import InputCommand, OutputCommand, StartMessage, Value
from perdure.wire.versions import ProtocolVersion

pytestmark = pytest.mark.anyio

greeter = Service("Greeter")


@greeter.handler
async def greet(ctx: Context, name: str) -> str:
    return await ctx.run(greeting, name)


async def greeting(name: str) -> str:
    return f"Hello {name}"


@greeter.handler
async def repeat(ctx: Context, count: int) -> str:
    return "x" * count


DISCOVER = {"accept": "application/vnd.restate.endpointmanifest.v4+json"}
INVOKE = {"content-type": ProtocolVersion.V6.content_type}


def frames(value: object) -> bytes:
    start = StartMessage(id=b"\x01" * 16, debug_id="inv_1", known_entries=1)
    return encode_frames([start, InputCommand(value=Value(content=json.dumps(value).encode()))])


async def ask(
    service: EndpointService, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
) -> tuple[int, dict[str, Any], bytes]:
    event = {
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }
    async with service.running():
        response = await service.invoke(Invocation(json.dumps(event).encode()))
    answer = json.loads(response.body)
    assert answer["isBase64Encoded"]
    return answer["statusCode"], answer["headers"], base64.b64decode(answer["body"])


async def test_discovery_tells_the_mode_and_the_compression() -> None:
    status, headers, body = await ask(EndpointService(Endpoint(greeter)), "GET", "/discover", DISCOVER)
    found = json.loads(body)
    assert status == 200
    assert headers["content-type"] == "application/vnd.restate.endpointmanifest.v4+json"
    assert (found["protocolMode"], found["lambdaCompression"]) == ("REQUEST_RESPONSE", "zstd")


async def test_without_compression_none_is_offered() -> None:
    service = EndpointService(Endpoint(greeter), zstd=False)
    _, _, body = await ask(service, "GET", "/discover", DISCOVER)
    assert "lambdaCompression" not in json.loads(body)


async def test_an_attempt_suspends_where_it_has_to_wait_for_the_server() -> None:
    service = EndpointService(Endpoint(greeter))
    status, headers, body = await ask(service, "POST", "/invoke/Greeter/greet", INVOKE, frames("Ada"))
    assert (status, headers["content-type"]) == (200, ProtocolVersion.V6.content_type)
    kinds = [type(message).__name__ for message in _messages(body)]
    assert kinds == ["RunCommand", "ProposeRunCompletionMessage", "SuspensionMessage"]


def _messages(body: bytes) -> list[Any]:
    decoder = Decoder()
    decoder.receive_data(body)
    decoder.receive_eof()
    return list(decoder.messages())


async def test_a_compressed_request_is_read_and_a_large_answer_is_compressed() -> None:
    service = EndpointService(Endpoint(greeter))
    headers = {**INVOKE, "content-encoding": "zstd", "accept-encoding": "zstd"}
    _, answered, body = await ask(
        service, "POST", "/invoke/Greeter/repeat", headers, zstd.compress(frames(4 * 1024 * 1024))
    )
    assert answered["content-encoding"] == "zstd"
    output = _messages(zstd.decompress(body))[0]
    assert isinstance(output, OutputCommand)


async def test_an_answer_stays_as_it_is_for_a_server_that_reads_no_compression() -> None:
    service = EndpointService(Endpoint(greeter))
    _, answered, body = await ask(service, "POST", "/invoke/Greeter/repeat", INVOKE, frames(4 * 1024 * 1024))
    assert "content-encoding" not in answered
    assert len(body) > 4 * 1024 * 1024


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        ({"content-encoding": "gzip"}, b"x", "encoded as 'gzip'"),
        ({"content-encoding": "zstd"}, b"nonsense", "no zstd"),
        ({"content-encoding": "zstd"}, zstd.compress(b"x" * 1000)[:-4], "cut off"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(headers: Mapping[str, str], body: bytes, message: str) -> None:
    service = EndpointService(Endpoint(greeter))
    status, _, answer = await ask(service, "POST", "/invoke/Greeter/greet", {**INVOKE, **headers}, body)
    assert status == 400
    assert message in json.loads(answer)["message"]


async def test_a_body_that_is_no_base64_is_refused() -> None:
    service = EndpointService(Endpoint(greeter))
    event = {"path": "/discover", "httpMethod": "GET", "headers": {}, "body": "%%%", "isBase64Encoded": True}
    found = json.loads((await service.invoke(Invocation(json.dumps(event).encode()))).body)
    status, answer = found["statusCode"], base64.b64decode(found["body"])
    assert (status, "no base64" in json.loads(answer)["message"]) == (400, True)


@pytest.mark.parametrize("event", [b"{}", b"[]", b'"text"', b"{", b'{"path": 1, "httpMethod": "GET", "headers": {}}'])
async def test_an_event_of_somebody_else_is_an_error_that_says_what_to_do(event: bytes) -> None:
    with pytest.raises(PayloadError, match="register its ARN with a restate-server"):
        await EndpointService(Endpoint(greeter)).invoke(Invocation(event))


async def test_what_fails_on_the_way_is_an_answer_not_an_error_of_the_function() -> None:
    @asynccontextmanager
    async def lifespan(_: Endpoint) -> AsyncIterator[None]:
        yield

    service = EndpointService(Endpoint(greeter, lifespan=lifespan))
    event = {"path": "/discover", "httpMethod": "GET", "headers": DISCOVER}
    response = await service.invoke(Invocation(json.dumps(event).encode()))  # nobody entered the lifespan
    answer = json.loads(response.body)
    assert answer["statusCode"] == 500
    assert b"lifespan" in base64.b64decode(answer["body"])


async def test_an_unknown_handler_is_not_found() -> None:
    status, _, body = await ask(EndpointService(Endpoint(greeter)), "POST", "/invoke/Greeter/nobody", INVOKE)
    assert (status, "no handler" in json.loads(body)["message"]) == (404, True)


async def test_compression_that_is_asked_for_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.aws_lambda.durable._zstd_module", lambda: None)
    with pytest.raises(UsageError, match=r"pip install perdure\[zstd\]"):
        EndpointService(Endpoint(greeter), zstd=True)
    EndpointService(Endpoint(greeter))
