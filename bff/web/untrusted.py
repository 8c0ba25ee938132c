"""Misconfiguration alarm: warns about forwarding fields that the BFF ignores.

The peer is not in TRUSTED_PROXIES, or it is and uses another header than FORWARDED_HEADER. With a proxy missing in the
settings, all users have that proxy's address. They share one rate limit, deep links are lost, and the proxy's private
address passes for a scraper's. No other symptom points at the cause.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from bff.observability import metrics
from bff.web.client_address import ClientAddressResolver

log = logging.getLogger(__name__)

QUIET = 60.0
"""Seconds between two log lines of one kind and process: a client that reaches the BFF directly may send such fields
too."""

_UNTRUSTED = "untrusted_forwarding"
_UNREAD = "unread_forwarding"
_ABOUT = {
    _UNTRUSTED: {
        "setting": "TRUSTED_PROXIES",
        "advice": "If this network is your reverse proxy's, add it to TRUSTED_PROXIES.",
    },
    _UNREAD: {
        "setting": "FORWARDED_HEADER",
        "advice": "The proxy names clients in another header than FORWARDED_HEADER, so each has its address.",
    },
}


class UntrustedForwarding:
    def __init__(self, clients: ClientAddressResolver, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds."""
        self._clients = clients
        self._clock = clock
        self._changing = threading.Lock()
        self._quiet_until: dict[str, float] = {}
        self._unlogged: Counter[str] = Counter()

    def note(self, environ: Mapping[str, Any]) -> None:
        """Counts an untrusted peer's fields, and logs either kind at most every QUIET seconds.

        On the hot path: a trusted peer with the expected header costs two look-ups. environ: a WSGI environment (PEP
        3333).
        """
        if self._clients.knows_client(environ):
            return
        kind = _UNREAD if self._clients.trusts_peer(environ) else _UNTRUSTED
        if kind is _UNTRUSTED:
            metrics.untrusted_forwarding()
        unlogged = self._due(kind)
        if unlogged is not None:
            extra = {"network": self._clients.network(environ), **_ABOUT[kind], "unlogged": unlogged}
            log.warning(kind, extra=extra)

    def _due(self, kind: str) -> int | None:
        """Returns how many of the kind were not logged since the last line; None within QUIET seconds of that line."""
        with self._changing:
            if self._clock() < self._quiet_until.get(kind, float("-inf")):
                self._unlogged[kind] += 1
                return None
            self._quiet_until[kind] = self._clock() + QUIET
            return self._unlogged.pop(kind, 0)
