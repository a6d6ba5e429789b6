"""Request identity: does a request come from a restate-server that is trusted?

A server with an identity key signs every request it makes, discoveries and invocations alike, with two headers:
``x-restate-signature-scheme: v1`` and ``x-restate-jwt-v1``, a JSON Web Token signed with ed25519 (``alg`` is
``EdDSA``). Its header names the key as ``kid``, the text under which operators know it: ``publickeyv1_`` and the base58
of the 32 bytes of the public key. Its claims are the target of the request (``aud``: ``/discover`` or
``/invoke/<service>/<handler>``), when it was made (``iat``), from when and until when it holds (``nbf`` and ``exp``, a
minute on either side unless the server is configured otherwise) and, for keyed targets, the key (``sub``).

The order of the checks is part of the design: nothing that the token claims is looked at before its signature is
verified, and the signature is only verified with a key that was configured here. Whatever is not exactly right is
refused; a token has one spelling (see `perdure.wire.base64url`), so no byte of it can change and leave it valid.

The target is *relative to the base path of the deployment*: an endpoint that is mounted at ``/shop`` gets
``/shop/discover`` and a token for ``/discover``. So the end of the path is what counts (`request_target`), for the
signature and, lest the two disagree, for whoever routes the request.

This module knows neither the time nor any cryptography, both are given to it; `perdure.handlers.ed25519` has
verifiers made of libraries.

Source: `src/request_identity.rs` in restatedev/sdk-shared-core and `crates/service-client/src/request_identity/v1.rs`
in restatedev/restate; RFC 7515 and RFC 7519 for the token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from perdure.exceptions import IdentityError, UsageError
from perdure.wire import base64url

__all__ = [
    "JWT_HEADER",
    "KEY_PREFIX",
    "SCHEME_HEADER",
    "IdentityVerifier",
    "VerifySignature",
    "format_public_key",
    "parse_public_key",
    "request_target",
]

SCHEME_HEADER: Final = "x-restate-signature-scheme"
JWT_HEADER: Final = "x-restate-jwt-v1"
KEY_PREFIX: Final = "publickeyv1_"

_SIGNED: Final = "v1"
_UNSIGNED: Final = "unsigned"
_ALGORITHM: Final = "EdDSA"

_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_MAX_TOKEN: Final = 65536
"""Characters of a token. Real ones have about 350, plus the key of an object (`sub`), however long that is."""

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUES: Final = {character: value for value, character in enumerate(_BASE58)}
_MAX_BASE58: Final = 44  # characters of the largest number of 32 bytes; keeps the conversion, quadratic in it, short

_SHOWN: Final = 80  # characters of a peer's text that an error repeats


class VerifySignature(Protocol):
    """Tells whether an ed25519 signature is right.

    `public_key` has 32 bytes, `signature` 64. The answer is `True` or `False`; a wrong signature is no exception.
    """

    def __call__(self, public_key: bytes, message: bytes, signature: bytes, /) -> bool:
        """Tell whether `signature` is that of `message` under `public_key`."""
        ...


class _Header(msgspec.Struct, frozen=True):
    """What matters of a token's header."""

    alg: str
    kid: str
    crit: Any = None  # extensions that a reader must understand (RFC 7515, section 4.1.11)


class _Claims(msgspec.Struct, frozen=True):
    """What matters of a token's claims. Times are in unix seconds."""

    aud: str
    exp: float
    nbf: float


class IdentityVerifier:
    """Refuses requests that no trusted server has signed.

    Args:
        keys: the public keys that are trusted, as servers print them: `publickeyv1_...`. At least one.
        verify: checks one ed25519 signature.
        leeway: seconds by which the clocks of server and endpoint may differ beyond the minute that the token allows.

    Raises:
        UsageError: a key cannot be read, there is none, or the leeway is no length of time; the message says which.
    """

    def __init__(self, keys: Sequence[str], *, verify: VerifySignature, leeway: float = 0.0) -> None:
        if isinstance(keys, str):
            raise UsageError("identity keys are a sequence of texts, this is a single text: put it into a list")
        if not keys:
            raise UsageError("there are no identity keys, so no request could be accepted; name at least one")
        if not 0 <= leeway < float("inf"):
            raise UsageError(f"the leeway of request identity is a number of seconds, 0 or more, not {leeway!r}")
        self._keys = {key: parse_public_key(key) for key in keys}
        self._verify = verify
        self._leeway = leeway

    def verify(self, headers: Iterable[tuple[bytes, bytes]], path: str, *, now: float) -> None:
        """Check that a request is signed, now, for this path, with a trusted key.

        Args:
            headers: names and values of the request's headers, as ASGI, h2 and h11 give them; names in any case.
            path: of the request, with or without the base path of the deployment, without query.
            now: unix seconds.

        Raises:
            IdentityError: it is not, and why not; answer 401.
        """
        scheme, token = self._read(headers)
        if scheme == _UNSIGNED:
            raise IdentityError(
                f"the request is not signed ({SCHEME_HEADER}: {_UNSIGNED}); give restate-server an identity key"
            )
        if scheme != _SIGNED:
            raise IdentityError(f"unknown signature scheme {_shown(scheme)} in {SCHEME_HEADER}, expected {_SIGNED!r}")
        if token is None:
            raise IdentityError(f"the header {JWT_HEADER} is missing")
        claims = self._open(token)
        # Written so that a time that is no number (NaN) refuses.
        if not now < claims.exp + self._leeway:
            raise IdentityError(f"the token has expired: it held until {claims.exp:.0f}, now it is {now:.0f}")
        if not now >= claims.nbf - self._leeway:
            raise IdentityError(f"the token does not hold yet: it holds from {claims.nbf:.0f}, now it is {now:.0f}")
        target = request_target(path)
        if claims.aud != target:
            raise IdentityError(f"the token is for {_shown(claims.aud)}, the request is for {_shown(target)}")

    def _read(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str | None]:
        """Return the scheme and the token; a header that comes twice could be read in two ways and is refused."""
        found: dict[str, str] = {}
        for raw_name, raw_value in headers:
            name = raw_name.decode("latin-1").lower()
            if name not in {SCHEME_HEADER, JWT_HEADER}:
                continue
            if name in found:
                raise IdentityError(f"the header {name} comes more than once")
            found[name] = raw_value.decode("latin-1")
        if SCHEME_HEADER not in found:
            raise IdentityError(f"the request is not signed: the header {SCHEME_HEADER} is missing")
        return found[SCHEME_HEADER], found.get(JWT_HEADER)

    def _open(self, token: str) -> _Claims:
        """Return the claims of a token whose signature is right."""
        if len(token) > _MAX_TOKEN:
            raise IdentityError(f"malformed token: {len(token)} characters, more than {_MAX_TOKEN}")
        parts = token.split(".")
        if len(parts) != 3:  # noqa: PLR2004 - header, claims and signature: what a signed token is
            raise IdentityError(f"malformed token: {len(parts)} parts, a signed token has three")
        header_part, claims_part, signature_part = parts
        header = _decode_json(header_part, _Header, "header")
        if header.alg != _ALGORITHM:
            raise IdentityError(f"the token is signed with {_shown(header.alg)}, only {_ALGORITHM!r} is accepted")
        if header.crit is not None:
            raise IdentityError("malformed token: it demands extensions ('crit'), which restate-server does not use")
        public_key = self._keys.get(header.kid)
        if public_key is None:
            raise IdentityError(f"unknown key: {_shown(header.kid)} signed the request and is not trusted here")
        signature = _decode_part(signature_part, "signature")
        if len(signature) != _SIGNATURE_BYTES:
            raise IdentityError(f"malformed token: the signature has {len(signature)} bytes, not {_SIGNATURE_BYTES}")
        message = f"{header_part}.{claims_part}".encode("latin-1")  # the bytes that came, whatever they are
        # Only `True` is a yes: a verifier that is async by mistake returns a coroutine, which would count as one.
        if self._verify(public_key, message, signature) is not True:
            raise IdentityError("bad signature: the token was not signed with the key that it names, or was changed")
        return _decode_json(claims_part, _Claims, "claims")


def parse_public_key(text: str) -> bytes:
    """Return the 32 bytes of a public key in the form `publickeyv1_<base58>`.

    Raises:
        UsageError: `text` is no such key; the message names the key and its fault.
    """
    if not text.startswith(KEY_PREFIX):
        raise UsageError(f"identity key {_shown(text)} does not start with {KEY_PREFIX!r}")
    digits = text.removeprefix(KEY_PREFIX)
    for character in digits:
        if character not in _BASE58_VALUES:
            raise UsageError(f"identity key {_shown(text)} is not base58: {character!r} is not one of its characters")
    if len(digits) > _MAX_BASE58:
        raise UsageError(
            f"identity key {_shown(text)} is too long: {len(digits)} characters after the prefix, {_MAX_BASE58} at most"
        )
    value = 0
    for character in digits:
        value = value * 58 + _BASE58_VALUES[character]
    zeros = len(digits) - len(digits.lstrip(_BASE58[0]))  # each leading '1' is a zero byte
    key = bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")
    if len(key) != _KEY_BYTES:
        raise UsageError(f"identity key {_shown(text)} holds {len(key)} bytes, an ed25519 public key has {_KEY_BYTES}")
    return key


def format_public_key(key: bytes) -> str:
    """Return the text of a public key of 32 bytes, `publickeyv1_<base58>`."""
    value = int.from_bytes(key, "big")
    digits: list[str] = []
    while value:
        value, digit = divmod(value, 58)
        digits.append(_BASE58[digit])
    zeros = len(key) - len(key.lstrip(b"\0"))  # each leading zero byte is a '1'
    return KEY_PREFIX + _BASE58[0] * zeros + "".join(reversed(digits))


def request_target(path: str) -> str:
    """Return what a server signs for a request to `path`: its end, without the base path of the deployment.

    That is ``/invoke/<service>/<handler>`` or ``/discover``; any other path is returned as it is.
    """
    parts = path.rsplit("/", 3)
    if len(parts) == 4 and parts[1] == "invoke":  # noqa: PLR2004 - base, "invoke", service, handler
        return "/" + "/".join(parts[1:])
    # After the invocations, because a handler may be named `discover`.
    if parts[-1] == "discover" and len(parts) > 1:
        return "/discover"
    return path


_T = TypeVar("_T")


def _decode_json(part: str, as_type: type[_T], name: str) -> _T:
    data = _decode_part(part, name)
    try:
        return msgspec.json.decode(data, type=as_type)
    # Besides its own errors, msgspec lets two others through: for bytes that are not UTF-8, and for deep nesting.
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IdentityError(f"malformed token: the {name} cannot be read: {error}") from error


def _decode_part(part: str, name: str) -> bytes:
    try:
        return base64url.decode(part)
    except ValueError as error:
        raise IdentityError(f"malformed token: the {name} is {error}") from error


def _shown(text: str) -> str:
    """Return `text` as an error may repeat it: quoted and not long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
