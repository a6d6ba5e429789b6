"""Verifiers of ed25519 signatures from the library that is installed."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import nacl.signing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import UsageError
from perdure.handlers.ed25519 import SignatureBackend, ed25519_verifier

SIGNING_KEY = nacl.signing.SigningKey(b"a seed of thirty-two bytes, ok..")
PUBLIC_KEY = bytes(SIGNING_KEY.verify_key)
MESSAGE = b"a message"
SIGNATURE = SIGNING_KEY.sign(MESSAGE).signature

BACKENDS: list[SignatureBackend] = ["cryptography", "pynacl"]
each_backend = pytest.mark.parametrize("backend", BACKENDS)

LIBRARY_MODULES = {
    "cryptography": ["cryptography.exceptions", "cryptography.hazmat.primitives.asymmetric.ed25519"],
    "pynacl": ["nacl.exceptions", "nacl.signing"],
}


def uninstall(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """Make the imports of a library fail, as they do where it is not installed."""
    for name in LIBRARY_MODULES[backend]:
        monkeypatch.setitem(sys.modules, name, None)


@each_backend
def test_right_signature_is_true(backend: SignatureBackend) -> None:
    assert ed25519_verifier(backend)(PUBLIC_KEY, MESSAGE, SIGNATURE) is True


@each_backend
def test_right_signature_of_nothing_is_true(backend: SignatureBackend) -> None:
    assert ed25519_verifier(backend)(PUBLIC_KEY, b"", SIGNING_KEY.sign(b"").signature) is True


@each_backend
def test_signature_of_another_message_is_false(backend: SignatureBackend) -> None:
    assert ed25519_verifier(backend)(PUBLIC_KEY, MESSAGE + b"!", SIGNATURE) is False


@each_backend
def test_signature_of_another_key_is_false(backend: SignatureBackend) -> None:
    other = bytes(nacl.signing.SigningKey(b"another seed of thirty-two bytes").verify_key)
    assert ed25519_verifier(backend)(other, MESSAGE, SIGNATURE) is False


@each_backend
@given(key=st.binary(max_size=40), signature=st.binary(max_size=70))
def test_garbage_is_false(backend: SignatureBackend, key: bytes, signature: bytes) -> None:
    verify = ed25519_verifier(backend)
    assert verify(key, MESSAGE, SIGNATURE) is False
    assert verify(PUBLIC_KEY, MESSAGE, signature) is False


@each_backend
def test_signature_with_a_larger_scalar_is_false(backend: SignatureBackend) -> None:
    """Adding the order of the group gives the same point; a verifier that takes it has two signatures per message."""
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(SIGNATURE[32:], "little") + order
    assert ed25519_verifier(backend)(PUBLIC_KEY, MESSAGE, SIGNATURE[:32] + scalar.to_bytes(32, "little")) is False


def test_function_of_the_user_is_used_as_it_is() -> None:
    def verify(_public_key: bytes, _message: bytes, _signature: bytes) -> bool:
        return True

    assert ed25519_verifier(verify) is verify


@each_backend
def test_without_a_choice_the_library_that_is_installed_is_used(
    backend: SignatureBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in BACKENDS:
        if other != backend:
            uninstall(monkeypatch, other)
    assert ed25519_verifier()(PUBLIC_KEY, MESSAGE, SIGNATURE) is True


def test_without_any_library_the_error_names_both_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in BACKENDS:
        uninstall(monkeypatch, backend)
    with pytest.raises(UsageError, match=r"perdure\[cryptography\].*perdure\[pynacl\]"):
        ed25519_verifier()


@each_backend
def test_chosen_library_that_is_not_installed_is_told_with_its_extra(
    backend: SignatureBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninstall(monkeypatch, backend)
    with pytest.raises(UsageError, match=rf"'{backend}' is not installed: `pip install perdure\[{backend}\]`"):
        ed25519_verifier(backend)


@pytest.mark.parametrize("choice", [None, *BACKENDS])
def test_library_that_is_installed_but_broken_is_not_taken_for_missing(
    choice: SignatureBackend | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname: str, _path: Any, _target: ModuleType | None = None) -> None:
            if fullname in {name for names in LIBRARY_MODULES.values() for name in names}:
                raise ModuleNotFoundError("No module named '_cffi_backend'", name="_cffi_backend")

    for backend in BACKENDS:
        for name in LIBRARY_MODULES[backend]:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(ModuleNotFoundError, match="_cffi_backend"):
        ed25519_verifier(choice)


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(UsageError, match="no signature backend 'openssl'; there are 'cryptography', 'pynacl'"):
        ed25519_verifier("openssl")  # type: ignore[arg-type]  # what a configuration file may say
