"""The examples for AWS Lambda, in memory and as bootstraps of AWS's own emulator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from examples import lambda_asgi, lambda_batch, lambda_streaming, lambda_telemetry, lambda_typed_event
from perdure.aws_lambda import LambdaEvent, StreamingResponse
from perdure.aws_lambda.events import S3Event, SqsEvent
from perdure.aws_lambda.extensions import run_extension
from perdure.aws_lambda.http import HttpError, Request
from perdure.aws_lambda.invocation import Invocation
from perdure.aws_lambda.response import BufferedResponse
from tests.aws_lambda.documented_events import http_v2
from tests.aws_lambda.emulator import Emulator, emulator
from tests.aws_lambda.extensions_server import Deliverer, platform
from tests.aws_lambda.sam_wheel import samples

pytestmark = pytest.mark.anyio

EXAMPLES = Path(lambda_asgi.__file__).parent
BATCH = json.loads(samples()["sqs/Sqs"])
BATCH["Records"] = [
    {**BATCH["Records"][0], "messageId": name, "body": body}
    for name, body in [("a", '{"book": "Momo", "days": 7}'), ("b", '{"book": "Momo", "days": 70}'), ("c", "?")]
]


@contextmanager
def bootstrap(name: str, folder: Path) -> Iterator[Emulator]:
    with emulator([str(EXAMPLES / f"{name}.py")], folder) as found:
        yield found


def url_event(path: str, method: str = "GET", **more: Any) -> dict[str, Any]:
    event = http_v2("u7rlid.lambda-url.eu-central-1.on.aws", rawPath=path, isBase64Encoded=False, **more)
    event["requestContext"]["http"]["method"] = method
    return event


# --- in memory -------------------------------------------------------------------------------------------------------


async def test_new_objects_are_catalogued() -> None:
    entries = await lambda_typed_event.catalogue(LambdaEvent(S3Event.decode(samples()["s3/S3Put"])))
    assert entries == [lambda_typed_event.Entry("test/key", "example-bucket", 1024)]
    assert await lambda_typed_event.catalogue(LambdaEvent(S3Event.decode(samples()["s3/S3Delete"]))) == []


async def test_the_messages_that_cannot_be_lent_are_sent_again() -> None:
    answer = await lambda_batch.handler(LambdaEvent(SqsEvent.decode(BATCH)))
    assert [failure.item_identifier for failure in answer.batch_item_failures] == ["b", "c"]


async def test_a_countdown_is_streamed_line_by_line() -> None:
    response = await lambda_streaming.launch(Request(query_string="from=2"))
    assert isinstance(response, StreamingResponse)
    assert [line async for line in response.body] == [b"2\n", b"1\n", b"liftoff\n"]
    with pytest.raises(HttpError, match="'x' is no number"):
        await lambda_streaming.launch(Request(query_string="from=x"))


async def test_a_book_is_put_and_read() -> None:
    async def status_of(event: dict[str, Any]) -> int:
        response = await lambda_asgi.service.invoke(Invocation(json.dumps(event).encode()))
        assert isinstance(response, BufferedResponse)
        status: int = json.loads(response.body)["statusCode"]
        return status

    async with lambda_asgi.service.running():
        assert await status_of(url_event("/books/2", body=None)) == 404
        assert await status_of(url_event("/books/2", "PUT", body='{"title": "Jim"}')) == 204
        assert await status_of(url_event("/books/2", body=None)) == 200


async def test_what_was_billed_is_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    bill = lambda_telemetry.Bill()
    report = {"requestId": "r", "metrics": {"billedDurationMs": 102}}
    async with platform() as found, found.client() as client, anyio.create_task_group() as tasks:

        async def extension() -> None:
            await run_extension(lambda_telemetry.extension(bill, host="127.0.0.1"), client=client)

        tasks.start_soon(extension)
        while not found.subscribed:
            await anyio.wait_all_tasks_blocked()
        deliverer = await Deliverer.connect(found.port())
        for _ in range(2):
            status, _text = await deliverer.post([{"time": "t", "type": "platform.report", "record": report}])
            assert status == 200
        await deliverer.aclose()
        found.give(eventType="SHUTDOWN", deadlineMs=0, shutdownReason="spindown")
    assert capsys.readouterr().out == "billed: 204 ms\n"


# --- under AWS's emulator --------------------------------------------------------------------------------------------


def test_a_typed_event_and_one_of_another_source_reach_the_function(tmp_path: Path) -> None:
    with bootstrap("lambda_typed_event", tmp_path) as found:
        entries = json.loads(found.invoke(samples()["s3/S3Put"]).body)
        assert entries == [{"title": "test/key", "shelf": "example-bucket", "size": 1024}]
        error = found.result({"Records": [{"eventSource": "aws:s3"}]})
        assert error["errorType"] == "Runtime.UnmarshalError"
        assert "missing required field `eventVersion` - at `$.Records[0]`" in error["errorMessage"]
        assert len(json.loads(found.invoke(samples()["s3/S3Put"]).body)) == 1


def test_a_batch_is_answered_with_the_messages_that_failed(tmp_path: Path) -> None:
    with bootstrap("lambda_batch", tmp_path) as found:
        assert found.result(BATCH) == {"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "c"}]}
        assert "Momo cannot be lent for 70 days" in found.log()


def test_an_application_answers_requests_and_refuses_other_events(tmp_path: Path) -> None:
    with bootstrap("lambda_asgi", tmp_path) as found:
        answer = found.result(url_event("/books/1", body=None))
        assert (answer["statusCode"], json.loads(answer["body"])["title"]) == (200, "Momo")
        error = json.loads(found.invoke(samples()["sqs/Sqs"]).body)
        assert error["errorType"] == "Runtime.UnmarshalError"
        assert "this event is no HTTP request (it has Records)" in error["errorMessage"]
        assert found.result(url_event("/books/9", body=None))["statusCode"] == 404


def test_a_stream_has_its_head_its_pieces_and_plain_answers_where_there_is_no_stream(tmp_path: Path) -> None:
    with bootstrap("lambda_streaming", tmp_path) as found:
        body = found.invoke(url_event("/", rawQueryString="from=2", body=None)).body
        head, _, rest = body.partition(bytes(8))
        assert json.loads(head)["headers"] == {"content-type": "text/plain; charset=utf-8"}
        assert rest == b"2\n1\nliftoff\n"
        assert found.result(url_event("/", rawQueryString="from=x", body=None))["statusCode"] == 400


def test_the_extension_flushes_behind_the_answer(tmp_path: Path) -> None:
    with bootstrap("lambda_extension", tmp_path) as found:
        assert found.result({}) == "counted"
        assert found.result({}) == "counted"  # the platform gives it when the first flush is done
        assert found.log().count("sent 1 counts") >= 1
        assert "Internal agent perdure-flush" in found.log()
        assert "subscribed to [INVOKE]" in found.log()
