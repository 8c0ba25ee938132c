"""Storage of the embedded provider: logins, grants, codes, tokens and its signing key.

A grant is a user's consent for the client. Codes and tokens begin with its id, and are invalid without it. So a code or
refresh token that is presented twice ends the grant, and with it everything that came from it (RFC 6749 section 4.1.2,
RFC 9700 section 4.14.2).
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from joserfc.jwk import KeySet, RSAKey

from bff.crypto import digest, random_id
from bff.kv import KeyValue

PREFIX = "dev:idp:"
KEY_BITS = 2048

LOGIN_LIFE = 8 * 3600
GRANT_LIFE = 24 * 3600
CODE_LIFE = 60
ACCESS_TOKEN_LIFE = 300
FORM_LIFE = 3600


@dataclass(frozen=True)
class Login:
    """One browser's login at the provider. sid: its public name in ID tokens, the digest of the cookie."""

    sid: str
    sub: str
    auth_time: int


@dataclass(frozen=True)
class Grant:
    id: str = field(repr=False)
    sid: str
    sub: str
    auth_time: int
    scope: str

    def new_secret(self) -> str:
        """A new code or token of this grant."""
        return f"{self.id}.{random_id()}"

    # Interface that Authlib's refresh grant requires of a credential.
    def get_scope(self) -> str:
        return self.scope

    def check_client(self, _client: object) -> bool:
        return True  # the provider has one client


def grant_id(secret: str) -> str:
    return secret.partition(".")[0]


class ProviderRecords:
    """JSON records by kind and secret name; the store has only the name's digest, so its dump opens nothing."""

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv

    def put(self, kind: str, name: str, record: dict[str, Any], ttl: float) -> None:
        self._kv.set(_key(kind, name), json.dumps(record).encode(), ttl)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return _record(self._kv.get(_key(kind, name)))

    def take(self, kind: str, name: str) -> dict[str, Any] | None:
        """Reads and deletes a record: of simultaneous callers exactly one gets it."""
        found = self._kv.get(_key(kind, name))
        taken = found is not None and self._kv.compare_and_set(_key(kind, name), found, None)
        return _record(found) if taken else None

    def drop(self, kind: str, name: str) -> None:
        self._kv.delete(_key(kind, name))

    def save_grant(self, grant: Grant) -> None:
        self.put("grant", grant.id, asdict(grant), GRANT_LIFE)

    def grant_of(self, secret: str) -> Grant | None:
        record = self.get("grant", grant_id(secret))
        return Grant(**record) if record else None

    def take_once(self, kind: str, secret: str) -> tuple[Grant | None, dict[str, Any] | None]:
        """Takes a code or refresh token. A missing one was used before, or never existed: its grant ends.

        The grant is read first, so the caller that gets the record has the grant too, even if another one ends it.
        """
        grant, record = self.grant_of(secret), self.take(kind, secret)
        if record is None:
            self.drop("grant", grant_id(secret))
        return grant, record

    def login(self, cookie: str | None) -> Login | None:
        record = self.get("login", digest(cookie)) if cookie else None
        return Login(**record) if record else None

    def save_login(self, login: Login) -> None:
        self.put("login", login.sid, asdict(login), LOGIN_LIFE)


class SigningKey:
    """One RSA key for all workers; the first worker that needs it creates it."""

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv
        self._parsed: tuple[bytes, KeySet] | None = None

    def key_set(self) -> KeySet:
        """The private key, read from the store each time, because an emptied store needs a new one."""
        raw = self._kv.get(PREFIX + "key") or self._made()
        if self._parsed is None or self._parsed[0] != raw:
            self._parsed = raw, KeySet([RSAKey.import_key(json.loads(raw))])
        return self._parsed[1]

    def _made(self) -> bytes:
        key = RSAKey.generate_key(KEY_BITS, {"use": "sig", "alg": "RS256"}, auto_kid=True)
        raw = json.dumps(key.as_dict(private=True)).encode()
        if self._kv.set_if_absent(PREFIX + "key", raw):
            return raw
        return self._kv.get(PREFIX + "key") or raw


def _key(kind: str, name: str) -> str:
    return f"{PREFIX}{kind}:{digest(name)}"


def _record(raw: bytes | None) -> dict[str, Any] | None:
    found: dict[str, Any] | None = json.loads(raw) if raw else None
    return found
