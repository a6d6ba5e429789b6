"""Notifications of S3 buckets ("Event message structure" in the guide of S3)."""

from __future__ import annotations

import datetime as dt
import urllib.parse
from typing import Any, ClassVar

import msgspec

from perdure.aws_lambda.events.contents import decode_time
from perdure.aws_lambda.events.structure import AwsObject, Event

__all__ = ["S3Bucket", "S3Entity", "S3Event", "S3Identity", "S3Object", "S3Record", "S3RequestParameters"]


class S3Identity(AwsObject, kw_only=True):
    """Who did it, or who owns a bucket."""

    principal_id: str


class S3RequestParameters(AwsObject, kw_only=True):
    """Where the request came from."""

    source_ip_address: str | None = msgspec.field(default=None, name="sourceIPAddress")


class S3Bucket(AwsObject, kw_only=True):
    """The bucket."""

    name: str
    arn: str
    owner_identity: S3Identity | None = None


class S3Object(AwsObject, kw_only=True):
    """The object, as the event left it.

    Attributes:
        key: as it came: encoded as in a form, with `+` for a space; `name` is the key itself.
        size: bytes; events of deletion lack it.
        sequencer: orders the events of one key: a hexadecimal number, the longer one padded with zeros.
    """

    key: str
    size: int | None = None
    e_tag: str | None = msgspec.field(default=None, name="eTag")
    version_id: str | None = None
    sequencer: str | None = None

    @property
    def name(self) -> str:
        """The key as the calls of S3 take it."""
        return urllib.parse.unquote_plus(self.key)


class S3Entity(AwsObject, kw_only=True):
    """What happened to what."""

    bucket: S3Bucket
    object: S3Object
    s3_schema_version: str | None = msgspec.field(default=None, name="s3SchemaVersion")
    configuration_id: str | None = None


class S3Record(AwsObject, kw_only=True):
    """One change of one object.

    Attributes:
        event_name: `ObjectCreated:Put`, `ObjectRemoved:Delete` and so on.
    """

    event_version: str
    event_source: str
    aws_region: str
    event_time: str
    event_name: str
    s3: S3Entity
    user_identity: S3Identity | None = None
    request_parameters: S3RequestParameters | None = None
    response_elements: dict[str, str] | None = None
    glacier_event_data: dict[str, Any] | None = None

    @property
    def happened_at(self) -> dt.datetime:
        """When S3 finished the request."""
        return decode_time(self.event_time)


class S3Event(Event, kw_only=True):
    """Changes of objects in a bucket."""

    source: ClassVar[str] = "an S3 bucket"

    records: list[S3Record] = msgspec.field(name="Records")
