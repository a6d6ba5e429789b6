"""From events to requests: what the client sent is what the function sees, whichever source it came through."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.parse
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.aws_lambda.context import LambdaContext
from perdure.aws_lambda.events import AlbEvent, FunctionUrlEvent, SqsEvent, UnknownEventError
from perdure.aws_lambda.failures import PayloadError
from perdure.aws_lambda.http import Request, RequestBodyError
from perdure.aws_lambda.http.mapping import IGNORE_STAGE, HttpMapping
from tests.aws_lambda.documented_events import DOCUMENTED, http_v2, payload_v1, websocket
from tests.aws_lambda.sam_wheel import samples


def sample(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(samples()[name])
    return found


def mapped(event: dict[str, Any], **options: Any) -> Request:
    return HttpMapping(**options).request(event, LambdaContext())


REST = "apigateway/AwsProxy"
ALB = "alb/ALBRequest"


# --- paths -----------------------------------------------------------------------------------------------------------


def rest(path: str, full: str | None, stage: str | None = "prod") -> dict[str, Any]:
    event = sample(REST)
    return {**event, "path": path, "requestContext": {**event["requestContext"], "path": full, "stage": stage}}


@pytest.mark.parametrize(
    ("path", "full", "stage", "expected"),
    [
        ("/a", "/prod/a", "prod", ("/prod/a", "/prod")),
        ("/", "/prod", "prod", ("/prod/", "/prod")),
        ("/prod/a", "/prod/prod/a", "prod", ("/prod/prod/a", "/prod")),  # a resource named like the stage
        ("/a", "/a", "prod", ("/a", "")),  # a custom domain has no stage in its URLs
        ("/prod/a", "/prod/a", "prod", ("/prod/a", "/prod")),
        ("/a", None, "prod", ("/prod/a", "/prod")),
        ("/a", None, None, ("/a", "")),
        ("/a", None, "$default", ("/a", "")),
    ],
)
def test_the_stage_of_a_rest_api_is_in_the_path_where_the_url_had_it(
    path: str, full: str | None, stage: str | None, expected: tuple[str, str]
) -> None:
    request = mapped(rest(path, full, stage))
    assert (request.path, request.root_path) == expected


@pytest.mark.parametrize(
    ("path", "stage", "expected"),
    [
        ("/a", "$default", ("/a", "")),
        ("/live/a", "live", ("/live/a", "/live")),
        ("/live", "live", ("/live", "/live")),
        ("/lively", "live", ("/live/lively", "/live")),
    ],
)
def test_the_stage_of_an_http_api_is_in_its_path_once(path: str, stage: str, expected: tuple[str, str]) -> None:
    event = sample("apigateway/HttpApi")
    request = mapped({**event, "rawPath": path, "requestContext": {**event["requestContext"], "stage": stage}})
    assert (request.path, request.root_path) == expected


def test_the_stage_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mapped(rest("/a", "/prod/a"), stage_in_path=False).path == "/a"
    monkeypatch.setenv(IGNORE_STAGE, "true")
    assert mapped(rest("/a", "/prod/a")).path == "/a"
    assert mapped(rest("/a", "/prod/a"), stage_in_path=True).path == "/prod/a"


@pytest.mark.parametrize("base_path", ["shop", "/shop", "/shop/"])
def test_the_base_path_of_a_custom_domain_is_not_the_applications(base_path: str) -> None:
    request = mapped(rest("/shop/a", "/shop/a"), base_path=base_path)
    assert (request.path, request.root_path) == ("/shop/a", "/shop")
    assert mapped(rest("/shopping", "/shopping"), base_path=base_path).root_path == ""


def test_a_path_is_decoded_once_and_kept_in_its_encoded_form() -> None:
    request = mapped(http_v2("x.lambda-url.eu-central-1.on.aws"))
    assert (request.path, request.raw_path) == ("/shelf/böck lein", "/shelf/b%C3%B6ck%20lein")
    encoded = mapped(rest("/a%2Fb%20c", "/prod/a%2Fb%20c"))
    assert (encoded.path, encoded.raw_path) == ("/prod/a/b c", "/prod/a%2Fb%20c")


# --- query -----------------------------------------------------------------------------------------------------------


def test_the_query_of_an_http_api_is_left_as_it_is() -> None:
    event = {**sample("apigateway/HttpApi"), "rawQueryString": "a=%7E&a=&b;c"}
    assert mapped(event).query_string == "a=%7E&a=&b;c"


queries = st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=4)


def multi(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


@given(queries)
def test_the_query_of_a_rest_api_has_all_values(pairs: list[tuple[str, str]]) -> None:
    event = {**sample(REST), "multiValueQueryStringParameters": multi(pairs)}
    assert mapped(event).query == multi(pairs)


@given(queries)
def test_the_query_of_a_load_balancer_is_decoded_once(pairs: list[tuple[str, str]]) -> None:
    encoded = [(urllib.parse.quote_plus(name), urllib.parse.quote_plus(value)) for name, value in pairs]
    event = {**sample(ALB), "multiValueQueryStringParameters": multi(encoded)}
    assert mapped(event).query == multi(pairs)


def test_bytes_in_a_query_that_are_no_text_survive() -> None:
    event = {**sample(ALB), "queryStringParameters": {"q": "%FFa+b%2B"}}
    assert mapped(event).query_string == "q=%FFa+b%2B"


def test_the_single_values_of_a_rest_api_are_used_where_there_are_no_lists() -> None:
    event = {**sample(REST), "multiValueQueryStringParameters": None, "queryStringParameters": {"a": "b c"}}
    assert mapped(event).query_string == "a=b+c"


@pytest.mark.parametrize(("name", "expected"), [("lattice 1", "sort=up"), ("lattice 2", "tag=a%2Cb&tag=c")])
def test_the_query_of_lattice(name: str, expected: str) -> None:
    request = mapped(DOCUMENTED[name][1])
    assert (request.path, request.query_string) == ("/shelf", expected)


# --- headers ---------------------------------------------------------------------------------------------------------


def test_all_values_of_a_header_are_kept_and_names_are_in_lower_case() -> None:
    request = mapped(payload_v1())
    assert [value for name, value in request.headers if name == "accept"] == ["a", "b"]
    assert request.header("Accept") == "a, b"
    assert request.header("nonsense") is None


def test_a_header_that_only_the_map_of_single_values_has_is_kept() -> None:
    event = {**sample(REST), "headers": {"X-New": "1", "Accept": "z"}}
    request = mapped(event)
    assert request.header("x-new") == "1"
    assert "z" not in (request.header("accept") or "")


def test_cookies_of_an_http_api_are_one_header() -> None:
    request = mapped(http_v2("x.execute-api.eu-central-1.amazonaws.com"))
    assert [pair for pair in request.headers if pair[0] == "cookie"] == [("cookie", "seen=yes; theme=dark")]
    assert request.cookies == {"seen": "yes", "theme": "dark"}


def test_the_first_of_several_cookies_of_one_name_counts() -> None:
    request = Request(headers=(("cookie", 'a=1; b="2"; a=3'), ("cookie", "c=x=y; nonsense")))
    assert request.cookies == {"a": "1", "b": "2", "c": "x=y"}


def test_a_missing_host_is_the_domain_of_the_api() -> None:
    event = {**sample("apigateway/HttpApi"), "headers": None}
    assert mapped(event).header("host") == "id.execute-api.us-east-1.amazonaws.com"


def test_the_trace_header_is_that_of_the_invocation() -> None:
    request = HttpMapping().request(sample(ALB), LambdaContext(trace_id="Root=1-mine"))
    assert request.header("x-amzn-trace-id") == "Root=1-mine"


# --- body, peers, everything else ------------------------------------------------------------------------------------


@given(st.binary())
def test_a_body_in_base64_is_what_the_client_sent(data: bytes) -> None:
    event = {**sample(REST), "body": base64.b64encode(data).decode(), "isBase64Encoded": True}
    assert mapped(event).body == data


@given(st.text())
def test_a_body_that_is_text_is_what_the_client_sent(text: str) -> None:
    event = {**sample(ALB), "body": text, "isBase64Encoded": False}
    assert mapped(event).body == text.encode()


def test_a_body_that_claims_to_be_base64_and_is_not_is_told() -> None:
    with pytest.raises(PayloadError, match="the body of the request is no base64"):
        mapped({**sample(REST), "body": "?", "isBase64Encoded": True})


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (sample(REST), ("127.0.0.1", "https", ("0123456789.execute-api.us-east-1.amazonaws.com", 443))),
        (sample(ALB), ("72.12.164.125", "http", ("lambda-alb-123578498.us-east-2.elb.amazonaws.com", 80))),
        (DOCUMENTED["load balancer, multi-value"][1], ("203.0.113.9", "http", ("books.example.org", 80))),
        (http_v2("x.on.aws"), ("203.0.113.9", "https", ("x.on.aws", 443))),
        (DOCUMENTED["lattice 1"][1], ("10.0.0.7", "https", ("books.example.org", 443))),
        ({**sample(ALB), "headers": {"host": "h:8080", "x-forwarded-for": ","}}, (None, "https", ("h", 8080))),
        ({**sample(ALB), "headers": None}, (None, "https", None)),
    ],
)
def test_the_peer_the_scheme_and_the_server_are_those_of_the_client(event: dict[str, Any], expected: object) -> None:
    request = mapped(event)
    assert (request.client, request.scheme, request.server) == expected


@pytest.mark.parametrize("kind", ["CONNECT", "MESSAGE", "DISCONNECT"])
def test_an_event_of_a_websocket_is_a_request_to_its_stage(kind: str) -> None:
    request = mapped(websocket(kind, body="hi"))
    assert (request.method, request.path, request.root_path, request.body) == ("GET", "/live/", "/live", b"hi")
    assert request.request_context["eventType"] == kind


def test_what_the_source_knows_is_within_reach() -> None:
    request = mapped(sample("apigateway/HttpApi"))
    assert request.path_parameters == {"parameter1": "value1"}
    assert request.stage_variables["stageVariable1"] == "value1"
    assert request.authorizer["jwt"]["scopes"] == ["scope1", "scope2"]
    assert Request().authorizer == {}


# --- which events ----------------------------------------------------------------------------------------------------


def test_an_event_that_is_no_request_is_refused_with_what_is_accepted() -> None:
    with pytest.raises(UnknownEventError, match=r"no HTTP request \(it has Records\); .* an Application Load Balancer"):
        mapped(sample("sqs/Sqs"))


def test_a_source_that_is_not_accepted_is_refused_by_name() -> None:
    with pytest.raises(UnknownEventError, match=r"request to an API Gateway REST API; .* to: an Application Load Ba"):
        mapped(sample(REST), sources=[AlbEvent])
    assert mapped(sample(ALB), sources=[AlbEvent]).source is AlbEvent


def test_a_call_of_restate_server_is_told_for_what_it_is() -> None:
    event = {"path": "/discover", "httpMethod": "GET", "headers": {}, "body": "", "isBase64Encoded": False}
    with pytest.raises(UnknownEventError, match="a call of restate-server, which a durable endpoint takes"):
        mapped(event)


def test_events_of_other_sources_can_be_posted_to_a_path() -> None:
    request = HttpMapping(pass_through="/events").request(samples()["sqs/Sqs"], LambdaContext())
    assert (request.method, request.path, request.source) == ("POST", "/events", None)
    assert len(request.json(SqsEvent).records) == 1


def test_a_request_is_made_of_an_event_for_a_unit_test() -> None:
    text = json.dumps(http_v2("u7rlid.lambda-url.eu-central-1.on.aws"))
    for event in (text, text.encode(), json.loads(text)):
        request = Request.from_event(event)
        assert (request.method, request.source, request.json()) == ("POST", FunctionUrlEvent, {"title": "Momo"})


def test_a_field_of_an_event_that_does_not_fit_is_named() -> None:
    with pytest.raises(PayloadError, match=r"`\$.headers\[...\]`"):
        Request.from_event({**sample(ALB), "headers": {"a": 1}})


# --- the body as a value ---------------------------------------------------------------------------------------------


class Book(msgspec.Struct):
    title: str
    pages: int = 0


def test_a_json_body_is_read_as_a_type() -> None:
    assert Request(body=b'{"title": "Momo", "pages": 3}').json(Book) == Book("Momo", 3)


@pytest.mark.parametrize(
    ("body", "problem"), [(b"", "truncated"), (b"{", "truncated"), (b'{"title": 1}', r"Expected `str`.*\$.title")]
)
def test_a_json_body_that_does_not_fit_is_the_clients_fault(body: bytes, problem: str) -> None:
    with pytest.raises(RequestBodyError, match=f"the body of the request: .*{problem}") as raised:
        Request(body=body).json(Book)
    assert raised.value.status == 400


def test_a_form_is_read_as_a_type_or_as_lists() -> None:
    request = Request(body=b"title=Momo+und+ihre+Freunde&pages=3&pages=")
    assert request.form() == {"title": ["Momo und ihre Freunde"], "pages": ["3", ""]}
    assert Request(body=b"title=a&pages=3").form(Book) == Book("a", 3)
    with pytest.raises(RequestBodyError, match=r"the form in the body of the request: .*\$.pages"):
        request.form(Book)
    with pytest.raises(RequestBodyError, match="the form in the body"):
        Request(body=b"a=\xff").form()


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b'{"title": "a"}', Book("a")),
        ("application/problem+json; charset=utf-8", b'{"title": "a"}', Book("a")),
        ("application/x-www-form-urlencoded", b"title=a", Book("a")),
        ("application/json", b"", None),
        ("", b"x", None),
    ],
)
def test_a_payload_is_read_by_its_content_type(content_type: str, body: bytes, expected: Book | None) -> None:
    headers = (("content-type", content_type),) if content_type else ()
    assert Request(headers=headers, body=body).payload(Book) == expected


def test_a_payload_of_another_type_is_refused_as_such() -> None:
    with pytest.raises(RequestBodyError, match="a body of type image/png") as raised:
        Request(headers=(("content-type", "image/png"),), body=b"x").payload()
    assert raised.value.status == 415


@pytest.mark.parametrize(
    "module", ["events", "events.batch", "events.detection", "http", "extensions"], ids=lambda name: name
)
def test_no_part_needs_the_heavy_imports(module: str) -> None:
    program = (
        f"import sys, perdure.aws_lambda.{module}; "
        "print(*({'structlog', 'trio', 'hypercorn', 'ssl'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == ""
