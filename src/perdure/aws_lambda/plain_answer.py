"""The usual answer, read at once.

Nearly every answer of the platform arrives in one piece and is framed by its length. Reading such a one takes a tenth
of what a whole HTTP parser takes, and the parser is most of what an invocation costs. `plain_answer` reads what is
exactly that, strictly; anything else it leaves to h11: answers in several pieces, chunked ones, interim ones, those
that end the connection, those with a repeated header or with bytes beyond ASCII, and whatever is no HTTP at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["Http1Response", "plain_answer"]

NO_CONTENT: Final = 204

# RFC 9112, section 4 and 5: the status line behind its version, then field lines; values in visible ASCII here.
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 [2-5][0-9]{2}(?: [\t -~]*)?"
    rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~]*)*"
)
_STATUS: Final = slice(9, 12)


class Http1Response(msgspec.Struct, frozen=True):
    """An answer, read whole.

    Attributes:
        status: the HTTP status.
        headers: names in lower case; of a repeated one the last value.
        body: the whole body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def plain_answer(data: bytes) -> Http1Response | None:
    """Read an answer that is all of `data` and of the usual kind; `None` when h11 has to look at it."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or _HEAD.fullmatch(data, 0, end) is None:
        return None
    first, *lines = data[:end].decode("ascii").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip(" \t")
    if len(headers) != len(lines) or "transfer-encoding" in headers:
        return None
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    status = int(first[_STATUS])
    length = headers.get("content-length", "0" if status == NO_CONTENT else "")
    body = data[end + 4 :]
    if not length.isdecimal() or int(length) != len(body):
        return None
    return Http1Response(status, headers, body)
