"""Passive health check: whether a provider answers, checked before a login sends a browser to it.

A cached copy of the metadata does not show whether the provider is up. So every call to the provider records its
outcome, the health check's too. While the last call is unanswered, a login first fetches the metadata: one login at a
time, at most every ASKED_AGAIN_AFTER seconds. So a login fails at once during an outage, and the next one notices its
end.
"""

import threading
from collections.abc import Callable

from bff.errors import ProviderUnavailable

ASKED_AGAIN_AFTER = 2.0
"""Seconds."""


class Reachable:
    def __init__(self, ask: Callable[[], None], clock: Callable[[], float]) -> None:
        """ask: calls the provider and then `note`; raises ProviderUnavailable. clock: seconds that only go forward."""
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._answers = True
        self._asked_at = float("-inf")
        self._answered_at = float("-inf")  # when the provider last answered a login's own check

    def note(self, *, answered: bool, asked: bool) -> None:
        """Records the outcome of a call. asked: whether the call fetched the metadata.

        A failure at another endpoint may be due to one user's code, so it does not refuse other logins.
        """
        self._answers = answered
        if asked and not answered:
            self._asked_at = self._clock()
            self._answered_at = float("-inf")

    def require(self) -> None:
        """Raises ProviderUnavailable, at once or after one attempt to reach the provider."""
        if self._answers or self._clock() - self._answered_at < ASKED_AGAIN_AFTER:
            return
        if not self._may_ask():
            raise ProviderUnavailable("The identity provider does not answer at the moment.")
        self._ask()
        self._answered_at = self._clock()

    def _may_ask(self) -> bool:
        with self._lock:
            if self._clock() - self._asked_at < ASKED_AGAIN_AFTER:
                return False
            self._asked_at = self._clock()
            return True
