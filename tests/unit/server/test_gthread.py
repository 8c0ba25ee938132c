"""Which thread of a worker answers: the main one at once, one that stays with its connection, or any of the pool."""

import logging
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

from bff.bulkhead import BUSY_TIMEOUT, Bound, Bulkhead
from bff.server import framing
from bff.server.arrival import LONGEST_HEAD
from bff.server.client_socket import ClientSocket
from bff.server.fast_http import LONGEST
from bff.server.gthread import BffThreadWorker
from bff.server.limits import DRAIN_MS, LEAVING, LINGER_BYTES, LINGER_TIMEOUT, RECEIVE_TIMEOUT, SEND_TIMEOUT, UNUSED
from bff.server.parking import Parking
from bff.server.pools import WATCHED, Reserve
from bff.server.pools import Pool as Threads
from bff.server.waiting import Waiting
from bff.web import health, metrics
from tests.unit.server.support import CLIENT, NOT_AT_ONCE, SERVER, UNFINISHED, VERIFY, Verify, config


def pair() -> tuple[socket.socket, ClientSocket]:
    """A client, and the worker's end of its connection."""
    client, served = socket.socketpair()
    return client, ClientSocket.of(served)


class Bench:
    """A worker without a server around it, and an idle connection to it. No thread runs: what one would do is noted."""

    def __init__(self) -> None:
        self.client, served = pair()
        settings = config()
        self.conn = TConn(settings, served, CLIENT, SERVER)
        self.conn.init()
        served.setblocking(False)
        self.conn.set_timeout()
        self.conn.sock.used = True
        self.verify = Verify()
        self.submitted: list[tuple[str, Any]] = []
        self.worker: Any = BffThreadWorker(
            1, 0, [], SimpleNamespace(), 30, settings, SimpleNamespace(access=self._access)
        )
        self.worker.alive = True
        self.worker.max_requests = 100
        self.worker.log.info = logging.getLogger(__name__).info
        self.worker.verify = self.verify
        self.worker.poller = selectors.DefaultSelector()
        self.worker.poller.register(served, selectors.EVENT_READ)
        self.worker.keepalived_conns = deque([self.conn])
        self.worker.pending_conns = deque()
        self.worker.nr_conns = 1
        self.worker.tpool = self.pool("thread")
        self.worker._reserves = {each: self.pool(each.name) for each in Reserve}
        self.logged: list[str] = []

    def pool(self, name: str) -> Any:
        def submit(_handle: Any, conn: Any) -> Future[bool]:
            self.submitted.append((name, conn))
            return Future()

        return SimpleNamespace(submit=submit, free=True, busy=0, wanted=False)

    def _access(self, answer: Any, _request: Any, environ: dict[str, Any], *_: Any) -> None:
        self.logged.append(f"{environ['REQUEST_METHOD']} {answer.status}")

    def sends(self, data: bytes) -> str:
        """Who deals with it: the main thread, a thread of the pool, or nobody any more."""
        if data:
            self.client.sendall(data)
        self.worker.on_client_socket_readable(self.conn, self.conn.sock)
        if self.submitted:
            return self.submitted[0][0]
        return "main" if self.conn in self.worker.keepalived_conns or self.conn in self.worker._receiving else "closed"

    def answer(self) -> bytes:
        return self.client.recv(65536)

    def close(self) -> None:
        self.worker.poller.close()
        self.worker.tmp.close()  # what a worker tells its master by that it lives
        self.client.close()
        self.conn.sock.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


@pytest.mark.parametrize(
    "line", [b"GET /auth/verify HTTP/1.1", b"HEAD /auth/verify HTTP/1.1", b"GET /auth/verify?a=b HTTP/1.1"]
)
def test_what_memory_answers_the_main_thread_answers(bench: Bench, line: bytes) -> None:
    for number in range(1, 4):
        assert bench.sends(line + b"\r\nHost: a.test\r\n\r\n") == "main"
        assert bench.answer().startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(bench.logged) == bench.worker.nr == number


@pytest.mark.parametrize(("name", "data"), NOT_AT_ONCE.items())
def test_everything_else_a_thread_gets_whole(bench: Bench, name: str, data: bytes) -> None:
    """When it is whole."""
    assert bench.sends(data) == ("main" if name in UNFINISHED else "thread")
    if name in UNFINISHED:
        assert bench.worker._arriving[bench.conn].data == data
    else:
        assert bench.conn.parser.unreader.take_buffered() == data
    assert bench.logged == []


@pytest.mark.parametrize("knows", [True, False])
def test_the_main_thread_waits_for_the_rest_of_a_head(bench: Bench, knows: bool) -> None:
    bench.verify.knows = knows
    assert bench.sends(VERIFY[:5]) == bench.sends(VERIFY[5:]) == "main"
    assert bench.sends(b"\r\n") == ("main" if knows else "thread")
    if knows:
        assert bench.answer().endswith(b"ok")
    else:
        assert next(bench.conn.parser).path == "/auth/verify"


def test_it_does_not_for_ever(bench: Bench) -> None:
    part = b"A: " + b"a" * (LONGEST // 2) + b"\r\n"
    bench.sends(VERIFY)
    fates = [bench.sends(part) for _ in range(LONGEST_HEAD // len(part) + 1)]
    assert fates[-1] == "thread"
    assert set(fates[:-1]) == {"main"}
    with pytest.raises(NoMoreData):
        next(bench.conn.parser)


def test_a_wake_up_for_nothing_is_nothing(bench: Bench) -> None:
    assert bench.sends(b"") == "main"


def test_what_must_be_looked_up_a_thread_answers(bench: Bench) -> None:
    bench.verify.knows = False
    assert bench.sends(VERIFY + b"\r\n") == "thread"
    assert next(bench.conn.parser).path == "/auth/verify", "as if nobody had read it before"


def test_a_fault_is_a_threads_to_answer(bench: Bench) -> None:
    bench.verify.fails = True
    assert bench.sends(VERIFY + b"\r\n") == "thread"
    assert next(bench.conn.parser).path == "/auth/verify"


@pytest.mark.parametrize("free", [True, False])
def test_while_a_thread_is_at_something_longer_the_others_answer_if_there_are_any(bench: Bench, free: bool) -> None:
    bench.worker._busy_threads, bench.worker.tpool.free = 1, free
    assert bench.sends(VERIFY + b"\r\n") == ("thread" if free else "main")


def test_another_application_has_no_verify(bench: Bench) -> None:
    bench.worker.verify = None
    assert bench.sends(VERIFY + b"\r\n") == "thread"


def test_only_a_bare_bff_is_answered_for(bench: Bench) -> None:
    """Who puts a WSGI middleware around it wants to see every request."""
    app = SimpleNamespace(extensions={"bff_verify": bench.verify}, wsgi_app=bench.verify)
    bench.worker.app = SimpleNamespace(wsgi=lambda: app)
    for outermost, verify in ((bench.verify, bench.verify), (lambda *_: (), None)):
        app.wsgi_app = outermost
        bench.worker.load_wsgi()
        assert bench.worker.verify is verify


@pytest.mark.parametrize("sent", [b"", VERIFY], ids=["nothing", "half a head"])
def test_a_client_that_has_closed_takes_no_thread(bench: Bench, sent: bytes) -> None:
    if sent:
        assert bench.sends(sent) == "main"
    bench.client.shutdown(socket.SHUT_WR)
    assert bench.sends(b"") == "closed"
    assert bench.worker.nr_conns == 0


def test_who_never_reads_an_answer_is_left(bench: Bench) -> None:
    fates = {bench.sends(VERIFY + b"\r\n")}
    while fates == {"main"}:
        fates.add(bench.sends(VERIFY + b"\r\n"))
    assert fates == {"main", "closed"}
    assert bench.worker.nr_conns == 0


@pytest.mark.parametrize("leaves", ["by itself", "as it was told to"])
def test_the_last_answer_of_a_worker_ends_the_connection(bench: Bench, leaves: str) -> None:
    bench.worker.max_requests = 1 if leaves == "by itself" else 100
    bench.worker.alive = leaves == "by itself"
    assert bench.sends(VERIFY + b"\r\n") == "closed"
    assert b"\r\nConnection: close\r\n" in bench.answer()
    assert not bench.worker.alive


@pytest.mark.parametrize("gunicorns", [False, True])
def test_a_new_connection_has_a_thread_when_something_arrives(bench: Bench, gunicorns: bool) -> None:
    bench.worker.gunicorns = gunicorns
    client, served = socket.socketpair()
    with client, closing(TConn(bench.worker.cfg, served, CLIENT, SERVER)) as conn:
        bench.worker.enqueue_req(conn)
        bench.worker.wait_for_and_dispatch_events(timeout=0)
        assert bench.submitted == []
        client.sendall(NOT_AT_ONCE["another path"])
        bench.worker.wait_for_and_dispatch_events(timeout=10)
        assert [conn.client for _, conn in bench.submitted] == [CLIENT]


@pytest.mark.parametrize("gunicorns", [False, True])
def test_a_worker_that_leaves_waits_for_its_first_request_but_not_long(bench: Bench, gunicorns: bool) -> None:
    bench.worker.gunicorns = gunicorns
    client, served = socket.socketpair()
    with client, closing(TConn(bench.worker.cfg, served, CLIENT, SERVER)) as conn:
        bench.worker.enqueue_req(conn)
        bench.worker.alive = False
        bench.worker.murder_keepalived()
        bench.worker._closes -= DRAIN_MS / 1000
        bench.worker.murder_keepalived()
        assert gunicorns or conn in bench.worker.keepalived_conns, "it may have been opened in the last moment"
        bench.worker._closes -= UNUSED
        bench.worker.murder_keepalived()
        bench.worker.murder_pending()
        assert client.recv(1) == b""


def test_a_worker_that_leaves_answers_one_more_request_on_an_idle_connection(bench: Bench) -> None:
    bench.worker.alive = False
    bench.worker.murder_keepalived()
    assert bench.worker.nr_conns == 1
    assert bench.sends(VERIFY + b"\r\n") == "closed"
    assert b"\r\nConnection: close\r\n" in bench.answer()


def test_it_does_not_wait_for_one(bench: Bench) -> None:
    bench.worker.alive = False
    bench.worker.murder_keepalived()
    bench.worker._closes -= DRAIN_MS / 1000
    bench.worker.murder_keepalived()
    assert bench.worker.nr_conns == 0
    assert bench.answer() == b""


def test_it_wakes_up_to_close_them(bench: Bench) -> None:
    before = time.monotonic()
    bench.worker.alive = False
    bench.worker.wait_for_and_dispatch_events(timeout=30)
    assert time.monotonic() - before < 10


def passes(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + seconds)


def done(result: str) -> "Future[bool]":
    """What became of a thread's work."""
    work: Future[bool] = Future()
    if result == "given up":
        work.cancel()
    elif result == "failed":
        work.set_exception(RuntimeError())
    else:
        work.set_result(result == "kept")
    return work


def gives_back(bench: Bench, result: str) -> None:
    """A thread has done with the connection."""
    bench.worker.poller.unregister(bench.conn.sock)
    bench.worker.keepalived_conns.clear()
    bench.worker.finish_request(bench.conn, done(result))


def test_a_kept_connection_is_watched_even_by_a_worker_that_leaves(bench: Bench) -> None:
    """Its client was told that it is kept."""
    bench.worker.alive = False
    gives_back(bench, "kept")
    bench.client.sendall(VERIFY + b"\r\n")
    bench.worker.wait_for_and_dispatch_events(timeout=10)
    assert b"\r\nConnection: close\r\n" in bench.answer()


@pytest.mark.parametrize("result", ["to be closed", "given up", "failed"])
def test_an_ended_connection_is_open_until_its_client_has_heard_it(bench: Bench, result: str) -> None:
    gives_back(bench, result)
    assert bench.answer() == b""
    bench.client.sendall(b"what was on its way")
    bench.worker.wait_for_and_dispatch_events(timeout=10)
    assert bench.worker.nr_conns == 1
    bench.client.close()
    bench.worker.wait_for_and_dispatch_events(timeout=10)
    assert bench.worker.nr_conns == 0
    assert bench.submitted == []


def test_who_does_not_want_to_hear_it_is_left(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    gives_back(bench, "to be closed")
    bench.worker.murder_keepalived()
    assert bench.worker.nr_conns == 1
    passes(monkeypatch, LINGER_TIMEOUT)
    bench.worker.murder_keepalived()
    assert bench.worker.nr_conns == 0


def test_who_goes_on_sending_is_left(bench: Bench) -> None:
    """When it has sent LINGER_BYTES and more."""
    gives_back(bench, "to be closed")
    bench.worker._hung_up.hold(bench.conn, LINGER_BYTES - 2 * LONGEST, time.monotonic())
    left = []
    for _ in range(3):
        bench.client.sendall(b"a" * LONGEST)
        bench.worker.wait_for_and_dispatch_events(timeout=10)
        left.append(bench.worker.nr_conns == 0)
    assert left == [False, False, True]


@pytest.mark.parametrize("result", ["kept", "to be closed"])
def test_a_connection_that_is_gone_is_forgotten(bench: Bench, result: str) -> None:
    bench.worker.poller.unregister(bench.conn.sock)
    bench.worker.keepalived_conns.clear()
    bench.conn.sock.close()
    bench.worker.finish_request(bench.conn, done(result))
    assert bench.worker.nr_conns == 0
    assert not bench.worker.keepalived_conns


class Pool:
    """A worker with a pool of one thread, and a connection on which three bytes are a request; x is the last one."""

    def __init__(self) -> None:
        self.client, served = pair()
        parser = SimpleNamespace(unreader=SocketUnreader(served), mesg=SimpleNamespace(path="/auth/verify"))
        self.conn = SimpleNamespace(sock=served, parser=parser)
        self.worker: Any = BffThreadWorker.__new__(BffThreadWorker)
        self.worker.alive = True
        self.worker.gunicorns = False
        self.worker._parking = Parking()
        self.worker.tpool = Threads(1)
        self.handled: list[str] = []

    def handle(self, conn: Any) -> bool:
        """Instead of gunicorn's."""
        data = conn.parser.unreader.take_buffered() or conn.sock.recv(3)
        conn.parser.unreader.unread(data[3:])
        self.handled.append(data[:1].decode())
        return data[:1] not in (b"x", b"")

    def close(self) -> None:
        self.worker.tpool.shutdown()
        self.client.close()
        self.conn.sock.close()


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    made = Pool()
    monkeypatch.setattr(ThreadWorker, "handle", made.handle)
    yield made
    made.close()


def test_requests_that_follow_are_answered_by_the_same_thread(pool: Pool) -> None:
    pool.client.send(b"a\n\nb\n\nc\n\n")
    assert pool.worker.handle(pool.conn) is True, "kept alive for the main thread to watch"
    assert pool.handled == ["a", "b", "c"]


@pytest.mark.parametrize(("longer", "handled"), [(0, ["a"]), (1, ["a", "b", "c"])])
def test_a_verify_is_left_to_the_main_thread_while_it_answers_at_once(
    pool: Pool, longer: int, handled: list[str]
) -> None:
    pool.worker.verify, pool.worker._busy_threads = Verify(), longer
    pool.client.send(b"a\n\nb\n\nc\n\n")
    assert pool.worker.handle(pool.conn) is True
    assert pool.handled == handled


@pytest.mark.parametrize("gunicorns", [False, True])
def test_a_closed_connection_is_not_waited_for(pool: Pool, gunicorns: bool) -> None:
    pool.worker.gunicorns = gunicorns
    pool.client.send(b"a\n\nx\n\nb\n\n")
    assert pool.worker.handle(pool.conn) is False
    assert pool.handled == ["a", "x"]


def test_its_end_is_noticed(pool: Pool) -> None:
    pool.client.send(b"a\n\n")
    pool.client.shutdown(socket.SHUT_WR)
    assert pool.worker.handle(pool.conn) is False
    assert pool.handled == ["a", ""]


def test_a_thread_of_a_leaving_worker_answers_what_follows(pool: Pool) -> None:
    pool.client.send(b"a\n\nb\n\n")
    pool.worker.alive = False
    assert pool.worker.handle(pool.conn) is True
    assert pool.handled == ["a", "b"]


def test_a_request_that_was_read_already_is_answered_whoever_waits(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.conn.parser.unreader.unread(b"a\n\nb\n\n")
    monkeypatch.setattr(Threads, "wanted", True)
    assert pool.worker.handle(pool.conn) is True
    assert pool.handled == ["a", "b"]


def test_half_a_head_is_not_waited_for(pool: Pool) -> None:
    pool.client.send(b"a\n\nb\n")
    assert pool.worker.handle(pool.conn) is True
    assert pool.handled == ["a"]
    assert pool.conn.parser.unreader.take_buffered() == b"b\n", "for the main thread to wait for the rest"


def test_who_waits_for_a_thread_comes_first(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.client.send(b"a\n\nb\n\n")
    monkeypatch.setattr(Threads, "wanted", True)
    pool.worker.handle(pool.conn)
    assert pool.handled == ["a"]


@pytest.mark.parametrize(("path", "longer"), [("/auth/verify", 0), ("/metrics", 0), ("/auth/session", 1)])
def test_what_takes_longer_is_counted_while_it_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, path: str, longer: int
) -> None:
    seen: list[int] = []

    def handle_request(worker: Any, *_: Any) -> bool:
        seen.append(worker._busy_threads)
        raise ConnectionResetError

    monkeypatch.setattr(ThreadWorker, "handle_request", handle_request)
    with pytest.raises(ConnectionResetError):
        bench.worker.handle_request(SimpleNamespace(path=path), bench.conn)
    assert (seen, bench.worker._busy_threads) == ([longer], 0)


POST = b"POST /other HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n"
OTHER = NOT_AT_ONCE["another path"]


@pytest.mark.parametrize("more", [b"", b"Expect: 100-continue\r\n"], ids=["sent", "asked for"])
def test_a_thread_gets_a_request_when_its_body_is_there(bench: Bench, more: bytes) -> None:
    assert bench.sends(POST) == bench.sends(more + b"\r\n") == "main"
    if more:
        assert bench.answer() == framing.CONTINUE
    assert [bench.sends(b"hell"), bench.sends(b"o")] == ["main", "thread"]
    assert bench.conn.parser.unreader.take_buffered() == POST + more + b"\r\nhello"
    assert len(bench.worker._receiving) == 0


@pytest.mark.parametrize("long", [b"Content-Length: 65537\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n10001\r\n"])
def test_a_body_that_is_too_long_for_that_a_thread_gets_at_once(bench: Bench, long: bytes) -> None:
    assert bench.sends(b"POST /other HTTP/1.1\r\nHost: a.test\r\n" + long) == "thread"


def test_so_does_a_route_that_streams(bench: Bench) -> None:
    bench.worker.bound_for = lambda *_: Bound(Bulkhead("work", 1), "work", "/api/work", streaming=True)
    assert bench.sends(POST + b"\r\nh") == "thread"


@pytest.mark.parametrize("sent", [VERIFY, POST + b"\r\nhell"], ids=["half a head", "half a body"])
def test_a_request_that_does_not_arrive_in_time_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Without a thread, and however its bytes dripped in."""
    now = time.monotonic()
    assert [bench.sends(sent[:-1]), bench.sends(sent[-1:])] == ["main", "main"]
    passes(monkeypatch, RECEIVE_TIMEOUT - 1)
    assert bench.sends(b"x" if sent is VERIFY else b"") == "main"
    bench.worker.murder_keepalived()
    assert len(bench.worker._receiving) == 1
    monkeypatch.setattr(time, "monotonic", lambda: now + RECEIVE_TIMEOUT + 1)
    bench.worker.murder_keepalived()
    refused = bench.answer()
    assert refused.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nConnection: close\r\n" in refused
    assert bench.submitted == []
    assert len(bench.logged) == 1


def test_it_is_refused_when_all_that_is_kept_is_too_much(bench: Bench) -> None:
    bench.worker._receiving = Waiting(RECEIVE_TIMEOUT, budget=len(VERIFY))
    bench.sends(VERIFY)
    bench.worker.murder_keepalived()
    assert len(bench.worker._receiving) == 1
    bench.sends(b"A: b\r\n")
    bench.worker.murder_keepalived()
    assert bench.answer().startswith(b"HTTP/1.1 408 ")


def test_a_leaving_worker_waits_less_for_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.sends(VERIFY)
    bench.worker.alive = False
    bench.worker.murder_keepalived()
    passes(monkeypatch, DRAIN_MS / 1000)
    bench.worker.murder_keepalived()
    assert bench.worker.nr_conns == 1
    passes(monkeypatch, LEAVING + 1)
    bench.worker.murder_keepalived()
    assert bench.answer().startswith(b"HTTP/1.1 408 ")


def asks(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("path", "reserve"),
    [
        ("/auth/verify", "VERIFY"),
        ("/auth/verify@strict", "POLICY"),
        ("/health/live", "WATCH"),
        ("/health/ready", "WATCH"),
        ("/health", "WATCH"),
        ("/auth/health", "WATCH"),
        ("/metrics", "WATCH"),
        ("/metrics?name[]=up", "WATCH"),
        ("/auth/session", "thread"),
    ],
)
@pytest.mark.parametrize("free", [True, False])
def test_who_answers_when_no_thread_is_free(bench: Bench, path: str, reserve: str, free: bool) -> None:
    bench.verify.knows = False
    bench.worker.tpool.free = free
    assert bench.sends(asks(path)) == ("thread" if free else reserve)


def test_all_that_watches_has_a_thread_of_its_own() -> None:
    app = Flask(__name__)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(metrics.blueprint(lambda *_: ()))
    assert {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"} == WATCHED


def test_a_request_without_a_place_waits_for_one_without_a_thread(bench: Bench) -> None:
    bulkhead = Bulkhead("work", 1)
    bench.worker.bound_for = lambda *_: Bound(bulkhead, "work", "/api/work", streaming=False)
    place = bulkhead.enter()
    assert bench.sends(OTHER) == "closed", "nobody watches it"
    assert bench.submitted == []
    place.leave()
    client, served = pair()
    with client, closing(TConn(bench.worker.cfg, served, CLIENT, SERVER)) as other:
        other.init()
        bench.worker.nr_conns += 1
        bench.worker._done(bench.worker.tpool, other, done("failed"))
    assert bench.submitted == [("thread", bench.conn)]
    assert bench.conn.sock.place.bulkhead is bulkhead


def test_it_is_refused_when_it_waited_too_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bulkhead = Bulkhead("work", 1)
    bench.worker.bound_for = lambda *_: Bound(bulkhead, "work-read", "/api/work/{id}", streaming=False)
    place = bulkhead.enter()
    bench.sends(asks("/api/work/alice"))
    passes(monkeypatch, BUSY_TIMEOUT)
    bench.worker.murder_keepalived()
    refused = bench.answer()
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 1\r\n" in refused
    assert (bench.submitted, len(bench.logged)) == ([], 1)
    place.leave()


def test_the_rest_of_an_answer_is_sent_by_the_main_thread(bench: Bench) -> None:
    """And then the connection serves the next request."""
    served = bench.conn.sock
    while not served.unsent:
        served.sendall(b"a" * 10_000)
    gives_back(bench, "kept")
    assert bench.conn in bench.worker._sending
    bench.client.settimeout(0.1)
    with suppress(TimeoutError):
        while bench.client.recv(65536):
            bench.worker.wait_for_and_dispatch_events(timeout=0)
    assert bench.conn in bench.worker.keepalived_conns
    bench.client.settimeout(10)
    assert bench.sends(VERIFY + b"\r\n") == "main"
    assert bench.answer().endswith(b"ok")


def test_who_does_not_take_it_is_left(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    while not bench.conn.sock.unsent:
        bench.conn.sock.sendall(b"a" * 10_000)
    gives_back(bench, "kept")
    passes(monkeypatch, SEND_TIMEOUT)
    bench.worker.murder_keepalived()
    assert (bench.worker.nr_conns, len(bench.worker._sending)) == (0, 0)


def test_what_was_read_behind_an_answered_request_is_gone_on_with(bench: Bench) -> None:
    bench.conn.parser.unreader.unread(VERIFY + b"\r\n")
    gives_back(bench, "kept")
    assert bench.answer().endswith(b"ok")
