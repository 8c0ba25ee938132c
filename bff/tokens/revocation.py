"""Tokens of sessions that ended are revoked at the provider (RFC 7009), however the session ended.

Some providers keep refresh tokens alive after their own logout, so the BFF revokes what it held. Ending a session puts
its tokens into a queue in the same transaction, so none is forgotten when a worker dies. A logout tries at once; the
rest is done in the background, and again after a pause while the provider is away.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from bff.errors import ProviderUnavailable, StoreUnavailable, UpstreamError
from bff.oidc.issued import Issued
from bff.oidc.provider import Provider
from bff.sessions.token_store import DueRevocation, TokenStore
from bff.sessions.tokens import Tokens

log = logging.getLogger(__name__)

MOST_AT_ONCE = 200
MOST_ATTEMPTS = 100
_LONGEST_PAUSE = 300.0


class Revocations:
    def __init__(self, store: TokenStore, providers: Mapping[str, Provider]) -> None:
        self._store = store
        self._providers = providers

    def revoke_now(self, key: str) -> None:
        """For a logout: one try while the browser waits; what fails is tried again in the background."""
        with suppress(StoreUnavailable):
            self._turn(DueRevocation(key, 0))

    def revoke_due(self, may_go_on: Callable[[], bool] = lambda: True) -> None:
        """One turn of the background job, a step for each session. Raises StoreUnavailable; the queue is as it was
        then."""
        for due in self._store.due_for_revocation(MOST_AT_ONCE):
            if not may_go_on():
                return
            self._turn(due)

    def orphan(self, provider: Provider, issued: Issued) -> None:
        """Revoke what was issued for a session that ended meanwhile; nobody holds it, so it is tried once."""
        _revoked(provider, issued)

    def _turn(self, due: DueRevocation) -> None:
        held = self._store.read(due.key)
        provider = self._providers.get(held.tokens.idp) if held else None
        if held is None or provider is None or _revoked(provider, held.tokens):
            self._store.settle(due, held)
        elif due.attempt >= MOST_ATTEMPTS:
            log.error("revocation_given_up", extra={"idp": provider.id})
            self._store.settle(due, held)
        else:
            self._store.postpone(due, min(2.0**due.attempt, _LONGEST_PAUSE))


def _revoked(provider: Provider, tokens: Tokens | Issued) -> bool:
    """Whether there is nothing left to do: False when it may work later."""
    token, kind = tokens.refresh_token, "refresh_token"
    if token is None:
        token, kind = tokens.access.value if tokens.access else None, "access_token"
    try:
        endpoint = provider.metadata().revocation_endpoint
        if endpoint is None or token is None:
            return True
        form = {"token": token, "token_type_hint": kind}
        answer = provider.post("revocation", endpoint, form, repeatable=True)
    except (UpstreamError, ProviderUnavailable):
        return False
    if not answer.ok:
        log.warning("revocation_refused", extra={"idp": provider.id, "status": answer.status})
    return answer.status < 500 and answer.status != 429
