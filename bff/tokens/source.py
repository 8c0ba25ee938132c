"""What every kind of token has in common: how it is asked for once, and what its failures mean to who needs it."""

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
    """A token to send now. key: the private key, as JWK, that a DPoP token must be sent with."""

    token: AccessToken
    key: str | None

    def __repr__(self) -> str:
        return "BoundToken(...)"


class TokenSource(Protocol):
    """Where the tokens of one kind come from.

    Both methods raise SessionEnded, TokenExpired, TokenUnavailable, TokenRefused, InsufficientScope, StoreUnavailable.
    """

    def ensure(self, session: Session, service: ServiceSettings) -> BoundToken | None:
        """A token that is good for now; None where none is wanted."""

    def renew(
        self, session: Session, service: ServiceSettings, refused: AccessToken | None = None
    ) -> BoundToken | None:
        """A newer one than the present one, however fresh that is. Raises NotRefreshable, too.

        refused: the one that the service did not take, if that is why: then any other that is there will do.
        """

    def present(self, tokens: Tokens, service: ServiceSettings) -> AccessToken | None:
        """The one that is there, good or not. tokens: the session's."""

    def refreshable(self, tokens: Tokens) -> bool: ...


@contextmanager
def grant_errors_as_http() -> Iterator[None]:
    """What a provider says or fails to say, as an answer for whoever needs the token."""
    try:
        yield
    except RequestFailed as err:
        raise TokenUnavailable from err
    except GrantRefused as err:
        raise TokenRefused(f"The provider answered {_reason(err)}.") from err


@dataclass(frozen=True)
class TokenRequester:
    """Asks for a service's token, once for all who want it. pseudonym: what stands for a user in a metric's label."""

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
        """Raises InProgress without `wait`, RequestFailed, and what find and compute raise; counted for the service."""
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
        """Raises GrantRefused, InsufficientScope, RequestFailed, counted for the service."""
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
    """For whom the token is to be (RFC 8693 section 2.1, RFC 8707), and what for."""
    wanted = {"audience": service.audience, "resource": service.resource, "scope": service.scope}
    return {name: value for name, value in wanted.items() if value}
