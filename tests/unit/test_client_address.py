"""Who sent a request: believed from trusted proxies only, read from right to left."""

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.web.client import Clients

TRUSTED = [ip_network("127.0.0.0/8"), ip_network("::1"), ip_network("10.0.0.0/8"), ip_network("2001:db8:aa::/48")]
CLIENTS = Clients(TRUSTED)


def address(peer: str, forwarded: str | None = None) -> str:
    environ = {"REMOTE_ADDR": peer}
    if forwarded is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    return CLIENTS.of(environ).address


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        # nobody forwarded
        ("192.0.2.1", None, "192.0.2.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        # one proxy, several proxies
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1, 10.0.0.3, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1,10.0.0.2", "192.0.2.1"),
        # what the client itself wrote stands further left, and does not count
        ("10.0.0.1", "203.0.113.9, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "127.0.0.1, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "10.0.0.9, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        # only proxies all the way
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # an untrusted peer may write what it likes
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("192.0.2.1", "10.0.0.2, 127.0.0.1", "192.0.2.1"),
        # IPv6, with brackets, ports, zones, in one spelling
        ("::1", "2001:DB8:0::1", "2001:db8::1"),
        ("2001:db8:aa::7", "2001:db8:bb::1, 2001:db8:aa::8", "2001:db8:bb::1"),
        ("::1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("::1", "[2001:db8::1]", "2001:db8::1"),
        ("::1", "fe80::1%eth0", "fe80::1"),
        ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        # IPv4 inside IPv6 is IPv4
        ("::ffff:10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "203.0.113.9", "192.0.2.1"),
        # garbage ends the walk at the last address that was vouched for
        ("10.0.0.1", "192.0.2.1, unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "192.0.2.1,", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1:port, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "999.0.2.1", "10.0.0.1"),
        ("10.0.0.1", "_hidden, for=192.0.2.1", "10.0.0.1"),
        # a socket file has no address, and is no trusted network
        ("", "192.0.2.1", ""),
        ("@", "192.0.2.1", "@"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_trusted_proxy(
    peer: str, forwarded: str | None, expected: str
) -> None:
    assert address(peer, forwarded) == expected


def test_a_very_long_header_is_read_from_its_right_end() -> None:
    assert address("10.0.0.1", "203.0.113.9, " * 10_000 + "192.0.2.1, 10.0.0.2") == "192.0.2.1"


def test_with_no_trusted_proxy_no_header_counts() -> None:
    environ = {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}
    assert Clients([]).of(environ).address == "127.0.0.1"


def test_other_forwarding_headers_are_not_read() -> None:
    environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_FORWARDED": "for=192.0.2.1", "HTTP_X_REAL_IP": "192.0.2.1"}
    assert CLIENTS.of(environ).address == "10.0.0.1"


def test_the_user_agent_comes_along() -> None:
    assert CLIENTS.of({"REMOTE_ADDR": "192.0.2.1", "HTTP_USER_AGENT": "Browser/1"}).user_agent == "Browser/1"
    assert CLIENTS.of({}) == ("", "")


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("11.1.2.3", False), ("2001:db8:aa::1", True), ("", False)],
)
def test_who_may_forward(peer: str, trusted: bool) -> None:
    assert CLIENTS.trusts(peer) is trusted


wsgi_text = st.text(st.characters(max_codepoint=255))
parts = st.sampled_from(["10.0.0.1", "192.0.2.1", "::1", "[::1]:80", "::ffff:10.0.0.1", "%", "[", ":", ""]) | wsgi_text


@given(parts, st.lists(parts).map(",".join))
def test_nothing_that_a_peer_sends_raises(peer: str, forwarded: str) -> None:
    found: Any = address(peer, forwarded)
    assert isinstance(found, str)


@given(st.lists(parts).map(",".join))
def test_an_untrusted_peer_is_always_itself(forwarded: str) -> None:
    assert address("192.0.2.1", forwarded) == "192.0.2.1"


@given(wsgi_text)
def test_nothing_left_of_a_client_changes_who_it_is(invented: str) -> None:
    assert address("10.0.0.1", f"{invented}, 192.0.2.1, 10.0.0.2") == "192.0.2.1"
