"""Refreshing a session's tokens (RFC 6749 section 6) so that nobody is logged out by a race.

Providers rotate refresh tokens and take a second use of an old one for theft (RFC 9700 section 4.14.2): then every
token of the login is revoked. So of all workers that find a session's token old, one asks the provider, and the others
take its result, and what became of the refresh token is noted for a moment (refresh_status.py).

A refusal is believed only when nobody else may have used the token: the record is read again first, and if the note
said that somebody started to, a while later once more. Nor is a token sent at once that somebody else has started to
use when the lock was free all the same: the store may have been away, and that one may hold an answer which it could
not save.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from bff.errors import ProviderUnavailable, SessionEnded, StoreUnavailable, TokenExpired
from bff.events.audit import Audit
from bff.events.model import EventType, SecurityEvent
from bff.observability import metrics, traces
from bff.oidc.id_token import validate_refreshed_id_token
from bff.oidc.jwt import TokenInvalid
from bff.oidc.provider import Provider
from bff.oidc.token_endpoint import REFRESH, GrantRefused, RequestFailed, TokenEndpoint
from bff.oidc.token_response import TokenResponse
from bff.sessions.authenticator import SessionAuthenticator
from bff.sessions.model import EndReason, Session
from bff.sessions.token_store import TokenStore, VersionedTokens
from bff.sessions.tokens import Tokens
from bff.settings import USER_TOKEN
from bff.tokens.claims_refresh import ClaimsRefresh
from bff.tokens.distributed_single_flight import DistributedSingleFlight, SingleFlightTimeout
from bff.tokens.pending_writes import PendingTokenWrites
from bff.tokens.refresh_status import REJECTED, STARTED, SUCCESS, RefreshStatus

log = logging.getLogger(__name__)

_READ_AGAIN_AFTER = (0.3, 0.7)  # seconds, before a refusal is believed of a token that somebody else may have used
_UNTIL_SAVED = (0.5,) * 6
"""Seconds, after the store comes back, until whoever could not save an answer has saved it."""


class Refresher:
    def __init__(
        self,
        refresh_status: RefreshStatus,
        store: TokenStore,
        pending_writes: PendingTokenWrites,
        authenticator: SessionAuthenticator,
        providers: Mapping[str, Provider],
        endpoint: TokenEndpoint,
        flight: DistributedSingleFlight,
        claims: ClaimsRefresh,
        audit: Audit,
        pseudonym: Callable[[str], str],
        clock: Callable[[], float],
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """pseudonym: what stands for a user in a metric's label."""
        self.refresh_status = refresh_status
        self.store = store
        self.pending_writes = pending_writes
        self.authenticator = authenticator
        self.providers = providers
        self.endpoint = endpoint
        self.claims = claims
        self.audit = audit
        self.clock = clock
        self.wait = wait
        self._flight = flight
        self._pseudonym = pseudonym

    def refresh(self, session: Session, seen: Tokens, *, patient: bool) -> Tokens:
        """Newer tokens than those that were seen and found wanting. patient: wait for whoever is at it already.

        Raises InProgress without `wait`, SessionEnded, TokenExpired, RequestFailed, StoreUnavailable.
        """
        attempt, bucket = _Attempt(self, session, seen), self._pseudonym(session.user.id)
        try:
            with traces.span("refresh", {"bff.idp": seen.idp}, begins=True):
                tokens, own = self._flight.run(f"refresh:{session.key}", attempt.find, attempt.compute, wait=patient)
        except SingleFlightTimeout as err:
            metrics.token_refresh_failed(USER_TOKEN, "lock_timeout")
            raise RequestFailed("lock_timeout") from err
        metrics.token_refreshed(USER_TOKEN, "success" if own and not attempt.overtaken else "reused", bucket)
        return tokens


@dataclass
class _Attempt:
    """One call of Refresher.refresh.

    held: what the record said when the lock was got. looks: how often it was read, more than once by who waited for the
    lock, and so knows that the store was there all the time.
    """

    refresher: Refresher
    session: Session
    seen: Tokens
    held: VersionedTokens | None = None
    looks: int = 0
    contested: bool = False
    overtaken: bool = False

    @property
    def provider(self) -> Provider:
        """Raises TokenExpired when the configuration names it no more."""
        provider = self.refresher.providers.get(self.session.idp)
        if provider is None:
            raise TokenExpired("The identity provider was withdrawn.")
        return provider

    @property
    def spent(self) -> str:
        """The refresh token that is to be replaced. Raises TokenExpired when there is none."""
        token = self.held.tokens.refresh_token if self.held else None
        if token is None:
            raise TokenExpired
        return token

    def find(self) -> Tokens | None:
        """Raises TokenExpired, and what somebody else just met: SessionEnded, RequestFailed with its reason."""
        with suppress(StoreUnavailable):
            self.refresher.pending_writes.write()
        self.looks += 1
        self.held, noted = self.refresher.store.read_with(self.session.key, RefreshStatus.name(self.seen.refresh_token))
        if self.held is None:
            raise TokenExpired
        access, token = self.held.tokens.access, self.held.tokens.refresh_token
        if not access.same(self.seen.access) and access.live(self.refresher.clock()):
            return self.held.tokens
        if token is not None and token != self.seen.refresh_token:
            noted = self.refresher.refresh_status.get(token)
        if noted == REJECTED:
            raise SessionEnded
        self.contested = noted in (STARTED, SUCCESS)
        if noted and not self.contested:
            raise RequestFailed(noted.decode())
        return None

    def compute(self) -> Tokens:
        if self.contested and self.looks == 1 and (tokens := self._replaced(*_UNTIL_SAVED)):
            return tokens
        self.refresher.refresh_status.mark_started(self.spent)
        start = time.perf_counter()
        try:
            issued, trusted = self._asked()
        except GrantRefused as err:
            if err.error == "invalid_grant":
                return self._rejected()
            raise self._failed("refused") from err
        except RequestFailed as err:
            with suppress(StoreUnavailable):
                if tokens := self._replaced(0.0):  # this worker stood still, and somebody else did it meanwhile
                    return tokens
            raise self._failed(err.reason) from err
        finally:
            metrics.oauth_flow("refresh", time.perf_counter() - start)
        return self._taken(issued, trusted)

    def _asked(self) -> tuple[TokenResponse, bool]:
        """The provider's answer, and whether its ID token fits. Raises GrantRefused, RequestFailed."""
        old = self._held.tokens
        issued = self.refresher.endpoint.request(
            self.provider, REFRESH, {"refresh_token": self.spent}, key=old.dpop_key, scope=old.access.scope
        )
        return issued, self._id_token_fits(issued)

    @property
    def _held(self) -> VersionedTokens:
        if self.held is None:
            raise TokenExpired
        return self.held

    def _taken(self, issued: TokenResponse, trusted: bool) -> Tokens:
        """A new refresh token is kept whatever else is wrong with the answer: the old one works no more.

        Raises RequestFailed, SessionEnded.
        """
        old = self._held.tokens
        # A new token of unknown life or of less scope is still better than the old one, which may have ended with it.
        good = issued.access is not None and trusted

        def change(current: Tokens) -> Tokens:
            if current.refresh_token != old.refresh_token or not current.access.same(old.access):
                return current
            return replace(
                current,
                access=issued.access if issued.access and good else current.access,
                refresh_token=issued.refresh_token or current.refresh_token,
                id_token=issued.id_token if issued.id_token and trusted else current.id_token,
            )

        tokens = self.refresher.pending_writes.save(self.session, change, issued) or change(old)
        if not good:
            self.refresher.refresh_status.mark_failed(tokens.refresh_token or "", "bad_response")
            raise self._failed("bad_response")
        self._refresh_claims(old, tokens)
        if tokens.refresh_token == self.spent:
            self.refresher.refresh_status.clear(self.spent)
        else:
            self.refresher.refresh_status.mark_done(self.spent, SUCCESS)
        return tokens

    def _id_token_fits(self, issued: TokenResponse) -> bool:
        """Whether what came with it may be used. Raises RequestFailed for one that is provably somebody else's: then
        nothing of the answer is believed, since the refresh token may be theirs as well."""
        if issued.id_token is None:
            return True
        try:
            validate_refreshed_id_token(
                issued.id_token,
                self.provider,
                sub=self.session.user.sub,
                access_token=issued.access.value if issued.access else None,
                clock=self.refresher.clock,
            )
        except ProviderUnavailable:
            return False
        except TokenInvalid as err:
            fault = "subject" if err.status == "subject" else "id_token"
            metrics.token_response_fault(REFRESH, fault)
            log.warning("token_response_fault", extra={"idp": self.session.idp, "grant": REFRESH, "fault": fault})
            if fault == "subject":
                raise RequestFailed("bad_response") from err
            return False
        return True

    def _rejected(self) -> Tokens:
        """The provider does not know the refresh token any more. Raises SessionEnded, unless somebody replaced it."""
        if tokens := self._replaced(0.0, *(_READ_AGAIN_AFTER if self.contested else ())):
            return tokens
        self.refresher.authenticator.end(self.session, EndReason.REFRESH_REJECTED)
        self.refresher.refresh_status.mark_done(self.spent, REJECTED)
        metrics.token_refresh_failed(USER_TOKEN, "invalid_grant")
        self.refresher.audit.security(SecurityEvent.REFRESH_REJECTED, session=self.session.reference)
        raise SessionEnded

    def _replaced(self, *pauses: float) -> Tokens | None:
        """The tokens that somebody else put in the place of these; looked for after each pause, in seconds. Raises
        SessionEnded when somebody else ended it and has had them revoked."""
        for pause in pauses:
            self.refresher.wait(pause)
            held = self.refresher.store.read(self.session.key)
            if held is None:
                raise SessionEnded
            if self._differ(held.tokens):
                self.overtaken = True
                return held.tokens
        return None

    def _differ(self, tokens: Tokens) -> bool:
        return tokens.refresh_token != self.spent or not tokens.access.same(self._held.tokens.access)

    def _refresh_claims(self, old: Tokens, new: Tokens) -> None:
        """Once the tokens are saved: userinfo may be slow, and a worker may be killed meanwhile."""
        claims = self.refresher.claims
        user = claims.user(self.session, self.provider, old, new)
        if user is not None:
            self.refresher.pending_writes.attempt(f"user:{self.session.key}", partial(claims.apply, self.session, user))

    def _tell(self, event: EventType, **facts: object) -> None:
        self.refresher.audit.record(event, self.session.user.id, session=self.session.reference, **facts)

    def _failed(self, reason: str) -> RequestFailed:
        metrics.token_refresh_failed(USER_TOKEN, reason)
        log.warning("refresh_failed", extra={"session": self.session.reference, "reason": reason})
        self._tell(EventType.REFRESH_FAILED, reason=reason)
        self.refresher.refresh_status.mark_failed(self.spent, reason)
        return RequestFailed(reason)
