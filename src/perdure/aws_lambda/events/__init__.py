"""Typed events: what the services of AWS invoke functions with.

A handler names the class of its events in an annotation, `LambdaEvent[SqsEvent]`. A function with several sources takes
`dict`, and asks `parse`. Fields that AWS adds are kept in `extra`, so an event is encoded as it came.

Names are imported when they are first used: a function pays for its own sources only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from perdure.aws_lambda.events.api_gateway import (
        ApiGatewayHttpAuthorizerEvent,
        ApiGatewayHttpEvent,
        ApiGatewayRequestAuthorizerEvent,
        ApiGatewayRestEvent,
        ApiGatewayTokenAuthorizerEvent,
        ApiGatewayWebSocketEvent,
        ClientCertificate,
        HttpAuthentication,
        HttpAuthorizer,
        HttpDescription,
        HttpRequestContext,
        IamAuthorizer,
        JwtAuthorizer,
        RestIdentity,
        RestRequestContext,
        Validity,
        WebSocketRequestContext,
    )
    from perdure.aws_lambda.events.batch import BatchRecord, BatchResponse, ItemFailure, process_batch
    from perdure.aws_lambda.events.cloudwatch_logs import CloudWatchLogsData, CloudWatchLogsEvent, LogRecord, LogRecords
    from perdure.aws_lambda.events.cognito import (
        CallerContext,
        Challenge,
        ClaimsAndScopeOverride,
        ClaimsOverride,
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
        CognitoRequest,
        CognitoResponse,
        CognitoSyncEvent,
        CognitoTrigger,
        CognitoUserMigrationEvent,
        CognitoVerifyChallengeEvent,
        CreateChallengeResponse,
        CustomMessageResponse,
        DefineChallengeResponse,
        GroupConfiguration,
        PreSignUpResponse,
        PreTokenResponse,
        PreTokenV2Response,
        SyncRecord,
        TokenGeneration,
        UserMigrationResponse,
        VerifyChallengeResponse,
    )
    from perdure.aws_lambda.events.detection import SOURCES, detect, parse
    from perdure.aws_lambda.events.dynamodb import (
        DynamoDbChange,
        DynamoDbEvent,
        DynamoDbIdentity,
        DynamoDbRecord,
        from_attribute,
        from_item,
    )
    from perdure.aws_lambda.events.eventbridge import EventBridgeEvent
    from perdure.aws_lambda.events.function_url import FunctionUrlEvent
    from perdure.aws_lambda.events.kafka import KafkaEvent, KafkaRecord
    from perdure.aws_lambda.events.kinesis import KinesisData, KinesisEvent, KinesisRecord
    from perdure.aws_lambda.events.lattice import LatticeIdentity, LatticeRequestContext, LatticeV1Event, LatticeV2Event
    from perdure.aws_lambda.events.load_balancer import AlbEvent, AlbRequestContext, AlbTarget
    from perdure.aws_lambda.events.s3 import (
        S3Bucket,
        S3Entity,
        S3Event,
        S3Identity,
        S3Object,
        S3Record,
        S3RequestParameters,
    )
    from perdure.aws_lambda.events.sns import SnsAttribute, SnsEvent, SnsMessage, SnsRecord
    from perdure.aws_lambda.events.sqs import SqsAttributes, SqsEvent, SqsMessageAttribute, SqsRecord
    from perdure.aws_lambda.events.streams import StreamWindow, Window
    from perdure.aws_lambda.events.structure import AwsObject, Event, UnknownEventError

__all__ = [
    "SOURCES",
    "AlbEvent",
    "AlbRequestContext",
    "AlbTarget",
    "ApiGatewayHttpAuthorizerEvent",
    "ApiGatewayHttpEvent",
    "ApiGatewayRequestAuthorizerEvent",
    "ApiGatewayRestEvent",
    "ApiGatewayTokenAuthorizerEvent",
    "ApiGatewayWebSocketEvent",
    "AwsObject",
    "BatchRecord",
    "BatchResponse",
    "CallerContext",
    "Challenge",
    "ClaimsAndScopeOverride",
    "ClaimsOverride",
    "ClientCertificate",
    "CloudWatchLogsData",
    "CloudWatchLogsEvent",
    "CognitoCreateChallengeEvent",
    "CognitoCustomMessageEvent",
    "CognitoCustomSenderEvent",
    "CognitoDefineChallengeEvent",
    "CognitoEvent",
    "CognitoPostAuthenticationEvent",
    "CognitoPostConfirmationEvent",
    "CognitoPreAuthenticationEvent",
    "CognitoPreSignUpEvent",
    "CognitoPreTokenEvent",
    "CognitoPreTokenV2Event",
    "CognitoRequest",
    "CognitoResponse",
    "CognitoSyncEvent",
    "CognitoTrigger",
    "CognitoUserMigrationEvent",
    "CognitoVerifyChallengeEvent",
    "CreateChallengeResponse",
    "CustomMessageResponse",
    "DefineChallengeResponse",
    "DynamoDbChange",
    "DynamoDbEvent",
    "DynamoDbIdentity",
    "DynamoDbRecord",
    "Event",
    "EventBridgeEvent",
    "FunctionUrlEvent",
    "GroupConfiguration",
    "HttpAuthentication",
    "HttpAuthorizer",
    "HttpDescription",
    "HttpRequestContext",
    "IamAuthorizer",
    "ItemFailure",
    "JwtAuthorizer",
    "KafkaEvent",
    "KafkaRecord",
    "KinesisData",
    "KinesisEvent",
    "KinesisRecord",
    "LatticeIdentity",
    "LatticeRequestContext",
    "LatticeV1Event",
    "LatticeV2Event",
    "LogRecord",
    "LogRecords",
    "PreSignUpResponse",
    "PreTokenResponse",
    "PreTokenV2Response",
    "RestIdentity",
    "RestRequestContext",
    "S3Bucket",
    "S3Entity",
    "S3Event",
    "S3Identity",
    "S3Object",
    "S3Record",
    "S3RequestParameters",
    "SnsAttribute",
    "SnsEvent",
    "SnsMessage",
    "SnsRecord",
    "SqsAttributes",
    "SqsEvent",
    "SqsMessageAttribute",
    "SqsRecord",
    "StreamWindow",
    "SyncRecord",
    "TokenGeneration",
    "UnknownEventError",
    "UserMigrationResponse",
    "Validity",
    "VerifyChallengeResponse",
    "WebSocketRequestContext",
    "Window",
    "detect",
    "from_attribute",
    "from_item",
    "parse",
    "process_batch",
]

# Where each name is, and the imports above once more for the interpreter; a test compares the three lists.
_HOMES: Final = {
    "api_gateway": "ApiGatewayHttpAuthorizerEvent ApiGatewayHttpEvent ApiGatewayRequestAuthorizerEvent "
    "ApiGatewayRestEvent ApiGatewayTokenAuthorizerEvent ApiGatewayWebSocketEvent ClientCertificate "
    "HttpAuthentication HttpAuthorizer HttpDescription HttpRequestContext IamAuthorizer "
    "JwtAuthorizer RestIdentity RestRequestContext Validity WebSocketRequestContext",
    "batch": "BatchRecord BatchResponse ItemFailure process_batch",
    "cloudwatch_logs": "CloudWatchLogsData CloudWatchLogsEvent LogRecord LogRecords",
    "cognito": "CallerContext Challenge ClaimsAndScopeOverride ClaimsOverride CognitoCreateChallengeEvent "
    "CognitoCustomMessageEvent CognitoCustomSenderEvent CognitoDefineChallengeEvent CognitoEvent "
    "CognitoPostAuthenticationEvent CognitoPostConfirmationEvent CognitoPreAuthenticationEvent "
    "CognitoPreSignUpEvent CognitoPreTokenEvent CognitoPreTokenV2Event CognitoRequest "
    "CognitoResponse CognitoSyncEvent CognitoTrigger CognitoUserMigrationEvent "
    "CognitoVerifyChallengeEvent CreateChallengeResponse CustomMessageResponse "
    "DefineChallengeResponse GroupConfiguration PreSignUpResponse PreTokenResponse "
    "PreTokenV2Response SyncRecord TokenGeneration UserMigrationResponse VerifyChallengeResponse",
    "detection": "SOURCES detect parse",
    "dynamodb": "DynamoDbChange DynamoDbEvent DynamoDbIdentity DynamoDbRecord from_attribute from_item",
    "eventbridge": "EventBridgeEvent",
    "function_url": "FunctionUrlEvent",
    "kafka": "KafkaEvent KafkaRecord",
    "kinesis": "KinesisData KinesisEvent KinesisRecord",
    "lattice": "LatticeIdentity LatticeRequestContext LatticeV1Event LatticeV2Event",
    "load_balancer": "AlbEvent AlbRequestContext AlbTarget",
    "s3": "S3Bucket S3Entity S3Event S3Identity S3Object S3Record S3RequestParameters",
    "sns": "SnsAttribute SnsEvent SnsMessage SnsRecord",
    "sqs": "SqsAttributes SqsEvent SqsMessageAttribute SqsRecord",
    "streams": "StreamWindow Window",
    "structure": "AwsObject Event UnknownEventError",
}
_HOME_OF: Final = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker would take any name for one of this package

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used, and keep it."""
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return value

    def __dir__() -> list[str]:
        """List the public names, loaded or not."""
        return sorted({*globals(), *__all__})
