"""Which error an answer stands for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.client.connection import Headers, Response
from perdure.client.failures import failure_of, not_ready
from perdure.exceptions import IngressError, TerminalError

URL = "http://ingress.test:8080"


def answer(status: int, body: Any = None, **headers: str) -> Response:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Response(status, Headers((name.replace("_", "-"), value) for name, value in headers.items()), data)


def error_of(response: Response) -> TerminalError | IngressError | None:
    return failure_of(response, url=URL, asked="call Counter/add")


def by_invocation(status: int, **fields: Any) -> Response:
    return answer(status, {"source": "invocation", **fields}, x_restate_error_source="invocation", x_restate_id="inv_1")


def by_ingress(status: int, message: str) -> Response:
    body = {"code": status, "message": message, "source": "ingress"}
    return answer(status, body, x_restate_error_source="ingress")


# -- the handler failed ------------------------------------------------------------------------------------------------


def test_a_terminal_failure_is_the_error_that_the_handler_raised() -> None:
    response = by_invocation(409, code=409, message="sold out", metadata={"item": "7"})
    assert error_of(response) == TerminalError("sold out", code=409, metadata={"item": "7"})


@given(code=st.integers(200, 999), message=st.text(), metadata=st.dictionaries(st.text(), st.text()))
def test_every_terminal_failure_comes_back_equal(code: int, message: str, metadata: dict[str, str]) -> None:
    response = by_invocation(code, code=code, message=message, metadata=metadata, stacktrace="...")
    assert error_of(response) == TerminalError(message, code=code, metadata=metadata)


@pytest.mark.parametrize("status", [200, 204, 302, 404, 413, 429, 470, 500, 503, 571, 999])
def test_the_handler_may_fail_with_any_status(status: int) -> None:
    assert error_of(by_invocation(status, code=status, message="own")) == TerminalError("own", code=status)


def test_the_code_in_the_body_is_exact_where_http_has_no_such_status() -> None:
    assert error_of(by_invocation(500, code=7, message="seven")) == TerminalError("seven", code=7)


def test_a_terminal_failure_whose_body_was_replaced_still_is_one() -> None:
    response = answer(409, b"<html>conflict</html>", x_restate_error_source="invocation")
    assert error_of(response) == TerminalError("<html>conflict</html>", code=409)


def test_the_invocation_being_done_with_code_470_is_not_the_same_as_not_ready() -> None:
    assert not not_ready(by_invocation(470, code=470, message="own"))
    assert not_ready(by_ingress(470, "the invocation exists but has not completed yet"))
    assert not_ready(answer(470, {"code": 470, "message": "not ready"}))
    assert not not_ready(answer(200))


# -- older servers -----------------------------------------------------------------------------------------------------


def test_without_the_header_the_source_in_the_body_decides() -> None:
    body = {"code": 409, "message": "own", "source": "invocation"}
    assert error_of(answer(409, body)) == TerminalError("own", code=409)
    error = error_of(answer(409, {**body, "source": "ingress"}, x_restate_id="inv_1"))
    assert isinstance(error, IngressError)


def test_without_any_source_an_answer_of_an_invocation_is_its_failure() -> None:
    body = {"code": 409, "message": "own"}
    assert error_of(answer(409, body, x_restate_id="inv_1")) == TerminalError("own", code=409)


def test_without_any_source_an_answer_of_nobody_is_the_ingress_refusing() -> None:
    assert isinstance(error_of(answer(404, {"code": 404, "message": "not found"})), IngressError)


# -- the ingress refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said", "advice"),
    [
        (400, "input validation error: expected content-type", "request is at fault"),
        (400, "the invoked service is not public", "ingress_private"),
        (400, "scoped invocations require vqueues to be enabled", "RESTATE_EXPERIMENTAL_ENABLE_VQUEUES=true"),
        (404, "service 'Counter' not found, make sure to register", "Register the deployment"),
        (404, "invocation not found", "retention"),
        (405, "method not allowed", "too old"),
        (413, "cannot read body: length limit exceeded", "pass a reference"),
        (415, "unsupported", "content type"),
        (422, "whatever", "request is at fault"),
        (429, "too many requests", "accepted nothing"),
        (470, "the invocation exists but has not completed yet", "attach"),
        (500, "whatever", "server is at fault"),
        (503, "internal routing error", "may be repeated"),
    ],
)
def test_a_refusal_says_what_happened_whose_fault_it_is_and_what_to_do(status: int, said: str, advice: str) -> None:
    error = error_of(by_ingress(status, said))
    assert isinstance(error, IngressError)
    assert error.status == status
    for part in (URL, "call Counter/add", str(status), said, advice):
        assert part in error.message


@pytest.mark.parametrize(("status", "advice"), [(413, "pass a reference"), (429, "accepted nothing")])
def test_a_refusal_in_plain_text_by_the_outer_layers_of_the_server_has_its_advice(status: int, advice: str) -> None:
    error = error_of(answer(status, b"length limit exceeded"))
    assert isinstance(error, IngressError)
    assert "length limit exceeded" in error.message
    assert advice in error.message


def test_a_refusal_names_the_invocation_when_there_is_one() -> None:
    response = answer(503, {"code": 503, "message": "x"}, x_restate_error_source="ingress", x_restate_id="inv_9")
    error = error_of(response)
    assert isinstance(error, IngressError)
    assert error.invocation_id == "inv_9"


def test_a_redirect_names_its_destination() -> None:
    error = error_of(answer(308, b"", location="/ui/"))
    assert isinstance(error, IngressError)
    assert "/ui/" in error.message


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"[1]", b'"text"', b"\xff\xfe", b'{"code": "x"}'])
def test_an_answer_of_something_else_asks_whether_this_is_the_ingress(body: bytes) -> None:
    error = error_of(answer(502, body))
    assert isinstance(error, IngressError)
    assert "is http://ingress.test:8080 the address of the ingress" in error.message


def test_a_long_page_is_quoted_in_part_only() -> None:
    error = error_of(answer(502, b"x" * 10_000))
    assert isinstance(error, IngressError)
    assert len(error.message) < 1000


# -- results -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_success_is_no_error(status: int) -> None:
    assert error_of(answer(status, {"code": 500, "message": "a result that looks like a failure"})) is None


@given(status=st.integers(200, 999), body=st.binary(), source=st.sampled_from([None, "ingress", "invocation", "new"]))
def test_no_answer_breaks_the_reader(status: int, body: bytes, source: str | None) -> None:
    response = answer(status, body, **({"x_restate_error_source": source} if source else {}))
    assert (error_of(response) is None) == (source is None and status < 300)
