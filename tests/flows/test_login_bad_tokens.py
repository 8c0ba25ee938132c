"""ID tokens that must not be believed (OpenID Connect Core section 3.1.3.7), and some that look odd and are right."""

import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from joserfc.jwk import Key, RSAKey

from tests.flows.assertions import Witness
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import Site, login
from tests.flows.provider import REMOVED, OpenIdProvider
from tests.flows.tokens import Sign, assembled, compact, unsigned


@dataclass(frozen=True)
class Keys:
    first: Key
    second: Key
    ec: Key


Tamper = Callable[[OpenIdProvider, Keys], object]


@pytest.fixture
def keys(rsa: Key, other_rsa: Key, ec: Key) -> Keys:
    return Keys(rsa, other_rsa, ec)


def claims(**changes: Any) -> Tamper:
    return lambda idp, _keys: idp.claims.update(changes)


def times(**offsets: float) -> Tamper:
    """Times relative to now."""
    return lambda idp, _keys: idp.claims.update({name: idp.clock() + offset for name, offset in offsets.items()})


def header(**changes: Any) -> Tamper:
    return lambda idp, _keys: idp.header.update(changes)


def token(text: object) -> Tamper:
    return lambda idp, _keys: idp.token_response.update(id_token=text)


def by(sign: Callable[[OpenIdProvider, Keys], Sign]) -> Tamper:
    return lambda idp, keys: setattr(idp, "sign", sign(idp, keys))


def confused(_idp: OpenIdProvider, keys: Keys) -> Sign:
    """Key confusion: the public key's text as an HMAC secret."""
    assert isinstance(keys.first, RSAKey)
    pem = keys.first.as_pem(private=False)

    def sign(header: dict[str, Any], claims: Any) -> str:
        payload = json.dumps(claims).encode()
        return assembled({**header, "alg": "HS256"}, payload, lambda body: hmac.digest(pem, body, "sha256"))

    return sign


def signed_by_a_stranger(_idp: OpenIdProvider, keys: Keys) -> Sign:
    return lambda header, claims: compact(header, json.dumps(claims).encode(), keys.second)


def payload(raw: bytes) -> Tamper:
    """Well signed, but not claims."""
    return by(lambda idp, _keys: lambda header, _claims: compact(header, raw, idp.keys[-1]))


def publish(*names: str, **changes: Any) -> Tamper:
    """Publish these keys; the last one signs."""

    def tamper(idp: OpenIdProvider, keys: Keys) -> None:
        idp.keys = [getattr(keys, name) for name in names]
        idp.header.update(changes)

    return tamper


BAD_TOKENS: dict[str, tuple[Tamper, str]] = {
    "alg none": (by(lambda _idp, _keys: unsigned), "bad_signature"),
    "HS256 with the client secret": (by(lambda idp, _keys: idp.hs256), "bad_signature"),
    "HS256 with the public key": (by(confused), "bad_signature"),
    "another key under a known name": (by(signed_by_a_stranger), "bad_signature"),
    "an algorithm that is not allowed": (header(alg="RS384"), "bad_signature"),
    "unknown kid": (header(kid="nobody"), "unknown_key"),
    "kid that is a number": (header(kid=7), "malformed"),
    "kid of a key for another algorithm": (publish("ec", "first", kid="elliptic"), "unknown_key"),
    "no kid and two keys that fit": (publish("second", "first", kid=REMOVED), "unknown_key"),
    "a critical header nobody knows": (header(crit=["zzz"], zzz=1), "malformed"),
    "a header of the wrong type": (header(jku=7), "malformed"),
    "a payload that is not encoded": (header(b64=False, crit=["b64"]), "malformed"),
    "a way of encoding that goes without saying": (header(b64=True), "malformed"),
    "expired": (times(exp=-60), "expired"),
    "issued in the future": (times(iat=61, exp=600), "not_yet_valid"),
    "not valid yet": (times(nbf=61), "not_yet_valid"),
    "no exp": (claims(exp=REMOVED), "malformed"),
    "no iat": (claims(iat=REMOVED), "malformed"),
    "exp as text": (claims(exp="1900000000"), "malformed"),
    "exp as a truth": (claims(exp=True), "malformed"),
    "exp without end": (claims(exp=float("inf")), "malformed"),
    "nbf as text": (claims(nbf="soon"), "malformed"),
    "auth_time as text": (claims(auth_time="today"), "malformed"),
    "another issuer": (claims(iss="https://evil.example"), "bad_issuer"),
    "no issuer": (claims(iss=REMOVED), "bad_issuer"),
    "another audience": (claims(aud="another client"), "bad_audience"),
    "no audience": (claims(aud=REMOVED), "bad_audience"),
    "an audience that contains our name": (claims(aud="bff2"), "bad_audience"),
    "other audiences": (claims(aud=["a", "b"]), "bad_audience"),
    "audience as object": (claims(aud={"bff": 1}), "bad_audience"),
    "several audiences, no azp": (claims(aud=["bff", "b"]), "bad_audience"),
    "another azp": (claims(azp="b"), "bad_audience"),
    "several audiences, another azp": (claims(aud=["bff", "b"], azp="b"), "bad_audience"),
    "no sub": (claims(sub=REMOVED), "malformed"),
    "empty sub": (claims(sub=""), "malformed"),
    "sub that is a number": (claims(sub=7), "malformed"),
    "endless sub": (claims(sub="s" * 256), "malformed"),
    "sub that is half a character": (claims(sub="\ud800"), "malformed"),
    "nonce that is half a character": (claims(nonce="\udfff"), "malformed"),
    "another access token's hash": (claims(at_hash="AAAAAAAAAAAAAAAAAAAAAA"), "bad_signature"),
    "a hash that is a number": (claims(at_hash=7), "bad_signature"),
    "a hash that is half a character": (claims(at_hash="\ud800"), "malformed"),
    "claims that are a list": (payload(b"[]"), "malformed"),
    "claims that are not JSON": (payload(b"hello"), "malformed"),
    "claims too deep": (payload(b'{"a":' + b"[" * 20_000), "malformed"),
    "text without dots": (token("hello"), "malformed"),
    "two parts": (token("e30.e30"), "malformed"),
    "four parts": (token("e30.e30.e30.e30"), "malformed"),
    "a header that is a list": (token("W10.e30.e30"), "malformed"),
    "no alg": (token("e30.e30.e30"), "malformed"),
    "not base64": (token("!!!.e30.e30"), "malformed"),
    "an encrypted token": (token("eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d"), "malformed"),
    "too long": (token("e30." + "a" * 65_536 + ".e30"), "malformed"),
}


@pytest.mark.parametrize(("tamper", "status"), BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_an_id_token_that_must_not_be_believed(
    bff: Site, browser: Browser, witness: Witness, counters: Counters, keys: Keys, tamper: Tamper, status: str
) -> None:
    tamper(bff.idp, keys)
    witness.refused(login(browser), "id_token")
    assert counters.gained("bff_token_validation_total") == {f"id_token {status}": 1}
    assert counters.gained("bff_security_events_total") == {"id_token_rejected critical": 1}


@pytest.mark.parametrize("nonce", ["of another login", "", REMOVED, None, 7])
def test_an_id_token_of_another_login(bff: Site, browser: Browser, witness: Witness, nonce: object) -> None:
    bff.idp.claims = {"nonce": nonce}
    witness.refused(login(browser), "nonce")


GOOD_TOKENS: dict[str, Tamper] = {
    "expired within the leeway": times(exp=-59),
    "issued in the future within the leeway": times(iat=60, exp=600),
    "our audience in a list": claims(aud=["bff"]),
    "several audiences and our azp": claims(aud=["b", "bff"], azp="bff"),
    "no auth_time": claims(auth_time=REMOVED),
    "times that begin with Unix": claims(auth_time=0, nbf=0),
    "fractions of seconds": times(exp=300.5, iat=-0.5, auth_time=-1.25),
    "no at_hash": claims(at_hash=REMOVED),
    "a sid that is a number": claims(sid=7),
    "unknown headers": header(typ="JWT", zzz=1),
    "an elliptic key": publish("first", "ec"),
    "no kid and one key that fits": publish("ec", "first", kid=REMOVED),
    "a sub in another script": claims(sub="Ἀλίκη"),
}


@pytest.mark.parametrize("tamper", GOOD_TOKENS.values(), ids=GOOD_TOKENS)
def test_an_id_token_that_is_unusual_but_right(bff: Site, browser: Browser, keys: Keys, tamper: Tamper) -> None:
    tamper(bff.idp, keys)
    assert login(browser).status_code == 302
    assert browser.verify().status_code == 200
