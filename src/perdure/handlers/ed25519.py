"""Verifiers of ed25519 signatures, made of a library that the user has installed.

`perdure.wire.identity` checks signed requests but knows no cryptography. It is given a plain function, made here of
``cryptography`` or of ``pynacl``, or the user's own. Neither library is a dependency of perdure; both are extras.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from perdure.exceptions import UsageError
from perdure.wire.identity import VerifySignature

__all__ = ["SignatureBackend", "ed25519_verifier"]

SignatureBackend: TypeAlias = Literal["cryptography", "pynacl"]


def ed25519_verifier(backend: SignatureBackend | VerifySignature | None = None) -> VerifySignature:
    """Return a function that checks ed25519 signatures: `(public_key, message, signature) -> bool`.

    The function answers `False` for all that is not the right signature, a key or signature of wrong length included.

    Args:
        backend: `"cryptography"` or `"pynacl"`; without it the first of the two that is installed. A function is
            returned as it is, so that a program can bring its own cryptography.

    Raises:
        UsageError: the library is not installed, or there is no backend of that name.
    """
    if callable(backend):
        return backend
    if backend is None:
        for name, make in _BACKENDS.items():
            verifier = _made(name, make)
            if verifier is not None:
                return verifier
        raise UsageError(
            "request identity needs a library that checks ed25519 signatures, and none is installed: "
            "`pip install perdure[cryptography]` or `pip install perdure[pynacl]`"
        )
    if backend not in _BACKENDS:
        raise UsageError(f"there is no signature backend {backend!r}; there are {', '.join(map(repr, _BACKENDS))}")
    verifier = _made(backend, _BACKENDS[backend])
    if verifier is None:
        raise UsageError(f"the signature backend {backend!r} is not installed: `pip install perdure[{backend}]`")
    return verifier


def _cryptography() -> VerifySignature:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra, imported when it is asked for
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - see above

    def verify(public_key: bytes, message: bytes, signature: bytes, /) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
        except (InvalidSignature, ValueError):  # ValueError: the key has a wrong length
            return False
        return True

    return verify


def _pynacl() -> VerifySignature:
    from nacl.exceptions import BadSignatureError  # noqa: PLC0415 - see _cryptography
    from nacl.signing import VerifyKey  # noqa: PLC0415 - see _cryptography

    def verify(public_key: bytes, message: bytes, signature: bytes, /) -> bool:
        try:
            VerifyKey(public_key).verify(message, signature)
        except (BadSignatureError, ValueError):  # ValueError: the key or the signature has a wrong length
            return False
        return True

    return verify


_BACKENDS: Final[dict[SignatureBackend, Callable[[], VerifySignature]]] = {
    "cryptography": _cryptography,
    "pynacl": _pynacl,
}
_PACKAGES: Final[dict[SignatureBackend, str]] = {"cryptography": "cryptography", "pynacl": "nacl"}


def _made(name: SignatureBackend, make: Callable[[], VerifySignature]) -> VerifySignature | None:
    """Return the verifier of a backend, or `None` when its library is not installed."""
    try:
        return make()
    except ModuleNotFoundError as error:
        # A library that is there but lacks something of its own is broken, and its own error says that best.
        if error.name is None or error.name.partition(".")[0] != _PACKAGES[name]:
            raise
        return None
