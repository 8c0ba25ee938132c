"""Signing keys with rotation: one private key as JWK (RFC 7517) or PEM, or several as a JWK Set.

A new key is published before it signs. Otherwise a provider with a cached copy of our public keys would get a
signature that no key in the copy verifies.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwk, jws, jwt
from joserfc.errors import JoseError

PUBLISHED_BEFORE = 3600
"""Seconds from a key's creation until it signs."""
_Made = jwk.ECKey | jwk.RSAKey | jwk.OKPKey
_rsa = partial(jwk.RSAKey.generate_key, 3072)
_ed25519 = partial(jwk.OKPKey.generate_key, "Ed25519")
ALGORITHMS: Mapping[str, Callable[[Any], _Made]] = {
    "ES256": partial(jwk.ECKey.generate_key, "P-256"),
    "ES384": partial(jwk.ECKey.generate_key, "P-384"),
    "ES512": partial(jwk.ECKey.generate_key, "P-521"),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), _rsa),
    **dict.fromkeys(("EdDSA", "Ed25519"), _ed25519),
}
"""By algorithm: the function that generates a key, given further members of its JWK."""
_FAMILIES = {"EC": ("ES",), "RSA": ("RS", "PS"), "OKP": ("Ed",)}  # signatures by kind of key, RFC 7518 section 3.1
_PUBLIC = {"EC": ("crv", "x", "y"), "RSA": ("n", "e"), "OKP": ("crv", "x")}  # RFC 7518 section 6, RFC 8037 section 2


class PrivateKey:
    """A key that signs JWS (RFC 7515): EC, RSA or Ed25519, never a symmetric one.

    issued: its `iat` in Unix seconds; 0, long ago, for a key without one.
    """

    def __init__(self, text: str) -> None:
        """text: a JWK (RFC 7517) or PEM. Raises ValueError, which never quotes the text."""
        try:
            key = _from_pem(text) if "-----BEGIN" in text else _from_jwk(text)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise ValueError("not a private key as JWK or PEM") from None
        key.ensure_kid()
        self._key = key
        issued: Any = key.get("iat")
        self.issued: int = issued if isinstance(issued, int) and not isinstance(issued, bool) else 0
        try:
            self.algorithm = _algorithm(key)
            self.sign({}, typ="JWT")  # only a signature shows that the key is private, fits its `alg` and may sign
        except (JoseError, ValueError, KeyError):
            raise ValueError("not a private key that signs") from None

    @property
    def kid(self) -> str | None:
        return self._key.kid

    def sign(self, claims: Mapping[str, Any], *, typ: str) -> str:
        """Returns a compact JWT with `kid` and `typ` in its header."""
        header = {"alg": self.algorithm, "kid": self.kid, "typ": typ}
        return jwt.encode(header, dict(claims), self._key, registry=_REGISTRY)

    def public(self) -> dict[str, str]:
        """The public half as JWK, with `kid`, `alg` and `use`."""
        members = ("kty", *_PUBLIC[self._key.key_type])
        public = {name: str(self._key.as_dict(private=False)[name]) for name in members}
        return {**public, "kid": str(self.kid), "alg": self.algorithm, "use": "sig"}

    def private(self) -> dict[str, Any]:
        """The private key as JWK: a secret."""
        return {**self._key.as_dict(private=True), "alg": self.algorithm, "use": "sig"}


class SigningKeys:
    """One private key, or several during a rotation. `all` holds them, newest first."""

    def __init__(self, text: str) -> None:
        """text: a JWK, PEM, or a JWK Set. Raises ValueError, which never quotes the text."""
        keys = [PrivateKey(one) for one in _each(text)]
        if len({key.kid for key in keys}) < len(keys):
            raise ValueError("two private keys with the same kid")
        self.all = tuple(sorted(keys, key=lambda key: key.issued, reverse=True))  # same age: in the file's order

    def current(self, now: float) -> PrivateKey:
        """Returns the key that signs: the newest one published for PUBLISHED_BEFORE seconds, else the oldest one."""
        old_enough = (key for key in self.all if key.issued + PUBLISHED_BEFORE <= now)
        return next(old_enough, self.all[-1])

    def public(self) -> list[dict[str, str]]:
        """The public halves as JWKs, to publish and to register at providers."""
        return [key.public() for key in self.all]


def is_signing_keys(text: str) -> bool:
    try:
        SigningKeys(text)
    except ValueError:
        return False
    return True


def generated(algorithm: str, now: float) -> PrivateKey:
    """Returns a new key for one of ALGORITHMS; its `kid` is its thumbprint (RFC 7638)."""
    key = ALGORITHMS[algorithm]({"alg": algorithm, "use": "sig", "iat": int(now)})
    return PrivateKey(json.dumps(key.as_dict(private=True)))


class _Registry(jws.JWSRegistry):
    """joserfc's registry warns about the name EdDSA, deprecated by RFC 9864; many providers support no other name."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


_REGISTRY = _Registry()


def _each(text: str) -> list[str]:
    """Returns the keys of a JWK Set (RFC 7517 section 5), or else the text itself as one key."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    if not isinstance(content, dict) or not isinstance(content.get("keys"), list):
        return [text]
    if not content["keys"]:
        raise ValueError("a JWK Set without a private key")
    return [json.dumps(key) for key in content["keys"]]


def _from_jwk(text: str) -> jwk.Key:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise TypeError("not a JSON object")
    return jwk.import_key(content)


def _from_pem(text: str) -> jwk.Key:
    loaded = load_pem_private_key(text.encode(), password=None)
    kinds: dict[type, type[jwk.RSAKey | jwk.ECKey | jwk.OKPKey]] = {
        RSAPrivateKey: jwk.RSAKey,
        EllipticCurvePrivateKey: jwk.ECKey,
        Ed25519PrivateKey: jwk.OKPKey,
    }
    for kind, wrapper in kinds.items():
        if isinstance(loaded, kind):
            return wrapper.import_key(text)
    raise ValueError("unsupported key type")


def _algorithm(key: jwk.Key) -> str:
    """Returns the key's own `alg`, else the usual one for its key type (RFC 7518 section 3.1, RFC 9864)."""
    if declared := str(key.get("alg", "")):
        if declared not in ALGORITHMS or not declared.startswith(_FAMILIES[key.key_type]):
            raise ValueError("alg is not a signature with this kind of key")
        return declared
    if isinstance(key, jwk.ECKey):
        return {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[str(key.get("crv"))]
    return "RS256" if isinstance(key, jwk.RSAKey) else "Ed25519"
