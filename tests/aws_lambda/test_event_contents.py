"""What typed events make of the strings in them: times, base64, JSON, compressed records."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.aws_lambda.events import (
    CloudWatchLogsEvent,
    DynamoDbEvent,
    EventBridgeEvent,
    KafkaEvent,
    KinesisEvent,
    LogRecords,
    S3Event,
    SnsEvent,
    SnsMessage,
    SqsEvent,
    from_attribute,
    from_item,
)
from perdure.aws_lambda.events.contents import decode_base64, decode_time
from perdure.aws_lambda.failures import PayloadError
from tests.aws_lambda.documented_events import DOCUMENTED
from tests.aws_lambda.sam_wheel import samples


class Numbered(msgspec.Struct):
    number: int


def documented(name: str) -> dict[str, Any]:
    return DOCUMENTED[name][1]


def test_a_message_of_a_queue_is_read_as_a_type() -> None:
    event = SqsEvent.decode(documented("fifo queue"))
    assert [record.json(Numbered).number for record in event.records] == [0, 1, 2]
    assert event.records[0].json() == {"number": 0}


def test_the_body_of_a_message_that_does_not_fit_is_named_with_its_field() -> None:
    [record] = SqsEvent.decode(samples()["sqs/Sqs"]).records
    with pytest.raises(PayloadError, match=f"the body of message {record.message_id} is no JSON"):
        record.json()
    wrong = msgspec.structs.replace(record, body='{"number": "x"}')
    with pytest.raises(PayloadError, match=r"does not fit Numbered: Expected `int`, got `str` - at `\$.number`"):
        wrong.json(Numbered)


def test_what_a_queue_knows_about_a_message() -> None:
    record = SqsEvent.decode(documented("fifo queue")).records[0]
    assert record.attributes.receive_count == 3
    assert record.attributes.sent_at == dt.datetime(2025, 2, 3, 10, 11, 12, 4000, dt.UTC)
    assert {name: each.value for name, each in record.message_attributes.items()} == {"kind": "book", "cover": b"\0\1"}


def test_a_notification_in_a_queue_keeps_what_it_does_not_know() -> None:
    [notification] = SnsEvent.decode(samples()["sns/Sns"]).records
    body = json.dumps({**notification.sns.to_dict(), "New": 1})
    [record] = SqsEvent.decode(samples()["sqs/Sqs"]).records
    inner = msgspec.structs.replace(record, body=body).json(SnsMessage)
    assert inner.extra == {"New": 1}
    assert inner.to_dict() == json.loads(body)


def test_a_notification() -> None:
    [record] = SnsEvent.decode(samples()["sns/Sns"]).records
    assert record.sns.published_at == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    message = msgspec.structs.replace(record.sns, message='{"number": 4}')
    assert message.json(Numbered) == Numbered(4)


def test_the_key_of_an_object_is_decoded_as_a_form_is() -> None:
    fields = json.loads(samples()["s3/S3Put"])
    fields["Records"][0]["s3"]["object"]["key"] = "B%C3%BCcher/Momo+und+ihre+Freunde%2B.txt"
    [record] = S3Event.decode(fields).records
    assert record.s3.object.name == "Bücher/Momo und ihre Freunde+.txt"
    assert record.happened_at == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def test_records_of_a_kinesis_stream() -> None:
    [record] = KinesisEvent.decode(samples()["kinesis/Kinesis"]).records
    assert record.kinesis.payload == b"Hello, this is a test 123."
    assert record.kinesis.arrived_at == dt.datetime(2015, 4, 9, tzinfo=dt.UTC)
    with pytest.raises(PayloadError, match="is no JSON"):
        record.kinesis.json()
    number = msgspec.structs.replace(record.kinesis, data=base64.b64encode(b'{"number": 1}').decode())
    assert number.json(Numbered) == Numbered(1)


def test_records_of_kafka() -> None:
    event = KafkaEvent.decode(documented("amazon msk"))
    loan, tombstone = event
    assert (loan.key_bytes, loan.payload) == (b"momo", b'{"book": 7}')
    assert loan.json() == {"book": 7}
    assert loan.header_pairs == [("trace", b"ab\xff")]
    assert loan.written_at == dt.datetime(2025, 2, 3, 10, 11, 12, 4000, dt.UTC)
    assert (tombstone.key_bytes, tombstone.payload, tombstone.header_pairs) == (None, None, [])
    with pytest.raises(PayloadError, match="the value of record 16 of loans-0 is no JSON"):
        tombstone.json()


def test_the_detail_of_an_event_is_read_as_a_type() -> None:
    class Returned(msgspec.Struct):
        book: int

    event = EventBridgeEvent.decode(documented("eventbridge, replayed"))
    assert event.detail_as(Returned).book == 7
    assert event.happened_at == dt.datetime(2025, 2, 3, 10, 11, 12, tzinfo=dt.UTC)
    with pytest.raises(PayloadError, match="the detail of 'Book returned' does not fit"):
        event.detail_as(Numbered)


# --- DynamoDB --------------------------------------------------------------------------------------------------------


def test_items_become_python_values() -> None:
    first, *_ = DynamoDbEvent.decode(samples()["dynamodb/DynamoDBUpdate"]).records
    assert first.dynamodb.new_image is not None
    assert from_item(first.dynamodb.new_image) == {"Message": "New item!", "Id": 101}
    assert first.dynamodb.created_at == dt.datetime(2015, 4, 9, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"S": "a"}, "a"),
        ({"N": "-3"}, -3),
        ({"N": "1.50"}, Decimal("1.50")),
        ({"N": "1E+3"}, 1000),
        ({"B": "AAE="}, b"\0\1"),
        ({"BOOL": False}, False),
        ({"NULL": True}, None),
        ({"L": [{"S": "a"}, {"N": "1"}]}, ["a", 1]),
        ({"M": {"x": {"M": {"y": {"N": "2"}}}}}, {"x": {"y": 2}}),
        ({"SS": ["a", "b"]}, frozenset({"a", "b"})),
        ({"NS": ["1", "2.5"]}, frozenset({1, Decimal("2.5")})),
        ({"BS": ["AA=="]}, frozenset({b"\0"})),
    ],
)
def test_an_attribute_value_becomes_a_python_value(value: dict[str, Any], expected: object) -> None:
    assert from_attribute(value) == expected
    assert type(from_attribute(value)) is type(expected)


@pytest.mark.parametrize(
    "value", [{}, {"S": "a", "N": "1"}, {"X": 1}, {"N": "many"}, {"N": 1.5e300}, {"B": "?"}, {"L": 1}]
)
def test_what_is_no_attribute_value_is_told(value: dict[str, Any]) -> None:
    with pytest.raises(PayloadError):
        from_attribute(value)


# --- CloudWatch Logs -------------------------------------------------------------------------------------------------


def packed(data: bytes) -> CloudWatchLogsEvent:
    return CloudWatchLogsEvent.decode({"awslogs": {"data": base64.b64encode(data).decode()}})


def test_log_records_are_unpacked() -> None:
    records = CloudWatchLogsEvent.decode(samples()["cloudwatch/CloudwatchLogs"]).records()
    assert (records.message_type, records.log_group, len(records.log_events)) == ("DATA_MESSAGE", "testLogGroup", 2)
    assert records.log_events[0].logged_at.year == 2015


def test_log_records_keep_what_they_do_not_know() -> None:
    records = CloudWatchLogsEvent.decode(documented("cloudwatch logs")).records()
    assert records.extra == {"policyLevel": "ACCOUNT_LEVEL_POLICY"}
    assert isinstance(records, LogRecords)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"plain", "is no gzip"),
        (gzip.compress(b"{}"), "does not fit LogRecords"),
        (gzip.compress(b"no"), "is no JSON"),
        (gzip.compress(b"[1, 2, 3]" * 99)[:-12], "is cut off"),
    ],
)
def test_log_records_that_cannot_be_unpacked_are_told(data: bytes, problem: str) -> None:
    with pytest.raises(PayloadError, match=f"the data of CloudWatch Logs {problem}"):
        packed(data).records()


def test_a_small_delivery_that_unpacks_to_a_huge_one_is_refused() -> None:
    with pytest.raises(PayloadError, match="larger than 67108864 bytes"):
        packed(gzip.compress(bytes(65 * 1024 * 1024), compresslevel=1)).records()


# --- pieces ----------------------------------------------------------------------------------------------------------


@given(st.binary())
def test_base64_is_decoded_to_what_it_was_made_of(data: bytes) -> None:
    assert decode_base64(base64.b64encode(data).decode(), what="it") == data


@pytest.mark.parametrize("text", ["?", "AAA", "AA\n==", "ä"])
def test_what_is_no_base64_is_told(text: str) -> None:
    with pytest.raises(PayloadError, match="it is no base64"):
        decode_base64(text, what="it")


@pytest.mark.parametrize("text", ["2025-02-03T10:11:12Z", "2025-02-03T10:11:12.000Z", "2025-02-03T11:11:12+01:00"])
def test_a_time_is_read_as_aws_writes_it(text: str) -> None:
    assert decode_time(text) == dt.datetime(2025, 2, 3, 10, 11, 12, tzinfo=dt.UTC)


def test_what_is_no_time_is_told() -> None:
    with pytest.raises(PayloadError, match="'yesterday' is no time"):
        decode_time("yesterday")
