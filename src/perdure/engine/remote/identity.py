"""Signatures under requests, so that endpoints can tell who asks; `perdure.wire.identity` is the other end."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from perdure.exceptions import UsageError
from perdure.wire import base64url
from perdure.wire.identity import JWT_HEADER, SCHEME_HEADER, format_public_key

__all__ = ["RequestSigner"]

_PEM: Final = re.compile(r"-----BEGIN PRIVATE KEY-----(.+?)-----END PRIVATE KEY-----", re.DOTALL)
_ED25519: Final = bytes.fromhex("06032b657004220420")
"""In PKCS#8: the object identifier of ed25519, and the octet strings around the 32 bytes of the key (RFC 8410)."""
_KEY_BYTES: Final = 32
_HOLDS: Final = 60
"""Seconds that a token holds before and after the moment it was made, as restate-server has it."""


class RequestSigner:
    """Signs requests with an ed25519 key.

    Args:
        seed: the 32 bytes of the private key.

    Attributes:
        public_key: what endpoints are given: `publickeyv1_...`.

    Raises:
        UsageError: neither `cryptography` nor `pynacl` is installed.
    """

    def __init__(self, seed: bytes) -> None:
        self._sign, public = _backend(seed)
        self.public_key: str = format_public_key(public)
        self._header: str = base64url.encode(
            msgspec.json.encode({"typ": "JWT", "alg": "EdDSA", "kid": self.public_key})
        )

    @classmethod
    def from_pem(cls, path: str | os.PathLike[str]) -> RequestSigner:
        """Read the key from a PKCS#8 PEM file, as `openssl genpkey -algorithm ed25519` writes it.

        Raises:
            UsageError: the file cannot be read, or holds no such key.
        """
        try:
            text = Path(path).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the identity key {path} cannot be read: {error}") from error
        found = _PEM.search(text)
        try:
            der = base64.b64decode("".join(found.group(1).split()), validate=True) if found else b""
        except binascii.Error as error:
            raise UsageError(f"the identity key {path} is no PEM file: {error}") from error
        _, _, seed = der.partition(_ED25519)
        if len(seed) < _KEY_BYTES:
            raise UsageError(
                f"{path} holds no ed25519 private key in PKCS#8; make one with `openssl genpkey -algorithm ed25519`"
            )
        return cls(seed[:_KEY_BYTES])

    def headers(self, target: str, key: str | None, now: float) -> list[tuple[str, str]]:
        """The headers of one request.

        Args:
            target: its path, without the base path of the deployment: `/discover`, `/invoke/Shop/checkout`.
            key: of the object or workflow; `None` for others.
            now: unix seconds.
        """
        at = int(now)
        claims: dict[str, str | int] = {"aud": target, "exp": at + _HOLDS, "iat": at, "nbf": at - _HOLDS}
        if key is not None:
            claims["sub"] = key
        signed = f"{self._header}.{base64url.encode(msgspec.json.encode(claims))}"
        token = f"{signed}.{base64url.encode(self._sign(signed.encode('ascii')))}"
        return [(SCHEME_HEADER, "v1"), (JWT_HEADER, token)]


def _backend(seed: bytes) -> tuple[Callable[[bytes], bytes], bytes]:
    """Return what signs, and the public key."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - an extra, imported when it is asked for
            Ed25519PrivateKey,
        )
    except ModuleNotFoundError:
        return _pynacl(seed)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key.sign, key.public_key().public_bytes_raw()


def _pynacl(seed: bytes) -> tuple[Callable[[bytes], bytes], bytes]:
    try:
        from nacl.signing import SigningKey  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise UsageError(
            "signing requests needs a library for ed25519, and none is installed: `pip install perdure[cryptography]` "
            "or `pip install perdure[pynacl]`"
        ) from error
    key = SigningKey(seed)
    return lambda message: key.sign(message).signature, bytes(key.verify_key)
