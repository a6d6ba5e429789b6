"""Verification of signed requests, with tokens that real libraries signed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import nacl.signing
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from perdure.exceptions import IdentityError, UsageError
from perdure.handlers.ed25519 import SignatureBackend, ed25519_verifier
from perdure.wire.identity import (
    JWT_HEADER,
    KEY_PREFIX,
    SCHEME_HEADER,
    IdentityVerifier,
    parse_public_key,
    request_target,
)

NOW = 1_790_000_000.0
PATH = "/invoke/Greeter/greet"
BACKENDS: list[SignatureBackend] = ["cryptography", "pynacl"]

Sign = Callable[[bytes], bytes]
Headers = list[tuple[bytes, bytes]]

# --- a server that signs ------------------------------------------------------------------------------------------


def base58(data: bytes) -> str:
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    value, digits = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        digits = alphabet[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


SEED = b"a seed of thirty-two bytes, ok.."
OTHER_SEED = b"another seed of thirty-two bytes"


def signer(library: str, seed: bytes = SEED) -> Sign:
    if library == "pynacl":
        key = nacl.signing.SigningKey(seed)
        return lambda message: key.sign(message).signature
    return Ed25519PrivateKey.from_private_bytes(seed).sign


def public_key(seed: bytes = SEED) -> str:
    return KEY_PREFIX + base58(bytes(nacl.signing.SigningKey(seed).verify_key))


KEY = public_key()
OTHER_KEY = public_key(OTHER_SEED)
HEADER = {"typ": "JWT", "alg": "EdDSA", "kid": KEY}
CLAIMS = {"aud": PATH, "exp": int(NOW) + 60, "iat": int(NOW), "nbf": int(NOW) - 60}


def token(
    header: dict[str, Any] | bytes = HEADER, claims: dict[str, Any] | bytes = CLAIMS, *, sign: Sign | None = None
) -> str:
    """A token with this header and these claims, signed with `SEED` unless told otherwise."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    message = ".".join(map(base64url, parts))
    return f"{message}.{base64url((sign or signer('cryptography'))(message.encode()))}"


def headers(jwt: str, scheme: str = "v1") -> Headers:
    return [
        (b"host", b"example.org"),
        (SCHEME_HEADER.encode(), scheme.encode()),
        (JWT_HEADER.encode(), jwt.encode("latin-1")),
    ]


VERIFIER = IdentityVerifier([KEY], verify=ed25519_verifier())
TOKEN = token()


def refuse(
    why: str, jwt: str = TOKEN, *, path: str = PATH, now: float = NOW, verifier: IdentityVerifier = VERIFIER
) -> None:
    with pytest.raises(IdentityError, match=re.escape(why)):
        verifier.verify(headers(jwt), path, now=now)


# --- accepted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verified_with", BACKENDS)
@pytest.mark.parametrize("signed_with", BACKENDS)
def test_signed_request_is_accepted(signed_with: SignatureBackend, verified_with: SignatureBackend) -> None:
    verifier = IdentityVerifier([KEY], verify=ed25519_verifier(verified_with))
    verifier.verify(headers(token(sign=signer(signed_with))), PATH, now=NOW)


def test_any_of_the_configured_keys_is_trusted() -> None:
    verifier = IdentityVerifier([OTHER_KEY, KEY], verify=ed25519_verifier())
    verifier.verify(headers(TOKEN), PATH, now=NOW)
    other = token(HEADER | {"kid": OTHER_KEY}, sign=signer("cryptography", OTHER_SEED))
    verifier.verify(headers(other), PATH, now=NOW)


def test_key_of_an_object_in_the_token_does_not_matter() -> None:
    VERIFIER.verify(headers(token(claims=CLAIMS | {"sub": "ключ" * 2000})), PATH, now=NOW)


def test_other_headers_may_come_more_than_once() -> None:
    VERIFIER.verify([(b"cookie", b"a"), *headers(TOKEN), (b"cookie", b"b")], PATH, now=NOW)


def test_names_of_headers_are_read_in_any_case() -> None:
    VERIFIER.verify([(name.title(), value) for name, value in headers(TOKEN)], PATH, now=NOW)


@pytest.mark.parametrize("base", ["", "/shop", "/base/path", "/invoke/a/b", "//"])
def test_token_holds_under_any_base_path(base: str) -> None:
    VERIFIER.verify(headers(TOKEN), base + PATH, now=NOW)


@pytest.mark.parametrize("path", ["/discover", "/base/path/discover"])
def test_token_of_a_discovery_holds_under_any_base_path(path: str) -> None:
    VERIFIER.verify(headers(token(claims=CLAIMS | {"aud": "/discover"})), path, now=NOW)


@pytest.mark.parametrize("now", [NOW - 60, NOW + 59.999])
def test_token_holds_from_its_first_to_its_last_moment(now: float) -> None:
    VERIFIER.verify(headers(TOKEN), PATH, now=now)


def test_times_with_fractions_are_read() -> None:
    VERIFIER.verify(headers(token(claims=CLAIMS | {"exp": NOW + 0.5, "nbf": NOW - 0.5})), PATH, now=NOW)


@pytest.mark.parametrize("now", [NOW - 65, NOW + 64.999])
def test_leeway_widens_the_time_on_both_sides(now: float) -> None:
    verifier = IdentityVerifier([KEY], verify=ed25519_verifier(), leeway=5)
    verifier.verify(headers(TOKEN), PATH, now=now)


# --- refused: headers ---------------------------------------------------------------------------------------------


def test_request_without_scheme_is_refused() -> None:
    with pytest.raises(IdentityError, match=f"not signed: the header {SCHEME_HEADER} is missing"):
        VERIFIER.verify([(JWT_HEADER.encode(), TOKEN.encode())], PATH, now=NOW)


def test_request_without_token_is_refused() -> None:
    with pytest.raises(IdentityError, match=f"the header {JWT_HEADER} is missing"):
        VERIFIER.verify([(SCHEME_HEADER.encode(), b"v1")], PATH, now=NOW)


def test_request_that_says_it_is_unsigned_is_refused() -> None:
    with pytest.raises(IdentityError, match=r"the request is not signed .*: unsigned.*give restate-server an identity"):
        VERIFIER.verify(headers(TOKEN, scheme="unsigned"), PATH, now=NOW)


@pytest.mark.parametrize("scheme", ["v2", "V1", "", "v1 ", "x" * 1000])
def test_unknown_scheme_is_refused(scheme: str) -> None:
    with pytest.raises(IdentityError, match=f"unknown signature scheme '{scheme[:80]}.*' in .*expected 'v1'") as caught:
        VERIFIER.verify(headers(TOKEN, scheme=scheme), PATH, now=NOW)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("name", [SCHEME_HEADER, JWT_HEADER])
def test_header_that_comes_twice_is_refused(name: str) -> None:
    with pytest.raises(IdentityError, match=f"the header {name} comes more than once"):
        VERIFIER.verify([*headers(TOKEN), (name.encode(), b"v1")], PATH, now=NOW)


# --- refused: form ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jwt", "why"),
    [
        ("", "malformed token: 1 parts, a signed token has three"),
        ("a.b", "malformed token: 2 parts"),
        (TOKEN + ".x", "malformed token: 4 parts"),
        ("..", "malformed token: the header cannot be read"),
        ("=.x.y", "malformed token: the header is not unpadded url-safe base64"),
        ("é" + TOKEN, "malformed token: the header is not url-safe base64"),
        (TOKEN + "=", "malformed token: the signature is not"),
        (TOKEN.rpartition(".")[0] + "." + base64url(bytes(61)), "malformed token: the signature has 61 bytes, not 64"),
        (TOKEN.rpartition(".")[0] + "." + base64url(bytes(65)), "malformed token: the signature has 65 bytes, not 64"),
        (" " + TOKEN, "malformed token: the header is not"),
        ("x" * 65_536, "malformed token: 1 parts"),
        ("x" * 65_537, "malformed token: 65537 characters, more than 65536"),
    ],
)
def test_malformed_token_is_refused(jwt: str, why: str) -> None:
    refuse(why, jwt)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"alg":"\xff"}',
        b'{"alg":"EdDSA"}',
        b'{"kid":"x"}',
        b'{"alg":1,"kid":"x"}',
        b'{"alg":"EdDSA","kid":null}',
        b'{"x":' + b"[" * 30_000,
    ],
)
def test_header_that_cannot_be_read_is_refused(header: bytes) -> None:
    refuse("malformed token: the header cannot be read", token(header))


@pytest.mark.parametrize(
    "claims",
    [
        b"",
        b"no json",
        b"[]",
        b'{"aud":"\xff"}',
        b'{"x":' + b"[" * 30_000,
        *[
            json.dumps({name: value for name, value in CLAIMS.items() if name != lost}).encode()
            for lost in ("aud", "exp", "nbf")
        ],
        json.dumps(CLAIMS | {"aud": [PATH]}).encode(),
        json.dumps(CLAIMS | {"exp": str(NOW + 60)}).encode(),
        json.dumps(CLAIMS | {"nbf": None}).encode(),
        json.dumps(CLAIMS | {"exp": float("inf")}).encode(),
        json.dumps(CLAIMS).replace(str(CLAIMS["exp"]), "9" * 400).encode(),
    ],
)
def test_claims_that_cannot_be_read_are_refused_though_they_are_signed(claims: bytes) -> None:
    refuse("malformed token: the claims cannot be read", token(claims=claims))


def test_token_that_demands_extensions_is_refused() -> None:
    refuse("malformed token: it demands extensions ('crit')", token(HEADER | {"crit": ["b64"], "b64": False}))


# --- refused: keys and signatures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "ES256", "eddsa", "Ed25519", ""])
def test_other_algorithm_is_refused(algorithm: str) -> None:
    refuse(f"signed with {algorithm!r}, only 'EdDSA' is accepted", token(HEADER | {"alg": algorithm}))


def test_token_without_signature_is_refused_whatever_its_algorithm() -> None:
    unsigned = token().rpartition(".")[0] + "."
    refuse("the signature has 0 bytes", unsigned)


def test_key_that_is_not_configured_is_refused() -> None:
    jwt = token(HEADER | {"kid": OTHER_KEY}, sign=signer("cryptography", OTHER_SEED))
    refuse(f"unknown key: {OTHER_KEY!r} signed the request and is not trusted here", jwt)


def test_key_id_is_compared_exactly() -> None:
    refuse("unknown key", token(HEADER | {"kid": KEY.removeprefix(KEY_PREFIX)}))
    refuse("unknown key", token(HEADER | {"kid": KEY + " "}))


@pytest.mark.parametrize("backend", BACKENDS)
def test_signature_of_another_key_is_refused(backend: SignatureBackend) -> None:
    verifier = IdentityVerifier([KEY, OTHER_KEY], verify=ed25519_verifier(backend))
    refuse("bad signature", token(sign=signer("pynacl", OTHER_SEED)), verifier=verifier)


@pytest.mark.parametrize("backend", BACKENDS)
def test_claims_changed_after_signing_are_refused(backend: SignatureBackend) -> None:
    verifier = IdentityVerifier([KEY], verify=ed25519_verifier(backend))
    header, _, signature = TOKEN.split(".")
    changed = base64url(json.dumps(CLAIMS | {"exp": int(NOW) + 10_000}).encode())
    refuse("bad signature", f"{header}.{changed}.{signature}", verifier=verifier)


def test_signature_is_checked_before_any_claim() -> None:
    """Otherwise an answer would tell a stranger which claims would have done."""
    stranger = signer("cryptography", OTHER_SEED)
    refuse("bad signature", token(claims=CLAIMS | {"exp": 0}, sign=stranger))
    refuse("bad signature", token(claims=b"no json", sign=stranger))


@pytest.mark.parametrize("answer", [False, None, 1, "yes", b"message", object()])
def test_verifier_that_does_not_answer_true_refuses(answer: Any) -> None:
    """A library's function that returns the message, or a coroutine, must not pass for a yes."""
    verifier = IdentityVerifier([KEY], verify=lambda _key, _message, _signature: answer)
    refuse("bad signature", verifier=verifier)


def test_verifier_gets_key_message_and_signature() -> None:
    calls: list[tuple[bytes, bytes, bytes]] = []

    def record(key: bytes, message: bytes, signature: bytes) -> bool:
        calls.append((key, message, signature))
        return True

    IdentityVerifier([KEY], verify=record).verify(headers(TOKEN), PATH, now=NOW)
    message = TOKEN.rpartition(".")[0].encode()
    assert calls == [(bytes(nacl.signing.SigningKey(SEED).verify_key), message, signer("pynacl")(message))]


def test_error_of_a_verifier_is_not_taken_for_a_refusal() -> None:
    def broken(_key: bytes, _message: bytes, _signature: bytes) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        IdentityVerifier([KEY], verify=broken).verify(headers(TOKEN), PATH, now=NOW)


# --- refused: time and target -------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [NOW + 60, NOW + 1e9, float("inf")])
def test_expired_token_is_refused(now: float) -> None:
    refuse(f"the token has expired: it held until {CLAIMS['exp']}, now it is {now:.0f}", now=now)


@pytest.mark.parametrize("now", [NOW - 60.001, 0.0])
def test_token_of_the_future_is_refused(now: float) -> None:
    refuse(f"the token does not hold yet: it holds from {CLAIMS['nbf']}, now it is {now:.0f}", now=now)


def test_time_that_is_no_number_refuses() -> None:
    refuse("expired", now=float("nan"))


@pytest.mark.parametrize(("now", "why"), [(NOW + 65, "expired"), (NOW - 65.001, "does not hold yet")])
def test_leeway_ends(now: float, why: str) -> None:
    refuse(why, now=now, verifier=IdentityVerifier([KEY], verify=ed25519_verifier(), leeway=5))


@pytest.mark.parametrize(
    "path",
    [
        "/invoke/Greeter/other",
        "/invoke/Other/greet",
        "/invoke/Greeter/greet/",
        "/invoke/Greeter",
        "/x/Greeter/greet",
        "/discover",
        "/xinvoke/Greeter/greet",
        "/",
        "",
    ],
)
def test_token_for_another_target_is_refused(path: str) -> None:
    refuse(f"the token is for {PATH!r}, the request is for {path!r}", path=path)


def test_discovery_token_does_not_open_a_handler_named_discover() -> None:
    path = "/invoke/Greeter/discover"
    refuse(
        f"the token is for '/discover', the request is for {path!r}",
        token(claims=CLAIMS | {"aud": "/discover"}),
        path=path,
    )


def test_token_with_the_base_path_in_it_is_refused() -> None:
    """The server signs relative to the base path; a token that differs was made for something else."""
    refuse("the token is for '/shop/invoke/", token(claims=CLAIMS | {"aud": "/shop" + PATH}), path="/shop" + PATH)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/invoke/S/h", "/invoke/S/h"),
        ("/a/b/invoke/S/h", "/invoke/S/h"),
        ("/invoke/invoke/invoke", "/invoke/invoke/invoke"),
        ("/invoke/S/invoke/T/h", "/invoke/T/h"),
        ("/discover", "/discover"),
        ("/a/discover", "/discover"),
        ("/invoke/S/discover", "/invoke/S/discover"),
        ("discover", "discover"),
        ("a/discover", "/discover"),
        ("invoke/S/h", "invoke/S/h"),
        ("/health", "/health"),
        ("/a/health", "/a/health"),
        ("", ""),
    ],
)
def test_target_is_the_end_of_the_path(path: str, target: str) -> None:
    assert request_target(path) == target


# --- refused: anything else ---------------------------------------------------------------------------------------


@given(st.data())
def test_any_mutation_of_a_valid_token_is_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(TOKEN)))
    end = data.draw(st.integers(start, min(len(TOKEN), start + 3)))
    characters = st.characters(min_codepoint=0, max_codepoint=255) | st.sampled_from("AQgw-_=+/. \n")
    mutated = TOKEN[:start] + data.draw(st.text(characters, max_size=3)) + TOKEN[end:]
    if mutated != TOKEN:
        with pytest.raises(IdentityError):
            VERIFIER.verify(headers(mutated), PATH, now=NOW)


@pytest.mark.parametrize("position", range(len(TOKEN)))
def test_no_single_bit_of_a_token_may_change(position: int) -> None:
    for bit in range(8):
        mutated = TOKEN[:position] + chr(ord(TOKEN[position]) ^ 1 << bit) + TOKEN[position + 1 :]
        with pytest.raises(IdentityError):
            VERIFIER.verify(headers(mutated), PATH, now=NOW)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([SCHEME_HEADER.encode(), JWT_HEADER.encode(), b"x"]) | st.binary(max_size=8),
            st.just(b"v1") | st.binary(max_size=30) | st.just(TOKEN.encode()),
        ),
        max_size=4,
    ),
    st.text(max_size=10),
)
def test_garbage_headers_are_refused(garbage: Headers, path: str) -> None:
    with pytest.raises(IdentityError):
        VERIFIER.verify(garbage, path, now=NOW)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


def objects(valid: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Objects with the right names and any values, and bytes that are no objects at all."""
    names = [*valid, "crit", "sub", "x"]
    return (
        st.dictionaries(st.sampled_from(names), json_values | st.sampled_from(list(valid.values()))).map(
            lambda drawn: json.dumps(drawn).encode()
        )
        | st.binary(max_size=20)
        | st.just(json.dumps(valid).encode())
    )


@given(objects(HEADER), objects(CLAIMS))
def test_signed_garbage_is_accepted_only_if_it_says_what_it_must(header: bytes, claims: bytes) -> None:
    try:
        VERIFIER.verify(headers(token(header, claims)), PATH, now=NOW)
    except IdentityError:
        return
    said = json.loads(header) | json.loads(claims)
    assert (said["alg"], said["kid"], said["aud"]) == ("EdDSA", KEY, PATH)
    assert said["nbf"] <= NOW < said["exp"]


# --- construction -------------------------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32))
def test_every_public_key_is_read_back(key: bytes) -> None:
    assert parse_public_key(KEY_PREFIX + base58(key)) == key


@pytest.mark.parametrize("key", [bytes(32), bytes(31) + b"\1", b"\xff" * 32], ids=["zeros", "one", "largest"])
def test_leading_zero_bytes_of_a_key_count(key: bytes) -> None:
    assert parse_public_key(KEY_PREFIX + base58(key)) == key


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "identity key '' does not start with 'publickeyv1_'"),
        (KEY.removeprefix(KEY_PREFIX), "does not start with 'publickeyv1_'"),
        ("publickeyv2_abc", "identity key 'publickeyv2_abc' does not start with"),
        (KEY_PREFIX, "holds 0 bytes, an ed25519 public key has 32"),
        (KEY_PREFIX + base58(b"\1" * 31), "holds 31 bytes"),
        (KEY_PREFIX + base58(b"\xff" * 33), "is too long: 46 characters after the prefix, 44 at most"),
        (KEY_PREFIX + base58(b"\1" * 33), "holds 33 bytes"),
        (KEY_PREFIX + "z" * 44, "holds 33 bytes"),
        (KEY_PREFIX + "1" * 33, "holds 33 bytes"),
        (KEY_PREFIX + "1" * 1_000_000, "is too long: 1000000 characters"),
        (KEY_PREFIX + "0" + KEY[-42:], "is not base58: '0' is not one of its characters"),
        (KEY_PREFIX + "abcl", "'l' is not one of its characters"),
        (KEY_PREFIX + "abcé", "'é' is not one of its characters"),
        (KEY + "\n", "is not base58: '\\n'"),
    ],
)
def test_key_that_cannot_be_read_is_told_at_construction(key: str, why: str) -> None:
    with pytest.raises(UsageError, match=re.escape(why)) as caught:
        IdentityVerifier([OTHER_KEY, key], verify=ed25519_verifier())
    assert len(str(caught.value)) < 300


def test_verifier_without_keys_is_told_at_construction() -> None:
    with pytest.raises(UsageError, match="there are no identity keys"):
        IdentityVerifier([], verify=ed25519_verifier())


def test_single_text_instead_of_a_list_of_keys_is_told_at_construction() -> None:
    with pytest.raises(UsageError, match="put it into a list"):
        IdentityVerifier(KEY, verify=ed25519_verifier())


@pytest.mark.parametrize("leeway", [-1.0, float("nan"), float("inf")])
def test_leeway_that_is_no_length_of_time_is_told_at_construction(leeway: float) -> None:
    with pytest.raises(UsageError, match="leeway of request identity"):
        IdentityVerifier([KEY], verify=ed25519_verifier(), leeway=leeway)
