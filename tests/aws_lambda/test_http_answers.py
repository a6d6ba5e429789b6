"""From answers to what each source expects: the client gets the bytes and the headers that were answered."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.aws_lambda.http import Request
from perdure.aws_lambda.http.answers import Answer, compressed, encode_answer, encode_pass_through, is_text, prelude
from tests.aws_lambda.documented_events import DOCUMENTED, http_v2
from tests.aws_lambda.sam_wheel import samples

COOKIES = (("content-type", "text/plain"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("vary", "x"), ("vary", "y"))
ALL_VALUES = {"content-type": ["text/plain"], "set-cookie": ["a=1", "b=2"], "vary": ["x", "y"]}
HEADERS = {"content-type": "text/plain", "vary": "x, y"}


def request_of(name: str) -> Request:
    return Request.from_event(samples()[name] if name in samples() else DOCUMENTED[name][1])


def written(answer: Answer, name: str = "function url", *text_types: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode_answer(answer, request_of(name), text_types))
    return found


@pytest.mark.parametrize(
    "name", ["apigateway/AwsProxy", "websocket connect", "websocket message", "http api, payload 1.0"]
)
def test_a_rest_api_gets_all_values_in_one_map(name: str) -> None:
    assert written(Answer(201, COOKIES, b"x"), name) == {
        "statusCode": 201,
        "multiValueHeaders": ALL_VALUES,
        "isBase64Encoded": False,
        "body": "x",
    }


@pytest.mark.parametrize("name", ["apigateway/HttpApi", "function url"])
def test_an_http_api_and_a_function_url_get_cookies_apart(name: str) -> None:
    assert written(Answer(200, COOKIES, b"x"), name) == {
        "statusCode": 200,
        "headers": HEADERS,
        "cookies": ["a=1", "b=2"],
        "isBase64Encoded": False,
        "body": "x",
    }


def test_a_load_balancer_with_multi_value_headers_gets_lists() -> None:
    assert written(Answer(200, COOKIES), "load balancer, multi-value") == {
        "statusCode": 200,
        "statusDescription": "200 OK",
        "multiValueHeaders": ALL_VALUES,
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize("name", ["alb/ALBRequest", "lattice 1", "lattice 2"])
def test_all_cookies_arrive_where_a_header_has_one_value(name: str) -> None:
    answer = written(Answer(200, COOKIES), name)
    assert "multiValueHeaders" not in answer
    cookies = {key: value for key, value in answer["headers"].items() if key.lower() == "set-cookie"}
    assert list(cookies.values()) == ["a=1", "b=2"]
    assert {key: value for key, value in answer["headers"].items() if key not in cookies} == HEADERS


@pytest.mark.parametrize(("status", "expected"), [(404, "404 Not Found"), (299, "299 Unknown")])
def test_a_load_balancer_gets_the_status_in_words(status: int, expected: str) -> None:
    assert written(Answer(status, ()), "alb/ALBRequest")["statusDescription"] == expected


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, True),
        ({"content-type": "text/html; charset=utf-8"}, True),
        ({"content-type": 'TEXT/HTML; Charset="UTF-8"'}, True),
        ({"content-type": "text/html; charset=iso-8859-1"}, False),
        ({"content-type": "text/html; charset=utf-16"}, False),
        ({"content-type": "application/json"}, True),
        ({"content-type": "application/javascript"}, True),
        ({"content-type": "application/xml"}, True),
        ({"content-type": "application/yaml"}, True),
        ({"content-type": "image/svg+xml"}, True),
        ({"content-type": "application/problem+json; a=b"}, True),
        ({"content-type": "application/openapi+yaml"}, True),
        ({"content-type": "image/png"}, False),
        ({"content-type": "application/octet-stream"}, False),
        ({"content-type": "application/octet-stream", "x-lambda-http-content-encoding": "text"}, True),
        ({"content-type": "application/vnd.mine"}, True),
        ({"content-type": "text/html", "content-encoding": "gzip"}, False),
        ({"content-type": "text/html", "content-encoding": "identity"}, True),
        ({"content-encoding": "br", "x-lambda-http-content-encoding": "text"}, False),
    ],
)
def test_what_is_text(headers: dict[str, str], expected: bool) -> None:
    assert is_text(Answer(200, tuple(headers.items())), ["application/vnd.mine"]) is expected


contents = st.sampled_from(
    [(), *((("content-type", each),) for each in ("text/html", "image/png", "text/x; charset=x"))]
)


@given(contents, st.binary() | st.text().map(str.encode))
def test_the_client_gets_the_bytes_that_were_answered(headers: tuple[tuple[str, str], ...], body: bytes) -> None:
    answer = written(Answer(200, headers, body))
    text: str = answer.get("body", "")
    assert (base64.b64decode(text) if answer["isBase64Encoded"] else text.encode()) == body


def test_the_header_that_forces_text_is_not_passed_on() -> None:
    answer = written(Answer(200, (("x-lambda-http-content-encoding", "text"), ("content-type", "x/y")), b"hi"))
    assert (answer["body"], answer["headers"]) == ("hi", {"content-type": "x/y"})


def test_an_empty_body_is_left_out() -> None:
    assert "body" not in written(Answer(204, ()))


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ((("content-type", "application/json"),), b'{"a": 1}', {"a": 1}),
        ((("content-type", "text/plain"),), b'"quoted"', '"quoted"'),
        ((("content-type", "image/png"),), b"\x89", None),
        ((), b"", None),
    ],
)
def test_the_answer_to_an_event_that_was_no_request_is_json(
    headers: tuple[tuple[str, str], ...], body: bytes, expected: object
) -> None:
    assert json.loads(encode_pass_through(Answer(200, headers, body))) == expected


# --- compression -----------------------------------------------------------------------------------------------------

LONG = b"momo " * 300


def taking(encoding: str) -> Request:
    return Request(headers=(("accept-encoding", encoding),))


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip", True),
        ("br;q=1.0, GZIP;q=0.8", True),
        ("*", True),
        ("deflate", False),
        ("", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("br, *;q=0", False),
    ],
)
def test_a_body_is_compressed_for_clients_that_take_it(accepted: str, expected: bool) -> None:
    answer = compressed(
        Answer(200, (("content-type", "text/plain"), ("content-length", "1500")), LONG), taking(accepted)
    )
    assert (answer.header("content-encoding") == "gzip") is expected
    assert (gzip.decompress(answer.body) if expected else answer.body) == LONG
    assert answer.header("content-length") == str(len(answer.body))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, (("content-type", "text/plain"),), b"short"),
        Answer(200, (("content-type", "image/png"),), LONG),
        Answer(200, (("content-type", "text/plain"), ("content-encoding", "br")), LONG),
    ],
)
def test_what_gains_nothing_is_not_compressed(answer: Answer) -> None:
    assert compressed(answer, taking("gzip")) is answer


def test_a_compressed_answer_is_another_representation() -> None:
    answer = compressed(Answer(200, (("etag", '"1"'),), LONG), taking("gzip"))
    assert (answer.header("etag"), answer.header("vary")) == ('W/"1"', "accept-encoding")


# --- preludes --------------------------------------------------------------------------------------------------------


def test_the_prelude_of_a_function_url_has_cookies_apart() -> None:
    head = json.loads(prelude(Answer(200, COOKIES), request_of("function url")).encode())
    assert head == {"statusCode": 200, "headers": HEADERS, "cookies": ["a=1", "b=2"]}


def test_the_prelude_of_a_rest_api_has_every_value_once() -> None:
    head = json.loads(prelude(Answer(200, COOKIES), request_of("apigateway/AwsProxy")).encode())
    assert head == {
        "statusCode": 200,
        "headers": {"content-type": "text/plain"},
        "cookies": [],
        "multiValueHeaders": {"set-cookie": ["a=1", "b=2"], "vary": ["x", "y"]},
    }


def test_a_function_url_is_told_from_an_http_api_by_its_domain() -> None:
    assert request_of("function url").source is not Request.from_event(http_v2("x.execute-api.amazonaws.com")).source
