"""Batches of Kafka records, of Amazon MSK or of a cluster of one's own ("Using Lambda with Apache Kafka")."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar, overload

from perdure.aws_lambda.events.contents import decode_base64, decode_text, from_milliseconds
from perdure.aws_lambda.events.structure import AwsObject, Event

__all__ = ["KafkaEvent", "KafkaRecord"]

T = TypeVar("T")


class KafkaRecord(AwsObject, kw_only=True):
    """One record.

    Attributes:
        timestamp: milliseconds since 1970.
        timestamp_type: `CREATE_TIME` or `LOG_APPEND_TIME`.
        key: base64; absent or `null` when the producer gave none.
        value: base64; absent or `null` for a tombstone.
        headers: one map with one header each; values are lists of signed bytes.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int | None = None
    timestamp_type: str | None = None
    key: str | None = None
    value: str | None = None
    headers: list[dict[str, list[int]]] | None = None

    @property
    def key_bytes(self) -> bytes | None:
        """The key."""
        return None if self.key is None else decode_base64(self.key, what=f"the key of {self._name}")

    @property
    def payload(self) -> bytes | None:
        """The value; `None` for a tombstone."""
        return None if self.value is None else decode_base64(self.value, what=f"the value of {self._name}")

    @property
    def header_pairs(self) -> list[tuple[str, bytes]]:
        """The headers in their order; AWS writes bytes from 128 on as negative numbers, and both forms are read."""
        return [
            (name, bytes(number % 256 for number in numbers))
            for header in self.headers or ()
            for name, numbers in header.items()
        ]

    @property
    def written_at(self) -> dt.datetime | None:
        """When the record was made, or when the log took it."""
        return from_milliseconds(self.timestamp)

    @property
    def _name(self) -> str:
        return f"record {self.offset} of {self.topic}-{self.partition}"

    @overload
    def json(self) -> Any: ...
    @overload
    def json(self, kind: type[T]) -> T: ...
    def json(self, kind: Any = Any) -> Any:
        """The value, which is JSON, as a type.

        Raises:
            PayloadError: it is not, or is a tombstone; the message names the field.
        """
        return decode_text(self.payload or b"", kind, what=f"the value of {self._name}")


class KafkaEvent(Event, kw_only=True):
    """A batch of records.

    Attributes:
        event_source: `aws:kafka` for Amazon MSK, `SelfManagedKafka` for others.
        records: by topic and partition, `mytopic-0`.
        bootstrap_servers: of the cluster, with commas between.
    """

    source: ClassVar[str] = "a Kafka topic"

    event_source: str
    records: dict[str, list[KafkaRecord]]
    event_source_arn: str | None = None
    bootstrap_servers: str | None = None

    def __iter__(self) -> Iterator[KafkaRecord]:
        return (record for records in self.records.values() for record in records)
