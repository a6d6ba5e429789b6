"""Which source an event is from.

Events say so in different places: a key, the request context, the `eventSource` of the first record. Each rule looks
only at what its source always sends and no other does, so their order does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from perdure.aws_lambda.events.api_gateway import (
    ApiGatewayHttpAuthorizerEvent,
    ApiGatewayRequestAuthorizerEvent,
    ApiGatewayTokenAuthorizerEvent,
)
from perdure.aws_lambda.events.cloudwatch_logs import CloudWatchLogsEvent
from perdure.aws_lambda.events.cognito import (
    CognitoCreateChallengeEvent,
    CognitoCustomMessageEvent,
    CognitoCustomSenderEvent,
    CognitoDefineChallengeEvent,
    CognitoEvent,
    CognitoPostAuthenticationEvent,
    CognitoPostConfirmationEvent,
    CognitoPreAuthenticationEvent,
    CognitoPreSignUpEvent,
    CognitoPreTokenEvent,
    CognitoPreTokenV2Event,
    CognitoSyncEvent,
    CognitoTrigger,
    CognitoUserMigrationEvent,
    CognitoVerifyChallengeEvent,
)
from perdure.aws_lambda.events.dynamodb import DynamoDbEvent
from perdure.aws_lambda.events.eventbridge import EventBridgeEvent
from perdure.aws_lambda.events.http_sources import HTTP_SOURCES, http_source
from perdure.aws_lambda.events.kafka import KafkaEvent
from perdure.aws_lambda.events.kinesis import KinesisEvent
from perdure.aws_lambda.events.s3 import S3Event
from perdure.aws_lambda.events.sns import SnsEvent
from perdure.aws_lambda.events.sqs import SqsEvent
from perdure.aws_lambda.events.structure import Event, UnknownEventError, as_object

__all__ = ["SOURCES", "detect", "parse"]

_Fields = Mapping[str, Any]

_RECORDS: Final[dict[str, type[Event]]] = {
    "aws:sqs": SqsEvent,
    "aws:sns": SnsEvent,
    "aws:s3": S3Event,
    "aws:dynamodb": DynamoDbEvent,
    "aws:kinesis": KinesisEvent,
}
_KAFKA: Final = {"aws:kafka", "SelfManagedKafka", "aws:SelfManagedKafka"}
_TRIGGERS: Final[dict[str, type[CognitoTrigger]]] = {
    "PreSignUp": CognitoPreSignUpEvent,
    "PostConfirmation": CognitoPostConfirmationEvent,
    "PreAuthentication": CognitoPreAuthenticationEvent,
    "PostAuthentication": CognitoPostAuthenticationEvent,
    "TokenGeneration": CognitoPreTokenEvent,
    "DefineAuthChallenge": CognitoDefineChallengeEvent,
    "CreateAuthChallenge": CognitoCreateChallengeEvent,
    "VerifyAuthChallengeResponse": CognitoVerifyChallengeEvent,
    "UserMigration": CognitoUserMigrationEvent,
    "CustomMessage": CognitoCustomMessageEvent,
    "CustomEmailSender": CognitoCustomSenderEvent,
    "CustomSMSSender": CognitoCustomSenderEvent,
}


def detect(event: bytes | str | Mapping[str, Any]) -> type[Event]:
    """Tell which source an event is from.

    Args:
        event: JSON, or what JSON was decoded into.

    Returns:
        The class of its events; `source` of the class names the source.

    Raises:
        UnknownEventError: none of the sources in `SOURCES` sends such events.
        PayloadError: it is no JSON object.
    """
    fields = as_object(event)
    for rule in _RULES:
        if (found := rule(fields)) is not None:
            return found
    keys = ", ".join(sorted(fields)[:_SHOWN]) or "no keys at all"
    raise UnknownEventError(
        f"this event is of no source that is known here (it has {keys}); a function that is to take it has a payload "
        "of type dict, or a type of its own. Known are: " + ", ".join(dict.fromkeys(kind.source for kind in SOURCES))
    )


_SHOWN: Final = 12


def parse(event: bytes | str | Mapping[str, Any]) -> Event:
    """Make an event into an object of the class of its source.

    Raises:
        UnknownEventError: it is of no known source.
        PayloadError: it is no JSON object, or a field does not fit; the message names it.
    """
    fields = as_object(event)
    return detect(fields).decode(fields)


def _batch(event: _Fields) -> type[Event] | None:
    records = event.get("Records")
    if isinstance(records, list) and records and isinstance(first := records[0], Mapping):
        return _RECORDS.get(_text(first.get("eventSource")) or _text(first.get("EventSource")))
    return None


def _kafka(event: _Fields) -> type[Event] | None:
    is_kafka = _text(event.get("eventSource")) in _KAFKA and isinstance(event.get("records"), Mapping)
    return KafkaEvent if is_kafka else None


def _bus(event: _Fields) -> type[Event] | None:
    return EventBridgeEvent if {"detail-type", "detail", "source"} <= event.keys() else None


def _logs(event: _Fields) -> type[Event] | None:
    logs = event.get("awslogs")
    return CloudWatchLogsEvent if isinstance(logs, Mapping) and "data" in logs else None


def _cognito(event: _Fields) -> type[Event] | None:
    if "triggerSource" in event and "userPoolId" in event:
        trigger = _text(event["triggerSource"]).partition("_")[0]
        found: type[CognitoTrigger] = _TRIGGERS.get(trigger, CognitoEvent)
        is_v2 = found is CognitoPreTokenEvent and _text(event.get("version")) not in {"", "1"}
        return CognitoPreTokenV2Event if is_v2 else found
    return CognitoSyncEvent if "identityPoolId" in event and "datasetRecords" in event else None


def _authorizer(event: _Fields) -> type[Event] | None:
    match event:
        case {"type": "TOKEN", "methodArn": _, "authorizationToken": _}:
            return ApiGatewayTokenAuthorizerEvent
        case {"type": "REQUEST", "routeArn": _, "version": "2.0"}:
            return ApiGatewayHttpAuthorizerEvent
        case {"type": "REQUEST", "methodArn": _}:
            return ApiGatewayRequestAuthorizerEvent
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


_RULES: Final[tuple[Callable[[_Fields], type[Event] | None], ...]] = (
    http_source,
    _batch,
    _bus,
    _kafka,
    _logs,
    _cognito,
    _authorizer,
)

SOURCES: Final[tuple[type[Event], ...]] = (
    *HTTP_SOURCES,
    ApiGatewayTokenAuthorizerEvent,
    ApiGatewayRequestAuthorizerEvent,
    ApiGatewayHttpAuthorizerEvent,
    *_RECORDS.values(),
    KafkaEvent,
    EventBridgeEvent,
    CloudWatchLogsEvent,
    *dict.fromkeys(_TRIGGERS.values()),
    CognitoPreTokenV2Event,
    CognitoEvent,
    CognitoSyncEvent,
)
"""Every class that `detect` can return."""
