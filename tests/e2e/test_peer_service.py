"""The service behind the proxy's tests sees what it has to see: otherwise they would prove nothing."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import hostile
from tests.peers import raw, service
from tests.peers.service import Service, fields, request_line

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def work(folder: Path) -> Iterator[Service]:
    with service.running(folder) as running:
        yield running


@pytest.fixture(autouse=True)
def _forget(work: Service) -> None:
    work.forget()


def test_it_remembers_every_byte(work: Service) -> None:
    head = b"POST /a/../%2e;x?y=%zz HTTP/1.1\r\nhOST: x\r\nX_A:  1 \r\nContent-Length: 5\r\n\r\n"
    raw.exchange(work.port, head + b"h\0\xffo\n")
    (seen,) = work.seen()
    assert seen.head.encode("latin-1") == head
    assert (seen.body.encode("latin-1"), seen.framing, seen.complete) == (b"h\0\xffo\n", "length", True)
    assert fields(seen) == [("hOST", "x"), ("X_A", "1"), ("Content-Length", "5")]


@pytest.mark.parametrize("name", ["CL and TE", "TE and CL"])
def test_it_sees_framing_that_is_ambiguous(work: Service, name: str) -> None:
    raw.exchange(work.port, hostile.REFUSED[name])
    work.wait(lambda seen: bool(seen) and seen[0].framing == "ambiguous")


def test_it_sees_a_smuggled_request(work: Service) -> None:
    """Whatever follows a request on a connection is another one."""
    with socket.create_connection(("127.0.0.1", work.port)) as client:
        client.sendall(hostile.long(b" 5") + hostile.SMUGGLED)
        seen = work.wait(lambda seen: len(seen) == 2)
    assert [request_line(each).split(" ")[1] for each in seen] == ["/api/work/x", "/api/work/smuggled"]


@pytest.mark.parametrize("name", ["chunk size 0x", "a chunk without its end", "no chunk size"])
def test_it_takes_no_faulty_chunks(work: Service, name: str) -> None:
    raw.exchange(work.port, hostile.BROKEN_OFF[name])
    assert work.last(lambda seen: seen.gone).complete is False


def test_it_tells_a_body_that_is_under_way_from_one_that_is_over(work: Service) -> None:
    with socket.create_connection(("127.0.0.1", work.port)) as client:
        client.sendall(b"POST /sink HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
        assert work.last(lambda seen: seen.received == 4).complete is False
    assert work.last(lambda seen: seen.gone).complete is False
