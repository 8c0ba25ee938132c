"""Allow-list of the fields of a service's answer: those about the answer itself and its own page.

A deny-list could never be complete: it would have to hold every field by which some proxy in front of the BFF takes
orders (`X-Accel-Redirect`, `X-Envoy-*`, `Surrogate-Control`), some reader takes an identity (`X-User-ID`,
`Remote-User`), or a browser changes its behaviour for the whole site (`Set-Cookie`, `Strict-Transport-Security`,
`NEL`). A service's `response_headers` adds further fields.
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
    # validators and caching (RFC 9111), without fields for shared caches alone
    "etag", "last-modified", "cache-control", "expires", "age", "pragma", "vary",
    # negotiation, methods and preferences
    "accept", "accept-encoding", "accept-language", "accept-patch", "accept-post", "allow", "preference-applied",
    "want-content-digest", "want-repr-digest",
    # redirects and links (RFC 8288, 8594, 9745)
    "location", "link", "deprecation", "sunset",
    # retries and rate limits
    "retry-after", "ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset",
    "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
    # resumable uploads
    "upload-offset", "upload-length", "upload-metadata", "upload-expires",
    # measurements of this answer
    "server-timing", "traceresponse",
    # permissions of the answer's own page
    "content-security-policy", "content-security-policy-report-only", "cross-origin-embedder-policy",
    "cross-origin-opener-policy", "cross-origin-resource-policy", "permissions-policy", "referrer-policy",
    "x-content-type-options", "x-download-options", "x-frame-options", "x-permitted-cross-domain-policies",
    "x-robots-tag", "x-xss-protection",
})  # fmt: skip

_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class ResponseHeaders:
    """Selects the fields of one service's answers for the client."""

    def __init__(self, more: Sequence[str]) -> None:
        """more: further names in lower case, beyond PASSED."""
        self._passed = PASSED.union(more)

    def of(self, fields: Iterable[tuple[str, str]], auth: Auth, *, own_token: bool = False) -> Headers:
        """The fields for the client. auth: of the route. own_token: whether the service got the client's own token.

        Invalid field values are dropped, and so are fields that Connection names (RFC 9110 section 7.6.1).
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
