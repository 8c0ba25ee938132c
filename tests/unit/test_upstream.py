"""Requests passed on to a service: a real one on the loopback address, which says byte for byte what a test wants."""

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

from bff.errors import BadGateway, BFFError, BodyTooLarge, ClientGone, UpstreamTimeout, UpstreamUnavailable
from bff.http import DisconnectMonitor, HttpUpstream, ResponseTruncated, UpstreamRequest, UpstreamResponse
from bff.settings import UpstreamSettings
from tests.clock import Clock
from tests.unit.support import counted

PATIENT = 5.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Script = Callable[["Peer"], None]


class Peer:
    """A connection at the service's end."""

    def __init__(self, connection: socket.socket, heads: list[bytes]) -> None:
        self.connection = connection
        self._heads = heads
        self._file = connection.makefile("rb")

    def head(self) -> bytes:
        """A request's head, to the empty line; empty when the client closed instead."""
        lines = b""
        while line := self._file.readline():
            lines += line
            if line == b"\r\n":
                break
        self._heads.append(lines)
        return lines

    def body(self, size: int) -> bytes:
        return self._file.read(size)

    def line(self) -> bytes:
        return self._file.readline()

    def say(self, text: bytes) -> None:
        self.connection.sendall(text)

    def ended(self) -> bool:
        """Whether the client closes the connection soon."""
        self.connection.settimeout(PATIENT)
        with suppress(ConnectionResetError):
            return self.connection.recv(1) == b""
        return True

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.close()

    def close(self) -> None:
        self._file.close()
        self.connection.close()


class Server:
    """Answers its connections one after the other, each by the next script."""

    def __init__(self, port: int = 0) -> None:
        self.listener = socket.create_server(("127.0.0.1", port))
        self.scripts: list[Script] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self.errors: list[AssertionError] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def then(self, *scripts: Script) -> None:
        self.scripts += scripts

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in [self._accepting, *self._threads]:
            thread.join(PATIENT)
            assert not thread.is_alive()
        assert not self.errors

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                self._threads.append(
                    threading.Thread(target=self._serve, args=(Peer(connection, self.heads),), daemon=True)
                )
                self._threads[-1].start()

    def _serve(self, peer: Peer) -> None:
        with closing(peer):
            try:
                self.scripts.pop(0)(peer)
            except (OSError, ValueError):
                return
            except AssertionError as err:
                self.errors.append(err)


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def disconnects() -> Iterator[DisconnectMonitor]:
    with closing(DisconnectMonitor()) as disconnects:
        yield disconnects


@pytest.fixture
def upstream(server: Server, disconnects: DisconnectMonitor, clock: Clock) -> Iterator[HttpUpstream]:
    settings = UpstreamSettings("orders", f"http://127.0.0.1:{server.port}/base")
    with closing(HttpUpstream(settings, disconnects, clock=clock, wait=lambda _: None, random=lambda: 0.0)) as upstream:
        yield upstream


def outgoing(method: str = "GET", target: str = "/x", *, timeout: float = PATIENT, **options: Any) -> UpstreamRequest:
    return UpstreamRequest(method, target, options.pop("headers", {}), timeout, **options)


def replies(*answers: bytes) -> Script:
    """One request after the other on one connection, and then its end."""

    def script(peer: Peer) -> None:
        for answer in answers:
            if not peer.head():
                return
            peer.say(answer)

    return script


def body(answer: UpstreamResponse) -> bytes:
    with closing(answer):
        return b"".join(answer)


def test_the_target_goes_out_as_it_came(server: Server, upstream: HttpUpstream) -> None:
    server.then(replies(OK))
    target = "/a%2fb%2Fc/%e4/|^[x]?q=%7e%zz&{}"
    assert body(upstream.send(outgoing(target=target))) == b"ok"
    assert server.heads[0].split(b"\r\n")[0] == b"GET /base" + target.encode() + b" HTTP/1.1"


def test_nothing_is_said_that_the_caller_does_not_say(server: Server, upstream: HttpUpstream) -> None:
    server.then(replies(OK))
    body(upstream.send(outgoing(headers={"Accept": "text/plain"})))
    said = server.heads[0].split(b"\r\n")[1:]
    assert said == [f"Host: 127.0.0.1:{server.port}".encode(), b"Accept: text/plain", b"", b""]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-T: 1\r\n\r\n", b"abc"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", b"old"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 1\r\n\r\nx", b"x"),
    ],
)
def test_answers_of_every_shape(server: Server, upstream: HttpUpstream, answer: bytes, expected: bytes) -> None:
    server.then(replies(answer))
    got = upstream.send(outgoing())
    assert body(got) == expected
    assert not any(name.lower() == "x-t" for name, _ in got.headers)


def test_the_answer_to_head_has_no_body_and_its_length(server: Server, upstream: HttpUpstream) -> None:
    server.then(replies(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", OK))
    answer = upstream.send(outgoing("HEAD"))
    assert (body(answer), dict(answer.headers)["Content-Length"]) == (b"", "7")
    assert body(upstream.send(outgoing())) == b"ok"
    assert server.connections == 1


def test_a_body_arrives_part_by_part(server: Server, upstream: HttpUpstream) -> None:
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        assert go_on.wait(PATIENT)
        peer.say(b"1\r\nb\r\n0\r\n\r\n")

    server.then(script)
    with closing(upstream.send(outgoing())) as answer:
        parts = iter(answer)
        assert next(parts) == b"a"
        go_on.set()
        assert b"".join(parts) == b"b"


@pytest.mark.parametrize(
    ("length", "framing", "received"),
    [(4, b"Content-Length: 4", b"abcd"), (None, b"Transfer-Encoding: chunked", b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")],
)
def test_a_body_is_sent_as_it_comes(
    server: Server, upstream: HttpUpstream, length: int | None, framing: bytes, received: bytes
) -> None:
    arrived: list[bytes] = []
    first = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        arrived.append(peer.body(2 if length else 7))
        first.set()
        arrived.append(peer.body(len(received) - len(arrived[0])))
        peer.say(OK)

    def parts() -> Iterator[bytes]:
        yield b"ab"
        assert first.wait(PATIENT), "the first part waits for the second"
        yield b"cd"

    server.then(script)
    assert body(upstream.send(outgoing("POST", body=parts(), length=length))) == b"ok"
    assert framing in server.heads[0]
    assert b"".join(arrived) == received


def test_a_connection_serves_again(server: Server, upstream: HttpUpstream) -> None:
    server.then(replies(OK, OK))
    assert [body(upstream.send(outgoing())) for _ in range(2)] == [b"ok", b"ok"]
    assert server.connections == 1


def test_a_connection_that_idled_long_is_not_trusted(server: Server, upstream: HttpUpstream, clock: Clock) -> None:
    server.then(replies(OK, OK), replies(OK))
    body(upstream.send(outgoing()))
    clock.now += 2.0
    body(upstream.send(outgoing()))
    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_a_connection_that_is_in_doubt_or_over_does_not(server: Server, upstream: HttpUpstream, answer: bytes) -> None:
    server.then(replies(answer, OK), replies(OK))
    body(upstream.send(outgoing()))
    assert body(upstream.send(outgoing())) == b"ok"
    assert server.connections == 2


def test_a_half_read_answer_takes_its_connection_along(server: Server, upstream: HttpUpstream) -> None:
    noticed: list[bool] = []

    def script(peer: Peer) -> None:
        peer.head()
        peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
        noticed.append(peer.ended())

    server.then(script)
    answer = upstream.send(outgoing())
    assert next(iter(answer)) == b"ok"
    answer.close()
    answer.close()
    server.close()
    assert noticed == [True]


@pytest.mark.parametrize(
    "rest",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_no_whole_one(server: Server, upstream: HttpUpstream, rest: bytes) -> None:
    server.then(replies(rest))
    with pytest.raises(ResponseTruncated):
        body(upstream.send(outgoing()))


# Faults before an answer.


def silence(peer: Peer) -> None:
    peer.head()
    peer.ended()


def goodbye(peer: Peer) -> None:
    peer.head()


def reset(peer: Peer) -> None:
    peer.head()
    peer.reset()


def status_of(upstream: HttpUpstream, request: UpstreamRequest) -> int | type[BFFError]:
    try:
        with closing(upstream.send(request)) as answer:
            return answer.status
    except BFFError as err:
        return type(err)


@pytest.mark.parametrize(
    ("script", "error", "outcome"),
    [
        (goodbye, BadGateway, "connection"),
        (reset, BadGateway, "connection"),
        (replies(b"SSH-2.0-OpenSSH\r\n\r\n"), BadGateway, "connection"),
        (replies(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), BadGateway, "connection"),
        (replies(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n"), BadGateway, "connection"),
        (replies(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 200 + b"\r\n"), BadGateway, "connection"),
        (silence, UpstreamTimeout, "timeout"),
    ],
)
def test_no_answer(server: Server, upstream: HttpUpstream, script: Script, error: type[BFFError], outcome: str) -> None:
    labels = {"service": "orders", "status": outcome}
    before = counted("bff_upstream_requests_total", **labels)
    server.then(script)
    assert status_of(upstream, outgoing("POST", timeout=0.2)) is error
    assert counted("bff_upstream_requests_total", **labels) == before + 1
    assert server.connections == 1, "a request that may have been acted upon is not repeated"


def test_a_service_that_refuses_connections_is_tried_once_more(disconnects: DisconnectMonitor, clock: Clock) -> None:
    started: list[Server] = []

    def wait(seconds: float) -> None:
        assert 0 < seconds < 1
        started.append(Server(port))
        started[0].then(replies(OK))

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = UpstreamSettings("orders", f"http://127.0.0.1:{port}")
    with closing(HttpUpstream(settings, disconnects, clock=clock, wait=wait, random=lambda: 0.0)) as upstream:
        assert status_of(upstream, outgoing("POST")) == 200
    started[0].close()


def test_a_service_that_is_not_there(disconnects: DisconnectMonitor, clock: Clock) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings = UpstreamSettings("orders", f"http://127.0.0.1:{closed.getsockname()[1]}")
        waits: list[float] = []
        with closing(HttpUpstream(settings, disconnects, clock=clock, wait=waits.append)) as upstream:
            assert status_of(upstream, outgoing()) is BadGateway
    assert len(waits) == 1


FAULTS: dict[str, Script] = {
    "closes": goodbye,
    "resets": reset,
    "is silent": silence,
    "is no HTTP": replies(b"SSH-2.0-OpenSSH\r\n\r\n"),
    "frames its answer badly": replies(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
    "breaks off": replies(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
    "fails": replies(b"HTTP/1.1 503 Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_address_that_is_broken_shuts_none_of_the_others(server: Server, upstream: HttpUpstream, fault: str) -> None:
    """Or whoever finds one such address shuts the service for everybody."""
    before = counted("circuit_breaks_total", service="upstream_orders")
    server.then(*[FAULTS[fault]] * 12, replies(OK))
    for _ in range(12):
        status_of(upstream, outgoing("POST", timeout=0.05 if fault == "is silent" else PATIENT))
    assert status_of(upstream, outgoing()) == 200
    assert counted("circuit_breaks_total", service="upstream_orders") == before


@pytest.fixture
def away(disconnects: DisconnectMonitor, clock: Clock) -> Iterator[tuple[HttpUpstream, int]]:
    """A service that is not there, and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    settings = UpstreamSettings("orders", f"http://127.0.0.1:{port}")
    with closing(HttpUpstream(settings, disconnects, clock=clock, wait=lambda _: None)) as upstream:
        yield upstream, port


def test_after_five_failures_to_connect_nobody_waits_any_more_for_a_second(
    away: tuple[HttpUpstream, int], clock: Clock
) -> None:
    upstream, port = away
    before = counted("circuit_breaks_total", service="upstream_orders")
    assert [status_of(upstream, outgoing()) for _ in range(5)] == [BadGateway] * 5
    assert counted("circuit_breaks_total", service="upstream_orders") == before + 1
    with closing(Server(port)) as server:
        server.then(replies(OK))
        assert status_of(upstream, outgoing()) is UpstreamUnavailable
        assert server.connections == 0
        clock.now += 1.0
        assert status_of(upstream, outgoing()) == 200


def test_a_connection_is_a_success_whatever_comes_of_it(away: tuple[HttpUpstream, int], clock: Clock) -> None:
    upstream, port = away
    assert [status_of(upstream, outgoing()) for _ in range(5)] == [BadGateway] * 5
    clock.now += 1.0
    with closing(Server(port)) as server:
        server.then(goodbye, replies(OK))
        assert [status_of(upstream, outgoing("POST")) for _ in range(2)] == [BadGateway, 200]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL])
def test_what_this_process_runs_short_of_is_no_services_fault(
    server: Server, upstream: HttpUpstream, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def short(*_: Any, **__: Any) -> socket.socket:
        raise OSError(number, "short")

    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "connect", short)
        assert [status_of(upstream, outgoing()) for _ in range(6)] == [BadGateway] * 6
    server.then(replies(OK))
    assert status_of(upstream, outgoing()) == 200


# A kept connection that turns out to be dead.


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        (outgoing("GET"), 2),
        (outgoing("POST"), 1),
        (outgoing("POST", headers={"Idempotency-Key": "k"}), 2),
        (outgoing("DELETE"), 1),
        (outgoing("PUT", body=b"x"), 1),
        (outgoing("GET", body=iter([b"x"])), 1),
    ],
)
def test_only_what_may_be_repeated_is(
    server: Server, upstream: HttpUpstream, request_: UpstreamRequest, sent: int
) -> None:
    """The service reads the request and dies, so nobody knows what it has done."""

    def dies(peer: Peer) -> None:
        peer.head()
        peer.say(OK)
        peer.head()

    server.then(dies, replies(OK))
    body(upstream.send(outgoing()))
    assert status_of(upstream, request_) == (200 if sent == 2 else BadGateway)
    assert server.connections == sent


# The client.


def over_tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        return listener.accept()[0], theirs


Pair = Callable[[], tuple[socket.socket, socket.socket]]
PAIRS: list[Pair] = [socket.socketpair, over_tcp]
"""(what the BFF holds of a client's connection, what the client holds)."""


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\na",
    ],
)
@pytest.mark.parametrize("unread", [b"", b"what the client never read, so that it resets the connection"])
def test_a_client_who_goes_away_ends_the_call(
    server: Server, upstream: HttpUpstream, pair: Pair, begun: bytes, unread: bytes
) -> None:
    noticed = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        peer.say(begun)
        if peer.ended():
            noticed.set()

    server.then(script)
    ours, theirs = pair()
    ours.send(unread)
    timer = threading.Timer(0.05, theirs.close)
    timer.start()
    start = time.monotonic()
    with ours, suppress(ClientGone, ResponseTruncated):
        body(upstream.send(outgoing(streaming=True), ours))
        assert b"event-stream" in begun, "only there a cut is an end like any other"
    timer.join()
    assert noticed.wait(PATIENT)
    assert time.monotonic() - start < PATIENT / 2, "it was the service that gave up"


@pytest.mark.parametrize("pair", PAIRS)
def test_a_client_who_sends_more_is_not_taken_for_gone(server: Server, upstream: HttpUpstream, pair: Pair) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        time.sleep(0.5)  # real time passes: the watcher looks at a real clock
        peer.say(OK)

    server.then(script)
    ours, theirs = pair()
    with ours, theirs:
        theirs.send(b"the next request")
        assert body(upstream.send(outgoing(), ours)) == b"ok"


def test_a_client_who_sends_more_and_leaves_is(server: Server, upstream: HttpUpstream) -> None:
    """Or one byte would be enough to keep a service at work for nobody."""
    server.then(silence)
    ours, theirs = over_tcp()
    theirs.send(b"the next request")
    theirs.close()
    with ours, pytest.raises(ClientGone):
        upstream.send(outgoing(timeout=60), ours)


def test_a_body_that_is_refused_half_way_ends_the_connection(server: Server, upstream: HttpUpstream) -> None:
    noticed = threading.Event()

    def parts() -> Iterator[bytes]:
        yield b"ab"
        raise BodyTooLarge

    def script(peer: Peer) -> None:
        peer.head()
        peer.body(2)
        if peer.ended():
            noticed.set()

    server.then(script)
    with pytest.raises(BodyTooLarge):
        upstream.send(outgoing("POST", body=parts(), length=10))
    assert noticed.wait(PATIENT)


def test_an_answer_before_the_body_was_read_counts(server: Server, upstream: HttpUpstream) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.say(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        peer.connection.shutdown(socket.SHUT_RD)
        peer.ended()

    def endless() -> Iterator[bytes]:
        for _ in range(2000):
            yield b"x" * 65536

    server.then(script)
    assert status_of(upstream, outgoing("POST", body=endless(), length=2000 * 65536, timeout=1.0)) in (413, BadGateway)
