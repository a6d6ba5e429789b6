"""Request: an HTTP request as a function sees it, whatever it came through."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar, overload

import msgspec

from perdure.aws_lambda.context import LambdaContext
from perdure.aws_lambda.events.structure import Event
from perdure.aws_lambda.http.failures import RequestBodyError

__all__ = ["Request"]

T = TypeVar("T")

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"

_BAD_REQUEST: Final = 400
_UNSUPPORTED_MEDIA_TYPE: Final = 415
_NO_CONTEXT: Final = LambdaContext()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Everything has a default, so a unit test writes only what it is about.

    Attributes:
        method: in upper case.
        path: percent-decoded; begins with `root_path`.
        raw_path: the same path, percent-encoded.
        root_path: the stage, or the base path of a custom domain; the part of the path that is not the application's.
        query_string: as in the URL, without the question mark.
        headers: every header, names in lower case, in their order; a name may come more than once.
        body: the bytes that the client sent.
        scheme: `https`, or `http` behind a load balancer that says so.
        client: the address of the peer that the source saw.
        server: the name and the port that the client asked for.
        source: the class of the events that the request came in; `None` for a request made by hand.
        event: the whole event.
        context: of the invocation.
    """

    method: str = "GET"
    path: str = "/"
    raw_path: str = ""
    root_path: str = ""
    query_string: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    scheme: str = "https"
    client: str | None = None
    server: tuple[str, int] | None = None
    source: type[Event] | None = None
    event: Mapping[str, Any] = {}
    context: LambdaContext = _NO_CONTEXT

    @staticmethod
    def from_event(event: Mapping[str, Any] | str | bytes, context: LambdaContext = _NO_CONTEXT) -> Request:
        """Make a request of an event of API Gateway, a function URL, a load balancer or VPC Lattice.

        Args:
            event: JSON, or what JSON was decoded into.
            context: of the invocation.

        Raises:
            UnknownEventError: the event is no HTTP request.
            PayloadError: a field does not fit; the message names it.
        """
        from perdure.aws_lambda.http.mapping import HttpMapping  # noqa: PLC0415 - it makes requests: a circle

        return HttpMapping().request(event, context)

    # --- headers -----------------------------------------------------------------------------------------------------

    def header(self, name: str) -> str | None:
        """The values of a header, joined with commas; `None` when there is none."""
        return ", ".join(values) if (values := list(self._values(name))) else None

    def _values(self, name: str) -> Iterator[str]:
        name = name.lower()
        return (value for each, value in self.headers if each == name)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name; of a repeated one the first, as RFC 6265 recommends to servers."""
        found: dict[str, str] = {}
        for line in self._values("cookie"):
            for pair in line.split(";"):
                name, equals, value = pair.strip().partition("=")
                if equals:
                    found.setdefault(name, value.strip('"'))
        return found

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters of the query, decoded."""
        return urllib.parse.parse_qs(self.query_string, keep_blank_values=True)

    # --- what the source knows ---------------------------------------------------------------------------------------

    @property
    def path_parameters(self) -> Mapping[str, str]:
        """The parts of the path that the route of API Gateway names."""
        return self.event.get("pathParameters") or {}

    @property
    def stage_variables(self) -> Mapping[str, str]:
        """The variables of API Gateway's stage."""
        return self.event.get("stageVariables") or {}

    @property
    def request_context(self) -> Mapping[str, Any]:
        """What the source knows about the request."""
        return self.event.get("requestContext") or {}

    @property
    def authorizer(self) -> Mapping[str, Any]:
        """What the authorizer found: of REST, HTTP and WebSocket APIs and function URLs."""
        return self.request_context.get("authorizer") or {}

    # --- body --------------------------------------------------------------------------------------------------------

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case; empty when there is none."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @overload
    def json(self) -> Any: ...
    @overload
    def json(self, kind: type[T]) -> T: ...
    def json(self, kind: Any = Any) -> Any:
        """The body, which is JSON, as a type, whatever the content type says.

        Raises:
            RequestBodyError: it is no JSON, or does not fit (400); the message names the field.
        """
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise RequestBodyError(_BAD_REQUEST, f"the body of the request: {error}") from error

    @overload
    def form(self) -> dict[str, list[str]]: ...
    @overload
    def form(self, kind: type[T]) -> T: ...
    def form(self, kind: Any = None) -> Any:
        """The body, which is a form, as a type, or as lists of values by name.

        With a type, a name that comes once is one value, and a name that comes more often a list; texts become numbers
        and booleans where the type has them.

        Raises:
            RequestBodyError: it is no text, or does not fit (400); the message names the field.
        """
        try:
            fields = urllib.parse.parse_qs(self.body.decode(), keep_blank_values=True, errors="strict")
            if kind is None:
                return fields
            single = {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
            return msgspec.convert(single, kind, strict=False)
        except (msgspec.ValidationError, ValueError) as error:
            raise RequestBodyError(_BAD_REQUEST, f"the form in the body of the request: {error}") from error

    @overload
    def payload(self) -> Any: ...
    @overload
    def payload(self, kind: type[T]) -> T | None: ...
    def payload(self, kind: Any = None) -> Any:
        """The body by its content type: JSON or a form; `None` without a body or without a content type.

        Raises:
            RequestBodyError: it does not fit (400), or is of another content type (415).
        """
        media_type = self.media_type
        if not self.body or not media_type:
            return None
        if media_type == JSON or media_type.endswith("+json"):
            return self.json(Any if kind is None else kind)
        if media_type == FORM:
            return self.form(kind)
        raise RequestBodyError(_UNSUPPORTED_MEDIA_TYPE, f"a body of type {media_type}; this takes {JSON} and {FORM}")
