"""What a client has not read waits for it without a thread."""

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from bff.server.client_socket import MOST_UNSENT, ClientSocket, received


class Ends(NamedTuple):
    client: socket.socket
    served: ClientSocket


@pytest.fixture
def ends() -> Iterator[Ends]:
    client, served = socket.socketpair()
    with client, ClientSocket.of(served) as ours:
        ours.settimeout(0.01)
        client.settimeout(10)
        yield Ends(client, ours)


def filled(ends: Ends) -> int:
    """Send until the system takes no more; how many bytes were sent."""
    size = 0
    while not ends.served.unsent:
        ends.served.sendall(b"a" * 10_000)
        size += 10_000
    return size


def test_what_the_system_takes_is_sent(ends: Ends) -> None:
    ends.served.sendall(b"hello")
    assert (ends.client.recv(9), len(ends.served.unsent)) == (b"hello", 0)


def test_the_rest_is_kept_and_sent_when_the_client_reads(ends: Ends) -> None:
    size = filled(ends)
    assert not ends.served.flush()
    ends.served.sendall(b"end")
    got = b""
    while not got.endswith(b"end"):
        got += ends.client.recv(65536)
        ends.served.flush()
    assert (len(got), len(ends.served.unsent)) == (size + 3, 0)


@pytest.mark.parametrize("streams", [False, True])
def test_it_is_not_kept_without_end(ends: Ends, streams: bool) -> None:
    """A service's answer not at all."""
    filled(ends)
    if streams:
        ends.served.stream()
    else:
        ends.served.sendall(b"a" * (MOST_UNSENT - len(ends.served.unsent)))
    with pytest.raises(BrokenPipeError):
        ends.served.sendall(b"a")


def test_the_next_answer_is_kept_again(ends: Ends) -> None:
    ends.served.stream()
    ends.served.reset()
    filled(ends)
    ends.served.sendall(b"a")


def test_what_has_arrived(ends: Ends) -> None:
    ends.served.setblocking(False)
    assert received(ends.served) is None
    ends.client.sendall(b"hello")
    assert received(ends.served, 4) == b"hell"
    ends.client.close()
    assert [received(ends.served), received(ends.served)] == [b"o", b""]
