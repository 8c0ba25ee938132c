"""Random identifiers, keyed digests, sealed bytes and signing keys; all but the last are
derived from one or two operator secrets.

Every purpose gets its own key by HKDF (RFC 5869), so a digest made for one purpose proves nothing for another.
With two secrets the first one writes and both read: that is the whole of key rotation.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwk, jwt
from joserfc.errors import JoseError

FORMAT = b"\x01"
_KEY_ID = 4
_NONCE = 12
_FAMILIES = {"EC": ("ES",), "RSA": ("RS", "PS"), "OKP": ("Ed",)}  # signatures by kind of key, RFC 7518 section 3.1
_HEADER = len(FORMAT) + _KEY_ID + _NONCE
_PLAIN = bytes.maketrans(b"-_+/=", b"+/~~~")  # the other alphabet of RFC 4648, and what is in neither
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# By how many characters are missing to a multiple of four: which may be the last, so that no unused bit is set.
_LAST = (_ALPHABET, _ALPHABET[::4], _ALPHABET[::16], b"")


class SealError(Exception):
    """Sealed bytes that no current key opens: forged, truncated, moved to another place, or older than the keys."""


def random_id() -> str:
    """256 random bits as 43 characters of base64url."""
    return secrets.token_urlsafe(32)


def digest(value: str) -> str:
    """SHA-256 of a secret value in hex: what the store may know of it."""
    return hashlib.sha256(value.encode()).hexdigest()


def base64url(raw: bytes) -> str:
    """base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: bytes) -> bytes:
    """The one spelling that base64url without padding has for some bytes. Raises ValueError for any other."""
    short = -len(text) % 4
    if text[-1:] not in _LAST[short]:
        raise ValueError("not base64url")
    raw = binascii.a2b_base64(text.translate(_PLAIN) + b"=" * short)
    if len(raw) != len(text) * 3 // 4:
        raise ValueError("not base64url")  # what is in no alphabet was skipped; quicker seen so than by strict_mode
    return raw


def equal(left: str, right: str) -> bool:
    """Compare in constant time; any text is accepted."""
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))


class Sealer:
    """AES-256-GCM bytes: format, key id, nonce, ciphertext.

    `context` (for example the store key) is authenticated with the bytes, so a sealed record cannot be moved to
    another place.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {hashlib.sha256(key).digest()[:_KEY_ID]: AESGCM(key) for key in keys}
        self._writer = next(iter(self._ciphers))

    def seal(self, plaintext: bytes, context: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        ciphertext = self._ciphers[self._writer].encrypt(nonce, plaintext, context.encode())
        return FORMAT + self._writer + nonce + ciphertext

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises SealError."""
        cipher = self._ciphers.get(sealed[1 : 1 + _KEY_ID])
        if sealed[:1] != FORMAT or cipher is None:
            raise SealError("unknown format or key")
        nonce = sealed[1 + _KEY_ID : _HEADER]
        try:
            return cipher.decrypt(nonce, sealed[_HEADER:], context.encode())
        except (InvalidTag, ValueError) as err:
            raise SealError("not authentic") from err


class Mac:
    """HMAC-SHA-256 (RFC 2104) as base64url text."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def sign(self, message: str) -> str:
        return self._sign(self._keys[0], message)

    def signatures(self, message: str) -> list[str]:
        """One per key, the newest key's first: the names under which something may have been filed."""
        return [self._sign(key, message) for key in self._keys]

    def verify(self, message: str, signature: str) -> bool:
        return any(equal(self._sign(key, message), signature) for key in self._keys)

    @staticmethod
    def _sign(key: bytes, message: str) -> str:
        return base64url(hmac.digest(key, message.encode(), "sha256"))


class Keyring:
    """The operator's secrets, newest first, from which every other key is derived."""

    def __init__(self, operator_secrets: Sequence[bytes]) -> None:
        if not operator_secrets:
            raise ValueError("at least one secret is needed")
        self._secrets = tuple(operator_secrets)

    def __repr__(self) -> str:
        return f"Keyring({len(self._secrets)} secrets)"

    def sealer(self, purpose: str) -> Sealer:
        return Sealer([self._derive(secret, purpose) for secret in self._secrets])

    def mac(self, purpose: str) -> Mac:
        return Mac([self._derive(secret, purpose) for secret in self._secrets])

    @staticmethod
    def _derive(secret: bytes, purpose: str) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"bff/" + purpose.encode()).derive(secret)


class PrivateKey:
    """A key that signs JWS (RFC 7515): EC, RSA or Ed25519, never a symmetric one."""

    def __init__(self, text: str) -> None:
        """text: a JWK (RFC 7517) or PEM. Raises ValueError, which never quotes the text."""
        try:
            key = _from_pem(text) if "-----BEGIN" in text else _from_jwk(text)
        except (JoseError, ValueError, TypeError, KeyError):
            raise ValueError("not a private key as JWK or PEM") from None
        key.ensure_kid()
        self._key = key
        try:
            self.algorithm = _algorithm(key)
            self.sign({}, typ="JWT")  # only trying shows that it is private, fits its algorithm, and may be used so
        except (JoseError, ValueError, KeyError):
            raise ValueError("not a private key that signs") from None

    @property
    def kid(self) -> str | None:
        return self._key.kid

    def sign(self, claims: Mapping[str, Any], *, typ: str) -> str:
        """A compact JWT with `kid` and `typ` in its header."""
        header = {"alg": self.algorithm, "kid": self.kid, "typ": typ}
        return jwt.encode(header, dict(claims), self._key, algorithms=[self.algorithm])


def is_private_key(text: str) -> bool:
    try:
        PrivateKey(text)
    except ValueError:
        return False
    return True


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
    """The key's own `alg`, else the usual one of its kind (RFC 7518 section 3.1, RFC 9864)."""
    if declared := str(key.get("alg", "")):
        if not declared.startswith(_FAMILIES[key.key_type]):
            raise ValueError("alg is not a signature with this kind of key")
        return declared
    if isinstance(key, jwk.ECKey):
        return {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[str(key.get("crv"))]
    return "RS256" if isinstance(key, jwk.RSAKey) else "Ed25519"
