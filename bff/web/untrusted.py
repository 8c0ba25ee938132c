"""Misconfiguration alarm: forwarding fields from a peer that TRUSTED_PROXIES does not name.

With a proxy that the setting forgot, all people have that proxy's address: they share one rate limit, deep links are
lost, and its private address passes for a scraper's. Nothing of that shows by itself.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from bff.observability import metrics
from bff.web.client import Clients

log = logging.getLogger(__name__)

QUIET = 60.0
"""Seconds between two lines of one process. A client that reaches the BFF directly may send such fields as well."""


class UntrustedForwarding:
    def __init__(self, clients: Clients, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds."""
        self._clients = clients
        self._clock = clock
        self._changing = threading.Lock()
        self._quiet_until = float("-inf")
        self._unlogged = 0

    def note(self, environ: Mapping[str, Any]) -> None:
        """Count the request, and log it now and then, if it is one. Asked on the hot path: a trusted peer costs one
        look into a cache. environ: a WSGI environment (PEP 3333)."""
        if self._clients.trusts_peer(environ) or not self._clients.says_forwarded(environ):
            return
        metrics.untrusted_forwarding()
        unlogged = self._due()
        if unlogged is not None:
            log.warning(
                "untrusted_forwarding",
                extra={
                    "network": self._clients.network(environ),
                    "setting": "TRUSTED_PROXIES",
                    "advice": "If this network is your reverse proxy's, add it to TRUSTED_PROXIES.",
                    "unlogged": unlogged,
                },
            )

    def _due(self) -> int | None:
        """How many were not logged since the last line; None while it is quiet."""
        with self._changing:
            if self._clock() < self._quiet_until:
                self._unlogged += 1
                return None
            self._quiet_until = self._clock() + QUIET
            unlogged, self._unlogged = self._unlogged, 0
            return unlogged
