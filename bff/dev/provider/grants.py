# mypy: allow-subclassing-any
# The line above: Authlib ships no types, so each of its classes is Any to mypy.
"""Grants: issues and redeems codes and refresh tokens, by RFC 6749 with PKCE (RFC 7636) and ID tokens.

Redeeming takes a code or refresh token out of the store, so each works once, even for two simultaneous callers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDCode, OpenIDToken
from joserfc.jwk import KeySet

from bff.crypto import random_id
from bff.dev.provider.registry import BASIC, RegisteredClient, claims
from bff.dev.provider.storage import CODE_LIFE, Grant, Login, SigningKey

ID_TOKEN_LIFE = 300


@dataclass(frozen=True)
class Code:
    grant: Grant
    redirect_uri: str
    nonce: str | None
    code_challenge: str
    code_challenge_method: str = "S256"

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.grant.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return self.grant.auth_time

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class CodeGrant(AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = (BASIC,)

    def generate_authorization_code(self) -> str:
        login: Login = self.request.user
        grant = Grant(random_id(), login.sid, login.sub, login.auth_time, self.request.scope)
        self.server.records.save_grant(grant)
        return grant.new_secret()

    def save_authorization_code(self, code: str, request: Any) -> None:
        asked = request.payload.data
        record = {
            "redirect_uri": self.redirect_uri,
            "nonce": asked.get("nonce"),
            "code_challenge": asked["code_challenge"],
        }
        self.server.records.put("code", code, record, CODE_LIFE)

    def query_authorization_code(self, code: str, _client: RegisteredClient) -> Code | None:
        grant, record = self.server.records.take_once("code", code)
        return Code(grant, **record) if record and grant else None

    def authenticate_user(self, code: Code) -> Grant:
        return code.grant

    def delete_authorization_code(self, _code: Code) -> None:
        """Does nothing: the code left the store when the client presented it."""


class RefreshGrant(RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = (BASIC,)
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Grant | None:
        grant: Grant | None
        grant, record = self.server.records.take_once("refresh", refresh_token)
        return grant if record is not None else None

    def authenticate_user(self, grant: Grant) -> Grant:
        return grant

    def revoke_old_credential(self, _grant: Grant) -> None:
        """Does nothing: the refresh token left the store when the client presented it."""


class Pkce(CodeChallenge):
    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        asked = grant.request.payload.data
        if not asked.get("code_challenge") or not asked.get("code_challenge_method"):
            raise InvalidRequestError("PKCE with the method S256 is required.")
        super().validate_code_challenge(grant, redirect_uri)


class IdToken(OpenIDToken):
    """ID tokens. A refresh keeps the login's `auth_time` and `sid` (OpenID Connect Core section 12.2)."""

    def __init__(self, issuer: str, key: SigningKey, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._key = key
        self._clock = clock

    def resolve_client_private_key(self, _client: RegisteredClient) -> KeySet:
        return self._key.key_set()

    def get_client_claims(self, client: RegisteredClient) -> dict[str, Any]:
        now = int(self._clock())
        return {"iss": self._issuer, "aud": client.client_id, "iat": now, "exp": now + ID_TOKEN_LIFE}

    def generate_user_info(self, grant: Grant, scope: str) -> dict[str, Any]:
        return {**claims(grant.sub, scope), "auth_time": grant.auth_time, "sid": grant.sid}


class IdTokenForCode(IdToken, OpenIDCode):
    require_nonce = False

    def exists_nonce(self, _nonce: str, _request: object) -> bool:
        return False  # a second click is no attack; the client checks the nonce
