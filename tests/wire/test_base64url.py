"""Unpadded url-safe base64 has one text per byte string."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.wire import base64url


@given(st.binary(max_size=100))
def test_what_was_encoded_decodes_to_the_same_bytes(data: bytes) -> None:
    assert base64url.decode(base64url.encode(data)) == data


@given(st.binary(max_size=100))
def test_text_is_that_of_the_standard_library_without_padding(data: bytes) -> None:
    assert base64url.encode(data) == base64.urlsafe_b64encode(data).decode().rstrip("=")


@given(st.text(alphabet=st.sampled_from("ABab09-_+/=. \nä"), max_size=12))
def test_decodes_a_text_only_if_encoding_gives_it_back(text: str) -> None:
    try:
        data = base64url.decode(text)
    except ValueError:
        return
    assert base64url.encode(data) == text


@pytest.mark.parametrize(
    "text",
    ["QQ==", "Q", "QR", "+w", "/w", "-w\n", " -w", "QUJD.", "ä"],
    ids=["padded", "short", "unused-bits", "plus", "slash", "newline", "space", "dot", "not-ascii"],
)
def test_refuses_every_other_spelling(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        base64url.decode(text)
