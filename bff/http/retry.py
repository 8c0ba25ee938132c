"""Retry policy with jitter: a repeatable call is retried after a broken connection, or a gateway's 502, 503 or 504.

A timeout is not retried, since the caller has waited long enough already. Pauses are random, so that callers that
failed together do not come back together.
"""

from collections.abc import Callable

MAX_RETRIES = 2
SHORTEST, LONGEST = 0.05, 0.25
"""Bounds of a random pause, in seconds."""
_REPEATED = frozenset({"connection", 502, 503, 504})
_SMALL = ("0", "1")  # seconds of Retry-After that are worth a wait; no retry after a date or more


def backoff(outcome: int | str, retry_after: str, random: Callable[[], float]) -> float | None:
    """Seconds to wait before the next attempt, None for no retry.

    outcome: an answer's status, or the `outcome` of UpstreamError. retry_after: the answer's Retry-After header,
    empty without one. random: from 0 up to 1.
    """
    if outcome not in _REPEATED or (retry_after and retry_after not in _SMALL):
        return None
    return float(retry_after or 0) + SHORTEST + (LONGEST - SHORTEST) * random()
