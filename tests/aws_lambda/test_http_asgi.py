"""ASGI applications on Lambda: frameworks and applications written by hand, buffered and streamed, and lifespans."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from litestar import Litestar, get, post
from litestar import Request as LitestarRequest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import perdure
from perdure.aws_lambda.events import UnknownEventError
from perdure.aws_lambda.failures import FunctionError
from perdure.aws_lambda.http import HttpService, asgi_service
from perdure.aws_lambda.invocation import Invocation
from perdure.aws_lambda.response import BufferedResponse, MetadataPrelude, PushedResponse
from tests.aws_lambda.documented_events import DOCUMENTED, http_v2
from tests.aws_lambda.sam_wheel import samples

pytestmark = pytest.mark.anyio

URL = "u7rlid.lambda-url.eu-central-1.on.aws"


def url_event(path: str = "/", **more: Any) -> bytes:
    return json.dumps(http_v2(URL, rawPath=path, **more)).encode()


async def answer_of(service: HttpService, event: bytes) -> dict[str, Any]:
    response = await service.invoke(Invocation(event))
    assert isinstance(response, BufferedResponse)
    found: dict[str, Any] = json.loads(response.body)
    return found


# --- frameworks ------------------------------------------------------------------------------------------------------


async def echo(request: StarletteRequest) -> Response:
    body = await request.body()
    found = {
        "method": request.method,
        "url": str(request.url),
        "body": body.decode(),
        "id": request.path_params["id"],
        "client": request.client and request.client.host,
        "cookies": dict(request.cookies),
    }
    response = JSONResponse(found)
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


STARLETTE = Starlette(routes=[Route("/shelf/{id}", echo, methods=["GET", "POST", "PUT"])])


@post("/shelf/{id:str}")
async def litestar_echo(request: LitestarRequest[Any, Any, Any]) -> dict[str, Any]:
    found = {"method": request.method, "url": str(request.url), "id": request.path_params["id"]}
    return {**found, "body": (await request.body()).decode()}


LITESTAR = Litestar([litestar_echo], openapi_config=None)


@pytest.mark.parametrize("app", [STARLETTE, LITESTAR], ids=["starlette", "litestar"])
async def test_a_framework_answers_a_function_url(app: Any) -> None:
    answer = await answer_of(
        asgi_service(app), url_event("/shelf/b%C3%B6ck", headers={"content-type": "application/json"})
    )
    found = json.loads(answer["body"])
    assert answer["statusCode"] in {200, 201}
    assert found["id"] == "böck"
    path, _, query = found["url"].partition("?")
    assert (urllib.parse.unquote(path), query) == (f"https://{URL}/shelf/böck", "sort=up&tag=a%2Cb&tag=c")
    assert json.loads(found["body"]) == {"title": "Momo"}


@pytest.mark.parametrize("app", [STARLETTE, LITESTAR], ids=["starlette", "litestar"])
async def test_a_framework_routes_below_the_stage_of_a_rest_api(app: Any) -> None:
    event = json.loads(samples()["apigateway/AwsProxy"])
    context = {**event["requestContext"], "path": "/prod/shelf/7"}
    headers = {**event["multiValueHeaders"], "Content-Type": ["application/json"]}
    event = {**event, "path": "/shelf/7", "requestContext": context, "multiValueHeaders": headers}
    answer = await answer_of(asgi_service(app), json.dumps(event).encode())
    found = json.loads(answer["body"])
    assert found["id"] == "7"
    assert found["url"].startswith("https://0123456789.execute-api.us-east-1.amazonaws.com/prod/shelf/7?foo=bar")
    assert json.loads(found["body"]) == {"test": "body"}


KINDS = ("websocket", "http api", "function url", "load balancer", "lattice")
SOURCES = ["alb/ALBRequest", "apigateway/AwsProxy", "apigateway/HttpApi"] + [
    name for name in DOCUMENTED if name.startswith(KINDS) and not name.endswith("authorizer")
]


@pytest.mark.parametrize("name", SOURCES)
async def test_starlette_answers_events_of_every_source(name: str) -> None:
    async def everything(request: StarletteRequest) -> Response:
        return PlainTextResponse(f"{request.method} {request.scope['root_path']} {len(await request.body())}")

    app = Starlette(routes=[Route("/{path:path}", everything, methods=["GET", "POST", "PUT"])])
    event = samples()[name] if name in samples() else json.dumps(DOCUMENTED[name][1]).encode()
    answer = await answer_of(asgi_service(app), event)
    assert answer["statusCode"] == 200
    assert answer["body"].split()[0] in {"GET", "POST", "PUT"}


async def test_cookies_of_both_directions_arrive() -> None:
    answer = await answer_of(asgi_service(STARLETTE), url_event("/shelf/1"))
    assert json.loads(answer["body"])["cookies"] == {"seen": "yes", "theme": "dark"}
    assert [cookie.partition(";")[0] for cookie in answer["cookies"]] == ["a=1", "b=2"]


async def test_background_tasks_have_run_when_the_answer_is_given() -> None:
    ran = []

    async def work() -> None:
        ran.append(1)

    async def route(request: StarletteRequest) -> Response:
        del request
        return PlainTextResponse("ok", background=BackgroundTask(work))

    await answer_of(asgi_service(Starlette(routes=[Route("/", route, methods=["POST"])])), url_event())
    assert ran == [1]


async def test_a_litestar_application_is_started_by_its_lifespan() -> None:
    @asynccontextmanager
    async def pool(app: Litestar) -> AsyncIterator[None]:
        app.state.greeting = "hello"
        yield

    @get("/", sync_to_thread=False)
    def greet(request: LitestarRequest[Any, Any, Any]) -> str:
        greeting: str = request.app.state.greeting
        return greeting

    service = asgi_service(Litestar([greet], lifespan=[pool], openapi_config=None), lifespan="on")
    event = http_v2(URL, rawPath="/")
    event["requestContext"]["http"]["method"] = "GET"
    async with service.running():
        answer = await answer_of(service, json.dumps(event).encode())
    assert answer["body"] == "hello"


async def test_an_endpoint_of_perdure_describes_itself_behind_a_function_url() -> None:
    greeter = perdure.Service("Greeter")

    @greeter.handler
    async def greet(ctx: perdure.Context, name: str) -> str:
        del ctx
        return f"hello {name}"

    service = asgi_service(perdure.Endpoint(greeter))
    event = http_v2(URL, rawPath="/discover", body=None, isBase64Encoded=False)
    event["requestContext"]["http"]["method"] = "GET"
    event["headers"]["accept"] = "application/vnd.restate.endpointmanifest.v3+json"
    async with service.running():
        answer = await answer_of(service, json.dumps(event).encode())
    manifest = json.loads(answer["body"])
    assert (answer["statusCode"], manifest["protocolMode"]) == (200, "REQUEST_RESPONSE")
    assert [each["name"] for each in manifest["services"]] == ["Greeter"]


# --- the rules of ASGI -----------------------------------------------------------------------------------------------


def app_of(*messages: dict[str, Any]) -> Any:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await receive()
        for message in messages:
            await send(message)

    return app


START = {"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/plain")]}
BODY = {"type": "http.response.body", "body": b"x"}
PART = {"type": "http.response.body", "body": b"p", "more_body": True}


async def test_a_body_in_parts_is_put_together() -> None:
    answer = await answer_of(asgi_service(app_of(START, PART, PART, BODY)), url_event())
    assert (answer["body"], answer["headers"]) == ("ppx", {"content-type": "text/plain"})


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ((BODY,), "http.response.body before http.response.start"),
        ((START, START), "http.response.start twice"),
        ((START, BODY, BODY), "http.response.body after its answer was complete"),
        (({"type": "websocket.accept"},), "websocket.accept, which is no message of an HTTP answer"),
    ],
)
async def test_messages_out_of_order_are_told(messages: tuple[dict[str, Any], ...], problem: str) -> None:
    caught: list[BaseException] = []
    inner = app_of(*messages)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await inner(scope, receive, send)
        except RuntimeError as error:
            caught.append(error)
            raise

    service = asgi_service(app)
    if START in messages and BODY in messages:  # the answer was complete before
        await answer_of(service, url_event())
    else:
        with pytest.raises(RuntimeError, match=problem):
            await answer_of(service, url_event())
    assert problem in str(caught[0])


@pytest.mark.parametrize(
    ("messages", "how"), [((), "without an answer"), ((START, PART), "in the middle of its answer")]
)
async def test_an_application_that_does_not_answer_fails_the_invocation(
    messages: tuple[dict[str, Any], ...], how: str
) -> None:
    with pytest.raises(FunctionError, match=f"the application returned {how} to POST /a"):
        await answer_of(asgi_service(app_of(*messages)), url_event("/a"))


async def test_the_client_is_there_until_the_answer_is_complete() -> None:
    order = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope
        assert (await receive())["body"] == b'{"title": "Momo"}'

        async def watch() -> None:
            order.append((await receive())["type"])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            order.append("answering")
            await send(START)
            await send(BODY)

    await answer_of(asgi_service(app), url_event())
    assert order == ["answering", "http.disconnect"]


async def test_what_an_application_raises_before_its_answer_fails_the_invocation() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive, send
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await answer_of(asgi_service(app), url_event())


async def test_what_an_application_raises_after_its_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def route(request: StarletteRequest) -> Response:
        raise ZeroDivisionError

    app = Starlette(routes=[Route("/", route, methods=["POST"])])
    with caplog.at_level(logging.ERROR, logger="perdure.aws_lambda"):
        answer = await answer_of(asgi_service(app), url_event())
    assert answer["statusCode"] == 500
    assert "failed after its answer to POST /" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_the_scope_has_the_event_and_the_context() -> None:
    seen = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive
        seen.update(scope)
        await send(START)
        await send(BODY)

    await answer_of(asgi_service(app), url_event())
    assert seen["aws.event"]["requestContext"]["domainName"] == URL
    assert seen["aws.context"].request_id == ""
    assert seen["extensions"]["perdure.request"].client == seen["client"][0] == "203.0.113.9"
    assert (seen["raw_path"], seen["query_string"]) == (b"/", b"sort=up&tag=a%2Cb&tag=c")


# --- options ---------------------------------------------------------------------------------------------------------


async def test_chosen_statuses_fail_the_invocation() -> None:
    bad = {**START, "status": 503}
    with pytest.raises(FunctionError, match="answered 503") as raised:
        await answer_of(asgi_service(app_of(bad, BODY), error_statuses=range(500, 600)), url_event())
    assert raised.value.error_type == "Http503"
    assert (await answer_of(asgi_service(app_of(START, BODY), error_statuses=[503]), url_event()))["statusCode"] == 200


async def test_headers_can_be_left_out() -> None:
    answer = await answer_of(asgi_service(app_of(START, BODY), exclude_headers=["Content-Type"]), url_event())
    assert answer["headers"] == {}


async def test_more_content_types_can_be_text() -> None:
    start = {**START, "headers": [(b"content-type", b"application/vnd.mine")]}
    answer = await answer_of(asgi_service(app_of(start, BODY), text_types=["Application/VND."]), url_event())
    assert answer["body"] == "x"


async def test_a_long_answer_can_be_compressed() -> None:
    body = {**BODY, "body": b"momo " * 300}
    event = url_event(headers={"accept-encoding": "gzip"})
    answer = await answer_of(asgi_service(app_of(START, body), compress=True), event)
    assert gzip.decompress(base64.b64decode(answer["body"])) == body["body"]
    assert (answer["isBase64Encoded"], answer["headers"]["content-encoding"]) == (True, "gzip")
    plain = await answer_of(asgi_service(app_of(START, body)), event)
    assert plain["isBase64Encoded"] is False


async def test_an_event_that_is_no_request_is_an_error_of_its_own() -> None:
    with pytest.raises(UnknownEventError):
        await asgi_service(STARLETTE).invoke(Invocation(samples()["s3/S3Put"]))


async def test_an_event_that_is_no_request_can_be_posted_to_the_application() -> None:
    async def events(request: StarletteRequest) -> Response:
        return JSONResponse({"records": len((await request.json())["Records"])})

    app = Starlette(routes=[Route("/events", events, methods=["POST"])])
    response = await asgi_service(app, pass_through="/events").invoke(Invocation(samples()["s3/S3Put"]))
    assert response == BufferedResponse(b'{"records":1}')


# --- streaming -------------------------------------------------------------------------------------------------------


class Recorder:
    """A stream that keeps what was sent."""

    def __init__(self) -> None:
        self.started = False
        self.prelude: MetadataPrelude | None = None
        self.pieces: list[bytes] = []

    async def start(self, prelude: MetadataPrelude | None = None, *, content_type: str = "") -> None:
        del content_type
        assert not self.started
        self.started = True
        self.prelude = prelude

    async def send(self, data: bytes) -> None:
        assert self.started
        self.pieces.append(data)


async def streamed(service: HttpService, event: bytes) -> Recorder:
    response = await service.invoke(Invocation(event))
    assert isinstance(response, PushedResponse)
    stream = Recorder()
    await response.write(stream)
    return stream


async def test_a_streamed_answer_is_passed_on_piece_by_piece() -> None:
    async def numbers() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number

    async def route(request: StarletteRequest) -> Response:
        del request
        response = StreamingResponse(numbers(), status_code=202, media_type="text/plain")
        response.set_cookie("a", "1")
        return response

    app = Starlette(routes=[Route("/", route, methods=["POST"])])
    stream = await streamed(asgi_service(app, streaming=True), url_event())
    assert [piece for piece in stream.pieces if piece] == [b"0", b"1", b"2"]
    assert stream.prelude is not None
    assert stream.prelude.status_code == 202
    assert stream.prelude.headers == {"content-type": "text/plain; charset=utf-8"}
    assert [cookie.partition(";")[0] for cookie in stream.prelude.cookies] == ["a=1"]


@pytest.mark.parametrize("name", ["alb/ALBRequest", "apigateway/HttpApi", "websocket message", "lattice 2"])
async def test_a_source_that_cannot_stream_gets_the_whole_answer(name: str) -> None:
    event = samples()[name] if name in samples() else json.dumps(DOCUMENTED[name][1]).encode()
    answer = await answer_of(asgi_service(app_of(START, PART, BODY), streaming=True), event)
    assert answer["body"] == "px"


async def test_a_stream_is_not_started_by_an_application_that_fails_first() -> None:
    response = await asgi_service(app_of(START), streaming=True).invoke(Invocation(url_event()))
    assert isinstance(response, PushedResponse)
    stream = Recorder()
    with pytest.raises(FunctionError, match="in the middle of its answer"):
        await response.write(stream)
    assert not stream.started


async def test_a_status_that_fails_the_invocation_starts_no_stream() -> None:
    service = asgi_service(app_of({**START, "status": 500}, BODY), streaming=True, error_statuses=[500])
    response = await service.invoke(Invocation(url_event()))
    assert isinstance(response, PushedResponse)
    stream = Recorder()
    with pytest.raises(FunctionError, match="answered 500"):
        await response.write(stream)
    assert not stream.started


# --- lifespan --------------------------------------------------------------------------------------------------------


async def test_the_lifespan_is_entered_at_init_and_left_at_the_end() -> None:
    order: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        del app
        order.append("start")
        yield {"pool": "a pool"}
        order.append("end")

    async def route(request: StarletteRequest) -> Response:
        order.append(request.state.pool)
        return PlainTextResponse("ok")

    service = asgi_service(Starlette(routes=[Route("/", route, methods=["POST"])], lifespan=lifespan))
    async with service.running():
        await answer_of(service, url_event())
        await answer_of(service, url_event())
    assert order == ["start", "a pool", "a pool", "end"]


async def test_a_lifespan_that_fails_is_an_error_at_init() -> None:
    def connect() -> None:
        raise RuntimeError("no database")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        connect()
        yield

    service = asgi_service(Starlette(lifespan=lifespan))
    with pytest.raises(FunctionError, match=r"(?s)the application could not start: .*no database") as raised:
        async with service.running():
            raise AssertionError
    assert raised.value.error_type == "LifespanError"


async def test_an_application_that_waits_after_it_failed_to_start_holds_up_nothing() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope
        await receive()
        await send({"type": "lifespan.startup.failed"})
        await anyio.sleep_forever()

    with pytest.raises(FunctionError, match="could not start: it gave no reason"):
        async with asgi_service(app).running():
            raise AssertionError


async def test_an_application_without_a_lifespan_is_served_unless_it_must_have_one() -> None:
    app = app_of(START, BODY)
    async with asgi_service(app).running():
        assert (await answer_of(asgi_service(app), url_event()))["body"] == "x"
    with pytest.raises(FunctionError, match="no lifespan, or it failed: NotImplementedError"):
        async with asgi_service(app, lifespan="on").running():
            raise AssertionError


async def test_a_lifespan_that_is_off_is_not_asked_for() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    async with asgi_service(app, lifespan="off").running():
        pass


async def test_a_lifespan_that_cannot_end_in_order_is_told() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        yield
        raise RuntimeError("still busy")

    with pytest.raises(FunctionError, match=r"(?s)could not end in order: .*still busy"):
        async with asgi_service(Starlette(lifespan=lifespan)).running():
            pass


async def test_what_fails_during_the_lifespan_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with asgi_service(Starlette()).running():
            raise ZeroDivisionError
