"""DPoP (RFC 9449): proof of possession, so that only the client that got a token can use it.

Each session has its own key, which never leaves the server. Each request for or with the session's tokens carries a
JWT about this one request, signed with that key. A leaked token is useless without the key.
"""

import hashlib
import json
from collections.abc import Callable
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

from bff.crypto import base64url, random_id
from bff.http import Response
from bff.sessions.tokens import AccessToken

ALGORITHM = "ES256"
TOKEN_TYPE = "DPoP"  # noqa: S105 - a scheme's name
_LONGEST_NONCE = 512


def new_key() -> str:
    """Returns a new private key for one session, as JWK."""
    return json.dumps(ECKey.generate_key("P-256").as_dict(private=True))


def thumbprint(key: str) -> str:
    """Returns the key's thumbprint, the value of `dpop_jkt` (RFC 9449 section 10, RFC 7638)."""
    return str(ECKey.import_key(json.loads(key)).thumbprint())


class Dpop:
    """Makes proofs, and remembers the nonces that servers require in them (RFC 9449 sections 8 and 9)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._nonces: dict[str, str] = {}  # by origin; bounded, because providers and services are configured

    def proof(self, key: str, method: str, url: str, access_token: str | None = None) -> str:
        """Returns the value of a `DPoP` header for one request. access_token: the token sent with it, if any."""
        private = ECKey.import_key(json.loads(key))
        claims: dict[str, str | int] = {
            "jti": random_id(),
            "htm": method,
            "htu": url.partition("?")[0].partition("#")[0],
            "iat": int(self._clock()),
        }
        if nonce := self._nonces.get(_origin(url)):
            claims["nonce"] = nonce
        if access_token is not None:
            claims["ath"] = base64url(hashlib.sha256(access_token.encode()).digest())
        header = {"typ": "dpop+jwt", "alg": ALGORITHM, "jwk": private.as_dict(private=False)}
        return jwt.encode(header, claims, private, algorithms=[ALGORITHM])

    def authorization(self, token: AccessToken, key: str | None, method: str, url: str) -> dict[str, str]:
        """Returns the headers that let one request use a token. key: of the token's session."""
        headers = {"Authorization": f"{token.token_type} {token.value}"}
        if token.token_type == TOKEN_TYPE and key is not None:
            headers["DPoP"] = self.proof(key, method, url, token.value)
        return headers

    def wants_another(self, url: str, answer: Response) -> bool:
        """Stores the nonce that an answer offers. Returns whether the server refused the request for lack of it.

        The caller then sends the request once more, even if another request has learned the same nonce meanwhile.
        """
        nonce = answer.headers.get("DPoP-Nonce", "")
        if not nonce or len(nonce) > _LONGEST_NONCE:
            return False
        self._nonces[_origin(url)] = nonce
        return answer.status in (400, 401) and b"use_dpop_nonce" in _complaint(answer)


def _complaint(answer: Response) -> bytes:
    """A token endpoint puts its OAuth error in the body, a resource server in the challenge."""
    return answer.body + answer.headers.get("WWW-Authenticate", "").encode()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
