"""Ties a session to the browser that logged in: its network (IPv4 /24, IPv6 /48) and its User-Agent.

A stolen cookie is then of no use elsewhere, while a phone that moves within its provider's network stays logged in.
"""

import functools
import hashlib
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

IPV4_PREFIX = 24
IPV6_PREFIX = 48


class Binding(NamedTuple):
    """network: such as 192.0.2.0/24, "" when the address is unknown. agent: a digest of the User-Agent."""

    network: str
    agent: str


@functools.lru_cache(maxsize=4096)
def binding_of(address: str, user_agent: str) -> Binding:
    return Binding(_network(address), _agent(user_agent))


def mismatch(expected: Binding, seen: Binding) -> str | None:
    """Which half differs: ip, user_agent or both; None when the client is the same."""
    if expected == seen:
        return None
    if expected.network == seen.network:
        return "user_agent"
    return "ip" if expected.agent == seen.agent else "both"


@functools.lru_cache(maxsize=4096)
def _network(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    prefix = IPV4_PREFIX if parsed.version == 4 else IPV6_PREFIX
    return str(ip_network((parsed, prefix), strict=False))


def _agent(user_agent: str) -> str:
    return hashlib.sha256(user_agent.encode("utf-8", "surrogateescape")).hexdigest()[:16]
