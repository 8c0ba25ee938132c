"""Listener isolation: verify is for reverse proxies, so it may have its own listener (VERIFY_BIND, ADR 26).

The local address of the connection identifies the listener. The kernel reports it, so no Host, path or header field
of a request can change it.
"""

import functools
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any

from bff.settings import Bind

LISTENER = "bff.listener"
"""Key of a WSGI environment: the listener's name, as from getsockname, when there is no gunicorn.socket. A client
cannot set it: its fields become HTTP_* (PEP 3333)."""

_Name = tuple[str, int] | str


class VerifyListener:
    def __init__(self, bind: Bind) -> None:
        """bind: (host, port), or the path of a socket file."""
        self._bind = _name(bind)
        self.named = functools.lru_cache(maxsize=256)(self._named)

    def accepted(self, environ: Mapping[str, Any]) -> bool:
        """Whether this listener accepted the request. False if the server does not provide the local address."""
        end = environ.get(LISTENER) or _local_end(environ.get("gunicorn.socket"))
        return end is not None and self.named(end)

    def _named(self, end: Any) -> bool:
        """end: a socket's own address, as from getsockname."""
        name = _name(end)
        if isinstance(name, str) or isinstance(self._bind, str):
            return name == self._bind
        host, port = self._bind
        return port == name[1] and (host == name[0] or ip_address(host).is_unspecified)


def _local_end(connection: Any) -> Any:
    try:
        return connection.getsockname() if connection is not None else None
    except OSError:  # the connection is closed
        return None


def _name(end: Any) -> _Name:
    """Normalises a socket's name: an IPv6 name has four parts, and may hold a mapped IPv4 address."""
    if not isinstance(end, tuple):
        return end.decode() if isinstance(end, bytes) else str(end)
    address = ip_address(end[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address), end[1]
