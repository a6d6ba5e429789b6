"""Batches of records of Kinesis data streams ("Using AWS Lambda with Amazon Kinesis" in Lambda's guide)."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar, TypeVar, overload

import msgspec

from perdure.aws_lambda.events.contents import decode_base64, decode_text
from perdure.aws_lambda.events.streams import StreamWindow
from perdure.aws_lambda.events.structure import AwsObject

__all__ = ["KinesisData", "KinesisEvent", "KinesisRecord"]

T = TypeVar("T")


class KinesisData(AwsObject, kw_only=True):
    """The record as the producer wrote it.

    Attributes:
        data: base64.
        approximate_arrival_timestamp: seconds since 1970.
    """

    data: str
    partition_key: str
    sequence_number: str
    approximate_arrival_timestamp: int | float | None = None
    kinesis_schema_version: str | None = None
    encryption_type: str | None = None

    @property
    def payload(self) -> bytes:
        """The data."""
        return decode_base64(self.data, what=f"the data of record {self.sequence_number}")

    @property
    def arrived_at(self) -> dt.datetime | None:
        """When the stream took the record."""
        seconds = self.approximate_arrival_timestamp
        return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)

    @overload
    def json(self) -> Any: ...
    @overload
    def json(self, kind: type[T]) -> T: ...
    def json(self, kind: Any = Any) -> Any:
        """The data, which is JSON, as a type.

        Raises:
            PayloadError: it is not; the message names the field.
        """
        return decode_text(self.payload, kind, what=f"the data of record {self.sequence_number}")


class KinesisRecord(AwsObject, kw_only=True):
    """One record, and where it comes from."""

    kinesis: KinesisData
    event_id: str = msgspec.field(name="eventID")
    event_source: str
    event_name: str | None = None
    event_version: str | None = None
    event_source_arn: str | None = msgspec.field(default=None, name="eventSourceARN")
    invoke_identity_arn: str | None = None
    aws_region: str | None = None


class KinesisEvent(StreamWindow, kw_only=True):
    """A batch of records of one shard."""

    source: ClassVar[str] = "a Kinesis stream"

    records: list[KinesisRecord] = msgspec.field(name="Records")
