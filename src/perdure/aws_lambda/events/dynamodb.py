"""Changes of DynamoDB tables, from their streams ("Using AWS Lambda with Amazon DynamoDB" in Lambda's guide)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

import msgspec

from perdure.aws_lambda.events.contents import decode_base64
from perdure.aws_lambda.events.streams import StreamWindow
from perdure.aws_lambda.events.structure import AwsObject
from perdure.aws_lambda.failures import PayloadError

__all__ = ["DynamoDbChange", "DynamoDbEvent", "DynamoDbIdentity", "DynamoDbRecord", "from_attribute", "from_item"]


def from_attribute(value: Mapping[str, Any]) -> Any:
    """The Python value of an attribute value, `{"N": "101"}`.

    Numbers become `int` or `Decimal`, binary values `bytes`, sets `frozenset`.

    Raises:
        PayloadError: it is no attribute value.
    """
    if len(value) != 1:
        raise PayloadError(f"an attribute value of DynamoDB has one key, its type, and this has {sorted(value)}")
    [(kind, content)] = value.items()
    try:
        match kind:
            case "S" | "BOOL":
                return content
            case "N":
                return _number(content)
            case "B":
                return decode_base64(content, what="a binary attribute")
            case "NULL":
                return None
            case "L":
                return [from_attribute(each) for each in content]
            case "M":
                return from_item(content)
            case "SS":
                return frozenset(content)
            case "NS":
                return frozenset(map(_number, content))
            case "BS":
                return frozenset(decode_base64(each, what="a binary attribute") for each in content)
    except (TypeError, AttributeError, InvalidOperation) as error:
        raise PayloadError(f"{content!r} is no attribute value of type {kind}") from error
    raise PayloadError(f"DynamoDB has no attributes of type {kind!r}")


def from_item(item: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The Python values of an item, or of its key.

    Raises:
        PayloadError: one of them is no attribute value.
    """
    return {name: from_attribute(value) for name, value in item.items()}


def _number(text: str) -> int | Decimal:
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() and "." not in text else number


class DynamoDbIdentity(AwsObject, kw_only=True):
    """Who made the change, when it was DynamoDB itself: items that expired."""

    type: str | None = None
    principal_id: str | None = None


class DynamoDbChange(AwsObject, kw_only=True, rename="pascal"):
    """The item before and after, as far as the stream has them. `from_item` makes Python values of them.

    Attributes:
        approximate_creation_date_time: seconds since 1970.
    """

    keys: dict[str, dict[str, Any]] | None = None
    new_image: dict[str, dict[str, Any]] | None = None
    old_image: dict[str, dict[str, Any]] | None = None
    sequence_number: str | None = None
    size_bytes: int | None = None
    stream_view_type: str | None = None
    approximate_creation_date_time: int | float | None = None

    @property
    def created_at(self) -> dt.datetime | None:
        """When the change was made."""
        seconds = self.approximate_creation_date_time
        return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)


class DynamoDbRecord(AwsObject, kw_only=True):
    """One change.

    Attributes:
        event_name: `INSERT`, `MODIFY` or `REMOVE`.
    """

    event_id: str = msgspec.field(name="eventID")
    event_name: str
    event_source: str
    dynamodb: DynamoDbChange
    event_version: str | None = None
    aws_region: str | None = None
    event_source_arn: str | None = msgspec.field(default=None, name="eventSourceARN")
    user_identity: DynamoDbIdentity | None = None


class DynamoDbEvent(StreamWindow, kw_only=True):
    """A batch of changes of one table."""

    source: ClassVar[str] = "a DynamoDB stream"

    records: list[DynamoDbRecord] = msgspec.field(name="Records")
