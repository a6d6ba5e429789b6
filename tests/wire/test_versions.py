"""A content type names a protocol version, or says whose fault it is that it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import ProtocolError
from perdure.wire.versions import MAX_VERSION, MIN_VERSION, ProtocolVersion, parse_content_type

CONTENT_TYPES = {
    ProtocolVersion.V5: "application/vnd.restate.invocation.v5",
    ProtocolVersion.V6: "application/vnd.restate.invocation.v6",
    ProtocolVersion.V7: "application/vnd.restate.invocation.v7",
}


def test_versions_are_5_to_7() -> None:
    assert [MIN_VERSION, *range(MIN_VERSION + 1, MAX_VERSION), MAX_VERSION] == list(ProtocolVersion) == [5, 6, 7]


@pytest.mark.parametrize(("version", "text"), CONTENT_TYPES.items())
def test_a_version_has_a_content_type(version: ProtocolVersion, text: str) -> None:
    assert version.content_type == text


@pytest.mark.parametrize("version", ProtocolVersion)
def test_a_content_type_is_parsed_to_its_version(version: ProtocolVersion) -> None:
    assert parse_content_type(version.content_type) is version


@pytest.mark.parametrize(
    "text",
    [
        "Application/vnd.Restate.invocation.V6",
        " application/vnd.restate.invocation.v6 ",
        "application/vnd.restate.invocation.v6; charset=utf-8",
        "application/vnd.restate.invocation.v6;a=b;c=d",
    ],
)
def test_case_blanks_and_parameters_do_not_matter(text: str) -> None:
    assert parse_content_type(text) is ProtocolVersion.V6


@pytest.mark.parametrize("version", ["4", "8", "06", "٦", "", "6.1", "6/x"])
def test_another_version_is_said_to_be_unsupported_with_the_range_that_is(version: str) -> None:
    text = f"application/vnd.restate.invocation.v{version}"
    with pytest.raises(ProtocolError, match=r"the runtime asks for .* perdure speaks .*\.v5 to v7; register") as caught:
        parse_content_type(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["", "application/json", "application/vnd.restate.endpointmanifest.v1+json", ";"])
def test_a_foreign_content_type_is_said_to_come_from_somebody_else(text: str) -> None:
    with pytest.raises(
        ProtocolError, match=r"is not that of the Restate service protocol .*called through the ingress"
    ):
        parse_content_type(text)


@given(st.text())
def test_any_other_text_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_content_type(text)
