"""Typed events: which source an event is from, and that nothing of it is lost."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perdure.aws_lambda.events as package
from perdure.aws_lambda.events import (
    SOURCES,
    AwsObject,
    CognitoPreSignUpEvent,
    Event,
    EventBridgeEvent,
    SqsEvent,
    UnknownEventError,
    detect,
    parse,
)
from perdure.aws_lambda.failures import PayloadError
from tests.aws_lambda.documented_events import DOCUMENTED, cognito
from tests.aws_lambda.sam_wheel import samples

EXAMPLES = int(os.environ.get("PERDURE_EXAMPLES", "8"))
"""Per class; more: ``PERDURE_EXAMPLES=500 pytest tests/aws_lambda/test_events.py``."""

SAMPLES = {
    "alb/ALBRequest": "AlbEvent",
    "apigateway/ApiGatewayAuthorizer": "ApiGatewayTokenAuthorizerEvent",
    "apigateway/ApiGatewayRestRequestAuthorizer": "ApiGatewayRequestAuthorizerEvent",
    "apigateway/AwsProxy": "ApiGatewayRestEvent",
    "apigateway/HttpApi": "ApiGatewayHttpEvent",
    "cloudwatch/CloudwatchLogs": "CloudWatchLogsEvent",
    "cloudwatch/ScheduledEvent": "EventBridgeEvent",
    "cognito/CognitoSyncTrigger": "CognitoSyncEvent",
    "dynamodb/DynamoDBUpdate": "DynamoDbEvent",
    "kinesis/Kinesis": "KinesisEvent",
    "rekognition/RekognitionS3Request": "S3Event",
    "s3/S3Delete": "S3Event",
    "s3/S3Put": "S3Event",
    "sns/Sns": "SnsEvent",
    "sqs/Sqs": "SqsEvent",
}
"""AWS's samples of the sources that have classes."""


# --- AWS's samples, and documented events ----------------------------------------------------------------------------


def test_all_samples_of_aws_are_looked_at() -> None:
    assert len(samples()) == 66
    assert set(SAMPLES) < set(samples())


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_of_aws_is_told_and_comes_back_without_loss(name: str) -> None:
    event = parse(samples()[name])
    assert type(event).__name__ == SAMPLES[name]
    assert json.loads(event.encode()) == json.loads(samples()[name])


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_of_aws_has_no_field_that_its_class_does_not_know(name: str) -> None:
    assert unknown(parse(samples()[name])) == []


def test_a_sample_of_every_other_source_is_told_to_be_unknown() -> None:
    others = {name: text for name, text in samples().items() if name not in SAMPLES}
    assert len(others) == 51
    for text in others.values():
        with pytest.raises(UnknownEventError):
            detect(text)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_documented_event_is_told_and_comes_back_without_loss(name: str) -> None:
    expected, fields = DOCUMENTED[name]
    event = parse(json.dumps(fields))
    assert type(event).__name__ == expected
    assert json.loads(event.encode()) == fields


def test_every_source_has_an_event_here() -> None:
    shown = {*SAMPLES.values(), *(name for name, _ in DOCUMENTED.values())}
    assert {kind.__name__ for kind in SOURCES} == shown


def unknown(value: Any, path: str = "$") -> list[str]:
    """Paths of fields that were kept because no class knows them."""
    found = []
    match value:
        case AwsObject():
            known = {field.encode_name for field in msgspec.structs.fields(type(value))}
            found += [f"{path}.{name}" for name in value.extra if name not in known]
            for name in value.__struct_fields__:
                if name != "extra":
                    found += unknown(getattr(value, name), f"{path}.{name}")
        case list():
            for each in value:
                found += unknown(each, f"{path}[]")
        case dict():
            for name, each in value.items():
                found += unknown(each, f"{path}.{name}")
    return found


# --- losslessness, for whatever AWS may send -------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def json_of(kind: Any) -> st.SearchStrategy[Any]:
    """JSON that fits a type, with whatever else AWS may put into objects."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, AwsObject):
        return objects(kind)
    if origin in {typing.Union, types.UnionType}:
        return st.one_of(*map(json_of, args))
    if origin is list:
        return st.lists(json_of(args[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), json_of(args[1]), max_size=2)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=8),
        bool: st.booleans(),
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        types.NoneType: st.none(),
        Any: anything,
    }
    return simple[kind]


@st.composite
def objects(draw: st.DrawFn, kind: type[AwsObject]) -> dict[str, Any]:
    found = draw(st.dictionaries(st.sampled_from(["new", "extra", "Extra", "", "\x00"]), anything, max_size=2))
    for field in msgspec.structs.fields(kind):
        if field.name != "extra" and (field.required or draw(st.booleans())):
            found[field.encode_name] = draw(json_of(field.type))
    return found


@pytest.mark.parametrize("kind", SOURCES, ids=lambda kind: str(kind.__name__))
def test_whatever_fits_a_class_comes_back_without_loss(kind: type[Event]) -> None:
    @settings(max_examples=EXAMPLES)
    @given(objects(kind))
    def check(fields: dict[str, Any]) -> None:
        before = json.dumps(fields)
        assert json.loads(kind.decode(before).encode()) == fields
        assert kind.decode(fields).to_dict() == fields
        assert json.dumps(fields) == before  # what was given is not changed

    check()


def structs() -> list[type[AwsObject]]:
    return [
        each
        for name in package.__all__
        if isinstance(each := getattr(package, name), type) and issubclass(each, AwsObject)
    ]


@pytest.mark.parametrize("kind", structs(), ids=lambda kind: str(kind.__name__))
def test_a_field_that_may_be_absent_has_no_other_default_than_none(kind: type[AwsObject]) -> None:
    optional = [field for field in msgspec.structs.fields(kind) if not field.required and field.name != "extra"]
    assert [field.name for field in optional if field.default is not None] == []


# --- reading and changing --------------------------------------------------------------------------------------------


def test_unknown_fields_are_kept_and_can_be_read() -> None:
    fields = json.loads(samples()["sqs/Sqs"])
    fields["Records"][0]["priority"] = 3
    [record] = SqsEvent.decode(fields).records
    assert record.extra == {"priority": 3}


def test_a_field_that_came_as_null_and_one_that_did_not_come_stay_two_things() -> None:
    fields = {"detail-type": "x", "source": "y", "detail": None, "region": None}
    event = EventBridgeEvent.decode(fields)
    assert (event.region, event.account) == (None, None)
    assert event.to_dict() == fields


def test_a_changed_field_is_written_as_it_was_changed() -> None:
    event = EventBridgeEvent.decode({"detail-type": "x", "source": "y", "detail": 1, "region": None, "new": 2})
    changed = msgspec.structs.replace(event, region="eu-central-1")
    assert changed.to_dict() == {"detail-type": "x", "source": "y", "detail": 1, "region": "eu-central-1", "new": 2}


def test_a_cognito_trigger_answers_with_its_event() -> None:
    fields = cognito("PreSignUp_SignUp", {"new": 1}, {"autoConfirmUser": None, "autoVerifyEmail": False})
    event = CognitoPreSignUpEvent.decode(fields)
    event.response.auto_confirm_user = True
    assert json.loads(event.__lambda_encode__()) == {
        **fields,
        "response": {"autoConfirmUser": True, "autoVerifyEmail": False},
    }


# --- events that do not fit ------------------------------------------------------------------------------------------


def test_a_field_of_the_wrong_type_is_named() -> None:
    fields = json.loads(samples()["sqs/Sqs"])
    fields["Records"][0]["body"] = 5
    with pytest.raises(PayloadError, match=r"Expected `str`, got `int` - at `\$.Records\[0\].body`") as raised:
        SqsEvent.decode(fields)
    assert raised.value.error_type == "Runtime.UnmarshalError"


def test_a_missing_field_is_named() -> None:
    fields = json.loads(samples()["sns/Sns"])
    del fields["Records"][0]["Sns"]["TopicArn"]
    with pytest.raises(PayloadError, match=r"missing required field `TopicArn` - at `\$.Records\[0\].Sns`"):
        parse(fields)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[]", b"null", b"7", '"x"'])
def test_what_is_no_json_object_is_told(text: bytes | str) -> None:
    with pytest.raises(PayloadError, match="the event is no JSON object"):
        parse(text)


def test_an_event_of_no_known_source_is_told_with_its_keys_and_with_what_is_known() -> None:
    with pytest.raises(UnknownEventError, match=r"\(it has colour, size\).*an SQS queue, .*CloudWatch Logs"):
        detect({"size": 1, "colour": "blue"})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Records": []},
        {"Records": None},
        {"Records": [None]},
        {"Records": [{"eventSource": "aws:new"}]},
        {"Records": [{"eventSource": {}}]},
        {"requestContext": None},
        {"requestContext": {"http": {}}},
        {"requestContext": {}, "httpMethod": "GET"},
        {"awslogs": None},
        {"eventSource": [], "records": {}},
        {"triggerSource": "PreSignUp_SignUp"},
        {"type": "TOKEN"},
    ],
)
def test_an_event_that_only_resembles_one_is_unknown(fields: Mapping[str, Any]) -> None:
    with pytest.raises(UnknownEventError):
        detect(fields)


@given(st.dictionaries(st.sampled_from(["Records", "requestContext", "version", "records", "awslogs", "x"]), anything))
def test_detection_tells_a_class_or_raises_its_error(fields: dict[str, Any]) -> None:
    try:
        kind = detect(fields)
    except UnknownEventError:
        return
    assert kind in SOURCES


# --- the package -----------------------------------------------------------------------------------------------------


def test_every_public_name_is_where_the_package_says() -> None:
    assert sorted(package.__all__) == sorted(package._HOME_OF)
    for name, module in package._HOME_OF.items():
        assert name in importlib.import_module(module).__all__
        assert getattr(package, name) is getattr(importlib.import_module(module), name)


def test_a_function_pays_for_its_own_source_only() -> None:
    program = (
        "import sys; from perdure.aws_lambda.events import SqsEvent; "
        "print([name for name in sys.modules if 'events.' in name])"
    )
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert {name.rpartition(".")[2] for name in eval(loaded)} == {"structure", "contents", "sqs"}
