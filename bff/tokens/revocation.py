"""Revocation queue: revokes the tokens of ended sessions at the provider (RFC 7009), after every kind of end.

Some providers keep refresh tokens alive after their own logout, so the BFF revokes its tokens. Ending a session puts
its tokens into a queue in the same transaction, so none is lost when a worker dies. A logout tries at once; a session
that ended otherwise waits longer than a login can take. Each attempt first asks whether the same person has another
session from that provider (shared_grant.py): then the tokens are forgotten, since a revocation could end that session.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from bff.errors import KeyElsewhere, ProviderUnavailable, StoreUnavailable, UpstreamError
from bff.oidc.provider import CALL_LIMIT, Provider
from bff.oidc.token_response import TokenResponse
from bff.sessions.model import Session, reference_of
from bff.sessions.shared_grant import SharedGrants
from bff.sessions.token_store import DueRevocation, EndedSession, TokenStore
from bff.sessions.tokens import AccessToken, Tokens

log = logging.getLogger(__name__)

MOST_AT_ONCE = 200
MOST_ATTEMPTS = 100
_LONGEST_PAUSE = 300.0


class Revocations:
    def __init__(self, store: TokenStore, grants: SharedGrants, providers: Mapping[str, Provider]) -> None:
        self._store = store
        self._grants = grants
        self._providers = providers

    def revoke_now(self, key: str) -> None:
        """For a logout: one attempt while the browser waits; the background job retries a failure."""
        with suppress(StoreUnavailable):
            self._turn(DueRevocation(key, 0))

    def revoke_due(self, may_go_on: Callable[[], bool] = lambda: True) -> None:
        """One turn of the background job, a step for each session. Raises StoreUnavailable, and leaves the queue as it
        was."""
        for due in self._store.due_for_revocation(MOST_AT_ONCE):
            if not may_go_on():
                return
            self._turn(due)

    def orphan(self, session: Session, issued: TokenResponse) -> None:
        """Queues tokens that were issued for a session that ended meanwhile. Raises StoreUnavailable."""
        access = issued.access or AccessToken("", 0.0)
        tokens = Tokens(session.idp, access, issued.refresh_token)
        if access.value or tokens.refresh_token:
            self._store.enqueue_orphan(EndedSession.of(session, deliberate=False), tokens)

    def _turn(self, due: DueRevocation) -> None:
        try:
            self._try(due)
        except KeyElsewhere:  # another worker can
            self._store.retry_later(due, _LONGEST_PAUSE / 10)

    def _try(self, due: DueRevocation) -> None:
        held = self._store.read(due.key)
        provider = self._providers.get(held.tokens.idp) if held else None
        if held is None or provider is None or self._settled(provider, held.tokens, self._store.ended(due.key)):
            self._store.mark_revoked(due, held)
        elif due.attempt >= MOST_ATTEMPTS:
            log.error("revocation_given_up", extra={"idp": provider.id})
            self._store.mark_revoked(due, held)
        else:
            self._store.retry_later(due, min(2.0**due.attempt, _LONGEST_PAUSE))

    def _settled(self, provider: Provider, tokens: Tokens, ended: EndedSession | None) -> bool:
        """Whether the revocation is settled; False when a retry may succeed.

        Tokens that an earlier version queued without their user are revoked without a check for other sessions.
        """
        if ended is None:
            return _revoked(provider, tokens)
        attempt = self._grants.begin_revocation(ended)
        if attempt is None:
            log.info("revocation_left_out", extra={"idp": provider.id, "session": reference_of(ended.key)})
            return True
        try:
            return _revoked(provider, tokens)
        finally:
            self._grants.finish_revocation(ended, attempt)


def _revoked(provider: Provider, tokens: Tokens) -> bool:
    """Whether the revocation is settled; False when a retry may succeed."""
    token, kind = tokens.refresh_token, "refresh_token"
    if token is None:
        token, kind = tokens.access.value, "access_token"
    try:
        with provider.within(CALL_LIMIT):
            endpoint = provider.metadata().revocation_endpoint
            if endpoint is None:
                return True
            form = {"token": token, "token_type_hint": kind}
            answer = provider.post("revocation", endpoint, form, repeatable=True, foreign=True)
    except (UpstreamError, ProviderUnavailable):
        return False
    if not answer.ok:
        log.warning("revocation_refused", extra={"idp": provider.id, "status": answer.status})
    return answer.status < 500 and answer.status != 429
