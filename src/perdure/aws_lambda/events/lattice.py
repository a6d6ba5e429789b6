"""Requests of VPC Lattice, in both versions of its event ("Receive events from VPC Lattice" in its guide)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from perdure.aws_lambda.events.contents import body_bytes
from perdure.aws_lambda.events.structure import AwsObject, Event

__all__ = ["LatticeIdentity", "LatticeRequestContext", "LatticeV1Event", "LatticeV2Event"]


class LatticeV1Event(Event, kw_only=True, rename="lower"):
    """A request in version 1, which writes its keys in snake case.

    Attributes:
        raw_path: with the query, as the client sent it.
        headers: one value each.
    """

    source: ClassVar[str] = "VPC Lattice (version 1)"

    raw_path: str
    method: str
    headers: dict[str, str] | None = None
    query_string_parameters: dict[str, str] | None = None
    body: str | None = None
    is_base64_encoded: bool | None = None

    def body_bytes(self) -> bytes:
        """The body as the client sent it."""
        return body_bytes(self.body, self.is_base64_encoded)


class LatticeIdentity(AwsObject, kw_only=True):
    """Who calls: a principal of AWS, or what a certificate says."""

    type: str | None = None
    principal: str | None = None
    principal_org_id: str | None = msgspec.field(default=None, name="principalOrgID")
    session_name: str | None = None
    source_vpc_arn: str | None = None
    x509_issuer_ou: str | None = msgspec.field(default=None, name="x509IssuerOu")
    x509_san_dns: str | None = msgspec.field(default=None, name="x509SanDns")
    x509_san_name_cn: str | None = msgspec.field(default=None, name="x509SanNameCn")
    x509_san_uri: str | None = msgspec.field(default=None, name="x509SanUri")
    x509_subject_cn: str | None = msgspec.field(default=None, name="x509SubjectCn")


class LatticeRequestContext(AwsObject, kw_only=True):
    """The network, service and target group that a request came through.

    Attributes:
        time_epoch: when the request came, in microseconds since 1970, as a string of digits.
    """

    service_network_arn: str
    service_arn: str | None = None
    target_group_arn: str | None = None
    identity: LatticeIdentity | None = None
    region: str | None = None
    time_epoch: str | int | None = None


class LatticeV2Event(Event, kw_only=True):
    """A request in version 2: every header and every parameter of the query has a list of values."""

    source: ClassVar[str] = "VPC Lattice (version 2)"

    path: str
    method: str
    request_context: LatticeRequestContext
    version: str | None = None
    headers: dict[str, list[str]] | None = None
    query_string_parameters: dict[str, list[str]] | None = None
    body: str | None = None
    is_base64_encoded: bool | None = None

    def body_bytes(self) -> bytes:
        """The body as the client sent it."""
        return body_bytes(self.body, self.is_base64_encoded)
