"""Notifications of SNS topics ("Using AWS Lambda with Amazon SNS" in Lambda's guide)."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar, TypeVar, overload

import msgspec

from perdure.aws_lambda.events.contents import decode_base64, decode_text, decode_time
from perdure.aws_lambda.events.structure import AwsObject, Event

__all__ = ["SnsAttribute", "SnsEvent", "SnsMessage", "SnsRecord"]

T = TypeVar("T")


class SnsAttribute(AwsObject, kw_only=True, rename="pascal"):
    """An attribute that the publisher gave to a message; the value of a `Binary` one is base64."""

    type: str
    value: str

    @property
    def data(self) -> str | bytes:
        """The value: bytes of a binary attribute, text of every other."""
        return decode_base64(self.value, what="the value of an attribute") if self.type == "Binary" else self.value


class SnsMessage(AwsObject, kw_only=True, rename="pascal"):
    """A message as it was published. It is also what a queue that subscribes to a topic holds in its bodies."""

    message_type: str = msgspec.field(name="Type")
    message_id: str
    topic_arn: str
    message: str
    timestamp: str
    subject: str | None = None
    message_attributes: dict[str, SnsAttribute] | None = None
    signature_version: str | None = None
    signature: str | None = None
    signing_cert_url: str | None = msgspec.field(default=None, name="SigningCertUrl")
    unsubscribe_url: str | None = msgspec.field(default=None, name="UnsubscribeUrl")

    @property
    def published_at(self) -> dt.datetime:
        """When it was published."""
        return decode_time(self.timestamp)

    @overload
    def json(self) -> Any: ...
    @overload
    def json(self, kind: type[T]) -> T: ...
    def json(self, kind: Any = Any) -> Any:
        """The message, which is JSON, as a type.

        Raises:
            PayloadError: it is not; the message names the field.
        """
        return decode_text(self.message, kind, what=f"the text of message {self.message_id}")


class SnsRecord(AwsObject, kw_only=True, rename="pascal"):
    """One message, and the subscription that it came by."""

    event_source: str
    event_version: str
    event_subscription_arn: str
    sns: SnsMessage


class SnsEvent(Event, kw_only=True):
    """A notification; SNS sends one record in each."""

    source: ClassVar[str] = "an SNS topic"

    records: list[SnsRecord] = msgspec.field(name="Records")
