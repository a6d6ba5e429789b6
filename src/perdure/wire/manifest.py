"""The endpoint manifest: what an endpoint answers when a server discovers it.

The manifest is JSON that lists services, their handlers and their options. It has a version of its own, 1 to 4, apart
from that of the service protocol: the server names the versions it reads in `Accept`, the endpoint picks one
(`negotiate`), writes the manifest without the fields that version does not know (`encode`), and labels it
(`content_type`).

The structs are the table. Each attribute is annotated with the manifest version that brought it, and every attribute
newer than version 1 may be absent, so leaving it out is always possible. Names are camelCase on the wire, absent
options (`None`) are not written, durations are whole milliseconds.

=======  ==========================================================================
version  brought
=======  ==========================================================================
1        services, handlers, input and output
2        documentation and metadata
3        timeouts, retentions, lazy state, ingress privacy
4        compression for AWS Lambda, retry policies
=======  ==========================================================================

restate-server refuses a manifest with a field that it does not know, and one without `protocolMode`, although the
schema calls that optional; so it is not optional here.

Source: `service-protocol/endpoint_manifest_schema.json`, `service-protocol/dev/restate/service/discovery.proto` and
`crates/types/src/schema/metadata/updater/mod.rs` (reserved names) in restatedev/restate; that retry policies belong to
version 4 is what the SDKs do, `python/restate/discovery.py` in restatedev/sdk-python.
"""

from __future__ import annotations

import enum
import re
from typing import Annotated, Any, ClassVar, Final, NamedTuple, TypeAlias, TypeVar, get_args, get_origin

import msgspec

from perdure.exceptions import ProtocolError, UsageError

__all__ = [
    "MAX_VERSION",
    "MIN_VERSION",
    "EndpointManifest",
    "HandlerManifest",
    "HandlerType",
    "InputPayload",
    "LambdaCompression",
    "OnMaxAttempts",
    "OutputPayload",
    "ProtocolMode",
    "ServiceManifest",
    "ServiceType",
    "Since",
    "UnacceptableManifestError",
    "content_type",
    "encode",
    "left_out",
    "negotiate",
    "validate_handler_name",
    "validate_service_name",
]

MIN_VERSION: Final = 1
MAX_VERSION: Final = 4
_VERSIONS: Final = range(MIN_VERSION, MAX_VERSION + 1)


class UnacceptableManifestError(ProtocolError):
    """A discovery request accepts no manifest that this endpoint can write (HTTP 415)."""

    status: ClassVar[int] = 415


class ProtocolMode(enum.Enum):
    """How a server talks to the endpoint."""

    BIDI_STREAM = "BIDI_STREAM"
    """Both directions of a request stay open: completions arrive while the handler runs."""
    REQUEST_RESPONSE = "REQUEST_RESPONSE"
    """The request ends before the response begins: every wait for something new suspends."""


class LambdaCompression(enum.Enum):
    """How bodies may be compressed on their way to and from AWS Lambda."""

    ZSTD = "zstd"


class ServiceType(enum.Enum):
    """The kind of a service."""

    SERVICE = "SERVICE"
    VIRTUAL_OBJECT = "VIRTUAL_OBJECT"
    WORKFLOW = "WORKFLOW"


class HandlerType(enum.Enum):
    """How invocations of a keyed handler exclude each other; absent for handlers of plain services."""

    EXCLUSIVE = "EXCLUSIVE"
    """One at a time per key; what an object's handler is when nothing is said."""
    SHARED = "SHARED"
    """Any number at a time; what a workflow's handler is when nothing is said."""
    WORKFLOW = "WORKFLOW"
    """Once per key: the main handler of a workflow."""


class OnMaxAttempts(enum.Enum):
    """What becomes of an invocation whose attempts are used up."""

    PAUSE = "PAUSE"
    KILL = "KILL"


class Since(NamedTuple):
    """The manifest version that brought a field."""

    version: int


V1: Final = Since(1)
V2: Final = Since(2)
V3: Final = Since(3)
V4: Final = Since(4)

_Milliseconds: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_Attempts: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_ProtocolVersion: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class _Part(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel"):
    """A level of the manifest."""


class _Options(_Part, kw_only=True, frozen=True):
    """What can be said of a service and, more specifically, of a handler. `None` leaves it to the level above."""

    documentation: Annotated[str | None, V2] = None
    metadata: Annotated[dict[str, str] | None, V2] = None
    inactivity_timeout: Annotated[_Milliseconds | None, V3] = None
    abort_timeout: Annotated[_Milliseconds | None, V3] = None
    journal_retention: Annotated[_Milliseconds | None, V3] = None
    idempotency_retention: Annotated[_Milliseconds | None, V3] = None
    """Not for the main handler of a workflow."""
    enable_lazy_state: Annotated[bool | None, V3] = None
    ingress_private: Annotated[bool | None, V3] = None
    retry_policy_initial_interval: Annotated[_Milliseconds | None, V4] = None
    retry_policy_max_interval: Annotated[_Milliseconds | None, V4] = None
    retry_policy_max_attempts: Annotated[_Attempts | None, V4] = None
    """Attempts in total, the first one included; restate-server reads 0 as 1."""
    retry_policy_exponentiation_factor: Annotated[float | None, V4] = None
    retry_policy_on_max_attempts: Annotated[OnMaxAttempts | None, V4] = None


class InputPayload(_Part, frozen=True):
    """What a handler takes.

    Without a content type it takes nothing. When not `required`, a request with neither body nor content type is fine
    too. A `json_schema` is any JSON value that is a JSON Schema (`True` allows everything).
    """

    required: Annotated[bool, V1] = False
    content_type: Annotated[str | None, V1] = None
    json_schema: Annotated[Any, V1] = None


class OutputPayload(_Part, frozen=True):
    """What a handler returns; the ingress answers with this content type.

    Without a content type the answer has none; with `set_content_type_if_empty` an empty answer has one as well.
    """

    content_type: Annotated[str | None, V1] = None
    set_content_type_if_empty: Annotated[bool, V1] = False
    json_schema: Annotated[Any, V1] = None


class HandlerManifest(_Options, frozen=True):
    """One handler of a service."""

    name: Annotated[str, V1]
    ty: Annotated[HandlerType | None, V1] = None
    input: Annotated[InputPayload | None, V1] = None
    output: Annotated[OutputPayload | None, V1] = None
    workflow_completion_retention: Annotated[_Milliseconds | None, V3] = None
    """Only for the main handler of a workflow."""


class ServiceManifest(_Options, frozen=True):
    """One service."""

    name: Annotated[str, V1]
    ty: Annotated[ServiceType, V1]
    handlers: Annotated[tuple[HandlerManifest, ...], V1]


class EndpointManifest(_Part, frozen=True):
    """Everything an endpoint tells about itself.

    The protocol versions are the range of the service protocol that the endpoint speaks.
    """

    protocol_mode: Annotated[ProtocolMode, V1]
    min_protocol_version: Annotated[_ProtocolVersion, V1]
    max_protocol_version: Annotated[_ProtocolVersion, V1]
    services: Annotated[tuple[ServiceManifest, ...], V1]
    lambda_compression: Annotated[LambdaCompression | None, V4] = None


# --- versions -----------------------------------------------------------------------------------------------------


def _since(field: msgspec.structs.FieldInfo) -> int:
    """Return the version in the annotation of a field; a field without one must not exist."""
    assert get_origin(field.type) is Annotated, field.name
    (since,) = (note.version for note in get_args(field.type)[1:] if isinstance(note, Since))
    assert since == MIN_VERSION or field.default is None, f"{field.name} must be optional, older versions lack it"
    return since


_SINCE: Final[dict[type[_Part], dict[str, int]]] = {
    part: {field.name: _since(field) for field in msgspec.structs.fields(part)}
    for part in (EndpointManifest, ServiceManifest, HandlerManifest, InputPayload, OutputPayload)
}

_PartT = TypeVar("_PartT", bound=_Part)


def encode(manifest: EndpointManifest, version: int) -> bytes:
    """Return the manifest as JSON, without the fields that `version` does not know.

    What is lost that way is told by `left_out`.

    Raises:
        UsageError: there is no such manifest version.
    """
    _check_version(version)
    return msgspec.json.encode(_as_of(manifest, version))


def left_out(manifest: EndpointManifest, version: int) -> list[str]:
    """Return what `encode` leaves out at this version, as `service/handler: field`, so that it can be reported.

    It matters: a server that does not learn of `ingressPrivate` offers a private handler to everybody.

    Raises:
        UsageError: there is no such manifest version.
    """
    _check_version(version)
    lost = [f"endpoint: {field}" for field in _newer_fields(manifest, version)]
    for service in manifest.services:
        lost += [f"{service.name}: {field}" for field in _newer_fields(service, version)]
        for handler in service.handlers:
            lost += [f"{service.name}/{handler.name}: {field}" for field in _newer_fields(handler, version)]
    return lost


def _as_of(part: _PartT, version: int) -> _PartT:
    changes: dict[str, object] = {}
    for name, since in _SINCE[type(part)].items():
        value = getattr(part, name)
        if since > version:
            changes[name] = None
        elif isinstance(value, tuple):
            changes[name] = tuple(_as_of(item, version) for item in value)
    return msgspec.structs.replace(part, **changes)


def _newer_fields(part: _Part, version: int) -> list[str]:
    """Return the names, as on the wire, of the fields that are set and newer than `version`."""
    since = _SINCE[type(part)]
    return [
        field.encode_name
        for field in msgspec.structs.fields(part)
        if since[field.name] > version and getattr(part, field.name) is not None
    ]


def _check_version(version: int) -> None:
    if version not in _VERSIONS:
        raise UsageError(f"there is no endpoint manifest version {version}; there are {MIN_VERSION} to {MAX_VERSION}")


# --- negotiation --------------------------------------------------------------------------------------------------


def content_type(version: int) -> str:
    """Return the content type of a manifest of this version.

    Raises:
        UsageError: there is no such manifest version.
    """
    _check_version(version)
    return f"application/vnd.restate.endpointmanifest.v{version}+json"


_CONTENT_TYPES: Final = {version: content_type(version) for version in _VERSIONS}


def negotiate(accept_header: str | None) -> int:
    """Return the newest manifest version that a discovery request accepts.

    Every version is acceptable when there is no `Accept` header, an empty one, or a wildcard. Then the newest is also
    the safe one: it loses nothing, and a reader that does not know it sees so from the content type. An older one
    would silently turn private handlers into public ones (see `left_out`). Weights only matter where they are 0, "not
    this one"; parameters and media types that are not ours are passed over.

    Args:
        accept_header: the value of the header, several of them joined with commas; `None` when there is none.

    Raises:
        UnacceptableManifestError: the request accepts no version that exists here; answer 415.
    """
    if accept_header is None or not accept_header.strip():
        return MAX_VERSION
    weights: dict[str, float] = {}
    for media_range in accept_header.split(","):
        media_type, *parameters = media_range.split(";")
        media_type = media_type.strip().lower()
        weights[media_type] = max(_weight(parameters), weights.get(media_type, 0.0))
    for version in reversed(_VERSIONS):
        if _acceptable(_CONTENT_TYPES[version], weights):
            return version
    raise UnacceptableManifestError(
        f"the discovery request accepts {accept_header[:200]!r}, but this endpoint answers with one of "
        f"{', '.join(_CONTENT_TYPES.values())}"
    )


def _acceptable(media_type: str, weights: dict[str, float]) -> bool:
    """The most specific range that matches decides (RFC 9110, section 12.5.1)."""
    for media_range in (media_type, "application/*", "*/*"):
        if media_range in weights:
            return weights[media_range] > 0
    return False


def _weight(parameters: list[str]) -> float:
    """Return the weight of a media range, 1 when it has none that can be read."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q" and _WEIGHT.fullmatch(value.strip()):
            return float(value)
    return 1.0


_WEIGHT: Final = re.compile(r"[01](\.[0-9]*)?")

# --- names --------------------------------------------------------------------------------------------------------

_SERVICE_NAME: Final = re.compile(r"([a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9._-]*")
_HANDLER_NAME: Final = re.compile(r"([a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9_]*")
_RESERVED_PREFIX: Final = "restate"
_RESERVED_NAME: Final = "openapi"


def validate_service_name(name: str) -> None:
    """Check that a server will register a service of this name.

    Raises:
        UsageError: it would not; the message names the rule.
    """
    if not _SERVICE_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a service: a name starts with a letter, or with an underscore and then a letter or "
            "digit, and goes on with letters, digits, '.', '_' and '-' (ASCII only)"
        )
    lower = name.lower()
    if lower.startswith(_RESERVED_PREFIX):
        raise UsageError(f"{name!r} cannot name a service: names that start with {_RESERVED_PREFIX!r} are reserved")
    if lower == _RESERVED_NAME:
        raise UsageError(f"{name!r} cannot name a service: {_RESERVED_NAME!r} is reserved")


def validate_handler_name(name: str) -> None:
    """Check that a server will register a handler of this name.

    Raises:
        UsageError: it would not; the message names the rule.
    """
    if not _HANDLER_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a handler: a name starts with a letter, or with an underscore and then a letter or "
            "digit, and goes on with letters, digits and '_' (ASCII only)"
        )
