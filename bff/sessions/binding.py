"""Session binding: compares a request with the browser that logged in, by network (IPv4 /24, IPv6 /48) and User-Agent.

A difference reveals a stolen cookie, or makes it useless where the binding is enforced. It is no proof: a media player
sends another User-Agent, a browser updates itself, a phone changes networks. So a difference refuses a request at most,
and never ends a session.
"""

import functools
import hashlib
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

BOUND_TO = BOTH, ADDRESS, AGENT = ("both", "address", "agent")
IPV4_PREFIX = 24
IPV6_PREFIX = 48


class Binding(NamedTuple):
    """network: such as 192.0.2.0/24, "" when the address is unknown. agent: a digest of the User-Agent."""

    network: str
    agent: str


@functools.lru_cache(maxsize=4096)
def binding_of(address: str, user_agent: str) -> Binding:
    return Binding(_network(address), _agent(user_agent))


def mismatch(expected: Binding, seen: Binding, compared: str = BOTH) -> str | None:
    """The differing half: ip, user_agent or both; None when the client is the same. compared: one of BOUND_TO."""
    if expected == seen:
        return None
    moved = compared != AGENT and not _may_be_one_client(expected.network, seen.network)
    changed = compared != ADDRESS and expected.agent != seen.agent
    if moved and changed:
        return "both"
    if moved:
        return "ip"
    return "user_agent" if changed else None


def _may_be_one_client(expected: str, seen: str) -> bool:
    """Whether both networks may belong to one client. A client with both address families uses either, so an IPv4
    network cannot contradict an IPv6 one."""
    return expected == seen or (bool(expected and seen) and (":" in expected) != (":" in seen))


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
