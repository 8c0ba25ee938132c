# mypy: allow-subclassing-any
# The line above: Authlib ships no types, so each of its classes is Any to mypy.
"""Authlib's authorization server with this provider's grants, endpoints and store."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749 import InvalidClientError, InvalidRequestError
from authlib.oauth2.rfc9207 import IssuerParameter
from flask import Response

from bff.dev.provider.endpoints import AccessTokens, EndSession, Introspection, Revocation, UserInfoResponse
from bff.dev.provider.grants import CodeGrant, IdToken, IdTokenForCode, Pkce, RefreshGrant
from bff.dev.provider.registry import RegisteredClient
from bff.dev.provider.storage import ACCESS_TOKEN_LIFE, GRANT_LIFE, Grant, Login, ProviderRecords, SigningKey


class ProviderServer(AuthorizationServer):
    def __init__(
        self,
        issuer: str,
        client: RegisteredClient,
        records: ProviderRecords,
        key: SigningKey,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self.issuer = issuer
        self.client = client
        self.records = records
        self.key = key
        self._clock = clock
        self._issuer_parameter = _Issuer(issuer)
        self.register_extension(self._issuer_parameter)
        self.register_token_generator("default", _new_token)

    def query_client(self, client_id: str) -> RegisteredClient | None:
        return self.client if client_id == self.client.client_id else None

    def save_token(self, token: Mapping[str, str], _request: object) -> None:
        record = {"scope": token["scope"], "exp": int(self._clock()) + ACCESS_TOKEN_LIFE}
        self.records.put("access", token["access_token"], record, ACCESS_TOKEN_LIFE)
        if "refresh_token" in token:
            self.records.put("refresh", token["refresh_token"], {}, GRANT_LIFE)

    def get_consent_grant(self, request: object = None, end_user: Login | None = None) -> Any:
        try:
            return super().get_consent_grant(request, end_user)
        except ValueError as err:
            # Authlib quotes parameters in its descriptions, and fails on characters that RFC 6749 forbids there.
            raise InvalidRequestError("A parameter holds characters that are not allowed.") from err

    def authenticate_client(self, request: object, methods: list[str], endpoint: str = "token") -> Any:
        try:
            return super().authenticate_client(request, methods, endpoint)
        except ValueError as err:
            raise InvalidClientError(description="The credentials are not UTF-8 in Base64.", status_code=401) from err

    def refuse(self, error: Any) -> Response:
        """Answers with an error that Authlib raised; error.redirect_uri has been checked."""
        response: Response = self.handle_error_response(None, error)
        self._issuer_parameter.add_issuer_parameter(self, response)
        return response


class _Issuer(IssuerParameter):
    def __init__(self, issuer: str) -> None:
        self._issuer = issuer

    def get_issuer(self) -> str:
        return self._issuer


def build(
    issuer: str, client: RegisteredClient, records: ProviderRecords, key: SigningKey, clock: Callable[[], float]
) -> ProviderServer:
    # At level DEBUG Authlib writes whole tokens to its log.
    logging.getLogger("authlib").setLevel(logging.INFO)
    server = ProviderServer(issuer, client, records, key, clock)
    server.register_grant(CodeGrant, [Pkce(), IdTokenForCode(issuer, key, clock)])
    server.register_grant(RefreshGrant, [IdToken(issuer, key, clock)])
    tokens, bearer = AccessTokens(records, client), ResourceProtector()
    bearer.register_token_validator(tokens)
    server.register_endpoint(UserInfoResponse(server, bearer))
    server.register_endpoint(Introspection(issuer, client, tokens))
    server.register_endpoint(Revocation)
    server.register_endpoint(EndSession(client.origin, key))
    return server


def _new_token(*, user: Grant, scope: str, include_refresh_token: bool = True, **_: object) -> dict[str, Any]:
    """Issues opaque tokens (RFC 6749 section 5.1), with a refresh token when `offline_access` was granted."""
    token = {
        "token_type": "Bearer",
        "access_token": user.new_secret(),
        "expires_in": ACCESS_TOKEN_LIFE,
        "scope": scope,
    }
    if include_refresh_token and "offline_access" in user.scope.split():
        token["refresh_token"] = user.new_secret()
    return token
