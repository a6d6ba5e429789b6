"""Requests to function URLs: the payload format 2.0 of HTTP APIs, under a domain of Lambda's own."""

from __future__ import annotations

from typing import ClassVar

from perdure.aws_lambda.events.api_gateway import ApiGatewayHttpEvent

__all__ = ["FunctionUrlEvent"]


class FunctionUrlEvent(ApiGatewayHttpEvent, kw_only=True):
    """A request to a function URL; `route_key` and the stage are `$default`."""

    source: ClassVar[str] = "a function URL"
