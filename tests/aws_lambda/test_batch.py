"""Partial batch responses: what is sent again follows from the order that the source promises."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from perdure.aws_lambda.events import (
    BatchResponse,
    DynamoDbEvent,
    KinesisEvent,
    SqsEvent,
    SqsRecord,
    process_batch,
)
from tests.aws_lambda.sam_wheel import samples

pytestmark = pytest.mark.anyio


def queue(*messages: tuple[str, str | None]) -> list[SqsRecord]:
    """Messages of a queue, by id and group."""
    [record] = json.loads(samples()["sqs/Sqs"])["Records"]
    fields: list[dict[str, Any]] = []
    for name, group in messages:
        grouped = {"MessageGroupId": group} if group else {}
        fields.append({**record, "messageId": name, "attributes": {**record["attributes"], **grouped}})
    return SqsEvent.decode({"Records": fields}).records


def failing(*names: str) -> Any:
    async def handler(record: Any) -> None:
        await anyio.lowlevel.checkpoint()
        if getattr(record, "message_id", "") in names:
            raise ValueError(f"{record.message_id} is bad")

    return handler


def named(answer: BatchResponse) -> list[str]:
    return [failure.item_identifier for failure in answer.batch_item_failures]


async def test_without_failures_the_answer_names_nothing() -> None:
    answer = await process_batch(queue(("a", None), ("b", None)), failing())
    assert msgspec.json.encode(answer) == b'{"batchItemFailures":[]}'


async def test_the_messages_that_failed_are_named_as_lambda_reads_them() -> None:
    answer = await process_batch(queue(("a", None), ("b", None), ("c", None)), failing("a", "c"))
    expected = {"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "c"}]}
    assert json.loads(msgspec.json.encode(answer)) == expected


async def test_what_a_message_failed_with_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="perdure.aws_lambda"):
        await process_batch(queue(("a", None)), failing("a"))
    [record] = caplog.records
    assert "a message failed and will be sent again: a" in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a is bad"


async def test_messages_of_a_group_behind_a_failed_one_are_sent_again_unhandled() -> None:
    seen = []

    async def handler(record: SqsRecord) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(record.message_id)
        if record.message_id == "b1":
            raise ValueError

    batch = queue(("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b"), ("b3", "b"))
    assert named(await process_batch(batch, handler, concurrency=3)) == ["b1", "b2", "b3"]
    assert sorted(seen) == ["a1", "a2", "b1"]


async def test_a_stream_is_handled_up_to_its_first_failure() -> None:
    [record] = json.loads(samples()["kinesis/Kinesis"])["Records"]
    records = [{**record, "kinesis": {**record["kinesis"], "sequenceNumber": str(number)}} for number in range(4)]
    seen = []

    async def handler(record: Any) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(record.kinesis.sequence_number)
        if record.kinesis.sequence_number == "1":
            raise ValueError

    answer = await process_batch(KinesisEvent.decode({"Records": records}).records, handler, concurrency=4)
    assert named(answer) == ["1", "2", "3"]
    assert seen == ["0", "1"]


async def test_changes_of_a_table_are_named_by_their_sequence_numbers() -> None:
    records = DynamoDbEvent.decode(samples()["dynamodb/DynamoDBUpdate"]).records

    async def handler(record: object) -> None:
        await anyio.lowlevel.checkpoint()
        if record is records[1]:
            raise ValueError

    expected = [record.dynamodb.sequence_number for record in records[1:]]
    assert named(await process_batch(records, handler)) == expected


async def test_as_many_messages_are_handled_at_once_as_was_asked_for() -> None:
    running, most = 0, 0

    async def handler(record: SqsRecord) -> None:
        del record
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1

    await process_batch(queue(*((str(number), None) for number in range(9))), handler, concurrency=3)
    assert most == 3


async def test_a_concurrency_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="a concurrency of 0"):
        await process_batch(queue(("a", None)), failing(), concurrency=0)


async def test_a_cancellation_is_no_failure_of_a_message() -> None:
    async def handler(record: SqsRecord) -> None:
        del record
        await anyio.sleep_forever()

    done = False
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def batch() -> None:
                nonlocal done
                await process_batch(queue(("a", None)), handler)
                done = True

            tasks.start_soon(batch)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert not done


async def test_a_failure_may_be_named_by_its_identifier() -> None:
    answer = BatchResponse()
    answer.add_failure("x")
    answer.add_failure(queue(("y", None))[0])
    assert named(answer) == ["x", "y"]
