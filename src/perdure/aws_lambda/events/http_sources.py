"""The sources of HTTP requests, and how their events are told apart.

Each pattern is something that its source always sends and no other does, so their order does not matter, except that a
function URL is an HTTP API with a domain of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from perdure.aws_lambda.events.api_gateway import ApiGatewayHttpEvent, ApiGatewayRestEvent, ApiGatewayWebSocketEvent
from perdure.aws_lambda.events.function_url import FunctionUrlEvent
from perdure.aws_lambda.events.lattice import LatticeV1Event, LatticeV2Event
from perdure.aws_lambda.events.load_balancer import AlbEvent
from perdure.aws_lambda.events.structure import Event

__all__ = ["HTTP_SOURCES", "http_source"]

HTTP_SOURCES: Final[tuple[type[Event], ...]] = (
    ApiGatewayRestEvent,
    ApiGatewayHttpEvent,
    ApiGatewayWebSocketEvent,
    FunctionUrlEvent,
    AlbEvent,
    LatticeV1Event,
    LatticeV2Event,
)
"""Every class of events that are HTTP requests."""


def http_source(event: Mapping[str, Any]) -> type[Event] | None:
    """The class of an event that is an HTTP request; `None` for every other."""
    if "methodArn" in event or "routeArn" in event:
        return None  # an authorizer is asked about a request; that is none itself
    match event:
        case {"requestContext": {"elb": _}, "httpMethod": _}:
            return AlbEvent
        case {"requestContext": {"connectionId": _, "eventType": _}}:
            return ApiGatewayWebSocketEvent
        case {"requestContext": {"serviceNetworkArn": _}, "version": "2.0"}:
            return LatticeV2Event
        case {"raw_path": _, "method": _}:
            return LatticeV1Event
        case {"requestContext": {"http": _, "domainName": str() as domain}, "version": "2.0"} if (
            ".lambda-url." in domain
        ):
            return FunctionUrlEvent
        case {"requestContext": {"http": _}, "version": "2.0"}:
            return ApiGatewayHttpEvent
        case {"requestContext": _, "httpMethod": _, "path": _}:
            return ApiGatewayRestEvent
    return None
