"""Plain functions from request to response."""

from __future__ import annotations

import functools
import json
import threading
from typing import Any

import msgspec
import pytest

from perdure.aws_lambda.events import SqsEvent
from perdure.aws_lambda.failures import FunctionError
from perdure.aws_lambda.http import HttpError, Request, Response, http_service
from perdure.aws_lambda.invocation import Invocation
from perdure.aws_lambda.response import BufferedResponse, MetadataPrelude, StreamingResponse
from tests.aws_lambda.documented_events import http_v2
from tests.aws_lambda.sam_wheel import samples

pytestmark = pytest.mark.anyio

EVENT = json.dumps(http_v2("x.lambda-url.eu-central-1.on.aws")).encode()


class Book(msgspec.Struct):
    title: str


async def answer_to(function: Any, event: bytes = EVENT) -> dict[str, Any]:
    response = await http_service(function).invoke(Invocation(event))
    assert isinstance(response, BufferedResponse)
    found: dict[str, Any] = json.loads(response.body)
    return found


@pytest.mark.parametrize(
    ("result", "status", "content_type", "body"),
    [
        ("hällo", 200, "text/plain; charset=utf-8", "hällo"),
        ("", 200, "text/plain; charset=utf-8", None),
        (b"\xff", 200, "application/octet-stream", "/w=="),
        ({"a": 1}, 200, "application/json", '{"a":1}'),
        ([1], 200, "application/json", "[1]"),
        (Book("Momo"), 200, "application/json", '{"title":"Momo"}'),
        (None, 204, None, None),
        ((201, {"a": 1}), 201, "application/json", '{"a":1}'),
        ((404, "gone"), 404, "text/plain; charset=utf-8", "gone"),
        ((202, None), 202, None, None),
        ([1, 2], 200, "application/json", "[1,2]"),
        (True, 200, "application/json", "true"),
    ],
)
async def test_what_a_function_returns_is_made_into_an_answer(
    result: object, status: int, content_type: str | None, body: str | None
) -> None:
    async def function(request: Request) -> object:
        del request
        return result

    answer = await answer_to(function)
    assert (answer["statusCode"], answer["headers"].get("content-type"), answer.get("body")) == (
        status,
        content_type,
        body,
    )


async def test_a_response_says_everything_itself() -> None:
    def function(request: Request) -> Response:
        del request
        headers = [("Content-Type", "text/csv"), ("Vary", "a"), ("vary", "b")]
        return Response(status=203, body="a,b", headers=headers, cookies=["x=1", "y=2"])

    assert await answer_to(function) == {
        "statusCode": 203,
        "headers": {"content-type": "text/csv", "vary": "a, b"},
        "cookies": ["x=1", "y=2"],
        "isBase64Encoded": False,
        "body": "a,b",
    }


async def test_a_function_sees_the_request() -> None:
    async def function(request: Request) -> Any:
        return {"path": request.path, "title": request.json(Book).title, "tags": request.query["tag"]}

    answer = await answer_to(function)
    assert json.loads(answer["body"]) == {"path": "/shelf/böck lein", "title": "Momo", "tags": ["a,b", "c"]}


async def test_a_plain_function_runs_in_a_worker_thread() -> None:
    def function(request: Request) -> Any:
        del request
        return threading.current_thread() is threading.main_thread()

    assert (await answer_to(function))["body"] == "false"


async def test_an_object_with_an_async_call_and_a_partial_are_awaited() -> None:
    class Function:
        async def __call__(self, request: Request) -> str:
            del request
            return "object"

    async def function(word: str, request: Request) -> str:
        del request
        return word

    assert (await answer_to(Function()))["body"] == "object"
    assert (await answer_to(functools.partial(function, "partial")))["body"] == "partial"


async def test_a_body_that_does_not_fit_is_answered_with_400_and_the_field() -> None:
    async def function(request: Request) -> Any:
        return request.json(Book)

    event = json.dumps(http_v2("x.lambda-url.eu-central-1.on.aws", body='{"title": 1}', isBase64Encoded=False)).encode()
    answer = await answer_to(function, event)
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["message"].endswith("Expected `str`, got `int` - at `$.title`")


async def test_an_error_with_a_status_is_an_answer() -> None:
    async def function(request: Request) -> Any:
        raise HttpError(409, f"{request.path} is taken")

    answer = await answer_to(function)
    assert (answer["statusCode"], json.loads(answer["body"])) == (409, {"message": "/shelf/böck lein is taken"})


async def test_every_other_error_fails_the_invocation() -> None:
    async def function(request: Request) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await answer_to(function)


async def test_what_cannot_be_written_as_json_fails_the_invocation() -> None:
    async def function(request: Request) -> Any:
        del request
        return object()

    with pytest.raises(FunctionError, match=r"cannot be written as JSON: .* type object is unsupported") as raised:
        await answer_to(function)
    assert raised.value.error_type == "Runtime.MarshalError"


async def test_a_stream_is_passed_on() -> None:
    async def body() -> Any:
        yield b"x"

    stream = StreamingResponse(body(), MetadataPrelude(headers={"content-type": "text/plain"}))

    async def function(request: Request) -> Any:
        del request
        return stream

    assert await http_service(function).invoke(Invocation(EVENT)) is stream


async def test_an_event_that_is_no_request_can_be_passed_to_the_function() -> None:
    async def function(request: Request) -> Any:
        return [record.message_id for record in request.json(SqsEvent).records]

    response = await http_service(function, pass_through="/events").invoke(Invocation(samples()["sqs/Sqs"]))
    assert response == BufferedResponse(b'["19dd0b57-b21e-4ac1-bd88-01bbb068cb78"]')
