"""Client address resolution: reads a forwarding header from right to left, if a trusted proxy sent it.

The client is the rightmost address that is no trusted proxy: an untrusted host may have written everything to its left.
The resolver reads only the header that the operator's proxies write. A client could send any other header through them
unchanged (ADR 20).

Only this module reads the peer's address and these headers; a test in tests/architecture checks it.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from bff.sessions.authenticator import ClientFingerprint
from bff.sessions.binding import binding_of
from bff.settings import FORWARDED, X_FORWARDED_FOR, Network, Settings
from bff.web import forwarded

LONGEST = 512  # enough for a chain of proxies; the client itself wrote the left end of a longer header
_SOCKET_FILE = ""  # gunicorn's REMOTE_ADDR for a peer on a socket file
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
_FORWARDING = ("HTTP_X_FORWARDED", "HTTP_X_ORIGINAL_")  # prefixes of the other fields that proxies add
Read = Callable[[str], tuple[str | None, str]]
"""Returns (a header's last address, None if the last element names none; the rest left of it)."""


class ClientAddressResolver:
    def __init__(
        self, trusted: Sequence[Network], *, unix_sockets: bool = False, header: str = X_FORWARDED_FOR
    ) -> None:
        """trusted: networks of trusted proxies. unix_sockets: whether a peer on a socket file is trusted too. header:
        one of bff.settings.FORWARDED_HEADERS."""
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
            header = header[-LONGEST:].partition(",")[2]  # drop the first element, which may be cut
        address = self._resolve(environ.get("REMOTE_ADDR", _SOCKET_FILE), header)
        return ClientFingerprint(address, environ.get("HTTP_USER_AGENT", ""))

    def trusts_peer(self, environ: Mapping[str, Any]) -> bool:
        """Whether the peer is a trusted proxy, so that its other forwarding headers count as well."""
        return self.trusts(environ.get("REMOTE_ADDR", _SOCKET_FILE))

    @staticmethod
    def says_forwarded(environ: Mapping[str, Any]) -> bool:
        """Whether any field, trusted or not, shows that the request came through a proxy."""
        return any(key in _NAMES_A_CLIENT or key.startswith(_FORWARDING) for key in environ)

    def knows_client(self, environ: Mapping[str, Any]) -> bool:
        """False when fields name another client than the peer and the resolver trusts none of them.

        Then the peer is untrusted, or it uses another header than the operator's proxies write.
        """
        if not self.trusts_peer(environ):
            return not self.says_forwarded(environ)
        return self._header in environ or _NAMES_A_CLIENT.isdisjoint(environ)

    def network(self, environ: Mapping[str, Any]) -> str:
        """Returns the peer's network, as in a session's binding, so that logs hold no address; unix for a socket."""
        return binding_of(environ.get("REMOTE_ADDR", _SOCKET_FILE), "").network or "unix"

    @staticmethod
    def within(text: str, networks: Iterable[Network]) -> bool:
        """Whether the text is an address in one of the networks."""
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
    """Removes the port that some proxies write: 192.0.2.1:8080, [2001:db8::1]:8080."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
