"""The endpoint manifest in its four versions, its negotiation, and the rules for names."""

from __future__ import annotations

import enum
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import ProtocolError, UsageError
from perdure.wire.manifest import (
    EndpointManifest,
    HandlerManifest,
    HandlerType,
    InputPayload,
    LambdaCompression,
    OnMaxAttempts,
    OutputPayload,
    ProtocolMode,
    ServiceManifest,
    ServiceType,
    UnacceptableManifestError,
    content_type,
    encode,
    left_out,
    negotiate,
    validate_handler_name,
    validate_service_name,
)

VERSIONS = [1, 2, 3, 4]

# --- what the schema of restate-server says -----------------------------------------------------------------------
#
# Per level: field -> (manifest version that brought it, check of its value). Written from the JSON schema, not from the
# structs. The schema itself has no versions; they are those of `discovery.proto`, and of the SDKs for retry policies.

SERVICE_NAME = re.compile(r"^([a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9._-]*$")
HANDLER_NAME = re.compile(r"^([a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9_]*$")


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_protocol_version(value: Any) -> bool:
    return is_count(value) and 1 <= value <= 2147483647


def is_metadata(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for pair in value.items() for item in pair)


def is_anything(_value: Any) -> bool:
    return True


def is_service_name(value: Any) -> bool:
    return isinstance(value, str) and SERVICE_NAME.match(value) is not None


def is_handler_name(value: Any) -> bool:
    return isinstance(value, str) and HANDLER_NAME.match(value) is not None


def is_protocol_mode(value: Any) -> bool:
    return value in {"BIDI_STREAM", "REQUEST_RESPONSE"}


def is_service_type(value: Any) -> bool:
    return value in {"VIRTUAL_OBJECT", "SERVICE", "WORKFLOW"}


def is_handler_type(value: Any) -> bool:
    return value in {"WORKFLOW", "EXCLUSIVE", "SHARED"}


def is_zstd(value: Any) -> bool:
    return bool(value == "zstd")


def is_on_max_attempts(value: Any) -> bool:
    return value in {"PAUSE", "KILL"}


INPUT = {
    "required": (1, is_flag),
    "contentType": (1, is_text),
    "jsonSchema": (1, is_anything),
}
OUTPUT = {
    "contentType": (1, is_text),
    "setContentTypeIfEmpty": (1, is_flag),
    "jsonSchema": (1, is_anything),
}


OPTIONS = {
    "documentation": (2, is_text),
    "metadata": (2, is_metadata),
    "inactivityTimeout": (3, is_count),
    "abortTimeout": (3, is_count),
    "journalRetention": (3, is_count),
    "idempotencyRetention": (3, is_count),
    "enableLazyState": (3, is_flag),
    "ingressPrivate": (3, is_flag),
    "retryPolicyInitialInterval": (4, is_count),
    "retryPolicyMaxInterval": (4, is_count),
    "retryPolicyMaxAttempts": (4, is_count),
    "retryPolicyExponentiationFactor": (4, is_number),
    "retryPolicyOnMaxAttempts": (4, is_on_max_attempts),
}
HANDLER = OPTIONS | {
    "name": (1, is_handler_name),
    "ty": (1, is_handler_type),
    "input": (1, is_anything),
    "output": (1, is_anything),
    "workflowCompletionRetention": (3, is_count),
}
SERVICE = OPTIONS | {
    "name": (1, is_service_name),
    "ty": (1, is_service_type),
    "handlers": (1, is_anything),
}
ENDPOINT = {
    "protocolMode": (1, is_protocol_mode),
    "minProtocolVersion": (1, is_protocol_version),
    "maxProtocolVersion": (1, is_protocol_version),
    "services": (1, is_anything),
    "lambdaCompression": (4, is_zstd),
}


def allowed(level: dict[str, Any], version: int) -> set[str]:
    return {name for name, (since, _) in level.items() if since <= version}


def conforms(value: Any, level: dict[str, Any], required: set[str], version: int) -> None:
    """Assert that `value` is an object of this level: no unknown field, none missing, every value as it must be."""
    assert isinstance(value, dict)
    assert value.keys() <= allowed(level, version)
    assert value.keys() >= required
    for name, item in value.items():
        assert level[name][1](item), (name, item)


def conforms_to_schema(data: bytes, version: int) -> None:
    endpoint = json.loads(data)
    # The schema does not require `protocolMode`; the server does.
    conforms(endpoint, ENDPOINT, {"protocolMode", "minProtocolVersion", "maxProtocolVersion", "services"}, version)
    for service in endpoint["services"]:
        conforms(service, SERVICE, {"name", "ty", "handlers"}, version)
        for handler in service["handlers"]:
            conforms(handler, HANDLER, {"name"}, version)
            conforms(handler.get("input", {}), INPUT, set(), version)
            conforms(handler.get("output", {}), OUTPUT, set(), version)


# --- manifests ----------------------------------------------------------------------------------------------------

FULL_OPTIONS: dict[str, Any] = {
    "documentation": "Says hello.",
    "metadata": {"team": "greetings"},
    "inactivity_timeout": 60_000,
    "abort_timeout": 600_000,
    "journal_retention": 86_400_000,
    "idempotency_retention": 0,
    "enable_lazy_state": False,
    "ingress_private": True,
    "retry_policy_initial_interval": 50,
    "retry_policy_max_interval": 10_000,
    "retry_policy_max_attempts": 10,
    "retry_policy_exponentiation_factor": 2.0,
    "retry_policy_on_max_attempts": OnMaxAttempts.KILL,
}
FULL = EndpointManifest(
    protocol_mode=ProtocolMode.BIDI_STREAM,
    min_protocol_version=5,
    max_protocol_version=7,
    lambda_compression=LambdaCompression.ZSTD,
    services=(
        ServiceManifest(
            name="Greeter",
            ty=ServiceType.VIRTUAL_OBJECT,
            handlers=(
                HandlerManifest(
                    name="greet",
                    ty=HandlerType.EXCLUSIVE,
                    input=InputPayload(required=True, content_type="application/json", json_schema={"type": "string"}),
                    output=OutputPayload("application/json", set_content_type_if_empty=True, json_schema=True),
                    workflow_completion_retention=1,
                    **FULL_OPTIONS,
                ),
            ),
            **FULL_OPTIONS,
        ),
    ),
)
SMALL = EndpointManifest(
    ProtocolMode.REQUEST_RESPONSE, 5, 7, (ServiceManifest("S", ServiceType.SERVICE, (HandlerManifest("h"),)),)
)

counts = st.integers(0, 2**53)
optional_counts = st.none() | counts
json_schemas = st.none() | st.booleans() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)
option_values: dict[str, st.SearchStrategy[Any]] = {
    "documentation": st.none() | st.text(max_size=10),
    "metadata": st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    "inactivity_timeout": optional_counts,
    "abort_timeout": optional_counts,
    "journal_retention": optional_counts,
    "idempotency_retention": optional_counts,
    "enable_lazy_state": st.none() | st.booleans(),
    "ingress_private": st.none() | st.booleans(),
    "retry_policy_initial_interval": optional_counts,
    "retry_policy_max_interval": optional_counts,
    "retry_policy_max_attempts": optional_counts,
    "retry_policy_exponentiation_factor": st.none() | st.floats(1, 100),
    "retry_policy_on_max_attempts": st.none() | st.sampled_from(OnMaxAttempts),
}
handlers = st.builds(
    HandlerManifest,
    name=st.from_regex(HANDLER_NAME, fullmatch=True).filter(lambda name: not name.endswith("\n")),
    ty=st.none() | st.sampled_from(HandlerType),
    input=st.none()
    | st.builds(InputPayload, st.booleans(), content_type=st.none() | st.text(max_size=5), json_schema=json_schemas),
    output=st.none() | st.builds(OutputPayload, st.none() | st.text(max_size=5), st.booleans(), json_schemas),
    workflow_completion_retention=optional_counts,
    **option_values,
)
services = st.builds(
    ServiceManifest,
    name=st.from_regex(SERVICE_NAME, fullmatch=True).filter(lambda name: not name.endswith("\n")),
    ty=st.sampled_from(ServiceType),
    handlers=st.lists(handlers, max_size=2).map(tuple),
    **option_values,
)
manifests = st.builds(
    EndpointManifest,
    protocol_mode=st.sampled_from(ProtocolMode),
    min_protocol_version=st.integers(5, 7),
    max_protocol_version=st.integers(5, 7),
    services=st.lists(services, max_size=2).map(tuple),
    lambda_compression=st.none() | st.sampled_from(LambdaCompression),
)


# --- encoding -----------------------------------------------------------------------------------------------------


@given(manifests, st.sampled_from(VERSIONS))
def test_every_manifest_conforms_to_the_schema_of_its_version(manifest: EndpointManifest, version: int) -> None:
    conforms_to_schema(encode(manifest, version), version)


@pytest.mark.parametrize("version", VERSIONS)
def test_manifest_with_everything_has_every_field_that_its_version_knows(version: int) -> None:
    endpoint = json.loads(encode(FULL, version))
    (service,) = endpoint["services"]
    (handler,) = service["handlers"]
    assert endpoint.keys() == allowed(ENDPOINT, version)
    assert service.keys() == allowed(SERVICE, version)
    assert handler.keys() == allowed(HANDLER, version)
    assert handler["input"].keys() == allowed(INPUT, version)
    assert handler["output"].keys() == allowed(OUTPUT, version)


@given(manifests)
def test_newest_version_loses_nothing(manifest: EndpointManifest) -> None:
    assert msgspec.json.decode(encode(manifest, 4), type=EndpointManifest) == manifest
    assert left_out(manifest, 4) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_absent_options_are_not_written(version: int) -> None:
    assert json.loads(encode(SMALL, version)) == {
        "protocolMode": "REQUEST_RESPONSE",
        "minProtocolVersion": 5,
        "maxProtocolVersion": 7,
        "services": [{"name": "S", "ty": "SERVICE", "handlers": [{"name": "h"}]}],
    }


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (ProtocolMode, {"BIDI_STREAM", "REQUEST_RESPONSE"}),
        (LambdaCompression, {"zstd"}),
        (ServiceType, {"SERVICE", "VIRTUAL_OBJECT", "WORKFLOW"}),
        (HandlerType, {"EXCLUSIVE", "SHARED", "WORKFLOW"}),
        (OnMaxAttempts, {"PAUSE", "KILL"}),
    ],
)
def test_choices_are_written_in_the_words_of_the_schema(members: type[enum.Enum], words: set[str]) -> None:
    assert {member.value for member in members} == words


def test_options_that_are_false_or_zero_are_written() -> None:
    handler = HandlerManifest("h", ingress_private=False, enable_lazy_state=False, inactivity_timeout=0)
    manifest = EndpointManifest(
        ProtocolMode.BIDI_STREAM, 5, 7, (ServiceManifest("S", ServiceType.SERVICE, (handler,)),)
    )
    assert json.loads(encode(manifest, 4))["services"][0]["handlers"][0] == {
        "name": "h",
        "ingressPrivate": False,
        "enableLazyState": False,
        "inactivityTimeout": 0,
    }


def test_handler_that_takes_nothing_has_an_empty_input() -> None:
    """Without `input` the server would take any body; an empty one says that none is expected."""
    handler = HandlerManifest("h", input=InputPayload(), output=OutputPayload())
    manifest = EndpointManifest(
        ProtocolMode.BIDI_STREAM, 5, 7, (ServiceManifest("S", ServiceType.SERVICE, (handler,)),)
    )
    assert json.loads(encode(manifest, 1))["services"][0]["handlers"][0] == {"name": "h", "input": {}, "output": {}}


def test_manifest_with_an_unknown_field_is_refused_as_the_server_does() -> None:
    data = json.dumps(json.loads(encode(SMALL, 4)) | {"surprise": 1}).encode()
    with pytest.raises(msgspec.ValidationError, match="surprise"):
        msgspec.json.decode(data, type=EndpointManifest)


def test_manifest_without_protocol_mode_is_refused_as_the_server_does() -> None:
    fields = json.loads(encode(SMALL, 4))
    del fields["protocolMode"]
    with pytest.raises(msgspec.ValidationError, match="protocolMode"):
        msgspec.json.decode(json.dumps(fields).encode(), type=EndpointManifest)


@pytest.mark.parametrize(
    ("field", "value", "fine"),
    [
        ("minProtocolVersion", 0, False),
        ("minProtocolVersion", 1, True),
        ("maxProtocolVersion", 2147483647, True),
        ("maxProtocolVersion", 2147483648, False),
    ],
)
def test_protocol_versions_are_limited_as_in_the_schema(field: str, value: int, fine: bool) -> None:
    data = json.dumps(json.loads(encode(SMALL, 4)) | {field: value}).encode()
    if fine:
        assert json.loads(encode(msgspec.json.decode(data, type=EndpointManifest), 4))[field] == value
    else:
        with pytest.raises(msgspec.ValidationError, match=field):
            msgspec.json.decode(data, type=EndpointManifest)


@pytest.mark.parametrize(
    "part", [FULL, FULL.services[0], FULL.services[0].handlers[0], InputPayload(), OutputPayload()]
)
def test_no_part_of_a_manifest_can_be_changed(part: msgspec.Struct) -> None:
    for name in part.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(part, name, None)


def test_encoding_does_not_change_the_manifest() -> None:
    before = encode(FULL, 4)
    encode(FULL, 1)
    assert encode(FULL, 4) == before


def test_what_a_version_leaves_out_is_told() -> None:
    assert left_out(FULL, 3) == [
        "endpoint: lambdaCompression",
        "Greeter: retryPolicyInitialInterval",
        "Greeter: retryPolicyMaxInterval",
        "Greeter: retryPolicyMaxAttempts",
        "Greeter: retryPolicyExponentiationFactor",
        "Greeter: retryPolicyOnMaxAttempts",
        "Greeter/greet: retryPolicyInitialInterval",
        "Greeter/greet: retryPolicyMaxInterval",
        "Greeter/greet: retryPolicyMaxAttempts",
        "Greeter/greet: retryPolicyExponentiationFactor",
        "Greeter/greet: retryPolicyOnMaxAttempts",
    ]


def test_fields_that_are_not_set_are_not_told_as_left_out() -> None:
    assert left_out(SMALL, 1) == []


def test_false_is_told_as_left_out_too() -> None:
    handler = HandlerManifest("h", ingress_private=False)
    manifest = EndpointManifest(
        ProtocolMode.BIDI_STREAM, 5, 7, (ServiceManifest("S", ServiceType.SERVICE, (handler,)),)
    )
    assert left_out(manifest, 2) == ["S/h: ingressPrivate"]


@pytest.mark.parametrize("version", [0, 5, -1])
def test_version_that_does_not_exist_is_a_usage_error(version: int) -> None:
    for call in (lambda: encode(SMALL, version), lambda: left_out(SMALL, version), lambda: content_type(version)):
        with pytest.raises(UsageError, match=f"no endpoint manifest version {version}; there are 1 to 4"):
            call()


# --- negotiation --------------------------------------------------------------------------------------------------

V = {version: f"application/vnd.restate.endpointmanifest.v{version}+json" for version in range(1, 6)}


@pytest.mark.parametrize("version", VERSIONS)
def test_content_type_names_the_version(version: int) -> None:
    assert content_type(version) == V[version]


@pytest.mark.parametrize(
    ("accept", "version"),
    [
        (", ".join(V[version] for version in VERSIONS), 4),  # what restate-server 1.7 sends
        (V[1], 1),
        (f"{V[2]},{V[1]}", 2),
        (f"{V[1]}, {V[3]}, {V[2]}", 3),
        (f"{V[5]}, {V[2]}", 2),
        (V[3].upper(), 3),
        (f"{V[2]};charset=utf-8", 2),
        (f"  {V[2]}  ;  charset=utf-8 ; q=0.1 ", 2),
        (f"{V[1]};q=1.0, {V[3]};q=0.1", 3),
        (f"{V[4]};q=0, {V[3]};q=0.5", 3),
        (f"{V[4]};Q=0.000, {V[3]}", 3),
        (f"{V[4]};q=0.001, {V[3]}", 4),
        (f"{V[4]};q=nonsense", 4),
        (f"text/html, {V[1]}", 1),
        (f'text/html;x="a,b", {V[1]},,;;', 1),
        (f"{V[4]};q=0, */*;q=0.1", 3),
        (f"application/*;q=0, {V[2]}", 2),
        (f"{V[2]}, {V[2]};q=0", 2),
    ],
)
def test_newest_version_that_is_accepted_is_picked(accept: str, version: int) -> None:
    assert negotiate(accept) == version


@pytest.mark.parametrize("accept", [None, "", "  ", "*/*", "application/*", "text/html, */*;q=0.8", "*/*; q=1"])
def test_request_that_accepts_anything_gets_the_newest_version(accept: str | None) -> None:
    assert negotiate(accept) == 4


@pytest.mark.parametrize(
    "accept",
    [
        V[5],
        "application/json",
        "text/*",
        f"{V[1]};q=0",
        "*/*;q=0",
        "application/*;q=0, */*",
        "application/vnd.restate.endpointmanifest.v1+protobuf",
        "garbage",
        ",",
    ],
)
def test_request_that_accepts_no_version_is_unacceptable(accept: str) -> None:
    with pytest.raises(UnacceptableManifestError, match=re.escape(V[1])) as caught:
        negotiate(accept)
    assert caught.value.status == 415
    assert isinstance(caught.value, ProtocolError)


@given(st.text())
def test_garbage_is_negotiated_or_unacceptable(accept: str) -> None:
    try:
        version = negotiate(accept)
    except UnacceptableManifestError:
        return
    assert version in VERSIONS


def test_error_does_not_repeat_a_long_header() -> None:
    with pytest.raises(UnacceptableManifestError) as caught:
        negotiate("x" * 100_000)
    assert len(str(caught.value)) < 1000


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Greeter", "a", "_a", "_9", "my.pkg.Greeter-2_x", "A" * 500, "my-restate", "open.api"]
)
def test_name_that_the_server_takes_for_a_service_is_valid(name: str) -> None:
    validate_service_name(name)


@pytest.mark.parametrize("name", ["", "_", "__a", "9lives", "-a", ".a", "a b", "a/b", "a\n", "Grüßer", "a:b"])
def test_service_name_that_breaks_the_rule_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{name!r} cannot name a service: a name starts with")):
        validate_service_name(name)


@pytest.mark.parametrize("name", ["restate", "RestateThing", "RESTATE.x", "restate_x"])
def test_service_name_that_starts_like_the_servers_own_is_reserved(name: str) -> None:
    with pytest.raises(UsageError, match="names that start with 'restate' are reserved"):
        validate_service_name(name)


@pytest.mark.parametrize("name", ["openapi", "OpenAPI"])
def test_service_name_openapi_is_reserved(name: str) -> None:
    with pytest.raises(UsageError, match="'openapi' is reserved"):
        validate_service_name(name)


def test_service_name_that_only_contains_openapi_is_valid() -> None:
    validate_service_name("openapi2")


@pytest.mark.parametrize("name", ["greet", "_g", "_1", "Greet_All_2", "restate", "openapi", "discover"])
def test_name_that_the_server_takes_for_a_handler_is_valid(name: str) -> None:
    validate_handler_name(name)


@pytest.mark.parametrize("name", ["", "_", "__call", "2nd", "a.b", "a-b", "a b", "a\n", "größe"])
def test_handler_name_that_breaks_the_rule_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{name!r} cannot name a handler: a name starts with")):
        validate_handler_name(name)
