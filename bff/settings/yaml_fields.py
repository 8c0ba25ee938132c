"""Fields of the YAML files, besides marshmallow's own.

No message quotes a value: it may have come from a variable that holds a secret.
"""

import re
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, validate

from bff.settings import template
from bff.settings.model import RateLimit

EMBEDDED = "embedded"
"""The base_url that stands for the sample API of development."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ALIAS = validate.Regexp(r"[a-z0-9][a-z0-9_-]{0,31}$", error="must be a short lower-case name such as corporate.")
ROUTE_ID = validate.Regexp(r"[a-z0-9][a-z0-9_-]{0,62}$", error="must be a short lower-case name such as orders-list.")
SECONDS = validate.Range(min=0.01, max=3600)

_HOST = re.compile(r"[a-z0-9.:-]+")
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+,=:@-]+)*")
_SIZE = re.compile(r"([1-9]\d{0,14})(KiB|MiB|GiB)?")
_UNITS = {None: 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_LIMIT = re.compile(r"([1-9]\d{0,8})/(second|minute|hour|day)(?::(open|closed))?")
_ABSOLUTE = re.compile(r"https?://[^\s/?#]+[^\s#]*")  # RFC 8707 section 2
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]*")
# Headers that a service trusts because the BFF, or a proxy before it, sets them; headers of one connection; and
# headers that change the authorised request.
_HEADER_FAMILIES = (
    "x-user", "x-session", "x-auth", "x-remote", "x-client-", "x-ssl-", "ssl-", "x-forwarded", "x-real-",
    "x-original-", "x-rewrite-", "x-override-", "x-http-", "x-method-", "x-middleware-", "x-envoy-", "proxy-",
    "sec-",
)  # fmt: skip
_HEADERS_REFUSED = frozenset({
    "authorization", "cookie", "set-cookie", "dpop", "host", "connection", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade", "expect", "http2-settings", "forwarded", "via", "max-forwards", "remote-user",
    "client-ip", "true-client-ip", "cf-connecting-ip", "fastly-client-ip", "x-cluster-client-ip", "x-host",
    "x-scheme", "x-url-scheme", "x-csrf-token", "front-end-https", "early-data", "traceparent", "tracestate", "baggage",
})  # fmt: skip
# Headers that control the proxies before the BFF, or a browser beyond the answer's own page.
_RESPONSE_FAMILIES = (
    "access-control-", "x-accel-", "x-sendfile", "x-lighttpd-", "x-litespeed-", "x-reproxy-", "surrogate-", "cdn-",
    "cf-", "fly-", "report", "set-", "public-key-pins", "attribution-reporting-",
)  # fmt: skip
_RESPONSES_REFUSED = frozenset({
    "content-length", "date", "server", "status", "www-authenticate", "authentication-info", "dpop-nonce",
    "strict-transport-security", "expect-ct", "clear-site-data", "alt-svc", "alt-used", "service-worker-allowed", "nel",
    "origin-agent-cluster", "accept-ch", "accept-ch-lifetime", "critical-ch", "timing-allow-origin",
    "use-as-dictionary", "activate-storage-access", "observe-browsing-topics", "x-correlation-id", "x-denied-reason",
})  # fmt: skip


class WordList(fields.Field[tuple[str, ...]]):
    """A list of words, or several words in one text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        words = value.replace(",", " ").split() if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValidationError("must be words: a list of them, or several in one text.")
        if len(set(words)) < len(words):
            raise ValidationError("names something twice.")
        return tuple(self.word(word) for word in words)

    def word(self, text: str) -> str:
        return text


class Methods(WordList):
    def word(self, text: str) -> str:
        if text not in METHODS:
            raise ValidationError(f"must be of {', '.join(METHODS)}.")
        return text


class HeaderNames(WordList):
    def word(self, text: str) -> str:
        name = text.lower()
        if not _HEADER.fullmatch(name):
            raise ValidationError("must be names of headers, of letters, digits and dashes.")
        self.check(name)
        return name

    def check(self, name: str) -> None:
        """Raises ValidationError for a name that must not pass."""
        raise NotImplementedError


class RequestHeaderNames(HeaderNames):
    """Names of request headers that carry no claim about the caller, its address or its target."""

    def check(self, name: str) -> None:
        if name in _HEADERS_REFUSED or name.startswith((*_HEADER_FAMILIES, "content-")):
            raise ValidationError(f"{name} is for the BFF to set or to keep: a client must not choose it.")


class ResponseHeaderNames(HeaderNames):
    """Names of response headers that name no user, and control neither a proxy nor a browser beyond the own page."""

    def check(self, name: str) -> None:
        refused = name in _HEADERS_REFUSED | _RESPONSES_REFUSED or name.endswith("-cache-control")
        if refused or name.startswith(_HEADER_FAMILIES + _RESPONSE_FAMILIES):
            raise ValidationError(f"{name} is for the BFF to set or to keep: a service must not choose it.")


class PathTemplate(fields.String):
    """Literal segments, `{name}`, and `*` at the end. within: the required prefix."""

    def __init__(self, within: str = "/", **options: Any) -> None:
        super().__init__(**options)
        self._within = within

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = str(super()._deserialize(value, attr, data, **kwargs))
        try:
            template.parse(text)
        except ValueError as err:
            raise ValidationError(str(err)) from err
        if not text.startswith(self._within):
            raise ValidationError(f"must begin with {self._within}.")
        return text


class Size(fields.Field[int]):
    """Bytes, as a number or with a unit: 10MiB."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        match = _SIZE.fullmatch(str(value)) if isinstance(value, int | str) else None
        if match is None:
            raise ValidationError("must be a number of bytes such as 65536, or a size such as 512KiB, 10MiB or 1GiB.")
        return int(match[1]) * _UNITS[match[2]]


class Limit(fields.String):
    """A rate such as 20/minute or 20/minute:closed; the caller adds the limit's name."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        match = _LIMIT.fullmatch(super()._deserialize(value, attr, data, **kwargs))
        if match is None:
            raise ValidationError("must be a limit such as 20/minute; there is second, minute, hour and day.")
        return RateLimit("", int(match[1]), match[2], closed=match[3] == "closed")


class BaseUrl(fields.String):
    """The address of a service: scheme, host, optional port and path, without the slash at the end. embedded:
    whether that word is allowed instead."""

    def __init__(self, *, embedded: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._embedded = embedded

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = str(super()._deserialize(value, attr, data, **kwargs)).rstrip("/")
        if not _is_base_url(text) and not (self._embedded and text == EMBEDDED):
            raise ValidationError("must be an http or https URL with at most a path, such as https://api.example.com.")
        return text


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    authority = f"[{host}]" if ":" in host else host
    authority += f":{port}" if port is not None else ""
    plain = text == f"{parts.scheme}://{parts.netloc}{parts.path}" and parts.netloc.lower() == authority
    return bool(plain and parts.scheme in ("http", "https") and _HOST.fullmatch(host) and _PREFIX.fullmatch(parts.path))


def absolute_url(text: str) -> None:
    if not _ABSOLUTE.fullmatch(text):
        raise ValidationError("must be an absolute URL without a fragment, such as https://orders.example.com.")
