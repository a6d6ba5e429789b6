"""Paths of the ingress are read as the client writes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.client.targets import IdempotentTarget, InvocationTarget, Target, WorkflowTarget, awakeable_query
from perdure.engine.ingress_paths import Awakeable, BadPath, ByBody, Health, Invoke, Read, parse_path, target_of
from perdure.wire import messages

KEYED = {"Counter": True, "Greeter": False, "a b": False, "openapi": False}.get
NAMES = st.sampled_from(["Greeter", "a b", "openapi"])
HANDLERS = st.text("abcXYZ_019", min_size=1)
TEXTS = st.text(min_size=1).filter(lambda text: text.isprintable())


@given(service=NAMES, handler=HANDLERS, send=st.booleans())
def test_what_the_client_invokes_is_invoked(service: str, handler: str, send: bool) -> None:
    target = Target(service, handler)
    query = target.send() if send else target.call()
    assert parse_path(query.path, KEYED) == Invoke(service, "", handler, send)


@given(key=TEXTS, handler=HANDLERS, send=st.booleans())
def test_any_key_travels_in_a_path(key: str, handler: str, send: bool) -> None:
    target = Target("Counter", handler, key)
    query = target.send() if send else target.call()
    assert parse_path(query.path, KEYED) == Invoke("Counter", key, handler, send)


@given(key=TEXTS, handler=HANDLERS, idempotency_key=TEXTS, verb=st.sampled_from(["attach", "output"]))
def test_what_the_client_reads_by_idempotency_key_is_read(
    key: str, handler: str, idempotency_key: str, verb: Any
) -> None:
    query = IdempotentTarget(Target("Counter", handler, key), idempotency_key).read(verb)
    expected = messages.IdempotentRequestTarget("Counter", key, handler, idempotency_key)
    parsed = parse_path(query.path, KEYED)
    if isinstance(parsed, ByBody):
        assert (parsed.verb, target_of(query.body)) == (verb, expected)
    else:
        assert parsed == Read(verb, expected)


@given(key=TEXTS, verb=st.sampled_from(["attach", "output"]))
def test_what_the_client_reads_of_a_workflow_is_read(key: str, verb: Any) -> None:
    query = WorkflowTarget("Counter", key).read(verb)
    assert parse_path(query.path, KEYED) == Read(verb, messages.WorkflowTarget("Counter", key))


@pytest.mark.parametrize("verb", ["attach", "output"])
def test_what_the_client_reads_by_id_is_read(verb: Any) -> None:
    assert parse_path(InvocationTarget("inv_1x").read(verb).path, KEYED) == Read(verb, messages.InvocationId("inv_1x"))
    assert parse_path(f"/restate/{verb}/inv_1x", KEYED) == Read(verb, messages.InvocationId("inv_1x"))


@pytest.mark.parametrize("verb", ["resolve", "reject"])
def test_what_the_client_completes_is_completed(verb: Any) -> None:
    expected = Awakeable("sign_1x", verb == "resolve")
    assert parse_path(awakeable_query("sign_1x", verb, b"").path, KEYED) == expected
    assert parse_path(f"/restate/a/sign_1x/{verb}", KEYED) == expected


def test_health_has_a_path() -> None:
    assert parse_path("/restate/health", KEYED) == Health()


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/", 404, "nothing is at"),
        ("/openapi", 404, "nothing is at"),
        ("/Nobody/greet", 404, "service 'Nobody' not found"),
        ("/Greeter", 400, "expected service/handler"),
        ("/Counter/key", 400, "expected service/key/handler"),
        ("/Counter//add", 400, "the key is empty"),
        ("/Greeter/greet/now", 400, "nothing else"),
        ("/Greeter/greet/send/now", 400, "nothing else"),
        ("/Counter/%ff/add", 400, "is not UTF-8"),
        ("/restate", 404, "nothing is at /restate/"),
        ("/restate/call", 404, "service '' not found"),
        ("/restate/call/Greeter/greet/send", 400, "nothing may be behind the handler"),
        ("/restate/scope/x/call/Greeter/greet", 400, "scopes need a restate-server"),
        ("/restate/invocation/Greeter/greet/attach", 400, "expected an idempotency key"),
        ("/restate/workflow/Nobody/k/attach", 404, "service 'Nobody' not found"),
        ("/restate/awakeables/sign_1x/forget", 404, "nothing is at"),
    ],
)
def test_a_path_that_means_nothing_is_told(path: str, status: int, said: str) -> None:
    with pytest.raises(BadPath) as caught:
        parse_path(path, KEYED)
    assert caught.value.status == status
    assert said in caught.value.message


@pytest.mark.parametrize(
    "body", [b"", b"{", b"{}", b'{"target":"x"}', b'{"target":"invocation"}', b"\xff", b"[" * 5000]
)
def test_a_body_that_names_nothing_is_told(body: bytes) -> None:
    with pytest.raises(BadPath, match="names no invocation"):
        target_of(body)


def test_a_target_in_a_scope_is_refused() -> None:
    with pytest.raises(BadPath, match="scopes need"):
        target_of(b'{"target":"workflow","workflowName":"W","workflowKey":"k","scope":"s"}')
