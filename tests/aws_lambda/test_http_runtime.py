"""HTTP functions under the runtime, against a strict platform: streams, errors, and that the loop goes on."""

from __future__ import annotations

import base64
import json
from typing import Any

import anyio
import pytest

from perdure.aws_lambda import RuntimeApiClient, RuntimeApiError, run
from perdure.aws_lambda.failures import FunctionError
from perdure.aws_lambda.http import Request, asgi_service, http_service
from tests.aws_lambda.documented_events import http_v2
from tests.aws_lambda.runtime_server import running, runtime_server
from tests.aws_lambda.sam_wheel import samples

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("function_env")]


def url_event(path: str = "/") -> dict[str, Any]:
    return http_v2("u7rlid.lambda-url.eu-central-1.on.aws", rawPath=path)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers `/` in two pieces, fails between them for `/middle`, and at once for `/before`."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await receive()
    if scope["path"] == "/before":
        raise ValueError("nothing to say")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"one", "more_body": True})
    if scope["path"] == "/middle":
        raise ValueError("lost the thread")
    await send({"type": "http.response.body", "body": b"two"})


HEAD = {"statusCode": 200, "headers": {"content-type": "text/plain"}, "cookies": []}


async def test_an_application_streams_through_the_runtime() -> None:
    async with running(asgi_service(app, streaming=True)) as server:
        answer = await server.ask(url_event())
    head, _, body = answer.body.partition(bytes(8))
    assert (json.loads(head), body, answer.trailers) == (HEAD, b"onetwo", {})
    assert answer.headers["content-type"] == "application/vnd.awslambda.http-integration-response"


async def test_an_application_that_fails_in_the_middle_of_a_stream_is_told_in_trailers() -> None:
    async with running(asgi_service(app, streaming=True)) as server:
        answer = await server.ask(url_event("/middle"))
        assert answer.body.endswith(b"\0one")
        assert answer.trailers["lambda-runtime-function-error-type"] == "Function.ValueError"
        told = json.loads(base64.b64decode(answer.trailers["lambda-runtime-function-error-body"]))
        assert told["errorMessage"] == "lost the thread"
        assert (await server.ask(url_event())).trailers == {}


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_application_that_fails_before_its_answer_is_an_ordinary_error(streaming: bool) -> None:
    async with running(asgi_service(app, streaming=streaming)) as server:
        answer = await server.ask(url_event("/before"))
        assert (answer.kind, answer.json["errorType"], answer.json["errorMessage"]) == (
            "error",
            "ValueError",
            "nothing to say",
        )
        assert (await server.ask(url_event())).kind == "response"


async def shelf(request: Request) -> object:
    return object() if request.path == "/bad" else request.path


@pytest.mark.parametrize(
    ("payload", "kind", "problem"),
    [
        (json.loads(samples()["sqs/Sqs"]), "Runtime.UnmarshalError", "this event is no HTTP request (it has Records)"),
        ({"colour": "blue"}, "Runtime.UnmarshalError", "this event is no HTTP request (it has colour)"),
        ([], "Runtime.UnmarshalError", "the event is no JSON object"),
        (b"\xff", "Runtime.UnmarshalError", "the event is no JSON object"),
        ({**url_event(), "rawPath": 5}, "Runtime.UnmarshalError", "`$.rawPath`"),
        ({**url_event(), "body": "?"}, "Runtime.UnmarshalError", "the body of the request is no base64"),
        (url_event("/bad"), "Runtime.MarshalError", "cannot be written as JSON"),
    ],
)
async def test_a_bad_event_and_a_bad_result_are_told_and_the_loop_goes_on(
    payload: object, kind: str, problem: str
) -> None:
    async with running(http_service(shelf)) as server:
        answer = await server.ask(payload)
        assert (answer.kind, answer.json["errorType"]) == ("error", kind)
        assert problem in answer.json["errorMessage"]
        assert (await server.ask(url_event("/good"))).json["body"] == "/good"


async def test_a_lifespan_that_fails_is_reported_as_an_init_error() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        del scope
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async with runtime_server() as server, RuntimeApiClient(server.address) as client:
        with pytest.raises(FunctionError, match="no database"):
            await run(asgi_service(broken), client=client)
    ((phase, report),) = server.reports
    assert (phase, report.json["errorMessage"]) == ("init", "the application could not start: no database")
    assert server.polls == 0


async def test_the_lifespan_lasts_until_the_runtime_ends() -> None:
    order = []

    async def lived(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            order.append("start")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            order.append("end")
            await send({"type": "lifespan.shutdown.complete"})
        else:
            order.append("request")
            await app(scope, receive, send)

    service = asgi_service(lived)
    async with (
        runtime_server() as server,
        RuntimeApiClient(server.address) as client,
        anyio.create_task_group() as tasks,
    ):

        async def serve() -> None:
            # The platform vanishes behind the second answer: the runtime cannot go on, and ends in order.
            with pytest.raises(RuntimeApiError, match="ended the connection"):
                await run(service, client=client)

        tasks.start_soon(serve)
        for _ in range(2):
            assert (await server.ask(url_event())).json["body"] == "onetwo"
        await server.until(3)
        server.before_next.extend([None, None])
        await server.end_connections()
    assert order == ["start", "request", "request", "end"]
