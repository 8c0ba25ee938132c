"""Forward auth dialects: reads the original request from a reverse proxy's auth check; each dialect has its own path.

This module checks nothing. The caller must ask first whether the proxy is trusted, and must check the values it uses.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

FORWARDED = ("/auth/verify", "/auth/forward")
"""Traefik, Caddy, HAProxy: X-Forwarded-Method, -Proto, -Host and -Uri."""

NGINX = "/auth/verify/nginx"
"""nginx's auth_request: X-Original-Method and X-Original-URL."""

ENVOY = "/auth/verify/envoy"
"""Envoy's ext_authz over HTTP: the request's own method and Host, and the path that follows this one."""

_URL = re.compile(r"([a-z]+)://([^/?#]*)(.*)", re.DOTALL)


class OriginalRequest(NamedTuple):
    """The request behind an auth check. A field is empty when the proxy does not send it."""

    method: str
    scheme: str
    host: str
    uri: str

    def __repr__(self) -> str:
        return f"Original({self.method})"

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> "OriginalRequest":
        """environ: a WSGI environment (PEP 3333) with gunicorn's RAW_URI."""
        path = environ["PATH_INFO"]
        if path.startswith(NGINX):
            url = _URL.fullmatch(environ.get("HTTP_X_ORIGINAL_URL", ""))
            return cls(environ.get("HTTP_X_ORIGINAL_METHOD", ""), *(url.groups() if url else ("", "", "")))
        if path.startswith(ENVOY):
            endpoint, raw = envoy_endpoint(path), environ.get("RAW_URI", "")
            # A prefix in another spelling (percent-encoded) does not count: its end in the raw URI is unknown.
            uri = raw[len(endpoint) :] if endpoint and raw.startswith(f"{endpoint}/") else ""
            scheme, host = environ.get("HTTP_X_FORWARDED_PROTO", ""), environ.get("HTTP_HOST", "")
            return cls(environ["REQUEST_METHOD"], scheme, host, uri)
        return cls(*[environ.get(f"HTTP_X_FORWARDED_{name}", "") for name in ("METHOD", "PROTO", "HOST", "URI")])


def envoy_endpoint(path: str) -> str | None:
    """Returns our part of a path in Envoy's dialect: `/auth/verify/envoy`, with or without `@NAME`."""
    if not path.startswith(ENVOY):
        return None
    endpoint = ENVOY + path[len(ENVOY) :].partition("/")[0]
    return endpoint if endpoint == ENVOY or endpoint.startswith(f"{ENVOY}@") else None
