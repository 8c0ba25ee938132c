"""Common base of all kinds of tokens: their protocol, single-flight requests, and the mapping of failures to errors."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bff.errors import InsufficientScope, TokenRefused, TokenUnavailable
from bff.observability import metrics, traces
from bff.oidc.provider import Provider
from bff.oidc.token_endpoint import GrantRefused, RequestFailed, TokenEndpoint
from bff.sessions.model import Session
from bff.sessions.tokens import AccessToken, Tokens
from bff.settings import ServiceSettings
from bff.tokens.distributed_single_flight import DistributedSingleFlight, SingleFlightTimeout


class BoundToken(NamedTuple):
    """A token to send now. key: the private key of a DPoP token, as JWK."""

    token: AccessToken
    key: str | None

    def __repr__(self) -> str:
        return "BoundToken(...)"


class TokenSource(Protocol):
    """Strategy for one kind of token.

    Both methods raise SessionEnded, TokenExpired, TokenUnavailable, TokenRefused, InsufficientScope, StoreUnavailable.
    """

    def ensure(self, session: Session, service: ServiceSettings) -> BoundToken | None:
        """A valid token; None for a service without tokens."""

    def renew(
        self, session: Session, service: ServiceSettings, refused: AccessToken | None = None
    ) -> BoundToken | None:
        """A new token, even if the present one is fresh. Raises NotRefreshable, too.

        refused: the token that the service refused, if any: then every other token counts as new.
        """

    def present(self, tokens: Tokens, service: ServiceSettings) -> AccessToken | None:
        """The present token, valid or not. tokens: the session's."""

    def refreshable(self, tokens: Tokens) -> bool: ...


@contextmanager
def grant_errors_as_http() -> Iterator[None]:
    """Translates failures at the provider into errors with an HTTP answer."""
    try:
        yield
    except RequestFailed as err:
        raise TokenUnavailable from err
    except GrantRefused as err:
        raise TokenRefused(f"The provider answered {_reason(err)}.") from err


@dataclass(frozen=True)
class TokenRequester:
    """Requests a service's token, once for all concurrent calls. pseudonym: maps a user to a metric's label."""

    endpoint: TokenEndpoint
    flight: DistributedSingleFlight
    clock: Callable[[], float]
    pseudonym: Callable[[str], str]

    def once(
        self,
        name: str,
        service: ServiceSettings,
        find: Callable[[], Tokens | None],
        compute: Callable[[], Tokens],
        *,
        wait: bool,
        user: str | None = None,
    ) -> Tokens:
        """Raises InProgress without `wait`, RequestFailed, and the exceptions of find and compute; counts them for the
        service."""
        try:
            tokens, own = self.flight.run(name, find, compute, wait=wait)
        except SingleFlightTimeout as err:
            metrics.token_refresh_failed(service.id, "lock_timeout")
            raise RequestFailed("lock_timeout") from err
        bucket = self.pseudonym(user) if user is not None else None
        metrics.token_refreshed(service.id, "success" if own else "reused", bucket)
        return tokens

    def request(
        self, provider: Provider, grant: str, service: ServiceSettings, form: Mapping[str, str], key: str | None
    ) -> AccessToken:
        """Raises GrantRefused, InsufficientScope, RequestFailed; counts them for the service."""
        start, wanted = time.perf_counter(), {**form, **_target(service)}
        try:
            with traces.span(grant, {"bff.service": service.id, "bff.idp": provider.id}, begins=True):
                issued = self.endpoint.request(provider, grant, wanted, key=key, scope=service.scope)
        except (RequestFailed, GrantRefused) as err:
            metrics.token_refresh_failed(service.id, _reason(err))
            raise
        finally:
            metrics.oauth_flow(grant, time.perf_counter() - start)
        if issued.access is not None and issued.fault != "scope":
            return issued.access
        metrics.token_refresh_failed(service.id, "bad_response")
        if issued.access is None:
            raise RequestFailed("bad_response")
        raise InsufficientScope("The identity provider granted less than this service needs.")


def _reason(error: RequestFailed | GrantRefused) -> str:
    if isinstance(error, RequestFailed):
        return error.reason
    return "invalid_grant" if error.error == "invalid_grant" else "refused"


def _target(service: ServiceSettings) -> dict[str, str]:
    """The form parameters for audience, resource and scope (RFC 8693 section 2.1, RFC 8707)."""
    wanted = {"audience": service.audience, "resource": service.resource, "scope": service.scope}
    return {name: value for name, value in wanted.items() if value}
