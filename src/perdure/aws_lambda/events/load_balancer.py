"""Requests that an Application Load Balancer passes on ("Lambda functions as targets" in its guide)."""

from __future__ import annotations

from typing import ClassVar

from perdure.aws_lambda.events.contents import body_bytes
from perdure.aws_lambda.events.structure import AwsObject, Event

__all__ = ["AlbEvent", "AlbRequestContext", "AlbTarget"]


class AlbTarget(AwsObject, kw_only=True):
    """The target group that the function belongs to."""

    target_group_arn: str | None = None


class AlbRequestContext(AwsObject, kw_only=True):
    """What the load balancer knows about a request."""

    elb: AlbTarget


class AlbEvent(Event, kw_only=True):
    """A request to an Application Load Balancer.

    Headers and the query come in one map each: with several values per name when the target group has multi-value
    headers, else with the last one. Values of the query are still percent-encoded.
    """

    source: ClassVar[str] = "an Application Load Balancer"

    http_method: str
    path: str
    request_context: AlbRequestContext
    headers: dict[str, str] | None = None
    multi_value_headers: dict[str, list[str]] | None = None
    query_string_parameters: dict[str, str] | None = None
    multi_value_query_string_parameters: dict[str, list[str]] | None = None
    body: str | None = None
    is_base64_encoded: bool | None = None

    def body_bytes(self) -> bytes:
        """The body as the client sent it."""
        return body_bytes(self.body, self.is_base64_encoded)
