"""Key derivation by purpose: random identifiers, keyed digests and sealed bytes from one or two operator secrets.

Every purpose gets its own key by HKDF (RFC 5869), so a digest made for one purpose proves nothing for another. Of two
secrets both open and verify. The first one seals and signs as soon as every instance of the fleet has it
(bff/rotation.py).
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FORMAT = b"\x01"
_KEY_ID = 4
_NONCE = 12
_FINGERPRINT = 8  # hexadecimal digits
_HEADER = len(FORMAT) + _KEY_ID + _NONCE


class SealError(Exception):
    """Sealed bytes that no current key opens: forged, truncated, moved to another place, or older than the keys."""


class SealedElsewhere(SealError):
    """Sealed with a key that another instance of the fleet has and this one lacks. purpose: the sealer's purpose."""

    def __init__(self, purpose: str) -> None:
        super().__init__("sealed with a key of another instance")
        self.purpose = purpose


class Shared:
    """State that all sealers and MACs of a keyring share.

    writer: the index of the secret that seals and signs, 0 for the first. elsewhere: whether another instance has the
    key with this id; with None, whether another instance has a secret that this one lacks.
    """

    def __init__(self) -> None:
        self.writer = 0
        self.elsewhere: Callable[[str | None], bool] = lambda _: False


def random_id() -> str:
    """Returns 256 random bits as 43 characters of base64url."""
    return secrets.token_urlsafe(32)


def digest(value: str) -> str:
    """Returns the SHA-256 of a secret value in hex; the store gets only this digest."""
    return hashlib.sha256(value.encode()).hexdigest()


def base64url(raw: bytes) -> str:
    """Returns base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def equal(left: str, right: str) -> bool:
    """Compares in constant time, also texts with lone surrogates."""
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))


def key_id(sealed: bytes) -> str:
    """Returns the id of the key that sealed these bytes."""
    return sealed[len(FORMAT) : len(FORMAT) + _KEY_ID].hex()


class Sealer:
    """AES-256-GCM bytes: format, key id, nonce, ciphertext.

    `context` (for example the store key) is authenticated with the bytes, so a sealed record cannot be moved to
    another place.
    """

    def __init__(self, keys: Sequence[bytes], purpose: str = "", shared: Shared | None = None) -> None:
        self._ids = [hashlib.sha256(key).digest()[:_KEY_ID] for key in keys]
        self._ciphers = {key_id: AESGCM(key) for key_id, key in zip(self._ids, keys, strict=True)}
        self._purpose = purpose
        self._shared = shared or Shared()

    @property
    def key_ids(self) -> list[str]:
        """The id of each key, as sealed bytes carry it; not secret."""
        return [key_id.hex() for key_id in self._ids]

    def seal(self, plaintext: bytes, context: str) -> bytes:
        nonce, writer = secrets.token_bytes(_NONCE), self._ids[self._shared.writer]
        ciphertext = self._ciphers[writer].encrypt(nonce, plaintext, context.encode())
        return FORMAT + writer + nonce + ciphertext

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises SealError, SealedElsewhere."""
        key_id = sealed[1 : 1 + _KEY_ID]
        cipher = self._ciphers.get(key_id)
        if sealed[:1] != FORMAT:
            raise SealError("unknown format")
        if cipher is None:
            raise SealedElsewhere(self._purpose) if self._shared.elsewhere(key_id.hex()) else SealError("unknown key")
        nonce = sealed[1 + _KEY_ID : _HEADER]
        try:
            return cipher.decrypt(nonce, sealed[_HEADER:], context.encode())
        except (InvalidTag, ValueError) as err:
            raise SealError("not authentic") from err


class Mac:
    """HMAC-SHA-256 (RFC 2104) as base64url text."""

    def __init__(self, keys: Sequence[bytes], shared: Shared | None = None) -> None:
        self._keys = tuple(keys)
        self._shared = shared or Shared()

    def sign(self, message: str) -> str:
        return self._sign(self._keys[self._shared.writer], message)

    def made_elsewhere(self) -> bool:
        """Whether an unverified signature may come from another instance, with a secret that this one lacks."""
        return self._shared.elsewhere(None)

    def signatures(self, message: str) -> list[str]:
        """Returns one signature per key, the newest key's first: all names under which a record may be stored."""
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
        self.shared = Shared()
        self._sealers: list[Sealer] = []

    @property
    def fingerprints(self) -> list[str]:
        """Names of the secrets, in their order, that reveal nothing about them."""
        return [self._derive(secret, "fingerprint").hex()[:_FINGERPRINT] for secret in self._secrets]

    @property
    def key_ids(self) -> list[list[str]]:
        """By secret, the ids of its sealing keys, for every purpose requested so far."""
        return [[sealer.key_ids[place] for sealer in self._sealers] for place in range(len(self._secrets))]

    def __repr__(self) -> str:
        return f"Keyring({len(self._secrets)} secrets)"

    def sealer(self, purpose: str) -> Sealer:
        sealer = Sealer([self._derive(secret, purpose) for secret in self._secrets], purpose, self.shared)
        self._sealers.append(sealer)
        return sealer

    def mac(self, purpose: str) -> Mac:
        return Mac([self._derive(secret, purpose) for secret in self._secrets], self.shared)

    @staticmethod
    def _derive(secret: bytes, purpose: str) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"bff/" + purpose.encode()).derive(secret)
