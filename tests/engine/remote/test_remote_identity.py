"""What the engine signs, endpoints accept; anything else they refuse."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

import perdure
from perdure import ObjectContext, VirtualObject
from perdure.engine.remote.discovery import discover
from perdure.engine.remote.errors import DiscoveryError
from perdure.engine.remote.identity import RequestSigner
from perdure.exceptions import UsageError
from perdure.wire.identity import format_public_key, parse_public_key
from perdure.wire.messages import Value
from tests.engine.remote.hosting import Host, served
from tests.server.serving import serving

pytestmark = pytest.mark.anyio

counter = VirtualObject("Counter")


@counter.handler
async def name(ctx: ObjectContext) -> str:
    return ctx.key


def pem(folder: Path) -> Path:
    path = folder / "key.pem"
    path.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


@given(st.binary(min_size=32, max_size=32))
def test_a_public_key_is_read_as_it_was_written(key: bytes) -> None:
    assert parse_public_key(format_public_key(key)) == key


async def test_an_endpoint_that_wants_signatures_accepts_those_of_the_engine(tmp_path: Path) -> None:
    signer = RequestSigner.from_pem(pem(tmp_path))
    app = perdure.Endpoint(counter, identity_keys=[signer.public_key])
    async with served(app, signer=signer) as endpoint:
        await discover(endpoint)
        assert await Host(key="a b").finish(endpoint, "Counter/name") == Value(b'"a b"')


async def test_an_engine_with_a_key_signs_all_that_it_asks(tmp_path: Path) -> None:
    key = pem(tmp_path)
    app = perdure.Endpoint(counter, identity_keys=[RequestSigner.from_pem(key).public_key])
    async with serving(app) as server, perdure.open_engine(":memory:", perdure.Endpoint(), identity_key=key) as engine:
        await engine.core.remote.register(engine.core, f"http://127.0.0.1:{server.port}")
        with anyio.fail_after(20):
            assert await engine.call(name, key="a b") == "a b"


async def test_an_endpoint_that_wants_signatures_refuses_requests_without(tmp_path: Path) -> None:
    app = perdure.Endpoint(counter, identity_keys=[RequestSigner.from_pem(pem(tmp_path)).public_key])
    async with served(app) as endpoint:
        with pytest.raises(DiscoveryError, match="401"):
            await discover(endpoint)
        broken = await Host(key="a").attempt(endpoint, "Counter/name")
    assert broken is not None
    assert "unexpected status 401" in broken.error.message


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_a_file_without_a_key_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.pem"
    path.write_text(text)
    with pytest.raises(UsageError, match="holds no ed25519 private key"):
        RequestSigner.from_pem(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        RequestSigner.from_pem(tmp_path / "key.pem")
