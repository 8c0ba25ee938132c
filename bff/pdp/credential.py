"""Client authentication at a remote policy decision point: a fixed Bearer token, or one by client credentials (RFC 6749
section 4.4), which may be bound to a key (DPoP, RFC 9449).

Single flight in the background: one thread fetches the token for all requests that wait for it. Each request waits only
as long as its decision may take, even when the provider is slow.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress

from bff.errors import BFFError, InsufficientScope, TokenRefused
from bff.http import Response
from bff.lib.single_flight import SingleFlight
from bff.oidc.dpop import Dpop
from bff.pdp.model import Cause, NoDecision
from bff.settings import ServiceSettings
from bff.tokens.client_credentials import ClientCredentialsTokens
from bff.tokens.source import BoundToken

RENEWED_AFTER = 10.0
"""Seconds between two renewals, so that a PDP that refuses every token causes no flood of token requests."""


class FixedBearer:
    def __init__(self, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}

    def headers(self, url: str, seconds: float) -> Mapping[str, str]:
        return self._headers

    def others(self, url: str, refused: Response, seconds: float) -> Mapping[str, str] | None:
        return None


class ClientCredentialsBearer:
    def __init__(
        self,
        tokens: ClientCredentialsTokens,
        service: ServiceSettings,
        dpop: Dpop,
        later: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """later: runs work in the background. clock: Unix seconds. monotonic: seconds that only go forward."""
        self._tokens = tokens
        self._service = service
        self._dpop = dpop
        self._later = later
        self._clock = clock
        self._monotonic = monotonic
        self._held: BoundToken | None = None
        self._renewed_at = float("-inf")
        self._single_flight = SingleFlight()

    def headers(self, url: str, seconds: float) -> Mapping[str, str]:
        held = self._held
        if held is None or not held.token.fresh(self._clock()):
            flight = self._fetch("ensure")
            if held is None or not held.token.live(self._clock()):
                held = _landed(flight, seconds)
        return self._dpop.authorization(held.token, held.key, "POST", url)

    def others(self, url: str, refused: Response, seconds: float) -> Mapping[str, str] | None:
        """With the nonce of the answer, if the PDP refused the former one; else with a newer token, unless the current
        one is nearly new."""
        held = self._held
        due = self._monotonic() - self._renewed_at >= RENEWED_AFTER
        if held is None or (not self._dpop.wants_another(url, refused) and due):
            held = _landed(self._fetch("renew"), seconds)
        return self._dpop.authorization(held.token, held.key, "POST", url)

    def _fetch(self, how: str) -> "Future[BoundToken]":
        flight, leads = self._single_flight.join(how)
        if leads:
            self._later(lambda: self._run(how, flight))
        return flight

    def _run(self, how: str, flight: "Future[BoundToken]") -> None:
        with suppress(BFFError):  # the flight hands the error to the waiting requests
            self._single_flight.run(how, flight, self._ensured if how == "ensure" else self._renewed)

    def _ensured(self) -> BoundToken:
        self._held = self._tokens.ensure(None, self._service)
        return self._held

    def _renewed(self) -> BoundToken:
        refused, self._renewed_at = self._held, self._monotonic()
        self._held = self._tokens.renew(None, self._service, refused.token if refused else None)
        return self._held


def _landed(flight: "Future[BoundToken]", seconds: float) -> BoundToken:
    try:
        return flight.result(seconds)
    except (TokenRefused, InsufficientScope) as err:  # the provider's answer is final
        raise NoDecision("token") from err
    except (BFFError, TimeoutError) as err:
        raise NoDecision("token", Cause.OUTAGE) from err
