"""Label values from closed sets only: no text of a request ever becomes a label value.

An attacker who sends a million methods, paths or codes creates not one new series.
"""

from collections.abc import Collection

OTHER = "other"
UNMATCHED = "unmatched"

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})


def method(value: str) -> str:
    """One of the nine standard methods (RFC 9110 section 9, RFC 5789), else `other`."""
    return value if value in METHODS else OTHER


def one_of(value: str, allowed: Collection[str], fallback: str = OTHER) -> str:
    return value if value in allowed else fallback


def endpoint(rule: str | None) -> str:
    """A route template such as `/auth/login`, else `unmatched`."""
    return rule or UNMATCHED
