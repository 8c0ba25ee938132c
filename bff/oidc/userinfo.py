"""Userinfo client (OpenID Connect Core section 5.3): a user's claims by their access token."""

import logging
from typing import Any

from bff.errors import UpstreamError
from bff.http import Response
from bff.oidc.dpop import Dpop
from bff.oidc.provider import CALL_LIMIT, Provider
from bff.sessions.tokens import AccessToken

log = logging.getLogger(__name__)


class UserInfo:
    def __init__(self, dpop: Dpop) -> None:
        self._dpop = dpop

    def claims(self, provider: Provider, sub: str, access: AccessToken, dpop_key: str | None) -> dict[str, Any] | None:
        """Returns this user's claims, or None when the provider has no userinfo endpoint.

        Also returns None, logged, when the provider does not answer or answers with another subject's claims, which
        section 5.3.2 forbids to use. Raises ProviderUnavailable when the provider's metadata is unavailable.
        """
        with provider.within(CALL_LIMIT):
            return self._claims(provider, sub, access, dpop_key)

    def _claims(self, provider: Provider, sub: str, access: AccessToken, dpop_key: str | None) -> dict[str, Any] | None:
        url = provider.metadata().userinfo_endpoint
        if url is None:
            return None
        try:
            answer = self._ask(provider, url, access, dpop_key)
            claims: dict[str, Any] = answer.json() if answer.ok else {}
            fault = "" if answer.ok else f"status {answer.status}"
        except UpstreamError as err:
            claims, fault = {}, type(err).__name__
        if claims.get("sub") != sub:
            log.warning("userinfo_not_used", extra={"idp": provider.id, "reason": fault or "subject"})
            return None
        return claims

    def _ask(self, provider: Provider, url: str, access: AccessToken, dpop_key: str | None) -> Response:
        def ask() -> Response:
            proof = self._dpop.authorization(access, dpop_key, "GET", url)
            return provider.get("userinfo", url, proof, foreign=True)

        answer = ask()
        return ask() if self._dpop.wants_another(url, answer) else answer
