"""What batches of streams (DynamoDB, Kinesis) have in common: tumbling windows."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.aws_lambda.events.structure import AwsObject, Event

__all__ = ["StreamWindow", "Window"]


class Window(AwsObject, kw_only=True):
    """From when to when the window reaches, as AWS writes it."""

    start: str
    end: str


class StreamWindow(Event, kw_only=True):
    """A batch of a stream, which may belong to a tumbling window.

    Attributes:
        window: absent without tumbling windows.
        state: what the last call for this window returned.
        shard_id: of the shard that the window is about.
        is_final_invoke_for_window: whether no further call for this window comes.
        is_window_terminated_early: whether the window was closed because its state had become too large.
    """

    window: Window | None = None
    state: dict[str, Any] | None = None
    shard_id: str | None = None
    event_source_arn: str | None = msgspec.field(default=None, name="eventSourceARN")
    is_final_invoke_for_window: bool | None = None
    is_window_terminated_early: bool | None = None
