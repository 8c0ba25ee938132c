"""Who sent a request. Forwarding headers count only when a trusted proxy sent them, read from right to left.

The rightmost address that is not a trusted proxy is the client: everything to its left was written by somebody who
could have written anything.
"""

import functools
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from bff.sessions.gate import Client
from bff.settings import Network

_LONGEST = 512  # what a chain of proxies needs; the left end of a longer one is the client's own invention


class Clients:
    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = tuple(trusted)
        self._resolve = functools.lru_cache(maxsize=4096)(self._resolved)
        self.trusts = functools.lru_cache(maxsize=256)(self._trusts)

    def of(self, environ: dict[str, Any]) -> Client:
        """environ: a WSGI environment (PEP 3333)."""
        forwarded = environ.get("HTTP_X_FORWARDED_FOR", "")
        address = self._resolve(environ.get("REMOTE_ADDR", ""), forwarded[-_LONGEST:])
        return Client(address, environ.get("HTTP_USER_AGENT", ""))

    @staticmethod
    def within(text: str, networks: Iterable[Network]) -> bool:
        """Whether text is an address in one of the networks."""
        address = _parsed(text)
        return address is not None and any(address in network for network in networks)

    def _trusts(self, peer: str) -> bool:
        """Whether forwarding headers from this peer count."""
        return self.within(peer, self._trusted)

    def _resolved(self, peer: str, forwarded: str) -> str:
        known = _parsed(peer)
        address = str(known) if known else peer
        for part in reversed(forwarded.split(",") if forwarded else ()):
            if not self._trusts(address):
                break
            claimed = _parsed(_without_port(part.strip()))
            if claimed is None:
                break
            address = str(claimed)
        return address


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _without_port(text: str) -> str:
    """192.0.2.1:8080 and [2001:db8::1]:8080 as some proxies write them."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
