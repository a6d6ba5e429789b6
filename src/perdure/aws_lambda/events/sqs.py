"""Batches of messages of SQS queues ("Using Lambda with Amazon SQS" in Lambda's guide)."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar, TypeVar, overload

import msgspec

from perdure.aws_lambda.events.contents import decode_base64, decode_text, from_milliseconds
from perdure.aws_lambda.events.structure import AwsObject, Event

__all__ = ["SqsAttributes", "SqsEvent", "SqsMessageAttribute", "SqsRecord"]

T = TypeVar("T")


class SqsAttributes(AwsObject, kw_only=True, rename="pascal"):
    """What the queue knows about a message; numbers are written as strings of digits."""

    approximate_receive_count: str | None = None
    approximate_first_receive_timestamp: str | None = None
    sent_timestamp: str | None = None
    sender_id: str | None = None
    sequence_number: str | None = None
    message_group_id: str | None = None
    message_deduplication_id: str | None = None
    aws_trace_header: str | None = msgspec.field(default=None, name="AWSTraceHeader")
    dead_letter_queue_source_arn: str | None = None

    @property
    def receive_count(self) -> int:
        """How often the message was handed out, this time included; 0 when the queue did not tell."""
        return int(self.approximate_receive_count or 0)

    @property
    def sent_at(self) -> dt.datetime | None:
        """When the message was sent."""
        return from_milliseconds(self.sent_timestamp)


class SqsMessageAttribute(AwsObject, kw_only=True):
    """An attribute that the sender gave to a message.

    Attributes:
        data_type: `String`, `Number` or `Binary`, with a label behind a dot if the sender wrote one.
        binary_value: base64.
    """

    data_type: str
    string_value: str | None = None
    binary_value: str | None = None
    string_list_values: list[str] | None = None
    binary_list_values: list[str] | None = None

    @property
    def value(self) -> str | bytes | None:
        """The value: bytes of a binary attribute, text of every other."""
        if self.binary_value is None:
            return self.string_value
        return decode_base64(self.binary_value, what="the binary value of an attribute")


class SqsRecord(AwsObject, kw_only=True):
    """One message."""

    message_id: str
    receipt_handle: str
    body: str
    attributes: SqsAttributes
    message_attributes: dict[str, SqsMessageAttribute]
    event_source: str
    event_source_arn: str = msgspec.field(name="eventSourceARN")
    aws_region: str
    md5_of_body: str | None = msgspec.field(default=None, name="md5OfBody")
    md5_of_message_attributes: str | None = msgspec.field(default=None, name="md5OfMessageAttributes")

    @overload
    def json(self) -> Any: ...
    @overload
    def json(self, kind: type[T]) -> T: ...
    def json(self, kind: Any = Any) -> Any:
        """The body, which is JSON, as a type.

        Raises:
            PayloadError: it is not; the message names the field.
        """
        return decode_text(self.body, kind, what=f"the body of message {self.message_id}")


class SqsEvent(Event, kw_only=True):
    """A batch of messages of one queue."""

    source: ClassVar[str] = "an SQS queue"

    records: list[SqsRecord] = msgspec.field(name="Records")
