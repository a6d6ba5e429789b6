"""From events to requests, one rule for each source.

The sources disagree about nearly everything: whether the stage is in the path, whether the query is still encoded,
where headers with several values are, how cookies come. What each does, and what is made of it:

============== ===================================== =========================== ===============================
               REST, payload 1.0, WebSocket          payload 2.0, function URL   load balancer, Lattice
============== ===================================== =========================== ===============================
path           ``path``, with the stage put before   ``rawPath``, the same       ``path`` as it is
               it where the URL had it
query          all values, encoded again             ``rawQueryString`` as is    values of a load balancer are
                                                                                 encoded still
headers        the map with all values, and from     ``headers``                 the map there is
               the other what is missing there
cookies        in the headers                        a list: one header          in the headers
client         ``identity.sourceIp``                 ``http.sourceIp``           the last in ``x-forwarded-for``
============== ===================================== =========================== ===============================

A load balancer appends the address of its peer to ``x-forwarded-for``, and what stands before it is what the client
claims. So the last one is the client's.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from perdure.aws_lambda.context import LambdaContext
from perdure.aws_lambda.events.api_gateway import ApiGatewayHttpEvent, ApiGatewayRestEvent, ApiGatewayWebSocketEvent
from perdure.aws_lambda.events.http_sources import HTTP_SOURCES, http_source
from perdure.aws_lambda.events.lattice import LatticeV1Event, LatticeV2Event
from perdure.aws_lambda.events.load_balancer import AlbEvent
from perdure.aws_lambda.events.structure import Event, UnknownEventError, as_object
from perdure.aws_lambda.http.request import Request

__all__ = ["HttpMapping"]

IGNORE_STAGE: Final = "AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH"
"""The variable of the Rust runtime that leaves the stage out of paths."""

_NOT_ENCODED: Final = "/%:@!$&'()*+,;=~-._"  # of a path, by RFC 3986; `%` because what is encoded stays as it is
_SHOWN: Final = 12

Pairs = Sequence[tuple[str, str]]
Single = Mapping[str, str] | None
Multi = Mapping[str, Sequence[str]] | None


class HttpMapping:
    """Makes requests of events.

    Args:
        base_path: what a custom domain has before the paths of the application, `/shop`.
        stage_in_path: whether the stage of API Gateway stands in the path when the URL had it; without a value, unless
            the variable `AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH` is set.
        sources: the classes of events that are accepted; all of `HTTP_SOURCES` when it is not given.
        pass_through: a path to which events of every other source are posted, `/events`; without one they are refused.
    """

    def __init__(
        self,
        *,
        base_path: str = "",
        stage_in_path: bool | None = None,
        sources: Collection[type[Event]] | None = None,
        pass_through: str | None = None,
    ) -> None:
        self.base_path: str = f"/{base_path.strip('/')}" if base_path.strip("/") else ""
        self.stage_in_path: bool = IGNORE_STAGE not in os.environ if stage_in_path is None else stage_in_path
        self.sources: Collection[type[Event]] = HTTP_SOURCES if sources is None else sources
        self.pass_through: str | None = pass_through

    def request(self, event: Mapping[str, Any] | str | bytes, context: LambdaContext) -> Request:
        """Make a request of an event.

        Raises:
            UnknownEventError: the event is of no source that is accepted.
            PayloadError: a field does not fit; the message names it.
        """
        fields = as_object(event)
        source = http_source(fields)
        if source is None or source not in self.sources:
            if self.pass_through is None:
                raise UnknownEventError(self._refusal(source, fields))
            body = event if isinstance(event, bytes) else msgspec.json.encode(fields)
            headers = (("content-type", "application/json"),)
            path = self.pass_through
            return Request(
                method="POST", path=path, raw_path=path, headers=headers, body=body, event=fields, context=context
            )
        match source.decode(fields):
            case AlbEvent() as request:
                return self._load_balancer(request, fields, context)
            case ApiGatewayHttpEvent() as request:
                return self._http_api(request, fields, context)
            case ApiGatewayRestEvent() | ApiGatewayWebSocketEvent() as request:
                return self._rest_api(request, fields, context)
            case LatticeV1Event() as request:
                return self._lattice_1(request, fields, context)
            case LatticeV2Event() as request:
                return self._lattice_2(request, fields, context)
        raise AssertionError(source)

    def _refusal(self, source: type[Event] | None, fields: Mapping[str, Any]) -> str:
        accepted = ", ".join(kind.source for kind in self.sources)
        if source is not None:
            return f"this event is a request to {source.source}; this function takes requests to: {accepted}"
        keys = ", ".join(sorted(fields)[:_SHOWN]) or "no keys at all"
        hint = ""
        if {"path", "httpMethod", "headers"} <= fields.keys():
            hint = "; it looks like a call of restate-server, which a durable endpoint takes, not an HTTP service"
        return f"this event is no HTTP request (it has {keys}){hint}; this function takes requests to: {accepted}"

    # --- one rule for each source ------------------------------------------------------------------------------------

    def _rest_api(
        self, event: ApiGatewayRestEvent | ApiGatewayWebSocketEvent, fields: Mapping[str, Any], context: LambdaContext
    ) -> Request:
        known = event.request_context
        path = event.path or "/"
        full = None if isinstance(event, ApiGatewayWebSocketEvent) else event.request_context.path
        return self._made(
            event,
            fields,
            context,
            method=event.http_method or "GET",
            stage=self._stage(known.stage, path, full),
            path=path,
            query=_encoded(_values(event.query_string_parameters, event.multi_value_query_string_parameters)),
            headers=_merged(event.headers, event.multi_value_headers),
            host=known.domain_name,
            client=known.identity.source_ip if known.identity else None,
        )

    def _http_api(self, event: ApiGatewayHttpEvent, fields: Mapping[str, Any], context: LambdaContext) -> Request:
        known = event.request_context
        headers = _merged(event.headers, None)
        if event.cookies:
            headers.append(("cookie", "; ".join(event.cookies)))
        return self._made(
            event,
            fields,
            context,
            method=known.http.method,
            stage=self._stage(known.stage, event.raw_path, None),
            path=event.raw_path,
            query=event.raw_query_string or "",
            headers=headers,
            host=known.domain_name,
            client=known.http.source_ip,
        )

    def _load_balancer(self, event: AlbEvent, fields: Mapping[str, Any], context: LambdaContext) -> Request:
        values = _values(event.query_string_parameters, event.multi_value_query_string_parameters)
        headers = _merged(event.headers, event.multi_value_headers)
        return self._made(
            event,
            fields,
            context,
            method=event.http_method,
            path=event.path,
            query=_encoded((_decoded(name), _decoded(value)) for name, value in values),
            headers=headers,
            host=None,
            client=_last_forwarded(headers),
        )

    def _lattice_1(self, event: LatticeV1Event, fields: Mapping[str, Any], context: LambdaContext) -> Request:
        path, mark, query = event.raw_path.partition("?")
        headers = _merged(event.headers, None)
        return self._made(
            event,
            fields,
            context,
            method=event.method,
            path=path,
            query=query if mark else _encoded(_values(event.query_string_parameters, None)),
            headers=headers,
            host=None,
            client=_last_forwarded(headers),
        )

    def _lattice_2(self, event: LatticeV2Event, fields: Mapping[str, Any], context: LambdaContext) -> Request:
        path, mark, query = event.path.partition("?")
        headers = _merged(None, event.headers)
        return self._made(
            event,
            fields,
            context,
            method=event.method,
            path=path,
            query=query if mark else _encoded(_values(None, event.query_string_parameters)),
            headers=headers,
            host=None,
            client=_last_forwarded(headers),
        )

    # --- what they have in common ------------------------------------------------------------------------------------

    def _stage(self, stage: str | None, path: str, full: str | None) -> tuple[str, str]:
        """What the stage adds to the front of a path, and what of the whole path then is the stage.

        Args:
            stage: its name.
            path: as the event has it.
            full: the path of the URL, when the event has that too: so it is known whether the stage is in the URL.
        """
        if not stage or stage == "$default" or not self.stage_in_path:
            return "", ""
        prefix = f"/{stage}"
        if full is not None and full.rstrip("/") == f"{prefix}{path}".rstrip("/"):
            return prefix, prefix
        if _is_below(path, prefix):
            return "", prefix
        return ("", "") if full is not None else (prefix, prefix)

    def _made(
        self,
        event: ApiGatewayRestEvent
        | ApiGatewayWebSocketEvent
        | ApiGatewayHttpEvent
        | AlbEvent
        | LatticeV1Event
        | LatticeV2Event,
        fields: Mapping[str, Any],
        context: LambdaContext,
        *,
        method: str,
        stage: tuple[str, str] = ("", ""),
        path: str,
        query: str,
        headers: list[tuple[str, str]],
        host: str | None,
        client: str | None,
    ) -> Request:
        if context.trace_id is not None:  # the header is the caller's segment, the context that of this function
            headers = [pair for pair in headers if pair[0] != "x-amzn-trace-id"]
            headers.append(("x-amzn-trace-id", context.trace_id))
        added, root = stage
        first = dict(reversed(headers))
        if host and "host" not in first:
            headers.insert(0, ("host", host))
        scheme = first.get("x-forwarded-proto", "https")
        raw_path = urllib.parse.quote(f"{added}{path if path.startswith('/') else f'/{path}'}", safe=_NOT_ENCODED)
        whole = urllib.parse.unquote(raw_path)
        if not root and self.base_path and _is_below(whole, self.base_path):
            root = self.base_path
        return Request(
            method=method.upper(),
            path=whole,
            raw_path=raw_path,
            root_path=root,
            query_string=query,
            headers=tuple(headers),
            body=event.body_bytes(),
            scheme=scheme,
            client=client,
            server=_server(first.get("host") or host, first.get("x-forwarded-port"), scheme),
            source=type(event),
            event=fields,
            context=context,
        )


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _merged(single: Single, multi: Multi) -> list[tuple[str, str]]:
    """The headers of two maps: all values where they are known, and from the other map what is missing there."""
    pairs = [(name.lower(), value) for name, values in (multi or {}).items() for value in values]
    known = {name for name, _ in pairs}
    pairs += [(name.lower(), value) for name, value in (single or {}).items() if name.lower() not in known]
    return pairs


def _values(single: Single, multi: Multi) -> Iterable[tuple[str, str]]:
    if multi is not None:
        return [(name, value) for name, values in multi.items() for value in values]
    return (single or {}).items()


def _encoded(values: Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]) -> str:
    return "&".join(f"{urllib.parse.quote_plus(name)}={urllib.parse.quote_plus(value)}" for name, value in values)


def _decoded(text: str) -> bytes:
    """Undo the encoding of a form once; as bytes, because what a client encoded need not be UTF-8."""
    return urllib.parse.unquote_to_bytes(text.replace("+", " "))


def _last_forwarded(headers: Pairs) -> str | None:
    values = [value for name, value in headers if name == "x-forwarded-for"]
    return values[-1].rpartition(",")[2].strip() or None if values else None


def _server(host: str | None, port: str | None, scheme: str) -> tuple[str, int] | None:
    if not host:
        return None
    name, colon, own = host.rpartition(":")
    if colon and own.isdecimal():
        return name, int(own)
    if port and port.isdecimal():
        return host, int(port)
    return host, 443 if scheme == "https" else 80
