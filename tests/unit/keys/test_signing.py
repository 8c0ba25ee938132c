"""Keys that sign, one by one and as a set in which a new one takes over from an old one."""

import json
import traceback
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk, jws, jwt

from bff.keys import signing
from bff.keys.signing import ALGORITHMS, PUBLISHED_BEFORE, PrivateKey, SigningKeys, generated
from tests.clock import Clock
from tests.fuzz import examples

SECRET_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}  # RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1


def pem(key: Any) -> str:
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text.decode()


RSA = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        (pem(RSA), "RS256"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "ES256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "ES384"),
        (pem(ec.generate_private_key(ec.SECP521R1())), "ES512"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "Ed25519"),
        (json.dumps(jwk.generate_key("EC", "P-256").as_dict(private=True)), "ES256"),
        (json.dumps(jwk.generate_key("OKP", "Ed25519").as_dict(private=True)), "Ed25519"),
        (json.dumps({**jwk.RSAKey.import_key(pem(RSA)).as_dict(private=True), "alg": "PS256", "use": "sig"}), "PS256"),
    ],
)
def test_a_private_key_signs_what_its_public_half_verifies(text: str, algorithm: str) -> None:
    key = PrivateKey(text)
    assert key.algorithm == algorithm
    assert signing.is_signing_keys(text)
    token = key.sign({"iss": "bff"}, typ="JWT")
    kind: Any = {"RS": jwk.RSAKey, "PS": jwk.RSAKey, "ES": jwk.ECKey, "Ed": jwk.OKPKey}[algorithm[:2]]
    loaded = kind.import_key(text if text.startswith("-") else json.loads(text))
    opened = jwt.decode(token, kind.import_key(loaded.as_dict(private=False)), algorithms=[algorithm])
    assert opened.claims == {"iss": "bff"}
    assert opened.header == {"alg": algorithm, "typ": "JWT", "kid": key.kid}


def test_a_key_names_itself_by_its_own_id_or_thumbprint() -> None:
    generated = jwk.generate_key("EC", "P-256").as_dict(private=True)
    assert PrivateKey(json.dumps({**generated, "kid": "mine"})).kid == "mine"
    bare = {name: value for name, value in generated.items() if name != "kid"}
    assert PrivateKey(json.dumps(bare)).kid == jwk.ECKey.import_key(bare).thumbprint()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----",
        "{}",
        "[1]",
        "null",
        '{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}',
        json.dumps(jwk.generate_key("EC", "P-256").as_dict(private=False)),
        json.dumps({**jwk.generate_key("EC", "P-256").as_dict(private=True), "use": "enc"}),
        json.dumps({**jwk.generate_key("EC", "P-256").as_dict(private=True), "alg": "RS256"}),
        json.dumps({**jwk.generate_key("EC", "P-256").as_dict(private=True), "alg": "none"}),
        json.dumps(jwk.generate_key("EC", "secp256k1").as_dict(private=True)),
        json.dumps({**jwk.generate_key("EC", "secp256k1").as_dict(private=True), "alg": "ES256K"}),
        json.dumps({**jwk.generate_key("OKP", "Ed448").as_dict(private=True), "alg": "Ed448"}),
        json.dumps(jwk.generate_key("OKP", "X25519").as_dict(private=True)),
        json.dumps(jwk.generate_key("OKP", "Ed448").as_dict(private=True)),
        pem(x25519.X25519PrivateKey.generate()),
        pem(ec.generate_private_key(ec.SECP256K1())),
    ],
)
def test_what_cannot_sign_is_no_private_key_and_is_not_quoted(text: str) -> None:
    assert not signing.is_signing_keys(text)
    with pytest.raises(ValueError, match="not a private key") as caught:
        PrivateKey(text)
    assert len(text) < 10 or text not in "".join(traceback.format_exception(caught.value))


@given(st.text() | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(json.dumps))
def test_no_text_breaks_the_check(text: str) -> None:
    assert not signing.is_signing_keys(text)


def text_of(*keys: PrivateKey) -> str:
    return json.dumps({"keys": [key.private() for key in keys]})


def without_age(key: PrivateKey) -> PrivateKey:
    return PrivateKey(json.dumps({name: value for name, value in key.private().items() if name != "iat"}))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_generated_key_says_what_it_is_and_signs(algorithm: str) -> None:
    key = generated(algorithm, 1_800_000_000.9)
    assert (key.algorithm, key.issued) == (algorithm, 1_800_000_000)
    assert key.kid == jwk.import_key({**key.public()}).thumbprint()
    assert key.private().items() >= {"alg": algorithm, "use": "sig", "iat": 1_800_000_000}.items()
    header = jws.extract_compact(key.sign({}, typ="JWT").encode()).protected
    assert header == {"alg": algorithm, "kid": key.kid, "typ": "JWT"}
    again = PrivateKey(json.dumps(key.private()))
    assert (again.private(), again.public()) == (key.private(), key.public())


def test_a_rotation_from_the_first_day_to_the_old_keys_end() -> None:
    clock = Clock()
    old = generated("ES256", clock())
    assert SigningKeys(text_of(old)).current(clock()).kid == old.kid, "the only key signs from the first second"

    clock.now += 90 * 24 * 3600
    new = generated("ES256", clock())
    both = SigningKeys(text_of(new, old))
    assert [key["kid"] for key in both.public()] == [new.kid, old.kid], "published at once"
    assert both.current(clock()).kid == old.kid
    clock.now += PUBLISHED_BEFORE - 1
    assert both.current(clock()).kid == old.kid
    clock.now += 1
    assert both.current(clock()).kid == new.kid

    alone = SigningKeys(text_of(new))
    assert [key["kid"] for key in alone.public()] == [new.kid]
    assert alone.current(clock()).kid == new.kid


def test_two_new_keys_wait_for_the_older_one() -> None:
    clock = Clock()
    first, second = generated("ES256", clock()), generated("ES256", clock() + 60)
    assert SigningKeys(text_of(second, first)).current(clock() + 60).kid == first.kid


@pytest.mark.parametrize("turned", [False, True])
def test_the_order_in_the_file_does_not_matter_where_keys_have_an_age(turned: bool) -> None:
    clock = Clock()
    keys = [generated("ES256", clock()), generated("ES256", clock() - 7200), generated("ES256", clock() - 9000)]
    held = SigningKeys(text_of(*(reversed(keys) if turned else keys)))
    assert [key.kid for key in held.all] == [key.kid for key in keys]
    assert held.current(clock()).kid == keys[1].kid


def test_a_key_without_age_is_old_and_of_two_the_first_is_newer() -> None:
    now = Clock()()
    aged, one, two = generated("ES256", now), *(without_age(generated("ES256", now)) for _ in range(2))
    held = SigningKeys(text_of(one, two, aged))
    assert [key.kid for key in held.all] == [aged.kid, one.kid, two.kid]
    assert held.current(now).kid == one.kid
    assert held.current(now + PUBLISHED_BEFORE).kid == aged.kid


@pytest.mark.parametrize("iat", [None, "soon", True, 1.5, [1], 10**400, -(10**400)])
def test_an_age_that_is_none_breaks_nothing(iat: object) -> None:
    odd, other = generated("ES256", 0), generated("ES256", 0)
    held = SigningKeys(json.dumps({"keys": [{**odd.private(), "iat": iat}, other.private()]}))
    assert held.current(Clock()()).kid in {odd.kid, other.kid}


MADE = [generated(algorithm, 0).private() for algorithm in ("ES256", "ES384", "ES512", "RS256", "PS256", "Ed25519")]


@examples(30)
@given(
    st.lists(st.sampled_from(MADE), min_size=1, max_size=3, unique_by=lambda key: key["kid"]),
    st.dictionaries(st.sampled_from(["iat", "note", "k", "secret"]), st.text() | st.integers()),
)
def test_nothing_private_is_published(keys: list[dict[str, Any]], more: dict[str, Any]) -> None:
    """Whatever else stands in a key, only what RFC 7518 calls public leaves."""
    held = SigningKeys(json.dumps({"keys": [{**key, **more} for key in keys]}))
    assert len(held.public()) == len(keys)
    for key in held.public():
        assert not key.keys() & SECRET_MEMBERS
        assert key.keys() <= {"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}
        assert not {str(secret[name]) for secret in keys for name in SECRET_MEMBERS & secret.keys()} & set(key.values())


@pytest.mark.parametrize(
    "content",
    [
        {"keys": []},
        {"keys": [{}]},
        {"keys": [1]},
        {"keys": "none"},
        {"keys": [MADE[0], jwk.generate_key("EC", "P-256").as_dict(private=False)]},
        {"keys": [MADE[0], MADE[0]]},
        {"keys": [MADE[0], {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}]},
    ],
)
def test_a_set_with_anything_but_private_keys_is_none_and_is_not_quoted(content: dict[str, Any]) -> None:
    text = json.dumps(content)
    assert not signing.is_signing_keys(text)
    with pytest.raises(ValueError, match="private key") as caught:
        SigningKeys(text)
    shown = "".join(traceback.format_exception(caught.value))
    assert MADE[0]["d"] not in shown
    assert "c2VjcmV0" not in shown
