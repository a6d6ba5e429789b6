"""The short way of reading an answer says what h11 says, or leaves it to h11."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perdure.aws_lambda.h11_codec import CutOffError, H11Codec, NoAnswerError
from perdure.aws_lambda.plain_answer import Http1Response, plain_answer

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def by_h11(data: bytes) -> Http1Response | None:
    """What h11 reads, `None` when that is not a whole answer behind which the connection goes on."""
    codec = H11Codec()
    codec.begin("GET", "/", [("host", "x")])
    codec.end()
    codec.feed(data)
    try:
        answer = codec.answer()
    except (NoAnswerError, CutOffError):
        return None
    return answer if answer is not None and codec.next_cycle() else None


def test_the_usual_answer_is_read() -> None:
    assert plain_answer(PLAIN) == Http1Response(200, {"content-type": "application/json", "content-length": "2"}, b"{}")


tokens = st.text("abcX-", min_size=1, max_size=5)
values = st.text(st.characters(max_codepoint=0xFF), max_size=6)
pieces = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 202\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 103 Early\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"Content-Length: 2\r\n",
        b"content-length:0\r\n",
        b"Content-Length: 2, 2\r\n",
        b"Content-Length: +2\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: Keep-Alive\r\n",
        b"X: a\tb \r\n",
        b" folded\r\n",
        b"X\r\n",
        b": x\r\n",
        b"X : y\r\n",
        b"X: \xc3\xbc\r\n",
        b"X: \x00\r\n",
        b"X: a\nb\r\n",
        b"\r\n",
        b"{}",
        b"2\r\n{}\r\n0\r\n\r\n",
    ]
)


@given(st.lists(pieces, max_size=8).map(b"".join) | st.binary(max_size=60))
@example(PLAIN)
@example(PLAIN + b"x")
@example(b"HTTP/1.1 204 No Content\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n")
def test_whatever_is_read_the_short_way_h11_reads_alike(data: bytes) -> None:
    found = plain_answer(data)
    if found is not None:
        assert found == by_h11(data)


@pytest.mark.parametrize("size", range(len(PLAIN)))
def test_a_part_of_an_answer_is_none(size: int) -> None:
    assert plain_answer(PLAIN[:size]) is None
