"""When a call that may be repeated is: a connection broke, or a gateway says that the service is not there just now.

A timeout is not repeated, since the caller has waited long enough already. Pauses are drawn at random, so that callers
who failed together do not come back together.
"""

from collections.abc import Callable

MAX_RETRIES = 2
SHORTEST, LONGEST = 0.05, 0.25
"""Seconds between which a pause is drawn."""
_REPEATED = frozenset({"connection", 502, 503, 504})
_SMALL = ("0", "1")  # seconds of Retry-After that are worth waiting for; a date or more is left to the caller


def backoff(outcome: int | str, retry_after: str, random: Callable[[], float]) -> float | None:
    """Seconds to wait before the next attempt, None when there must be none.

    outcome: an answer's status, or what UpstreamError calls the failure. retry_after: the answer's Retry-After header,
    empty without one. random: from 0 up to 1.
    """
    if outcome not in _REPEATED or (retry_after and retry_after not in _SMALL):
        return None
    return float(retry_after or 0) + SHORTEST + (LONGEST - SHORTEST) * random()
