"""Versions of the service protocol, and the content types that name them.

The runtime picks a version from the range in the discovery manifest, and says which one it picked by the content type
of each request. An answer carries the same content type. Source: `src/service_protocol/version.rs` in
restatedev/sdk-shared-core, observed with restate-server 1.7.
"""

from __future__ import annotations

import enum
from typing import Final

from perdure.exceptions import ProtocolError

__all__ = ["MAX_VERSION", "MIN_VERSION", "SDK_VERSION", "ProtocolVersion", "parse_content_type"]

_PREFIX: Final = "application/vnd.restate.invocation.v"


class ProtocolVersion(enum.IntEnum):
    """A version of the service protocol that perdure speaks.

    6 brought the random seed of an invocation and metadata of failures; 7 brought await trees, acks of run proposals,
    scopes, limit keys, and errors that ask for a pause.
    """

    V5 = 5
    V6 = 6
    V7 = 7

    @property
    def content_type(self) -> str:
        """The media type of a stream of this version, `application/vnd.restate.invocation.v6` for instance."""
        return f"{_PREFIX}{self.value}"


SDK_VERSION: Final = "0.1.0"
"""The version of perdure itself; the package's metadata are made of it."""

MIN_VERSION: Final = ProtocolVersion.V5
MAX_VERSION: Final = ProtocolVersion.V7

_BY_CONTENT_TYPE: Final = {version.content_type: version for version in ProtocolVersion}


def parse_content_type(text: str) -> ProtocolVersion:
    """The protocol version that a content type names.

    Case, surrounding blanks and parameters (`; charset=...`) do not matter, as in any media type.

    Raises:
        ProtocolError: the runtime picked a version that perdure does not speak, or the request does not come from a
            Restate runtime at all; the message tells which. Over HTTP the answer to both is 415.
    """
    media_type = text.partition(";")[0].strip().lower()
    version = _BY_CONTENT_TYPE.get(media_type)
    if version is not None:
        return version
    if media_type.startswith(_PREFIX):
        raise ProtocolError(
            f"the runtime asks for the protocol of content type {text!r}, but this version of perdure speaks "
            f"{MIN_VERSION.content_type} to v{MAX_VERSION}; register the deployment again, so that the runtime learns "
            f"the range, or update whichever side is older"
        )
    raise ProtocolError(
        f"content type {text!r} is not that of the Restate service protocol ({MIN_VERSION.content_type} to "
        f"v{MAX_VERSION}); handlers are called through the ingress of the runtime, not at the endpoint directly"
    )
