"""Events of sources that the SAM CLI has no sample of, written from the documentation of the services."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any, Final

__all__ = ["DOCUMENTED", "cognito"]

ACCOUNT: Final = "210987654321"
ARN: Final = f"arn:aws:{{}}:eu-central-1:{ACCOUNT}:"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def websocket(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "requestContext": {
            "routeKey": {"CONNECT": "$connect", "DISCONNECT": "$disconnect"}.get(kind, "say"),
            "eventType": kind,
            "extendedRequestId": "Wq4zHE2DliAFgBw=",
            "requestTime": "03/Feb/2025:10:11:12 +0000",
            "messageDirection": "IN",
            "stage": "live",
            "connectedAt": 1738577470123,
            "requestTimeEpoch": 1738577472004,
            "identity": {"sourceIp": "198.51.100.23"},
            "requestId": "Wq4zHE2DliAFgBw=",
            "domainName": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com",
            "connectionId": "Wq4y5cZwliACJyQ=",
            "apiId": "a1b2c3d4e5",
        },
        "isBase64Encoded": False,
        **more,
    }


def http_v2(domain: str, **more: Any) -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/shelf/böck lein",
        "rawQueryString": "sort=up&tag=a%2Cb&tag=c",
        "cookies": ["seen=yes", "theme=dark"],
        "headers": {"host": domain, "x-forwarded-proto": "https", "x-forwarded-port": "443", "accept": "text/html"},
        "queryStringParameters": {"sort": "up", "tag": "a,b,c"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "u7rlid",
            "domainName": domain,
            "domainPrefix": "u7rlid",
            "http": {
                "method": "POST",
                "path": "/shelf/böck lein",
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.9",
                "userAgent": "curl/8.9.1",
            },
            "requestId": "7b0c6bb2-53ad-4aab-9cf5-6a9d8b6c2a11",
            "routeKey": "$default",
            "stage": "$default",
            "time": "03/Feb/2025:10:11:12 +0000",
            "timeEpoch": 1738577472004,
        },
        "body": _base64('{"title": "Momo"}'),
        "isBase64Encoded": True,
        **more,
    }


def payload_v1() -> dict[str, Any]:
    return {
        "version": "1.0",
        "resource": "/shelf/{id}",
        "path": "/beta/shelf/7",
        "httpMethod": "GET",
        "headers": {"Host": "h1.execute-api.eu-central-1.amazonaws.com", "Accept": "b"},
        "multiValueHeaders": {"Host": ["h1.execute-api.eu-central-1.amazonaws.com"], "Accept": ["a", "b"]},
        "queryStringParameters": {"q": "2"},
        "multiValueQueryStringParameters": {"q": ["1", "2"]},
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "h1",
            "authorizer": {"claims": None, "scopes": None},
            "domainName": "h1.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "h1",
            "extendedRequestId": "ZZZ=",
            "httpMethod": "GET",
            "identity": {"accessKey": None, "sourceIp": "203.0.113.9", "userAgent": "curl", "clientCert": None},
            "path": "/beta/shelf/7",
            "protocol": "HTTP/1.1",
            "requestId": "ZZZ=",
            "requestTime": "03/Feb/2025:10:11:12 +0000",
            "requestTimeEpoch": 1738577472004,
            "resourceId": None,
            "resourcePath": "/shelf/{id}",
            "stage": "beta",
        },
        "pathParameters": {"id": "7"},
        "stageVariables": None,
        "body": None,
        "isBase64Encoded": False,
    }


def cognito(trigger: str, request: dict[str, Any], response: Any, version: str = "1") -> dict[str, Any]:
    return {
        "version": version,
        "triggerSource": trigger,
        "region": "eu-central-1",
        "userPoolId": "eu-central-1_Abcde1234",
        "userName": "momo",
        "callerContext": {"awsSdkVersion": "aws-sdk-unknown-unknown", "clientId": "4h57kg3"},
        "request": {"userAttributes": {"sub": "e5f6", "email": "momo@example.org"}, **request},
        "response": response,
    }


_CHALLENGES: Final = [{"challengeName": "SRP_A", "challengeResult": True, "challengeMetadata": None}]

DOCUMENTED: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "websocket connect": (
        "ApiGatewayWebSocketEvent",
        websocket(
            "CONNECT",
            headers={"Host": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com", "Sec-WebSocket-Version": "13"},
            multiValueHeaders={"Host": ["a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com"]},
            queryStringParameters={"room": "blue"},
            multiValueQueryStringParameters={"room": ["red", "blue"]},
        ),
    ),
    "websocket message": ("ApiGatewayWebSocketEvent", websocket("MESSAGE", body='{"action": "say", "text": "hi"}')),
    "websocket disconnect": ("ApiGatewayWebSocketEvent", websocket("DISCONNECT")),
    "http api, payload 1.0": ("ApiGatewayRestEvent", payload_v1()),
    "http api, payload 2.0": ("ApiGatewayHttpEvent", http_v2("u7rlid.execute-api.eu-central-1.amazonaws.com")),
    "http api authorizer": (
        "ApiGatewayHttpAuthorizerEvent",
        {
            **{
                name: value
                for name, value in http_v2("u7rlid.execute-api.eu-central-1.amazonaws.com").items()
                if name not in {"body", "isBase64Encoded"}
            },
            "type": "REQUEST",
            "routeArn": ARN.format("execute-api") + "u7rlid/$default/POST/shelf",
            "identitySource": ["token", "theme=dark"],
        },
    ),
    "websocket authorizer": (
        "ApiGatewayRequestAuthorizerEvent",
        {
            "type": "REQUEST",
            "methodArn": ARN.format("execute-api") + "a1b2c3d4e5/live/$connect",
            **websocket("CONNECT", headers={"Sec-WebSocket-Version": "13"}),
        },
    ),
    "function url": ("FunctionUrlEvent", http_v2("u7rlid.lambda-url.eu-central-1.on.aws")),
    "load balancer, multi-value": (
        "AlbEvent",
        {
            "requestContext": {
                "elb": {"targetGroupArn": ARN.format("elasticloadbalancing") + "targetgroup/books/6d0e"}
            },
            "httpMethod": "GET",
            "path": "/shelf",
            "multiValueQueryStringParameters": {"tag": ["a%2Cb", "c+d"]},
            "multiValueHeaders": {
                "cookie": ["seen=yes", "theme=dark"],
                "host": ["books.example.org"],
                "x-forwarded-for": ["192.0.2.1, 203.0.113.9"],
                "x-forwarded-port": ["80"],
                "x-forwarded-proto": ["http"],
            },
            "body": "",
            "isBase64Encoded": False,
        },
    ),
    "lattice 1": (
        "LatticeV1Event",
        {
            "raw_path": "/shelf?sort=up",
            "method": "PUT",
            "headers": {"host": "books.example.org", "x-forwarded-for": "10.0.0.7"},
            "query_string_parameters": {"sort": "up"},
            "body": "hello",
            "is_base64_encoded": False,
        },
    ),
    "lattice 2": (
        "LatticeV2Event",
        {
            "version": "2.0",
            "path": "/shelf",
            "method": "GET",
            "headers": {"accept": ["text/html", "text/plain"], "host": ["books.example.org"]},
            "queryStringParameters": {"tag": ["a,b", "c"]},
            "body": None,
            "isBase64Encoded": False,
            "requestContext": {
                "serviceNetworkArn": ARN.format("vpc-lattice") + "servicenetwork/sn-0bf3",
                "serviceArn": ARN.format("vpc-lattice") + "service/svc-0a40",
                "targetGroupArn": ARN.format("vpc-lattice") + "targetgroup/tg-6d0e",
                "identity": {
                    "sourceVpcArn": ARN.format("ec2") + "vpc/vpc-0b8b",
                    "type": "AWS_IAM",
                    "principal": ARN.format("iam") + "assumed-role/reader/s",
                    "principalOrgID": "o-50dc6c495c0c9188",
                    "sessionName": "s",
                },
                "region": "eu-central-1",
                "timeEpoch": "1738577472004123",
            },
        },
    ),
    "fifo queue": (
        "SqsEvent",
        {
            "Records": [
                {
                    "messageId": f"00000000-0000-4000-8000-00000000000{number}",
                    "receiptHandle": "AQEBx",
                    "body": f'{{"number": {number}}}',
                    "attributes": {
                        "ApproximateReceiveCount": "3",
                        "SentTimestamp": "1738577472004",
                        "SequenceNumber": f"1885{number}",
                        "MessageGroupId": "blue",
                        "SenderId": "AIDA",
                        "MessageDeduplicationId": f"d{number}",
                        "ApproximateFirstReceiveTimestamp": "1738577473000",
                        "AWSTraceHeader": "Root=1-67a0",
                    },
                    "messageAttributes": {
                        "kind": {
                            "stringValue": "book",
                            "stringListValues": [],
                            "binaryListValues": [],
                            "dataType": "String",
                        },
                        "cover": {"binaryValue": _base64("\x00\x01"), "dataType": "Binary.png"},
                    },
                    "md5OfBody": "0" * 32,
                    "eventSource": "aws:sqs",
                    "eventSourceARN": ARN.format("sqs") + "books.fifo",
                    "awsRegion": "eu-central-1",
                }
                for number in range(3)
            ]
        },
    ),
    "dynamodb, expired item in a window": (
        "DynamoDbEvent",
        {
            "Records": [
                {
                    "eventID": "1",
                    "eventName": "REMOVE",
                    "eventVersion": "1.1",
                    "eventSource": "aws:dynamodb",
                    "awsRegion": "eu-central-1",
                    "dynamodb": {
                        "Keys": {"id": {"S": "7"}},
                        "OldImage": {"id": {"S": "7"}, "gone": {"NULL": True}, "tags": {"SS": ["a", "b"]}},
                        "SequenceNumber": "111",
                        "SizeBytes": 26,
                        "StreamViewType": "NEW_AND_OLD_IMAGES",
                    },
                    "eventSourceARN": ARN.format("dynamodb") + "table/books/stream/2025-02-03T00:00:00.000",
                    "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
                }
            ],
            "window": {"start": "2025-02-03T10:00:00Z", "end": "2025-02-03T10:05:00Z"},
            "state": {"1": "seen"},
            "shardId": "shard-1",
            "eventSourceARN": ARN.format("dynamodb") + "table/books/stream/2025-02-03T00:00:00.000",
            "isFinalInvokeForWindow": False,
            "isWindowTerminatedEarly": False,
        },
    ),
    "amazon msk": (
        "KafkaEvent",
        {
            "eventSource": "aws:kafka",
            "eventSourceArn": ARN.format("kafka") + "cluster/books/5a1d",
            "bootstrapServers": "b-1.books.kafka.eu-central-1.amazonaws.com:9092",
            "records": {
                "loans-0": [
                    {
                        "topic": "loans",
                        "partition": 0,
                        "offset": 15,
                        "timestamp": 1738577472004,
                        "timestampType": "CREATE_TIME",
                        "key": _base64("momo"),
                        "value": _base64('{"book": 7}'),
                        "headers": [{"trace": [97, 98, -1]}],
                    },
                    {"topic": "loans", "partition": 0, "offset": 16, "key": None, "value": None, "headers": []},
                ]
            },
        },
    ),
    "kafka of one's own": (
        "KafkaEvent",
        {
            "eventSource": "SelfManagedKafka",
            "bootstrapServers": "kafka.example.org:9092",
            "records": {"loans-3": [{"topic": "loans", "partition": 3, "offset": 1, "value": _base64("x")}]},
        },
    ),
    "eventbridge, replayed": (
        "EventBridgeEvent",
        {
            "version": "0",
            "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
            "detail-type": "Book returned",
            "source": "org.example.library",
            "account": ACCOUNT,
            "time": "2025-02-03T10:11:12Z",
            "region": "eu-central-1",
            "resources": [],
            "detail": {"book": 7, "late": False},
            "replay-name": "february",
        },
    ),
    "cloudwatch logs": (
        "CloudWatchLogsEvent",
        {
            "awslogs": {
                "data": base64.b64encode(
                    gzip.compress(
                        json.dumps(
                            {
                                "messageType": "DATA_MESSAGE",
                                "owner": ACCOUNT,
                                "logGroup": "/aws/lambda/books",
                                "logStream": "2025/02/03/[$LATEST]ab",
                                "subscriptionFilters": ["all"],
                                "logEvents": [{"id": "3827", "timestamp": 1738577472004, "message": "one line\n"}],
                                "policyLevel": "ACCOUNT_LEVEL_POLICY",
                            }
                        ).encode()
                    )
                ).decode()
            }
        },
    ),
    "cognito pre sign-up": (
        "CognitoPreSignUpEvent",
        cognito(
            "PreSignUp_SignUp",
            {"validationData": None},
            {"autoConfirmUser": False, "autoVerifyEmail": False, "autoVerifyPhone": False},
        ),
    ),
    "cognito post confirmation": (
        "CognitoPostConfirmationEvent",
        cognito("PostConfirmation_ConfirmSignUp", {"clientMetadata": {"from": "web"}}, {}),
    ),
    "cognito pre authentication": (
        "CognitoPreAuthenticationEvent",
        cognito("PreAuthentication_Authentication", {"validationData": {"a": "b"}, "userNotFound": False}, {}),
    ),
    "cognito post authentication": (
        "CognitoPostAuthenticationEvent",
        cognito("PostAuthentication_Authentication", {"newDeviceUsed": True}, {}),
    ),
    "cognito tokens": (
        "CognitoPreTokenEvent",
        cognito(
            "TokenGeneration_HostedAuth",
            {"groupConfiguration": {"groupsToOverride": ["staff"], "iamRolesToOverride": [], "preferredRole": None}},
            {"claimsOverrideDetails": None},
        ),
    ),
    "cognito tokens 2": (
        "CognitoPreTokenV2Event",
        cognito(
            "TokenGeneration_Authentication",
            {"groupConfiguration": {"groupsToOverride": []}, "scopes": ["openid"]},
            {"claimsAndScopeOverrideDetails": None},
            version="2",
        ),
    ),
    "cognito define challenge": (
        "CognitoDefineChallengeEvent",
        cognito(
            "DefineAuthChallenge_Authentication",
            {"session": _CHALLENGES},
            {"challengeName": None, "issueTokens": None, "failAuthentication": None},
        ),
    ),
    "cognito create challenge": (
        "CognitoCreateChallengeEvent",
        cognito(
            "CreateAuthChallenge_Authentication",
            {"challengeName": "CUSTOM_CHALLENGE", "session": _CHALLENGES},
            {"publicChallengeParameters": None, "privateChallengeParameters": None, "challengeMetadata": None},
        ),
    ),
    "cognito verify challenge": (
        "CognitoVerifyChallengeEvent",
        cognito(
            "VerifyAuthChallengeResponse_Authentication",
            {"privateChallengeParameters": {"answer": "5"}, "challengeAnswer": "5"},
            {"answerCorrect": None},
        ),
    ),
    "cognito migration": (
        "CognitoUserMigrationEvent",
        cognito(
            "UserMigration_Authentication",
            {"password": "secret", "validationData": {}},
            {
                "userAttributes": None,
                "finalUserStatus": None,
                "messageAction": None,
                "desiredDeliveryMediums": None,
                "forceAliasCreation": None,
                "enableSMSMFA": None,
            },
        ),
    ),
    "cognito message": (
        "CognitoCustomMessageEvent",
        cognito(
            "CustomMessage_SignUp",
            {"codeParameter": "{####}", "linkParameter": "{##Click##}", "usernameParameter": None},
            {"smsMessage": None, "emailMessage": None, "emailSubject": None},
        ),
    ),
    "cognito sender": (
        "CognitoCustomSenderEvent",
        cognito("CustomEmailSender_SignUp", {"type": "customEmailSenderRequestV1", "code": "AYADe"}, None),
    ),
    "cognito, a trigger of tomorrow": (
        "CognitoEvent",
        cognito("InboundFederation_External", {"provider": {}}, {"x": 1}),
    ),
}
"""By name: the class that the event belongs to, and the event."""
