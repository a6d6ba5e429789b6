"""Events of API Gateway: REST APIs, HTTP APIs in both payload formats, WebSocket APIs, and their authorizers.

From the developer guide of API Gateway: "Input format of a Lambda function for proxy integration", "AWS Lambda proxy
integrations for HTTP APIs", "mapping template reference" of WebSocket APIs, "Input to a Lambda authorizer".
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from perdure.aws_lambda.events.contents import body_bytes
from perdure.aws_lambda.events.structure import AwsObject, Event

__all__ = [
    "ApiGatewayHttpAuthorizerEvent",
    "ApiGatewayHttpEvent",
    "ApiGatewayRequestAuthorizerEvent",
    "ApiGatewayRestEvent",
    "ApiGatewayTokenAuthorizerEvent",
    "ApiGatewayWebSocketEvent",
    "ClientCertificate",
    "HttpAuthentication",
    "HttpAuthorizer",
    "HttpDescription",
    "HttpRequestContext",
    "IamAuthorizer",
    "JwtAuthorizer",
    "RestIdentity",
    "RestRequestContext",
    "Validity",
    "WebSocketRequestContext",
]


class Validity(AwsObject, kw_only=True):
    """From when to when a certificate is valid, as AWS writes it."""

    not_before: str | None = None
    not_after: str | None = None


class ClientCertificate(AwsObject, kw_only=True):
    """The certificate of a client, with mutual TLS."""

    client_cert_pem: str | None = None
    subject_dn: str | None = msgspec.field(default=None, name="subjectDN")
    issuer_dn: str | None = msgspec.field(default=None, name="issuerDN")
    serial_number: str | None = None
    validity: Validity | None = None


class RestIdentity(AwsObject, kw_only=True):
    """Who calls a REST or WebSocket API."""

    source_ip: str | None = None
    user_agent: str | None = None
    account_id: str | None = None
    access_key: str | None = None
    api_key: str | None = None
    api_key_id: str | None = None
    caller: str | None = None
    user: str | None = None
    user_arn: str | None = None
    principal_org_id: str | None = None
    cognito_identity_id: str | None = None
    cognito_identity_pool_id: str | None = None
    cognito_authentication_type: str | None = None
    cognito_authentication_provider: str | None = None
    client_cert: ClientCertificate | None = None


class RestRequestContext(AwsObject, kw_only=True):
    """What API Gateway knows about a request to a REST API.

    Attributes:
        path: as the client sent it, with the stage or the base path of a custom domain.
        authorizer: what the authorizer returned: claims, or the context of a Lambda authorizer.
    """

    account_id: str | None = None
    api_id: str | None = None
    domain_name: str | None = None
    domain_prefix: str | None = None
    stage: str | None = None
    resource_id: str | None = None
    resource_path: str | None = None
    path: str | None = None
    http_method: str | None = None
    protocol: str | None = None
    request_id: str | None = None
    extended_request_id: str | None = None
    request_time: str | None = None
    request_time_epoch: int | None = None
    identity: RestIdentity | None = None
    authorizer: dict[str, Any] | None = None
    operation_name: str | None = None


class ApiGatewayRestEvent(Event, kw_only=True):
    """A request to a REST API, or to an HTTP API with payload format 1.0.

    Attributes:
        version: `1.0` for an HTTP API; REST APIs do not send it.
        path: without the stage; with the base path of a custom domain.
        headers: the last value of each.
        multi_value_headers: all values of each.
    """

    source: ClassVar[str] = "an API Gateway REST API"

    http_method: str
    path: str
    request_context: RestRequestContext
    resource: str | None = None
    version: str | None = None
    headers: dict[str, str] | None = None
    multi_value_headers: dict[str, list[str]] | None = None
    query_string_parameters: dict[str, str] | None = None
    multi_value_query_string_parameters: dict[str, list[str]] | None = None
    path_parameters: dict[str, str] | None = None
    stage_variables: dict[str, str] | None = None
    body: str | None = None
    is_base64_encoded: bool | None = None

    def body_bytes(self) -> bytes:
        """The body as the client sent it."""
        return body_bytes(self.body, self.is_base64_encoded)


class HttpDescription(AwsObject, kw_only=True):
    """The request line and the peer of a request to an HTTP API or a function URL."""

    method: str
    path: str | None = None
    protocol: str | None = None
    source_ip: str | None = None
    user_agent: str | None = None


class JwtAuthorizer(AwsObject, kw_only=True):
    """The claims of a JSON Web Token."""

    claims: dict[str, Any] | None = None
    scopes: list[str] | None = None


class IamAuthorizer(AwsObject, kw_only=True):
    """The AWS identity that signed the request."""

    access_key: str | None = None
    account_id: str | None = None
    caller_id: str | None = None
    cognito_identity: dict[str, Any] | None = None
    principal_org_id: str | None = None
    user_arn: str | None = None
    user_id: str | None = None


class HttpAuthorizer(AwsObject, kw_only=True):
    """What the authorizer of an HTTP API or a function URL found; one of the three.

    Attributes:
        lambda_: the context that a Lambda authorizer returned.
    """

    jwt: JwtAuthorizer | None = None
    iam: IamAuthorizer | None = None
    lambda_: dict[str, Any] | None = msgspec.field(default=None, name="lambda")


class HttpAuthentication(AwsObject, kw_only=True):
    """How the client proved who it is, with mutual TLS."""

    client_cert: ClientCertificate | None = None


class HttpRequestContext(AwsObject, kw_only=True):
    """What an HTTP API or a function URL knows about a request."""

    http: HttpDescription
    account_id: str | None = None
    api_id: str | None = None
    authentication: HttpAuthentication | None = None
    authorizer: HttpAuthorizer | None = None
    domain_name: str | None = None
    domain_prefix: str | None = None
    request_id: str | None = None
    route_key: str | None = None
    stage: str | None = None
    time: str | None = None
    time_epoch: int | None = None


class ApiGatewayHttpEvent(Event, kw_only=True):
    """A request to an HTTP API with payload format 2.0.

    Attributes:
        raw_path: as the client sent it, with the stage unless that is `$default`.
        headers: names in lower case, several values joined with commas, without `cookie`.
        cookies: the cookies that the client sent, `name=value`.
        query_string_parameters: values of one name joined with commas; `raw_query_string` is exact.
    """

    source: ClassVar[str] = "an API Gateway HTTP API"

    raw_path: str
    request_context: HttpRequestContext
    version: str | None = None
    route_key: str | None = None
    raw_query_string: str | None = None
    cookies: list[str] | None = None
    headers: dict[str, str] | None = None
    query_string_parameters: dict[str, str] | None = None
    path_parameters: dict[str, str] | None = None
    stage_variables: dict[str, str] | None = None
    body: str | None = None
    is_base64_encoded: bool | None = None

    def body_bytes(self) -> bytes:
        """The body as the client sent it."""
        return body_bytes(self.body, self.is_base64_encoded)


class WebSocketRequestContext(AwsObject, kw_only=True):
    """The connection, and the message on it.

    Attributes:
        connection_id: of the connection; what messages to it are posted to.
        event_type: `CONNECT`, `MESSAGE` or `DISCONNECT`.
        connected_at: when the client connected, in milliseconds since 1970.
    """

    connection_id: str
    event_type: str
    route_key: str | None = None
    message_id: str | None = None
    message_direction: str | None = None
    connected_at: int | None = None
    account_id: str | None = None
    api_id: str | None = None
    domain_name: str | None = None
    stage: str | None = None
    request_id: str | None = None
    extended_request_id: str | None = None
    request_time: str | None = None
    request_time_epoch: int | None = None
    disconnect_status_code: int | None = None
    disconnect_reason: str | None = None
    identity: RestIdentity | None = None
    authorizer: dict[str, Any] | None = None
    http_method: str | None = None


class ApiGatewayWebSocketEvent(Event, kw_only=True):
    """A client of a WebSocket API connected, sent a message, or went away. Only `$connect` has headers."""

    source: ClassVar[str] = "an API Gateway WebSocket API"

    request_context: WebSocketRequestContext
    http_method: str | None = None
    path: str | None = None
    resource: str | None = None
    headers: dict[str, str] | None = None
    multi_value_headers: dict[str, list[str]] | None = None
    query_string_parameters: dict[str, str] | None = None
    multi_value_query_string_parameters: dict[str, list[str]] | None = None
    path_parameters: dict[str, str] | None = None
    stage_variables: dict[str, str] | None = None
    body: str | None = None
    is_base64_encoded: bool | None = None

    def body_bytes(self) -> bytes:
        """The message as the client sent it."""
        return body_bytes(self.body, self.is_base64_encoded)


class ApiGatewayTokenAuthorizerEvent(Event, kw_only=True):
    """A Lambda authorizer of a REST API is asked about a token."""

    source: ClassVar[str] = "an API Gateway authorizer (TOKEN)"

    type: str
    authorization_token: str
    method_arn: str


class ApiGatewayRequestAuthorizerEvent(Event, kw_only=True):
    """A Lambda authorizer of a REST or WebSocket API is asked about a request."""

    source: ClassVar[str] = "an API Gateway authorizer (REQUEST)"

    type: str
    method_arn: str
    request_context: RestRequestContext
    resource: str | None = None
    path: str | None = None
    http_method: str | None = None
    headers: dict[str, str] | None = None
    multi_value_headers: dict[str, list[str]] | None = None
    query_string_parameters: dict[str, str] | None = None
    multi_value_query_string_parameters: dict[str, list[str]] | None = None
    path_parameters: dict[str, str] | None = None
    stage_variables: dict[str, str] | None = None


class ApiGatewayHttpAuthorizerEvent(Event, kw_only=True):
    """A Lambda authorizer of an HTTP API is asked about a request (payload format 2.0).

    Attributes:
        route_arn: what the client wants to call.
        identity_source: the values that the authorizer is configured to look at.
    """

    source: ClassVar[str] = "an API Gateway authorizer (HTTP API)"

    type: str
    route_arn: str
    request_context: HttpRequestContext
    version: str | None = None
    identity_source: list[str] | None = None
    route_key: str | None = None
    raw_path: str | None = None
    raw_query_string: str | None = None
    cookies: list[str] | None = None
    headers: dict[str, str] | None = None
    query_string_parameters: dict[str, str] | None = None
    path_parameters: dict[str, str] | None = None
    stage_variables: dict[str, str] | None = None
