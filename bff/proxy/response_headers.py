"""Allow-list of the fields of a service's answer: what they say is about the answer and its own page.

A list of what must not pass could never be complete: it would have to hold every field by which some proxy in front of
the BFF takes orders (`X-Accel-Redirect`, `X-Envoy-*`, `Surrogate-Control`), some reader believes in an identity
(`X-User-ID`, `Remote-User`), or a browser changes what it does for the whole site (`Set-Cookie`,
`Strict-Transport-Security`, `NEL`). What a service needs beyond this list its `response_headers` name.
"""

import re
from collections.abc import Iterable, Sequence

from bff.proxy.caching import for_one_user
from bff.proxy.challenges import passed_on
from bff.settings import Auth

Headers = list[tuple[str, str]]

PASSED = frozenset({
    # representation (RFC 9110 section 8) and ranges (section 14)
    "content-type", "content-encoding", "content-language", "content-location", "content-length", "content-disposition",
    "content-range", "accept-ranges", "content-digest", "repr-digest", "digest",
    # validators and caching (RFC 9111); what addresses shared caches alone is not passed
    "etag", "last-modified", "cache-control", "expires", "age", "pragma", "vary",
    # negotiation, methods and preferences
    "accept", "accept-encoding", "accept-language", "accept-patch", "accept-post", "allow", "preference-applied",
    "want-content-digest", "want-repr-digest",
    # where to go, and what belongs to the answer (RFC 8288, 8594, 9745)
    "location", "link", "deprecation", "sunset",
    # when to come again, and how often
    "retry-after", "ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset",
    "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
    # uploads that are resumed
    "upload-offset", "upload-length", "upload-metadata", "upload-expires",
    # measurements of this answer
    "server-timing", "traceresponse",
    # what its own page may do
    "content-security-policy", "content-security-policy-report-only", "cross-origin-embedder-policy",
    "cross-origin-opener-policy", "cross-origin-resource-policy", "permissions-policy", "referrer-policy",
    "x-content-type-options", "x-download-options", "x-frame-options", "x-permitted-cross-domain-policies",
    "x-robots-tag", "x-xss-protection",
})  # fmt: skip

_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class ResponseHeaders:
    """What the client gets of the fields of one service's answers."""

    def __init__(self, more: Sequence[str]) -> None:
        """more: names, in lower case, that pass on top of PASSED."""
        self._passed = PASSED.union(more)

    def of(self, fields: Iterable[tuple[str, str]], auth: Auth, *, own_token: bool = False) -> Headers:
        """auth: what opened the route. own_token: whether the service got the client's own.

        What is no field value is dropped, and so is what Connection names (RFC 9110 section 7.6.1).
        """
        fields = list(fields)
        passed = self._passed.difference(
            word.strip(" \t").lower()
            for name, value in fields
            if name.lower() == "connection"
            for word in value.split(",")
        )
        kept = [(name, value) for name, value in fields if name.lower() in passed and _VALUE.fullmatch(value)]
        kept += [("WWW-Authenticate", challenge) for challenge in passed_on(fields, own_token=own_token)]
        return kept if auth is Auth.NONE else for_one_user(kept, auth)
