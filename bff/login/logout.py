"""RP-Initiated Logout 1.0 by one-time tickets: ends the provider's session too, without showing a page the ID token.

The provider wants the ID token as a hint, in the URL that the browser opens. A page with that URL would have the token.
So the page gets a one-time address of the BFF, which redirects to the provider's URL:

    kept    store  end-session:{SHA-256 of ticket} = sealed URL, SHA-256 of the cookie
            cookie bff_end_session, HttpOnly, so that a ticket which a script leaks is useless in another browser
    taken   the cookie must match, then compare-and-set removes the record: of two simultaneous requests one succeeds
"""

import json
from dataclasses import dataclass, field
from urllib.parse import urlencode

from bff.crypto import Keyring, SealError, digest, equal, random_id
from bff.errors import ProviderUnavailable
from bff.kv import KeyValue
from bff.oidc.provider import Provider
from bff.sealed import opened
from bff.sessions.tokens import Tokens
from bff.settings.cookies import END_SESSION

END_SESSION_PATH = "/auth/end-session"
COOKIE = END_SESSION
TICKET_LIFE = 120


@dataclass(frozen=True)
class Ticket:
    """path: the one-time address, below BFF_BASE_URL. cookie: the value that binds it to one browser."""

    path: str = field(repr=False)
    cookie: str = field(repr=False)


class EndSessionTickets:
    """Both methods raise StoreUnavailable when the store does not answer."""

    def __init__(self, kv: KeyValue, keys: Keyring) -> None:
        self._kv = kv
        self._sealer = keys.sealer("end-session")

    def keep(self, url: str) -> Ticket:
        """Stores this URL of a provider and returns its ticket."""
        ticket, cookie = random_id(), random_id()
        record = _record(ticket)
        content = json.dumps([url, digest(cookie)]).encode()
        self._kv.set(record, self._sealer.seal(content, record), TICKET_LIFE)
        return Ticket(f"{END_SESSION_PATH}?ticket={ticket}", cookie)

    def take(self, ticket: str, cookie: str) -> str | None:
        """Returns the URL once, to the browser with this cookie; else None, and the ticket stays valid.

        Raises KeyElsewhere.
        """
        if not ticket or not cookie:
            return None
        record = _record(ticket)
        sealed = self._kv.get(record)
        if sealed is None:
            return None
        try:
            url, browser = json.loads(opened(self._sealer, sealed, record))
        except SealError:  # the operator replaced the secrets meanwhile
            return None
        taken = equal(digest(cookie), browser) and self._kv.compare_and_set(record, sealed, None)
        return str(url) if taken else None


def end_session_url(provider: Provider, tokens: Tokens | None, *, post_logout_redirect_uri: str) -> str | None:
    """Returns the URL at which the browser ends the provider's session.

    Returns None when the provider has no such endpoint or its metadata is unavailable.
    """
    try:
        endpoint = provider.metadata().end_session_endpoint
    except ProviderUnavailable:
        return None
    if endpoint is None:
        return None
    parameters = {"client_id": provider.config.client_id, "post_logout_redirect_uri": post_logout_redirect_uri}
    if tokens and tokens.id_token:
        parameters["id_token_hint"] = tokens.id_token
    return endpoint + ("&" if "?" in endpoint else "?") + urlencode(parameters)


def _record(ticket: str) -> str:
    return f"end-session:{digest(ticket)}"
