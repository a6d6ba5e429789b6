"""The requests of the ingress API, read back the way the server reads them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.client.targets import (
    IdempotentTarget,
    InvocationTarget,
    Query,
    Target,
    WorkflowTarget,
    awakeable_query,
    milliseconds,
)
from perdure.exceptions import UsageError

keys = st.text(st.characters(exclude_categories=["Cs"]))


def segments(path: str) -> list[str]:
    """What the server sees: split first, decode later."""
    assert path.isascii()
    assert not set(path) & set(" ?#")
    return path.split("/")[1:]


@pytest.mark.parametrize(
    ("target", "call", "send"),
    [
        (Target("Shop", "checkout"), "/Shop/checkout", "/Shop/checkout/send"),
        (Target("Counter", "add", "a b/c"), "/Counter/a%20b%2Fc/add", "/Counter/a%20b%2Fc/add/send"),
        (Target("Counter", "add", ""), "/Counter//add", "/Counter//add/send"),
        (Target("restate", "x"), "/restate/call/restate/x", "/restate/send/restate/x"),
        (Target("openapi", "x", "k"), "/restate/call/openapi/k/x", "/restate/send/openapi/k/x"),
        (
            Target("Shop", "checkout", scope="eu"),
            "/restate/scope/eu/call/Shop/checkout",
            "/restate/scope/eu/send/Shop/checkout",
        ),
        (
            Target("Flow", "run", "k", "eu"),
            "/restate/scope/eu/call/Flow/k/run",
            "/restate/scope/eu/send/Flow/k/run",
        ),
    ],
)
def test_invoking_has_these_paths(target: Target, call: str, send: str) -> None:
    assert target.call() == Query("POST", call)
    assert target.send() == Query("POST", send)


@given(key=keys)
def test_a_key_arrives_as_it_was_given(key: str) -> None:
    service, sent, handler = segments(Target("S", "h", key).call().path)
    assert (service, unquote(sent, errors="strict"), handler) == ("S", key, "h")


@given(key=keys)
def test_a_key_never_changes_the_number_of_segments(key: str) -> None:
    assert len(segments(WorkflowTarget("W", key).read("attach").path)) == 5
    assert len(segments(IdempotentTarget(Target("S", "h", key), "i").read("output").path)) == 7


@given(name=keys)
def test_names_given_as_text_cannot_escape_their_segment(name: str) -> None:
    assert len(segments(Target("S", name).call().path)) == 2
    assert len(segments(InvocationTarget(name).read("attach").path)) == 4
    assert len(segments(awakeable_query(name, "resolve", b"").path)) == 4


@pytest.mark.parametrize(
    ("delay", "query"),
    [
        (None, ""),
        (0, ""),
        (2, "?delay=2000ms"),
        (1.5, "?delay=1500ms"),
        (0.0001, "?delay=1ms"),
        (0.1 + 0.2, "?delay=300ms"),
        (dt.timedelta(days=2), "?delay=172800000ms"),
    ],
)
def test_a_delay_is_sent_in_milliseconds(delay: float | dt.timedelta | None, query: str) -> None:
    assert Target("S", "h").send(delay) == Query("POST", f"/S/h/send{query}")


@given(st.integers(0, 10**12))
def test_whole_milliseconds_survive(count: int) -> None:
    assert milliseconds(count / 1000) == count
    assert milliseconds(dt.timedelta(milliseconds=count)) == count


@pytest.mark.parametrize("delay", [1e300, -1, -0.001, float("nan"), float("inf"), dt.timedelta(seconds=-1)])
def test_a_delay_that_is_no_time_to_come_is_refused(delay: float | dt.timedelta) -> None:
    with pytest.raises(UsageError, match="delay"):
        Target("S", "h").send(delay)


def test_an_invocation_is_read_by_its_id() -> None:
    assert InvocationTarget("inv_1x").read("attach") == Query("GET", "/restate/invocation/inv_1x/attach")
    assert InvocationTarget("inv_1x").read("output") == Query("GET", "/restate/invocation/inv_1x/output")


def test_a_workflow_is_read_by_its_key() -> None:
    assert WorkflowTarget("Flow", "a/b").read("attach") == Query("GET", "/restate/workflow/Flow/a%2Fb/attach")


def test_a_workflow_in_a_scope_is_read_by_a_body() -> None:
    query = WorkflowTarget("Flow", "a/b", "eu").read("output")
    assert (query.method, query.path) == ("POST", "/restate/output")
    assert json.loads(query.body) == {
        "target": "workflow",
        "workflowName": "Flow",
        "workflowKey": "a/b",
        "scope": "eu",
    }


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (Target("S", "h"), "/restate/invocation/S/h/my-key_1.~/attach"),
        (Target("O", "h", "k/1"), "/restate/invocation/O/k%2F1/h/my-key_1.~/attach"),
    ],
)
def test_an_idempotent_invocation_is_read_by_its_path(target: Target, path: str) -> None:
    assert IdempotentTarget(target, "my-key_1.~").read("attach") == Query("GET", path)


@pytest.mark.parametrize("idempotency_key", ["a b", "a/b", "50%", "ä", "a?b"])
def test_an_idempotency_key_that_paths_would_change_is_sent_in_a_body(idempotency_key: str) -> None:
    """The server does not decode it in a path."""
    query = IdempotentTarget(Target("O", "h", "k"), idempotency_key).read("output")
    assert (query.method, query.path) == ("POST", "/restate/output")
    assert json.loads(query.body) == {
        "target": "idempotentInvocation",
        "service": "O",
        "key": "k",
        "handler": "h",
        "idempotencyKey": idempotency_key,
    }


def test_an_idempotent_invocation_in_a_scope_is_read_by_a_body() -> None:
    query = IdempotentTarget(Target("S", "h", scope="eu"), "i").read("attach")
    assert query.path == "/restate/attach"
    assert json.loads(query.body) == {
        "target": "idempotentInvocation",
        "service": "S",
        "handler": "h",
        "idempotencyKey": "i",
        "scope": "eu",
    }


def test_awakeables_are_completed_by_their_id() -> None:
    assert awakeable_query("sign_1x", "resolve", b"1") == Query("POST", "/restate/awakeables/sign_1x/resolve", b"1")
    assert awakeable_query("sign_1x", "reject", b"no") == Query("POST", "/restate/awakeables/sign_1x/reject", b"no")


@pytest.mark.parametrize(
    "read",
    [
        lambda: Target("S", "h", "\ud800").call(),
        lambda: WorkflowTarget("W", "\ud800").read("attach"),
        lambda: WorkflowTarget("W", "\ud800", "eu").read("attach"),
    ],
)
def test_a_key_that_is_no_unicode_text_is_refused(read: Callable[[], Query]) -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        read()


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target("S", "h"), "S/h"),
        (Target("O", "h", "k", "eu"), "O/k/h in scope eu"),
        (IdempotentTarget(Target("S", "h"), "i"), "S/h with idempotency key 'i'"),
        (WorkflowTarget("W", "k"), "W/k"),
        (InvocationTarget("inv_1"), "inv_1"),
    ],
)
def test_a_target_reads_well_in_a_message(target: object, text: str) -> None:
    assert str(target) == text
