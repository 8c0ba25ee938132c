"""Who sent a request: believed from trusted proxies only, read from right to left."""

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.settings import FORWARDED
from bff.web.client_address import LONGEST, ClientAddressResolver
from bff.web.untrusted import UntrustedForwarding

TRUSTED = [ip_network("127.0.0.0/8"), ip_network("::1"), ip_network("10.0.0.0/8"), ip_network("2001:db8:aa::/48")]
CLIENTS = ClientAddressResolver(TRUSTED)
RFC_7239 = ClientAddressResolver(TRUSTED, header=FORWARDED)
SOCKET_FILE = ClientAddressResolver(TRUSTED, unix_sockets=True)


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
    assert ClientAddressResolver([]).of(environ).address == "127.0.0.1"


@pytest.mark.parametrize("missing", range(len("192.0.2.1") + 1))
def test_an_address_that_a_long_header_begins_with_is_not_believed(missing: int) -> None:
    """Without its first characters, 92.0.2.1 and 2.0.2.1 are addresses, too; and nothing shows that it is whole."""
    kept = "192.0.2.1"[missing:]
    assert address("10.0.0.1", "203.0.113.9, 192.0.2.1"[: -len(kept) or None] + longest(kept)) == "10.0.0.2"


def test_the_longest_header_is_read_whole() -> None:
    assert address("10.0.0.1", longest("192.0.2.1")) == "192.0.2.1"


def longest(first: str) -> str:
    """The longest header that is read, of two addresses."""
    return f"{first},{'10.0.0.2':>{LONGEST - len(first) - 1}}"


@pytest.mark.parametrize(("clients", "other"), [(CLIENTS, "HTTP_FORWARDED"), (RFC_7239, "HTTP_X_FORWARDED_FOR")])
def test_other_forwarding_headers_are_not_read(clients: ClientAddressResolver, other: str) -> None:
    environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_REAL_IP": "192.0.2.1"}
    for value in ("for=192.0.2.1", "192.0.2.1"):
        assert clients.of({**environ, other: value}).address == "10.0.0.1"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        # one proxy, several proxies, in every spelling of an element
        ("for=192.0.2.1", "192.0.2.1"),
        ("FOR=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1"),
        ('proto=https ; host="app.example:8443" ;\tfor="192.0.2.1"', "192.0.2.1"),
        ("for=192.0.2.1, for=10.0.0.3,for=10.0.0.2", "192.0.2.1"),
        ('for="192.0.2.1:4711"', "192.0.2.1"),
        ('for="192.0.2.1:_port"', "192.0.2.1"),
        (r'for="192\.0.2.1"', "192.0.2.1"),
        # IPv6, which must be quoted and in brackets
        ('for="[2001:db8::1]"', "2001:db8::1"),
        ('for="[2001:DB8:0::1]:4711"', "2001:db8::1"),
        ('for="[2001:db8::1]", for="[2001:db8:aa::7]:80"', "2001:db8::1"),
        ('for="[::ffff:192.0.2.1]"', "192.0.2.1"),
        # a comma, a quote or a pair within quotes is part of the value
        ('for=192.0.2.1;host="a, for=10.0.0.9"', "192.0.2.1"),
        (r'for=192.0.2.1;host="a\", for=\"10.0.0.9\""', "192.0.2.1"),
        ('for=192.0.2.1;host=";for=203.0.113.9;"', "192.0.2.1"),
        # what the client itself wrote stands further left, and does not count
        ("for=203.0.113.9, for=192.0.2.1", "192.0.2.1"),
        ('for="203.0.113.9, for=192.0.2.1', "192.0.2.1"),
        ('for="x, for="[2001:db8::1]:4711"', "2001:db8::1"),
        ('for=10.0.0.9;x=", for=192.0.2.1;host="app"', "192.0.2.1"),
        (r'for="\, for=192.0.2.1', "192.0.2.1"),
        # a proxy that does not say for whom: it stands for its client itself
        ("for=unknown", "10.0.0.1"),
        ("for=_hidden", "10.0.0.1"),
        ('for="_SEVKISEK"', "10.0.0.1"),
        ("for=192.0.2.1, for=unknown, for=10.0.0.2", "10.0.0.2"),
        ("proto=https;host=app.example", "10.0.0.1"),
        ("for=192.0.2.1, proto=https", "10.0.0.1"),
        # what is not well-formed ends the walk at the last address that was vouched for
        ("for=192.0.2.1,", "10.0.0.1"),
        ("for=192.0.2.1, for=10.0.0.2;", "10.0.0.1"),
        ("for = 192.0.2.1", "10.0.0.1"),
        ("for=192.0.2.1;for=192.0.2.2", "10.0.0.1"),
        ("for=192.0.2.1:80", "10.0.0.1"),
        ("for=2001:db8::1", "10.0.0.1"),
        ('for="2001:db8::1"', "10.0.0.1"),
        ("for=[2001:db8::1]", "10.0.0.1"),
        ('for="[2001:db8::1"', "10.0.0.1"),
        ('for="192.0.2.1:port"', "10.0.0.1"),
        ('for="192.0.2.1', "10.0.0.1"),
        ("for='192.0.2.1'", "10.0.0.1"),
        ("for=999.0.2.1", "10.0.0.1"),
        ("for=", "10.0.0.1"),
        ('for=""', "10.0.0.1"),
        ("192.0.2.1", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("for=192.0.2.1, ;, for=10.0.0.2", "10.0.0.2"),
    ],
)
def test_forwarded_is_read_as_rfc_7239_has_it(header: str, expected: str) -> None:
    assert RFC_7239.of({"REMOTE_ADDR": "10.0.0.1", "HTTP_FORWARDED": header}).address == expected


@pytest.mark.parametrize("length", [100, 510, 512, 514, 10_000])
def test_a_very_long_forwarded_is_read_from_its_right_end(length: int) -> None:
    header = ("for=203.0.113.9;x=" + '"' * length)[:length] + ', for=192.0.2.1;host="app.example", for=10.0.0.2'
    assert RFC_7239.of({"REMOTE_ADDR": "10.0.0.1", "HTTP_FORWARDED": header}).address == "192.0.2.1"


@pytest.mark.parametrize(
    ("clients", "environ", "expected", "trusted"),
    [
        (SOCKET_FILE, {"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}, "192.0.2.1", True),
        (SOCKET_FILE, {"HTTP_X_FORWARDED_FOR": "203.0.113.9, 192.0.2.1, 10.0.0.2"}, "192.0.2.1", True),
        (SOCKET_FILE, {"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "nobody"}, "", True),
        (SOCKET_FILE, {"REMOTE_ADDR": "192.0.2.9", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}, "192.0.2.9", False),
        (SOCKET_FILE, {"REMOTE_ADDR": "@", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}, "@", False),
        (CLIENTS, {"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}, "", False),
    ],
)
def test_who_came_through_a_socket_file(
    clients: ClientAddressResolver, environ: dict[str, str], expected: str, trusted: bool
) -> None:
    assert clients.of(environ).address == expected
    assert clients.trusts_peer(environ) is trusted


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


elements = st.sampled_from([
    "for=10.0.0.1", 'for="[::1]:80"', 'for="', '"', ";", "=", "\\", '\\"', "for=_x", 'host="a', "for=10.0.0.2;", " ",
]) | wsgi_text  # fmt: skip
hostile = st.builds(lambda glue, some: glue.join(some), st.sampled_from(["", ",", ";", ", "]), st.lists(elements))
WRITTEN = ["for=192.0.2.1", 'for="192.0.2.1:80";proto=https', 'proto=https;for=192.0.2.1;host="a.example:8443"']


@given(parts, hostile)
def test_no_forwarded_raises(peer: str, header: str) -> None:
    for clients in (RFC_7239, ClientAddressResolver(TRUSTED, unix_sockets=True, header=FORWARDED)):
        found: Any = clients.of({"REMOTE_ADDR": peer, "HTTP_FORWARDED": header}).address
        assert isinstance(found, str)


@given(hostile)
def test_an_untrusted_peer_is_itself_whatever_it_forwards(header: str) -> None:
    assert RFC_7239.of({"REMOTE_ADDR": "192.0.2.1", "HTTP_FORWARDED": header}).address == "192.0.2.1"


@given(hostile, st.sampled_from(WRITTEN), st.sampled_from([",", ", "]), st.booleans())
def test_nothing_left_of_what_a_proxy_wrote_changes_it(invented: str, written: str, comma: str, second: bool) -> None:
    """Each proxy appends one element to whatever is there."""
    header = f"{invented}{comma}{written}" + (f'{comma}for="10.0.0.2:8080"' if second else "")
    assert RFC_7239.of({"REMOTE_ADDR": "10.0.0.1", "HTTP_FORWARDED": header}).address == "192.0.2.1"


@given(st.lists(parts).map(",".join))
def test_an_untrusted_peer_is_always_itself(forwarded: str) -> None:
    assert address("192.0.2.1", forwarded) == "192.0.2.1"


@given(wsgi_text)
def test_nothing_left_of_a_client_changes_who_it_is(invented: str) -> None:
    assert address("10.0.0.1", f"{invented}, 192.0.2.1, 10.0.0.2") == "192.0.2.1"


@given(hostile, st.integers(0, 600))
def test_a_host_that_a_client_chose_names_nobody(host: str, more: int) -> None:
    """A proxy that tells the host as well puts it between quotes, as RFC 7239 wants it."""
    quoted = "".join(f"\\{char}" if char in '"\\' else char for char in host + "x" * more if char.isprintable())
    written = f'for=192.0.2.1;host="{quoted}";proto=https'
    found = RFC_7239.of({"REMOTE_ADDR": "10.0.0.1", "HTTP_FORWARDED": written}).address
    assert found == ("192.0.2.1" if len(written) <= 512 else "10.0.0.1")


def test_untrusted_forwarding_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    untrusted = UntrustedForwarding(CLIENTS, lambda: now[0])
    seen = []
    for now[0] in (0.0, 1.0, 59.9, 60.0, 61.0):
        untrusted.note({"REMOTE_ADDR": "192.0.2.7", "HTTP_X_FORWARDED_FOR": "203.0.113.9"})
        seen.append([vars(record)["unlogged"] for record in caplog.records])
    assert seen == [[0], [0], [0], [0, 2], [0, 2]]


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2::7", "2001:db8:1::/48"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("", "unix"),
    ],
)
def test_the_log_names_a_network_and_nobody(caplog: pytest.LogCaptureFixture, peer: str, network: str) -> None:
    UntrustedForwarding(ClientAddressResolver([])).note({"REMOTE_ADDR": peer, "HTTP_FORWARDED": "for=203.0.113.9"})
    (record,) = caplog.records
    assert (record.levelname, vars(record)["network"]) == ("WARNING", network)
