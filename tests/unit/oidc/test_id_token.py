"""ID tokens by algorithm; what must be refused is in tests/flows."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from bff.crypto import base64url
from bff.dev.in_process import WsgiTransport
from bff.errors import ProviderUnavailable
from bff.http import HttpClient
from bff.oidc.id_token import validate_id_token, validate_refreshed_id_token
from bff.oidc.jwt import TokenInvalid, parse
from bff.oidc.provider import Provider
from bff.settings.model import SIGNING_ALGORITHMS, ProviderSettings
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.flows.provider import OpenIdProvider
from tests.flows.tokens import compact
from tests.fuzz import examples

ISSUER = "https://idp.example"
ACCESS_TOKEN = "an access token"

RSA = RSAKey.generate_key(2048, {"kid": "k"})
KEYS: dict[str, tuple[Key, str]] = {
    **{name: (RSA, f"sha{name[2:]}") for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")},
    "ES256": (ECKey.generate_key("P-256", {"kid": "k"}), "sha256"),
    "ES384": (ECKey.generate_key("P-384", {"kid": "k"}), "sha384"),
    "ES512": (ECKey.generate_key("P-521", {"kid": "k"}), "sha512"),
    "Ed25519": (OKPKey.generate_key("Ed25519", {"kid": "k"}), "sha512"),
    "EdDSA": (OKPKey.generate_key("Ed25519", {"kid": "k"}), "sha512"),
}


def provider(key: Key, clock: Clock, algorithms: tuple[str, ...] = SIGNING_ALGORITHMS) -> Provider:
    """Ours, talking to a provider that publishes this key."""
    config = ProviderSettings("x", ISSUER, "bff", id_token_algorithms=algorithms)
    network = WsgiTransport({ISSUER: OpenIdProvider(ISSUER, key, clock)})
    return Provider(config, HttpClient("idp", timeout=1, adapter=network), clock)


def token(key: Key, algorithm: str, clock: Clock, **changes: Any) -> str:
    now = int(clock())
    claims = {"iss": ISSUER, "aud": "bff", "sub": "s", "nonce": "n", "iat": now, "exp": now + 60, **changes}
    return compact({"alg": algorithm, "kid": "k"}, json.dumps(claims).encode(), key)


def half_hash(name: str) -> str:
    """OpenID Connect Core section 3.1.3.6."""
    full = hashlib.new(name, ACCESS_TOKEN.encode()).digest()
    return base64url(full[: len(full) // 2])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("algorithm", KEYS)
def test_every_algorithm_and_its_hash(algorithm: str, clock: Clock) -> None:
    key, digest = KEYS[algorithm]
    ours = provider(key, clock)
    for hashed in (half_hash(digest), None):
        changes = {"at_hash": hashed} if hashed else {}
        text = token(key, algorithm, clock, **changes)
        claims = validate_id_token(text, ours, nonce="n", access_token=ACCESS_TOKEN, clock=clock)
        assert claims["sub"] == "s"
    wrong = token(key, algorithm, clock, at_hash=half_hash("sha256" if digest != "sha256" else "sha512"))
    with pytest.raises(TokenInvalid) as caught:
        validate_id_token(wrong, ours, nonce="n", access_token=ACCESS_TOKEN, clock=clock)
    assert caught.value.status == "bad_signature"


@pytest.mark.parametrize("algorithm", [name for name in KEYS if name != "EdDSA"])
def test_an_algorithm_that_the_operator_did_not_allow(algorithm: str, clock: Clock) -> None:
    key, _ = KEYS[algorithm]
    others = tuple(name for name in SIGNING_ALGORITHMS if name != algorithm)
    with pytest.raises(TokenInvalid) as caught:
        validate_id_token(
            token(key, algorithm, clock), provider(key, clock, others), nonce="n", access_token="", clock=clock
        )
    assert caught.value.status == "bad_signature"


@pytest.mark.parametrize(("algorithm", "kind"), [("RS256", "ES256"), ("ES256", "RS256"), ("ES256", "ES384")])
def test_a_key_of_another_kind_under_the_same_name(algorithm: str, kind: str, clock: Clock) -> None:
    """RS256 by somebody's RSA key, while the provider's key of that name is elliptic."""
    stranger, _ = KEYS[algorithm]
    with pytest.raises(TokenInvalid) as caught:
        validate_id_token(
            token(stranger, algorithm, clock), provider(KEYS[kind][0], clock), nonce="n", access_token="", clock=clock
        )
    assert caught.value.status in ("malformed", "bad_signature")


@examples(300)
@given(st.data())
def test_no_flipped_bit_goes_unnoticed(data: st.DataObject) -> None:
    clock, (key, _) = Clock(), KEYS["ES256"]
    raw = [urlsafe_b64decode(part.encode()) for part in token(key, "ES256", clock).split(".")]
    part = data.draw(st.integers(0, 2))
    position = data.draw(st.integers(0, 8 * len(raw[part]) - 1))
    flipped = bytearray(raw[part])
    flipped[position // 8] ^= 1 << position % 8
    raw[part] = bytes(flipped)
    text = ".".join(base64url(part) for part in raw)
    with pytest.raises(TokenInvalid):
        validate_id_token(text, PUBLISHED, nonce="n", access_token="", clock=clock)


@examples(300)
@given(st.text(max_size=60) | st.lists(st.binary(max_size=30).map(base64url), max_size=5).map(".".join))
def test_any_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(TokenInvalid) as caught:
        validate_id_token(text, PUBLISHED, nonce="n", access_token="", clock=Clock())
    assert caught.value.status in ("malformed", "bad_signature", "unknown_key")


@pytest.mark.parametrize(("before", "after", "genuine"), [(" \n", "\r\t ", True), ("", "x", False), ("", " {}", False)])
def test_blanks_around_the_claims_and_nothing_else(before: str, after: str, genuine: bool) -> None:
    key = KEYS["ES256"][0]
    text = compact({"alg": "ES256"}, f'{before}{{"sub": "s"}}{after}'.encode(), key)
    try:
        assert parse(text).claims == {"sub": "s"}
    except TokenInvalid:
        assert not genuine
    else:
        assert genuine


BROKEN = ["e30=", "e3+", "e 0", "e", "e31", "é30"]


@pytest.mark.parametrize("part", BROKEN)
def test_base64url_has_one_spelling(part: str) -> None:
    for broken in (f"{part}.e30.e30", f"{ALG}.{part}.e30"):
        with pytest.raises(TokenInvalid):
            parse(broken)


@pytest.mark.parametrize("part", BROKEN)
def test_a_signature_has_one_spelling(part: str, clock: Clock) -> None:
    signed, _, _ = token(KEYS["ES256"][0], "ES256", clock).rpartition(".")
    with pytest.raises(TokenInvalid) as caught:
        validate_id_token(f"{signed}.{part}", PUBLISHED, nonce="n", access_token="", clock=clock)
    assert caught.value.status in ("malformed", "bad_signature")


@given(st.binary(max_size=12) | st.text("AZaz09-_+/=~. \n", max_size=12).map(str.encode))
def test_bytes_have_one_spelling_in_the_base64url_that_joserfc_reads(text: bytes) -> None:
    try:
        raw = urlsafe_b64decode(text)
    except ValueError:
        return
    assert base64url(raw).encode() == text


@pytest.mark.parametrize("claims", [b'{"sub": "\xed\xa0\x80"}', rb'{"sub": "\ud800"}', '{"sub": "s"}'.encode("utf-16")])
def test_claims_are_utf_8(claims: bytes) -> None:
    """json.loads reads bytes in three encodings, and half a character as a whole one."""
    with pytest.raises(TokenInvalid):
        parse(f"{ALG}.{base64url(claims)}.AA")


@pytest.mark.parametrize("kid", [b"\xed\xa0\x80", rb"\ud800"])
def test_a_header_has_whole_characters(kid: bytes) -> None:
    header = b'{"alg": "ES256", "kid": "' + kid + b'"}'
    with pytest.raises(TokenInvalid):
        parse(f"{base64url(header)}.e30.AA")


ALG = base64url(b'{"alg": "ES256"}')


REFRESHED: dict[str, tuple[dict[str, Any], str, str]] = {
    "as it should be, and without a nonce": ({}, "valid", "valid"),
    "still the first login's nonce": ({"nonce": "n"}, "valid", "valid"),
    "another person": ({"sub": "t"}, "subject", "malformed"),
    "half of the person": ({"sub": "alic"}, "subject", "malformed"),
    "nobody": ({"sub": None}, "malformed", "malformed"),
    "another issuer": ({"iss": "https://evil.example"}, "bad_issuer", "bad_issuer"),
    "another client": ({"aud": "other"}, "bad_audience", "bad_audience"),
    "expired": ({"exp": 1}, "expired", "expired"),
    "another access token": ({"at_hash": half_hash("sha512")}, "bad_signature", "bad_signature"),
}


@pytest.mark.parametrize(("changes", "status", "counted"), REFRESHED.values(), ids=REFRESHED)
def test_an_id_token_that_a_refresh_brings(clock: Clock, changes: dict[str, Any], status: str, counted: str) -> None:
    key, counters = KEYS["ES256"][0], Counters()
    text = token(key, "ES256", clock, **{"nonce": None, "sub": "alice", **changes})
    outcome = "valid"
    try:
        claims = validate_refreshed_id_token(
            text, provider(key, clock), sub="alice", access_token=ACCESS_TOKEN, clock=clock
        )
        assert claims["sub"] == "alice"
    except TokenInvalid as err:
        outcome = err.status
    assert outcome == status
    assert counters.gained("bff_token_validation_total") == {f"id_token {counted}": 1}


def test_without_keys_there_is_no_verdict(clock: Clock) -> None:
    ours, counters = provider(KEYS["ES256"][0], clock), Counters()
    ours.config = replace(ours.config, issuer="https://nowhere.example")
    with pytest.raises(ProviderUnavailable):
        validate_id_token(token(KEYS["ES256"][0], "ES256", clock), ours, nonce="n", access_token="", clock=clock)
    assert counters.gained("bff_token_validation_total") == {"id_token error": 1}


PUBLISHED = provider(KEYS["ES256"][0], Clock())
