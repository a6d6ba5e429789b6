"""A codec: everything that leaves a handler is encrypted, so the server that stores it cannot read it.

    pip install cryptography
    SECRET_KEY=$(openssl rand -hex 32) perdure serve examples.encrypted:app

Callers from outside need the same codec: `perdure.Client(url, codec=Sealed(key))`.
"""

from __future__ import annotations

import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import perdure
from perdure import Context, ObjectContext, Service, StateKey, VirtualObject


class Sealed:
    """AES-GCM with a new nonce for each value."""

    content_type = "application/octet-stream"
    stable = False  # equal values become different bytes: a replay must not compare them
    nonce = 12  # bytes

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encode(self, data: bytes, /) -> bytes:
        nonce = os.urandom(self.nonce)
        return nonce + self._cipher.encrypt(nonce, data, None)

    def decode(self, data: bytes, /) -> bytes:
        try:
            return self._cipher.decrypt(data[: self.nonce], data[self.nonce :], None)
        except InvalidTag:
            raise ValueError("not encrypted with this key") from None


class Diagnosis(msgspec.Struct):
    patient: str
    finding: str


clinic = Service("Clinic")
file = VirtualObject("PatientFile")
findings = StateKey("findings", list[str], default=[])


async def translate(finding: str) -> str:
    return {"influenza": "flu", "pyrosis": "heartburn"}.get(finding, finding)


@file.handler
async def add(ctx: ObjectContext, finding: str) -> list[str]:
    """Add to the file of a patient."""
    known = [*await ctx.get(findings), finding]
    ctx.set(findings, known)
    return known


@clinic.handler
async def diagnose(ctx: Context, diagnosis: Diagnosis) -> list[str]:
    """Write a finding down, in plain words."""
    plain = await ctx.run(translate, diagnosis.finding)
    # The key is no value: the runtime needs it in plain text, so it must not tell who it is.
    return await ctx.call(add, plain, key=diagnosis.patient)


codec = Sealed(bytes.fromhex(os.environ["SECRET_KEY"]))
app = perdure.Endpoint(clinic, file, codec=codec)
