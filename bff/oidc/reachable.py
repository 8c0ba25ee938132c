"""Is the provider there? Asked before a person is sent to it: a copy of its metadata says nothing of that.

Every call to the provider leaves word, the health check's too. While the last one got no answer, a login first asks for
the metadata anew: one at a time, and once in a while. So an outage is told at once, and its end is noticed by the next
login.
"""

import threading
from collections.abc import Callable

from bff.errors import ProviderUnavailable

ASKED_AGAIN_AFTER = 2.0
"""Seconds."""


class Reachable:
    def __init__(self, ask: Callable[[], None], clock: Callable[[], float]) -> None:
        """ask: raises ProviderUnavailable, and leaves word by `note`. clock: seconds that only go forward."""
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._answers = True
        self._asked_at = float("-inf")
        self._answered_at = float("-inf")  # when a login asked in doubt, and had an answer

    def note(self, *, answered: bool, asked: bool) -> None:
        """What became of a call. asked: whether it was for the metadata. What another endpoint does not answer may be
        due to a single person's code, and refuses nobody else's login."""
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
