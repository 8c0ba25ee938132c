"""Allow-list of a request's header fields for a service. `response_headers` has the other direction.

Only fields that are listed here or in the service's `request_headers` pass. A deny-list could never be complete: it
would have to hold every name by which some framework takes a user, a method or an address from a request
(`Remote-User`, `X-HTTP-Method-Override`, `X-Original-URL`), in every spelling.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

PASSED = (
    "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Cache-Control", "Content-Digest",
    "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Location", "Content-Type", "Date", "Digest",
    "Idempotency-Key", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since",
    "Last-Event-ID", "Max-Forwards", "Pragma", "Prefer", "Priority", "Range", "Repr-Digest", "Save-Data", "Traceparent",
    "Tracestate", "Upload-Length", "Upload-Metadata", "Upload-Offset", "User-Agent", "Want-Content-Digest",
    "Want-Repr-Digest", "X-Requested-With",
)  # fmt: skip

_OF_TRACES = frozenset({"traceparent", "tracestate"})
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class BaseOrigin(NamedTuple):
    """The public origin that the browser sees, for `Forwarded` and `X-Forwarded-*`."""

    scheme: str
    host: str

    @classmethod
    def of(cls, base_url: str) -> "BaseOrigin":
        parts = urlsplit(base_url)
        return cls(parts.scheme, parts.netloc)


class RequestHeaders:
    """Selects a request's header fields for a service, and adds those about the client."""

    def __init__(self, more: Sequence[str], origin: BaseOrigin) -> None:
        """more: further names for this service, beyond PASSED."""
        self._passed = [(_wsgi_key(name), name) for name in (*PASSED, *map(str.title, more))]
        self._origin = origin

    def of(self, environ: Mapping[str, Any], client_address: str) -> dict[str, str]:
        """environ: a WSGI environment (PEP 3333), in which all spellings of a name are one."""
        headers = {name: environ[key] for key, name in self._passed if key in environ}
        headers["X-Forwarded-For"] = client_address
        headers["X-Forwarded-Proto"], headers["X-Forwarded-Host"] = self._origin
        headers["Forwarded"] = (
            f"for={_node(client_address)};host={_quoted(self._origin.host)};proto={self._origin.scheme}"
        )
        return headers


def within_trace(headers: Mapping[str, str], trace: Mapping[str, str]) -> Mapping[str, str]:
    """The header fields with this trace's context (W3C Trace Context) instead of the caller's; unchanged without a
    trace."""
    if not trace:
        return headers
    return {**{name: value for name, value in headers.items() if name.lower() not in _OF_TRACES}, **trace}


def _wsgi_key(name: str) -> str:
    key = name.upper().replace("-", "_")
    return key if key == "CONTENT_TYPE" else f"HTTP_{key}"


def _node(address: str) -> str:
    """RFC 7239 section 6: an IPv6 address in brackets and quotes."""
    return f'"[{address}]"' if ":" in address else _quoted(address)


def _quoted(text: str) -> str:
    return text if _NAME.fullmatch(text) else f'"{text}"'
