"""Random identifiers, keyed digests and sealed bytes; all are derived from one or two operator secrets.

Every purpose gets its own key by HKDF (RFC 5869), so a digest made for one purpose proves nothing for another.
With two secrets the first one writes and both read: that is the whole of key rotation.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FORMAT = b"\x01"
_KEY_ID = 4
_NONCE = 12
_HEADER = len(FORMAT) + _KEY_ID + _NONCE


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
