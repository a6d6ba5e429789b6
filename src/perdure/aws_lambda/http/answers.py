"""From answers to what each source expects, so that the client gets the bytes and the headers that were answered.

A body travels as text or as base64. Text it may be only if what the source sends are the same bytes again: the source
encodes with UTF-8, so a body in another charset travels as base64, as does everything with a content encoding.

============================== ================================ =======================================================
source                         headers                          cookies
============================== ================================ =======================================================
REST, payload 1.0, WebSocket   ``multiValueHeaders`` alone;     among the headers
                               API Gateway merges both maps
payload 2.0, function URL      ``headers``, values joined       a list of their own
load balancer                  the kind of map that the         among the headers; in a map with single values the
                               request had                      names differ in case, so that all arrive
VPC Lattice                    ``headers``, values joined       as with a load balancer's single values
============================== ================================ =======================================================
"""

from __future__ import annotations

import base64
import http
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from perdure.aws_lambda.events.api_gateway import ApiGatewayHttpEvent, ApiGatewayRestEvent, ApiGatewayWebSocketEvent
from perdure.aws_lambda.events.load_balancer import AlbEvent
from perdure.aws_lambda.http.request import Request
from perdure.aws_lambda.response import MetadataPrelude

__all__ = ["Answer", "compressed", "encode_answer", "encode_pass_through", "is_text", "prelude"]

FORCE_TEXT: Final = "x-lambda-http-content-encoding"
"""With the value `text` the body travels as text, whatever its type; the header itself is not passed on."""

_TEXT_TYPES: Final = (
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/yaml",
)
_TEXT_ENDINGS: Final = ("+json", "+xml", "+yaml")
_WORTH_COMPRESSING: Final = 1024  # bytes
_UTF8: Final = {"", "utf-8", "utf8", "us-ascii", "ascii"}


class Answer(msgspec.Struct, frozen=True):
    """An answer before it is written for a source; names of headers in lower case."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for each, value in self.headers if each == name), None)


def is_text(answer: Answer, text_types: Sequence[str] = ()) -> bool:
    """Whether the headers of an answer say that its body is text in UTF-8.

    Args:
        answer: the answer.
        text_types: beginnings of content types that are text besides those known here.
    """
    if (answer.header("content-encoding") or "identity").lower() != "identity":
        return False
    if (answer.header(FORCE_TEXT) or "").lower() == "text":
        return True
    content_type = answer.header("content-type")
    if content_type is None:
        return True
    media_type, _, parameters = content_type.lower().partition(";")
    media_type = media_type.strip()
    if not media_type.startswith((*_TEXT_TYPES, *text_types)) and not media_type.endswith(_TEXT_ENDINGS):
        return False
    charset = ""
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "charset":
            charset = value.strip("\"' ")
    return charset in _UTF8


def encode_answer(answer: Answer, request: Request, text_types: Sequence[str] = ()) -> bytes:
    """Write an answer as the source of the request expects it."""
    headers = [pair for pair in answer.headers if pair[0] != FORCE_TEXT]
    fields: dict[str, Any] = {"statusCode": answer.status}
    source = request.source
    if source is not None and issubclass(source, (ApiGatewayRestEvent, ApiGatewayWebSocketEvent)):
        fields["multiValueHeaders"] = _lists(headers)
    elif source is not None and issubclass(source, ApiGatewayHttpEvent):
        cookies = [value for name, value in headers if name == "set-cookie"]
        fields["headers"] = _joined(pair for pair in headers if pair[0] != "set-cookie")
        if cookies:
            fields["cookies"] = cookies
    elif source is AlbEvent:
        fields["statusDescription"] = _described(answer.status)
        if request.event.get("multiValueHeaders") is not None:
            fields["multiValueHeaders"] = _lists(headers)
        else:
            fields["headers"] = _single(headers)
    else:
        fields["headers"] = _single(headers)
    fields["isBase64Encoded"] = False
    if answer.body:
        text = _text(answer, text_types)
        fields["body"] = base64.b64encode(answer.body).decode() if text is None else text
        fields["isBase64Encoded"] = text is None
    return msgspec.json.encode(fields)


def encode_pass_through(answer: Answer, text_types: Sequence[str] = ()) -> bytes:
    """Write an answer to an event that was no request: JSON as it is, text as a JSON string, `null` for the rest."""
    if not answer.body or (text := _text(answer, text_types)) is None:
        return b"null"
    media_type = (answer.header("content-type") or "").partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return answer.body
    return msgspec.json.encode(text)


def prelude(answer: Answer, request: Request) -> MetadataPrelude:
    """The status and the headers of an answer that is streamed."""
    headers = [pair for pair in answer.headers if pair[0] != FORCE_TEXT]
    if request.source is not None and issubclass(request.source, ApiGatewayRestEvent):
        lists = _lists(headers)
        return MetadataPrelude(
            status_code=answer.status,
            headers={name: values[0] for name, values in lists.items() if len(values) == 1},
            multi_value_headers={name: values for name, values in lists.items() if len(values) > 1},
        )
    return MetadataPrelude(
        status_code=answer.status,
        headers=_joined(pair for pair in headers if pair[0] != "set-cookie"),
        cookies=[value for name, value in headers if name == "set-cookie"],
    )


def compressed(answer: Answer, request: Request, text_types: Sequence[str] = ()) -> Answer:
    """Compress a body with gzip, where the client takes that and it is worth it: text of 1 KiB or more."""
    if (
        len(answer.body) < _WORTH_COMPRESSING
        or answer.header("content-encoding") is not None
        or not is_text(answer, text_types)
        or not _accepts_gzip(request)
    ):
        return answer
    headers = [
        (name, f"W/{value}" if name == "etag" and not value.startswith("W/") else value)
        for name, value in answer.headers
        if name != "content-length"
    ]
    import gzip  # noqa: PLC0415 - few functions compress

    body = gzip.compress(answer.body, mtime=0)
    headers += [("content-encoding", "gzip"), ("content-length", str(len(body))), ("vary", "accept-encoding")]
    return Answer(answer.status, headers, body)


def _accepts_gzip(request: Request) -> bool:
    """Whether the client takes gzip (RFC 9110 section 12.5.3); a weight of 0 says that it does not."""
    weights: dict[str, str] = {}
    for choice in (request.header("accept-encoding") or "").lower().split(","):
        name, _, parameters = choice.partition(";")
        weights[name.strip()] = parameters.replace(" ", "").removeprefix("q=")
    weight = weights.get("gzip", weights.get("*", "0"))
    return weight.strip("0.") != "" or weight == ""


def _text(answer: Answer, text_types: Sequence[str]) -> str | None:
    if not is_text(answer, text_types):
        return None
    try:
        return answer.body.decode()
    except UnicodeDecodeError:  # it is not what its headers say, and must arrive all the same
        return None


def _lists(headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    return found


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: ", ".join(values) for name, values in _lists(headers).items()}


def _single(headers: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    found = _joined(pair for pair in headers if pair[0] != "set-cookie")
    cookies = [value for name, value in headers if name == "set-cookie"]
    return found | dict(zip(_spellings("set-cookie"), cookies, strict=False))


def _spellings(name: str) -> Iterator[str]:
    """A name in different cases, which is one name in HTTP and are several keys of a JSON object."""
    letters = [(letter, letter.upper()) if letter.isalpha() else (letter,) for letter in name]
    return ("".join(spelling) for spelling in itertools.product(*letters))


def _described(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Unknown"
