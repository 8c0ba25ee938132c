"""Token endpoint client (RFC 6749 section 3.2), for every grant: one request, one response type, two exceptions.

The exception's type decides whether a session survives. `GrantRefused`: the provider refuses this grant or client.
`RequestFailed`: the provider gave no answer, or no clear one.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from bff.errors import ProviderUnavailable, UpstreamError
from bff.http import Response
from bff.observability import labels, metrics
from bff.oidc import dpop
from bff.oidc.dpop import Dpop
from bff.oidc.provider import CALL_LIMIT, Provider
from bff.oidc.token_response import TokenResponse, TokenResponseParser
from bff.sessions.tokens import BEARER

log = logging.getLogger(__name__)

CODE = "authorization_code"
REFRESH = "refresh_token"
CLIENT_CREDENTIALS = "client_credentials"
TOKEN_EXCHANGE = "token_exchange"  # noqa: S105 - a grant's name
# RFC 8693 section 2.1; every other grant type is its own name
_GRANT_TYPES = {TOKEN_EXCHANGE: "urn:ietf:params:oauth:grant-type:token-exchange"}

_TRY_LATER = frozenset({408, 425, 429})


class RequestFailed(Exception):
    """reason: timeout, connection, circuit_open, busy, server_error, bad_response; lock_timeout when the wait for
    another refresh timed out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class GrantRefused(Exception):
    """error: the OAuth error code (RFC 6749 section 5.2)."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True)
class TokenEndpoint:
    """Any provider's token endpoint."""

    dpop: Dpop
    reader: TokenResponseParser

    def request(
        self, provider: Provider, grant: str, form: Mapping[str, str], *, key: str | None = None, scope: str = ""
    ) -> TokenResponse:
        """Requests tokens. grant: its name in the metric. key: binds the tokens to this key (RFC 9449). scope: the
        scopes that the access token must have.

        Raises GrantRefused, RequestFailed. A response with a fault is counted by its fault and still returned.
        """
        try:
            with provider.within(CALL_LIMIT):
                answer = self._sent(provider, {"grant_type": _GRANT_TYPES.get(grant, grant), **form}, key)
            content = _content(answer)
        except (UpstreamError, ProviderUnavailable) as err:
            raise _failed(grant, err) from err
        if not answer.ok:
            raise _refused(provider, grant, answer, content)
        issued = self.reader.parse(content, token_type=dpop.TOKEN_TYPE if key else BEARER, scope=scope)
        if issued.fault:
            metrics.token_response_fault(grant, issued.fault)
            log.warning("token_response_fault", extra={"idp": provider.id, "grant": grant, "fault": issued.fault})
        metrics.token_exchange(grant, "success" if issued.access else "error")
        return issued

    def _sent(self, provider: Provider, form: Mapping[str, str], key: str | None) -> Response:
        url = provider.metadata().token_endpoint

        def send() -> Response:
            proof = {"DPoP": self.dpop.proof(key, "POST", url)} if key else {}
            return provider.post("token", url, form, headers=proof, foreign=form["grant_type"] != REFRESH)

        answer = send()
        return send() if key and self.dpop.wants_another(url, answer) else answer


def _content(answer: Response) -> Mapping[str, object]:
    """Raises UpstreamError for an answer that is no JSON object, unless its status already means a server error."""
    try:
        return answer.json()
    except UpstreamError:
        if answer.status >= 500 or answer.status in _TRY_LATER:
            return {}
        raise


def _failed(grant: str, err: UpstreamError | ProviderUnavailable) -> RequestFailed:
    metrics.token_exchange(grant, "error")
    if isinstance(err, ProviderUnavailable):
        return RequestFailed("connection")
    if err.fault:
        metrics.token_response_fault(grant, err.fault)
    return RequestFailed(err.outcome)


def _refused(provider: Provider, grant: str, answer: Response, content: Mapping[str, object]) -> Exception:
    error = content.get("error")
    metrics.token_exchange(grant, str(error))
    known = labels.one_of(str(error), metrics.OAUTH_ERRORS, "unregistered" if error else "none")
    log.warning("grant_refused", extra={"idp": provider.id, "grant": grant, "status": answer.status, "error": known})
    if answer.status >= 500 or answer.status in _TRY_LATER:
        return RequestFailed("server_error")
    return GrantRefused(error) if isinstance(error, str) else RequestFailed("bad_response")
