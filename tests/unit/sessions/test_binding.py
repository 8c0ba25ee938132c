"""What counts as the same client."""

import pytest

from bff.sessions.binding import Binding, binding_of, mismatch


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("::1", "::/48"),
        ("fe80::1%eth0", "fe80::%eth0/48"),
        ("", ""),
        ("unix:", ""),
        ("192.0.2", ""),
        ("192.0.2.077", ""),
        ("<script>", ""),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert binding_of(address, "").network.replace("%eth0", "") == network.replace("%eth0", "")


@pytest.mark.parametrize("agent", ["", "Mozilla/5.0", "ä" * 5000, "\x00", "\udcff", "Ã¤"])
def test_agents_are_digests(agent: str) -> None:
    found = binding_of("192.0.2.1", agent).agent
    assert len(found) == 16
    assert found == binding_of("198.51.100.1", agent).agent
    assert found != binding_of("192.0.2.1", agent + "x").agent


@pytest.mark.parametrize(
    ("seen", "differs"),
    [
        (Binding("n", "a"), None),
        (Binding("x", "a"), "ip"),
        (Binding("n", "x"), "user_agent"),
        (Binding("x", "x"), "both"),
        (Binding("", "a"), "ip"),
    ],
)
def test_which_half_differs(seen: Binding, differs: str | None) -> None:
    assert mismatch(Binding("n", "a"), seen) == differs


V4, OTHER_V4 = "192.0.2.0/24", "198.51.100.0/24"
V6, OTHER_V6 = "2001:db8:1::/48", "2001:db8:2::/48"


@pytest.mark.parametrize(
    ("network", "seen", "differs"),
    [
        (V4, V4, None),
        (V4, OTHER_V4, "ip"),
        (V6, OTHER_V6, "ip"),
        (V4, V6, None),
        (V6, V4, None),
        (V4, "", "ip"),
        ("", V6, "ip"),
        ("", "", None),
    ],
)
def test_families_of_addresses_do_not_contradict_each_other(network: str, seen: str, differs: str | None) -> None:
    assert mismatch(Binding(network, "a"), Binding(seen, "a")) == differs
    assert mismatch(Binding(network, "a"), Binding(seen, "b")) == ("user_agent" if differs is None else "both")


@pytest.mark.parametrize(
    ("seen", "address", "agent"),
    [
        (Binding(OTHER_V4, "a"), "ip", None),
        (Binding(V4, "b"), None, "user_agent"),
        (Binding(OTHER_V4, "b"), "ip", "user_agent"),
        (Binding(V4, "a"), None, None),
    ],
)
def test_either_half_alone(seen: Binding, address: str | None, agent: str | None) -> None:
    assert mismatch(Binding(V4, "a"), seen, "address") == address
    assert mismatch(Binding(V4, "a"), seen, "agent") == agent
