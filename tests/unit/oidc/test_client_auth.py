"""How the BFF proves to a provider who it is."""

import base64
import json
from typing import Any
from urllib.parse import unquote_plus

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from bff.oidc.client_auth import ASSERTION_LIFE, ASSERTION_TYPE, ClientAuth
from bff.settings import ProviderSettings
from tests.clock import Clock

AUDIENCE = "https://idp.example"
FORM = {"grant_type": "authorization_code"}


def auth(method: str, clock: Clock | None = None, **values: Any) -> ClientAuth:
    return ClientAuth(
        ProviderSettings("x", AUDIENCE, **{"client_id": "bff", "auth_method": method, **values}), clock or Clock()
    )


@pytest.mark.parametrize("client_id", ["bff", "b f+f:%/ü"])
@pytest.mark.parametrize("secret", ["secret", "a b+c:d%2F/é\U0001f511", "~-._"])
def test_basic_encodes_both_halves_before_it_joins_them(client_id: str, secret: str) -> None:
    form, headers = auth("client_secret_basic", client_id=client_id, client_secret=secret).apply(
        FORM, audience=AUDIENCE
    )
    assert form == FORM
    scheme, encoded = headers["Authorization"].split(" ")
    halves = base64.b64decode(encoded).decode("ascii").split(":")
    assert (scheme, [unquote_plus(half) for half in halves]) == ("Basic", [client_id, secret])


def test_post_puts_both_into_the_form() -> None:
    given = dict(FORM)
    form, headers = auth("client_secret_post", client_secret="s s").apply(given, audience=AUDIENCE)
    assert form == {**FORM, "client_id": "bff", "client_secret": "s s"}
    assert headers == {}
    assert given == FORM, "the caller's own form is not changed"


KEYS: dict[str, tuple[Key, str]] = {
    "P-256": (ECKey.generate_key("P-256"), "ES256"),
    "P-384": (ECKey.generate_key("P-384"), "ES384"),
    "P-521": (ECKey.generate_key("P-521"), "ES512"),
    "RSA": (RSAKey.generate_key(2048), "RS256"),
    "Ed25519": (OKPKey.generate_key("Ed25519"), "Ed25519"),
}


FORMS = [(key, algorithm, pem) for key, algorithm in KEYS.values() for pem in (False, True)]


@pytest.mark.parametrize(("key", "algorithm", "pem"), FORMS)
def test_an_assertion(key: Key, algorithm: str, pem: bool) -> None:
    clock = Clock()
    assert isinstance(key, ECKey | RSAKey | OKPKey)
    text = key.as_pem(private=True).decode() if pem else json.dumps(key.as_dict(private=True))
    prover = auth("private_key_jwt", clock, client_key=text)
    form, headers = prover.apply(FORM, audience=AUDIENCE)
    assert headers == {}
    assert form["client_assertion_type"] == ASSERTION_TYPE
    assert form["client_id"] == "bff"
    token = jwt.decode(form["client_assertion"], key, algorithms=[algorithm])
    assert token.header["typ"] == "JWT"
    assert token.header["kid"] == key.thumbprint()
    now = int(clock())
    assert {name: token.claims[name] for name in ("iss", "sub", "aud", "iat", "exp")} == {
        "iss": "bff",
        "sub": "bff",
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + ASSERTION_LIFE,
    }
    again, _ = prover.apply(FORM, audience=AUDIENCE)
    other = jwt.decode(again["client_assertion"], key, algorithms=[algorithm])
    assert other.claims["jti"] != token.claims["jti"], "an assertion is good once"


def test_a_key_may_name_its_own_algorithm() -> None:
    """Which only a JWK can."""
    key = RSAKey.generate_key(2048, {"alg": "PS256"})
    form, _ = auth("private_key_jwt", client_key=json.dumps(key.as_dict(private=True))).apply(FORM, audience=AUDIENCE)
    assert jwt.decode(form["client_assertion"], key, algorithms=["PS256"]).header["alg"] == "PS256"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "secret",
        "{}",
        "[]",
        json.dumps(OctKey.generate_key(256).as_dict(private=True)),
        json.dumps(KEYS["P-256"][0].as_dict(private=False)),
        "-----BEGIN PRIVATE KEY-----\nnot base64\n-----END PRIVATE KEY-----",
    ],
    ids=["none", "empty", "word", "object", "list", "symmetric", "public", "broken PEM"],
)
def test_a_key_that_cannot_sign_is_said_so_at_once(text: str | None) -> None:
    with pytest.raises(ValueError, match="private key") as caught:
        auth("private_key_jwt", client_key=text)
    assert not text or text not in str(caught.value)
