"""Canonical host: a login begins at the host of BFF_BASE_URL, to which the provider sends the browser back.

A cookie belongs to one host. Under another name of the same server (localhost for 127.0.0.1, www. for the apex) the
browser would get the attempt's cookie for that name, and would not send it to the callback. So the BFF redirects the
login to its own address, never to one that the request names (ADR 44).
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from werkzeug.datastructures import MultiDict

MARK = "canonical"
"""Parameter of a redirected login. Without it, a proxy that rewrites Host would cause an endless redirect."""

_PORTS = {"http": ":80", "https": ":443"}


def address(
    base_url: str,
    environ: Mapping[str, Any],
    arguments: MultiDict[str, str],
    trusts_peer: Callable[[Mapping[str, Any]], bool],
) -> str | None:
    """Returns the address to restart the login at; None when it began at our own address or was redirected already.

    environ: a WSGI environment. arguments: of the query.
    """
    if MARK in arguments or base_url in _origins(base_url, environ, trusts_peer(environ)):
        return None
    host = environ.get("HTTP_HOST", "")
    pairs = [(name, _page(text, host) if name == "return_to" else text) for name, text in arguments.items(multi=True)]
    return f"{base_url}/auth/login?{urlencode([*pairs, (MARK, '1')])}"


def _origins(base_url: str, environ: Mapping[str, Any], trusted: bool) -> set[str]:
    """Returns the origins that the browser may have requested.

    Beside Host only a trusted proxy's headers count. Without them the scheme is unknown, and assumed to be ours.
    """
    hosts, schemes = [environ.get("HTTP_HOST", "")], [urlsplit(base_url).scheme]
    if trusted:
        hosts += _said(environ, "HOST")
        schemes = _said(environ, "PROTO") or schemes
    return {_origin(scheme, host) for scheme in schemes for host in hosts}


def _said(environ: Mapping[str, Any], name: str) -> list[str]:
    return [part.strip() for part in environ.get(f"HTTP_X_FORWARDED_{name}", "").split(",") if part.strip()]


def _origin(scheme: str, host: str) -> str:
    """Returns the origin without the scheme's default port (RFC 6454)."""
    scheme, host = scheme.lower(), host.lower()
    return f"{scheme}://{host.removesuffix(_PORTS.get(scheme, ''))}"


def _page(return_to: str, host: str) -> str:
    """Maps a page at the host that the browser used to the same path at our own."""
    for scheme in _PORTS:
        origin = f"{scheme}://{host}"
        if return_to == origin or return_to.startswith(f"{origin}/"):
            return return_to[len(origin) :] or "/"
    return return_to
