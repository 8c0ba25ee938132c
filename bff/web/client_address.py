"""Who sent a request. A forwarding header counts only when a trusted proxy sent it, read from right to left.

The rightmost address that is not a trusted proxy is the client: everything to its left was written by somebody who
could have written anything. One header is read, the one that the operator's proxies write, and never the other: that
one a client could send through them as it likes (ADR 20).

Nothing else in the BFF reads the peer's address or these headers; a test in tests/architecture sees to it.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from bff.sessions.authenticator import ClientFingerprint
from bff.sessions.binding import binding_of
from bff.settings import FORWARDED, X_FORWARDED_FOR, Network, Settings
from bff.web import forwarded

LONGEST = 512  # what a chain of proxies needs; the left end of a longer one is the client's own invention
_SOCKET_FILE = ""  # what gunicorn has for a peer that came through a socket file
_NAMES_A_CLIENT = frozenset(
    f"HTTP_{name}"
    for name in (
        "X_FORWARDED_FOR",
        "FORWARDED",
        "X_REAL_IP",
        "X_CLIENT_IP",
        "X_CLUSTER_CLIENT_IP",
        "TRUE_CLIENT_IP",
        "CF_CONNECTING_IP",
    )
)
_FORWARDING = ("HTTP_X_FORWARDED", "HTTP_X_ORIGINAL_")  # how the other fields begin that proxies add
Read = Callable[[str], tuple[str | None, str]]
"""What was added last to a header, None when it names no address; and what stands left of it."""


class ClientAddressResolver:
    def __init__(
        self, trusted: Sequence[Network], *, unix_sockets: bool = False, header: str = X_FORWARDED_FOR
    ) -> None:
        """trusted: whose header counts; unix_sockets: and that of whoever came through a socket file. header: one of
        bff.settings.FORWARDED_HEADERS."""
        self._trusted = tuple(trusted)
        self._unix_sockets = unix_sockets
        self._header = f"HTTP_{header.upper().replace('-', '_')}"
        self._last: Read = forwarded.last if header == FORWARDED else _last_listed
        self._resolve = functools.lru_cache(maxsize=4096)(self._resolved)
        self.trusts = functools.lru_cache(maxsize=256)(self._trusts)

    @classmethod
    def of_settings(cls, settings: Settings) -> "ClientAddressResolver":
        return cls(settings.trusted_proxies, unix_sockets=settings.trust_unix_sockets, header=settings.forwarded_header)

    def of(self, environ: Mapping[str, Any]) -> ClientFingerprint:
        """environ: a WSGI environment (PEP 3333)."""
        header = environ.get(self._header, "")
        if len(header) > LONGEST:
            header = header[-LONGEST:].partition(",")[2]  # the first of what is left may lack its beginning
        address = self._resolve(environ.get("REMOTE_ADDR", _SOCKET_FILE), header)
        return ClientFingerprint(address, environ.get("HTTP_USER_AGENT", ""))

    def trusts_peer(self, environ: Mapping[str, Any]) -> bool:
        """Whether a trusted proxy handed this request over, so that its other forwarding headers count as well."""
        return self.trusts(environ.get("REMOTE_ADDR", _SOCKET_FILE))

    @staticmethod
    def says_forwarded(environ: Mapping[str, Any]) -> bool:
        """Whether a field says that the request came through a proxy; whoever wrote it."""
        return any(key in _NAMES_A_CLIENT or key.startswith(_FORWARDING) for key in environ)

    def knows_client(self, environ: Mapping[str, Any]) -> bool:
        """False where fields say that the client is another one than the peer, and none of them is believed: they are
        an untrusted peer's, or not in the header that the operator's proxies write."""
        if not self.trusts_peer(environ):
            return not self.says_forwarded(environ)
        return self._header in environ or _NAMES_A_CLIENT.isdisjoint(environ)

    def network(self, environ: Mapping[str, Any]) -> str:
        """The peer's network as sessions are bound to it, for a log that names nobody; unix for a socket file."""
        return binding_of(environ.get("REMOTE_ADDR", _SOCKET_FILE), "").network or "unix"

    @staticmethod
    def within(text: str, networks: Iterable[Network]) -> bool:
        """Whether text is an address in one of the networks."""
        address = _parsed(text)
        return address is not None and any(address in network for network in networks)

    def _trusts(self, peer: str) -> bool:
        return self._unix_sockets if peer == _SOCKET_FILE else self.within(peer, self._trusted)

    def _resolved(self, peer: str, header: str) -> str:
        known = _parsed(peer)
        address = str(known) if known else peer
        while header and self._trusts(address):
            text, header = self._last(header)
            claimed = _parsed(text) if text else None
            if claimed is None:
                break
            address = str(claimed)
        return address


def _last_listed(header: str) -> tuple[str, str]:
    rest, _, last = header.rpartition(",")
    return _without_port(last.strip()), rest


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
