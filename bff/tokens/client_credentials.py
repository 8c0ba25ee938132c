"""Client credentials: the BFF's own tokens (RFC 6749 section 4.4), the same for every user. One worker gets each token
for the fleet, which keeps it sealed in the store and in each worker's memory.

A service may refuse a token before its expiry. Then one worker replaces it for the fleet; a worker with a refused older
token takes the newer one from the store. If the service refuses a brand-new replacement as well, the BFF gets no
further one, since the service would refuse that, too.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from bff.crypto import Keyring, SealError, digest
from bff.errors import BFFError, NotRefreshable
from bff.kv import KeyValue
from bff.observability import metrics
from bff.oidc import dpop
from bff.oidc.provider import Provider
from bff.oidc.token_endpoint import CLIENT_CREDENTIALS, GrantRefused, RequestFailed
from bff.oidc.token_response import ASSUMED_LIFE
from bff.sessions.model import Session
from bff.sessions.tokens import AccessToken, Tokens, tokens_from_bytes, tokens_to_bytes
from bff.settings import ServiceSettings
from bff.tokens.asked_for import asked_for, covers
from bff.tokens.distributed_single_flight import InProgress
from bff.tokens.refresh_status import FAILURE_LIFE
from bff.tokens.source import BoundToken, TokenRequester, grant_errors_as_http

BELIEVED_FOR = 10.0
"""Seconds for which a service that refused a replacement gets no further token."""


class ClientCredentialsTokens:
    """A Source."""

    def __init__(
        self,
        kv: KeyValue,
        keys: Keyring,
        providers: Mapping[str, Provider],
        requester: TokenRequester,
        later: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
    ) -> None:
        """providers: by alias, the default one first. later: runs work in the background."""
        self._kv = kv
        self._sealer = keys.sealer("service-token")
        self._providers = providers
        self._requester = requester
        self._later = later
        self._clock = clock
        self._known: dict[str, Tokens] = {}

    def ensure(self, session: Session | None, service: ServiceSettings) -> BoundToken:
        known, now = self._known.get(self._record(service)), self._clock()
        if known is None or not covers(known.access, service):
            return self._patiently(service, None)
        if known.access.fresh(now):
            return BoundToken(known.access, known.dpop_key)
        if known.access.live(now):
            self._ahead(service, known)
            known = self._known[self._record(service)]
            return BoundToken(known.access, known.dpop_key)
        metrics.token_expired(service.id)
        return self._patiently(service, known)

    def renew(
        self, session: Session | None, service: ServiceSettings, refused: AccessToken | None = None
    ) -> BoundToken:
        present = self._opened(service)
        if refused is None:
            return self._patiently(service, present)
        if present is None or present.access.same(refused):
            return self._replaced(service, present, refused)
        self._known[self._record(service)] = present
        return BoundToken(present.access, present.dpop_key)

    def present(self, tokens: Tokens, service: ServiceSettings) -> AccessToken | None:
        known = self._opened(service)
        return known.access if known else None

    def refreshable(self, tokens: Tokens) -> bool:
        return True

    def _ahead(self, service: ServiceSettings, known: Tokens) -> None:
        """Replaces the token in the background before it expires. This worker starts one attempt in FAILURE_LIFE, even
        after a failure."""
        resting = known.access.left_alone(self._clock() + FAILURE_LIFE)
        self._known[self._record(service)] = replace(known, access=resting)
        self._later(lambda: self._ask_ahead(service, known))

    def _ask_ahead(self, service: ServiceSettings, known: Tokens) -> None:
        with suppress(InProgress, RequestFailed, GrantRefused, BFFError):  # logged and counted when raised
            self._asked(service, known, patient=False)

    def _patiently(self, service: ServiceSettings, former: Tokens | None) -> BoundToken:
        with grant_errors_as_http():
            return self._asked(service, former, patient=True)

    def _replaced(self, service: ServiceSettings, present: Tokens | None, refused: AccessToken) -> BoundToken:
        """The token's replacement. Raises NotRefreshable for a token that is a replacement itself."""
        note = f"{self._record(service)}:replacement"

        def issued() -> Tokens:
            if self._kv.get(note) == _fingerprint(refused):
                raise NotRefreshable
            tokens = self._issued(service)
            self._kv.set(note, _fingerprint(tokens.access), BELIEVED_FOR)
            return tokens

        with grant_errors_as_http():
            return self._asked(service, present, issued, patient=True)

    def _asked(
        self,
        service: ServiceSettings,
        former: Tokens | None,
        issued: Callable[[], Tokens] | None = None,
        *,
        patient: bool,
    ) -> BoundToken:
        """issued: requests the token; `_issued` if None."""
        record = self._record(service)

        def look() -> Tokens | None:
            found = self._opened(service)
            if found is None or (former is not None and found.access.same(former.access)):
                return None
            return found if found.access.fresh(self._clock()) else None

        work = issued or (lambda: self._issued(service))
        tokens = look() or self._requester.once(record, service, look, work, wait=patient)
        self._known[record] = tokens
        return BoundToken(tokens.access, tokens.dpop_key)

    def _issued(self, service: ServiceSettings) -> Tokens:
        provider, record = self._provider(service), self._record(service)
        key = dpop.new_key() if provider.config.dpop else None
        token = self._requester.request(provider, CLIENT_CREDENTIALS, service, {}, key)
        tokens = Tokens(provider.id, token, dpop_key=key)
        life = ASSUMED_LIFE if token.expires_at is None else token.expires_at - self._clock()
        self._kv.set(record, self._sealer.seal(tokens_to_bytes(tokens), record), life)
        return tokens

    def _opened(self, service: ServiceSettings) -> Tokens | None:
        """The fleet's token, if it has every scope that the service needs."""
        record = self._record(service)
        raw = self._kv.get(record)
        try:
            tokens = tokens_from_bytes(self._sealer.open(raw, record)) if raw is not None else None
        except (SealError, ValueError, TypeError, KeyError):
            return None  # sealed with a former key, or by another version: the caller gets a new one
        return tokens if tokens is not None and covers(tokens.access, service) else None

    def _provider(self, service: ServiceSettings) -> Provider:
        return self._providers[service.idp or next(iter(self._providers))]

    def _record(self, service: ServiceSettings) -> str:
        return f"service-token:{asked_for(service, self._provider(service).config)}"


def _fingerprint(token: AccessToken) -> bytes:
    return digest(token.value).encode()
