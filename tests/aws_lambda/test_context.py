"""What an invocation is told, and what the function is."""

from __future__ import annotations

import datetime as dt
import time

import msgspec
import pytest

from perdure.aws_lambda import ClientContext, CognitoIdentity, FunctionConfig, LambdaContext
from perdure.aws_lambda.configuration import max_concurrency, starts_from_snapshot
from perdure.exceptions import UsageError

ENV = {
    "AWS_LAMBDA_FUNCTION_NAME": "shop",
    "AWS_LAMBDA_FUNCTION_VERSION": "7",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
}


def test_a_context_tells_its_deadline_in_three_ways() -> None:
    context = LambdaContext(deadline_ms=int((time.time() + 10) * 1000))
    assert context.deadline is not None
    assert context.deadline - dt.datetime.now(dt.UTC) < dt.timedelta(seconds=10.1)
    assert 9 < context.remaining_time() <= 10
    assert 9000 < context.get_remaining_time_in_millis() <= 10_000


def test_a_deadline_that_is_over_leaves_no_time() -> None:
    context = LambdaContext(deadline_ms=1)
    assert (context.remaining_time(), context.get_remaining_time_in_millis()) == (0, 0)


def test_without_a_deadline_there_is_all_the_time() -> None:
    assert LambdaContext().deadline is None
    assert LambdaContext().remaining_time() == float("inf")


def test_the_names_of_the_managed_runtime_are_there() -> None:
    function = FunctionConfig.from_env({**ENV, "AWS_LAMBDA_LOG_GROUP_NAME": "/g", "AWS_LAMBDA_LOG_STREAM_NAME": "s"})
    context = LambdaContext(request_id="r", function=function)
    assert context.aws_request_id == "r"
    assert (context.function_name, context.function_version, context.memory_limit_in_mb) == ("shop", "7", 128)
    assert (context.log_group_name, context.log_stream_name) == ("/g", "s")


@pytest.mark.parametrize("missing", ENV)
def test_a_missing_variable_is_named(missing: str) -> None:
    with pytest.raises(UsageError, match=missing):
        FunctionConfig.from_env({name: value for name, value in ENV.items() if name != missing})


def test_a_memory_size_that_is_no_number_is_told() -> None:
    with pytest.raises(UsageError, match="no number of MiB"):
        FunctionConfig.from_env({**ENV, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "much"})


@pytest.mark.parametrize("keys", [("client", "app_title"), ("client", "appTitle")])
def test_a_client_context_is_read_in_both_spellings(keys: tuple[str, str]) -> None:
    outer, inner = keys
    found = ClientContext.parse(msgspec.json.encode({outer: {inner: "shop"}, "env": {"a": 1}}))
    assert found.client is not None
    assert (found.client.app_title, found.env, found.custom) == ("shop", {"a": 1}, {})


def test_an_empty_client_context_is_one() -> None:
    assert ClientContext.parse("{}") == ClientContext()


def test_the_trace_context_of_the_web_is_told() -> None:
    assert ClientContext.parse('{"w3c": {"traceparent": "00-1"}}').w3c == {"traceparent": "00-1"}


@pytest.mark.parametrize(
    "text",
    [
        '{"cognitoIdentityId": "i", "cognitoIdentityPoolId": "p"}',
        '{"identityId": "i", "identityPoolId": "p"}',
        '{"identity_id": "i", "identity_pool_id": "p"}',
    ],
)
def test_an_identity_is_read_in_three_spellings(text: str) -> None:
    assert CognitoIdentity.parse(text) == CognitoIdentity(identity_id="i", identity_pool_id="p")


def test_an_identity_may_be_null() -> None:
    assert CognitoIdentity.parse('{"cognitoIdentityId": null}') == CognitoIdentity()


@pytest.mark.parametrize("text", ["[]", "1", "{", '{"client": 1}'])
def test_a_client_context_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        ClientContext.parse(text)


def test_one_invocation_at_a_time_unless_the_platform_says_otherwise() -> None:
    assert max_concurrency({}) == 1
    assert max_concurrency({"AWS_LAMBDA_MAX_CONCURRENCY": "64"}) == 64


def test_only_one_kind_of_init_takes_a_snapshot() -> None:
    assert starts_from_snapshot({"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"})
    assert not starts_from_snapshot({"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"})
