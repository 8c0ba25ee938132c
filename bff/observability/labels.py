"""Bounded cardinality: label values come from closed sets, and no text of a request ever becomes one.

An attacker that sends a million methods, paths or codes creates not one new series.
"""

import base64
import logging
from collections.abc import Collection

from bff.crypto import Mac

log = logging.getLogger(__name__)

OTHER = "other"
UNMATCHED = "unmatched"

WEB_VITALS = ("LCP", "INP", "CLS", "FCP", "TTFB")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})


def method(value: str) -> str:
    """One of the nine standard methods (RFC 9110 section 9, RFC 5789), else `other`."""
    return value if value in METHODS else OTHER


def one_of(value: str, allowed: Collection[str], fallback: str = OTHER) -> str:
    return value if value in allowed else fallback


def endpoint(rule: str | None) -> str:
    """A route template such as `/auth/login`, else `unmatched`."""
    return rule or UNMATCHED


class Pseudonyms:
    """Keyed buckets: a label for a person or a client is one of a few buckets, the same in every worker and pod.

    A key decides the bucket, so an address or a name alone does not reveal it.
    """

    def __init__(self, mode: str, buckets: int, mac: Mac) -> None:
        """mode: bucket; off for an empty value, which Prometheus treats as no label; raw for the identifier itself."""
        self._mode = mode
        self._buckets = buckets
        self._mac = mac
        if mode == "raw":
            log.warning("metrics_label_people")

    def of(self, identifier: str) -> str:
        if self._mode == "bucket":
            return self._bucket(identifier)
        return identifier if self._mode == "raw" else ""

    def _bucket(self, identifier: str) -> str:
        signature = base64.urlsafe_b64decode(self._mac.sign(identifier) + "=")
        return f"u{int.from_bytes(signature[:8], 'big') % self._buckets:x}"
