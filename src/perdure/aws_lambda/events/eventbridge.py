"""Events of EventBridge, schedules among them ("AWS service event metadata" in its reference)."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar, TypeVar

import msgspec

from perdure.aws_lambda.events.contents import decode_time
from perdure.aws_lambda.events.structure import Event, convert

__all__ = ["EventBridgeEvent"]

T = TypeVar("T")


class EventBridgeEvent(Event, kw_only=True):
    """What happened somewhere.

    Attributes:
        event_source: the service or application that sent it, `aws.ec2`; `source` in JSON.
        detail: about what happened; its form depends on `event_source` and `detail_type`.
    """

    source: ClassVar[str] = "EventBridge"

    detail_type: str = msgspec.field(name="detail-type")
    event_source: str = msgspec.field(name="source")
    detail: Any
    version: str | None = None
    id: str | None = None
    account: str | None = None
    time: str | None = None
    region: str | None = None
    resources: list[str] | None = None
    replay_name: str | None = msgspec.field(default=None, name="replay-name")

    @property
    def happened_at(self) -> dt.datetime | None:
        """When it happened."""
        return None if self.time is None else decode_time(self.time)

    def detail_as(self, kind: type[T]) -> T:
        """The detail as a type.

        Raises:
            PayloadError: it does not fit; the message names the field.
        """
        return convert(self.detail, kind, what=f"the detail of {self.detail_type!r}")
