# mypy: allow-subclassing-any
# The line above: Authlib ships no types, so each of its classes is Any to mypy.
"""Endpoints for issued tokens: UserInfo, introspection (RFC 7662), revocation (RFC 7009), RP-Initiated Logout 1.0."""

from dataclasses import dataclass
from typing import Any

from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oidc.core import UserInfoEndpoint
from authlib.oidc.rpinitiated import EndSessionEndpoint
from joserfc.jwk import KeySet

from bff.dev.provider.registry import BASIC, RegisteredClient, claims
from bff.dev.provider.storage import Grant, ProviderRecords, SigningKey
from bff.errors import InvalidReturnUrl
from bff.login.return_url import ReturnUrls


@dataclass(frozen=True)
class IssuedToken:
    """A live token: the store drops it when it expires, and its grant when that is revoked."""

    grant: Grant
    client: RegisteredClient | None
    scope: str
    exp: int

    def get_client(self) -> RegisteredClient | None:
        return self.client

    def get_user(self) -> Grant:
        return self.grant

    def get_scope(self) -> str:
        return self.scope

    def is_expired(self) -> bool:
        return False

    def is_revoked(self) -> bool:
        return False


class AccessTokens(BearerTokenValidator):
    def __init__(self, records: ProviderRecords, client: RegisteredClient) -> None:
        super().__init__()
        self._records = records
        self._client = client

    def authenticate_token(self, token_string: str) -> IssuedToken | None:
        record, grant = self._records.get("access", token_string), self._records.grant_of(token_string)
        return IssuedToken(grant, self._client, **record) if record and grant else None


class UserInfoResponse(UserInfoEndpoint):
    def generate_user_info(self, grant: Grant, scope: str) -> dict[str, Any]:
        return claims(grant.sub, scope)


class Introspection(IntrospectionEndpoint):
    """Introspects access tokens. All other tokens are inactive, so that a refresh token opens no service."""

    CLIENT_AUTH_METHODS = (BASIC,)

    def __init__(self, issuer: str, client: RegisteredClient, tokens: AccessTokens) -> None:
        super().__init__()
        self._issuer = issuer
        self._client = client
        self._tokens = tokens

    def query_token(self, token_string: str, _token_type_hint: str | None) -> IssuedToken | None:
        return self._tokens.authenticate_token(token_string)

    def check_permission(self, _token: IssuedToken, _client: RegisteredClient, _request: object) -> bool:
        return True  # the provider has one client

    def introspect_token(self, token: IssuedToken) -> dict[str, Any]:
        """The claims, with `roles` if the token's scopes include them; names and addresses are for UserInfo."""
        said = claims(token.grant.sub, token.scope)
        return {
            "iss": self._issuer,
            "aud": self._client.origin,
            "client_id": self._client.client_id,
            "token_type": "Bearer",
            "scope": token.scope,
            "exp": token.exp,
            **{name: said[name] for name in ("sub", "roles") if name in said},
        }


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = (BASIC,)

    def query_token(self, token_string: str, _token_type_hint: str | None) -> Grant | None:
        grant: Grant | None = self.server.records.grant_of(token_string)
        return grant

    def revoke_token(self, grant: Grant, request: Any) -> None:
        """Revokes the whole grant of a refresh token (RFC 7009 section 2.1)."""
        secret = request.form["token"]
        self.server.records.drop("access", secret)
        if self.server.records.take("refresh", secret) is not None:
            self.server.records.drop("grant", grant.id)


class EndSession(EndSessionEndpoint):
    """Ends a login. Tokens with offline_access survive a logout here; the client must revoke them."""

    def __init__(self, origin: str, key: SigningKey) -> None:
        super().__init__()
        self._landing = ReturnUrls(origin, ())
        self._origin = origin
        self._key = key

    def get_server_jwks(self) -> KeySet:
        return self._key.key_set()

    def get_algorithms(self) -> list[str]:
        return ["RS256"]

    def end_session(self, asked: Any) -> None:
        self.server.records.drop("login", (asked.id_token_claims or {}).get("sid", ""))

    def _is_valid_post_logout_redirect_uri(self, _client: RegisteredClient, uri: str) -> bool:
        """Authlib compares with registered addresses; in development any page of this origin is valid."""
        try:
            return self._landing.checked(uri).startswith(self._origin)
        except InvalidReturnUrl:
            return False
