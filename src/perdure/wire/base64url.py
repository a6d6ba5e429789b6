"""Unpadded url-safe base64 (RFC 4648, section 5), in its one canonical form.

The decoder of the standard library skips bytes that are not in the alphabet and ignores the unused bits of the last
character, so several texts decode to the same bytes. Ids are compared as text and signatures must not be malleable:
here every byte string has exactly one text.
"""

from __future__ import annotations

import base64

__all__ = ["decode", "encode"]


def encode(data: bytes) -> str:
    """Return the text of `data`, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes of `text`.

    Raises:
        ValueError: `text` is not what `encode` makes of any bytes.
    """
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:  # a wrong length, or characters that are not ASCII
        raise ValueError("not url-safe base64") from error
    if encode(data) != text:
        raise ValueError("not unpadded url-safe base64 in canonical form")
    return data
