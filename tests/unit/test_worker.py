"""Which thread of a worker answers: the main one at once, one that stays with its connection, or any of the pool."""

import io
import logging
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import TConn, ThreadWorker

from bff import framing
from bff.worker import MOST_AT_ONCE, PARTING_MS, Threads, Worker

CLIENT, SERVER = ("203.0.113.7", 4711), ("127.0.0.1", 8000)
VERIFY = b"GET /auth/verify HTTP/1.1\r\nHost: a.test\r\n"


class Verify:
    """Answers at once what it `knows`."""

    paths = frozenset({"/auth/verify"})
    knows = True
    fails = False

    def at_once(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> tuple[bytes, ...] | None:
        if self.fails:
            raise RuntimeError
        if not self.knows:
            return None
        start_response("200 OK", [("Content-Length", "2"), ("X-Asked", environ["PATH_INFO"])])
        return (b"ok",)


class Bench:
    """A worker without a server around it, and an idle connection to it. No thread runs: what one would do is noted."""

    def __init__(self) -> None:
        self.client, served = socket.socketpair()
        config = Config()
        config.set("pre_request", lambda _worker, request: framing.check(request))
        config.set("http_parser", "fast")
        self.conn = TConn(config, served, CLIENT, SERVER)
        self.conn.init()
        served.setblocking(False)
        self.conn.set_timeout()
        self.verify = Verify()
        self.submitted: list[Any] = []
        self.worker: Any = Worker(1, 0, [], SimpleNamespace(), 30, config, SimpleNamespace(access=self._access))
        self.worker.alive = True
        self.worker.max_requests = 100
        self.worker.log.info = logging.getLogger(__name__).info
        self.worker._verify = self.verify
        self.worker.poller = selectors.DefaultSelector()
        self.worker.poller.register(served, selectors.EVENT_READ)
        self.worker.keepalived_conns = deque([self.conn])
        self.worker.nr_conns = 1
        self.worker.enqueue_req = self.submitted.append
        self.logged: list[str] = []

    def _access(self, response: Any, request: Any, *_: Any) -> None:
        self.logged.append(f"{request.method} {response.status}")

    def sends(self, data: bytes) -> str:
        """Who deals with it: the main thread, a thread of the pool, or nobody any more."""
        if data:
            self.client.sendall(data)
        self.worker.on_client_socket_readable(self.conn, self.conn.sock)
        if self.submitted:
            return "thread"
        return "main" if self.conn in self.worker.keepalived_conns else "closed"

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


@pytest.mark.parametrize(
    "sent",
    {
        "another path": b"GET /auth/session HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "another method": b"POST /auth/verify HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "in other words": b"GET /auth/%76erify HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "an absolute target": b"GET http://a.test/auth/verify HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "half a head": VERIFY,
        "half a line": b"GET /auth/ver",
        "two at once": VERIFY + b"\r\n" + VERIFY + b"\r\n",
        "with the body's beginning": VERIFY + b"Content-Length: 9\r\n\r\nabc",
        "with a body to come": VERIFY + b"Content-Length: 9\r\n\r\n",
        "with chunks to come": VERIFY + b"Transfer-Encoding: chunked\r\n\r\n",
        "that waits to be asked for a body": VERIFY + b"Expect: 100-continue\r\n\r\n",
        "an upgrade": VERIFY + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "no host": b"GET /auth/verify HTTP/1.1\r\n\r\n",
        "an impossible host": b"GET /auth/verify HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
        "a folded line": VERIFY + b"A: b\r\n c\r\n\r\n",
        "no HTTP": b"\x16\x03\x01\r\n\r\n",
        "too long": VERIFY + b"A: " + b"a" * MOST_AT_ONCE + b"\r\n\r\n",
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
def test_everything_else_a_thread_gets_whole(bench: Bench, sent: tuple[str, bytes]) -> None:
    assert bench.sends(sent[1]) == "thread"
    read = bench.conn.parser.unreader.buf.getvalue()
    assert sent[1].startswith(read)
    assert read == sent[1][:MOST_AT_ONCE]
    assert bench.logged == []


def test_what_must_be_looked_up_a_thread_answers(bench: Bench) -> None:
    bench.verify.knows = False
    assert bench.sends(VERIFY + b"\r\n") == "thread"
    assert next(bench.conn.parser).path == "/auth/verify", "as if nobody had read it before"


def test_a_fault_is_a_threads_to_answer(bench: Bench) -> None:
    bench.verify.fails = True
    assert bench.sends(VERIFY + b"\r\n") == "thread"
    assert next(bench.conn.parser).path == "/auth/verify"


def test_while_a_thread_is_at_something_longer_all_go_to_threads(bench: Bench) -> None:
    bench.worker._longer = 1
    assert bench.sends(VERIFY + b"\r\n") == "thread"


def test_another_application_has_no_verify(bench: Bench) -> None:
    bench.worker._verify = None
    assert bench.sends(VERIFY + b"\r\n") == "thread"


def test_who_hung_up_is_a_threads_to_close(bench: Bench) -> None:
    bench.client.shutdown(socket.SHUT_WR)
    assert bench.sends(b"") == "thread"


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


def test_a_worker_that_leaves_answers_one_more_request_on_an_idle_connection(bench: Bench) -> None:
    bench.worker.alive = False
    bench.worker.murder_keepalived()
    assert bench.worker.nr_conns == 1
    assert bench.sends(VERIFY + b"\r\n") == "closed"
    assert b"\r\nConnection: close\r\n" in bench.answer()


def test_it_does_not_wait_for_one(bench: Bench) -> None:
    bench.worker.alive = False
    bench.worker.murder_keepalived()
    bench.worker._closes -= PARTING_MS / 1000
    bench.worker.murder_keepalived()
    assert bench.worker.nr_conns == 0
    assert bench.answer() == b""


def test_it_wakes_up_to_close_them(bench: Bench) -> None:
    before = time.monotonic()
    bench.worker.alive = False
    bench.worker.wait_for_and_dispatch_events(timeout=30)
    assert time.monotonic() - before < 10


@pytest.mark.parametrize(
    ("ended", "watched"),
    [("kept", True), ("to be closed", False), ("given up", False), ("failed", False)],
)
def test_what_a_thread_gives_back_to_a_worker_that_leaves(bench: Bench, ended: str, watched: bool) -> None:
    """Its client was told that the connection is kept, or else nothing."""
    work: Future[bool] = Future()
    if ended == "given up":
        work.cancel()
    elif ended == "failed":
        work.set_exception(RuntimeError())
    else:
        work.set_result(ended == "kept")
    bench.worker.poller.unregister(bench.conn.sock)
    bench.worker.keepalived_conns.clear()
    bench.worker.alive = False
    bench.worker.finish_request(bench.conn, work)
    assert (bench.conn in bench.worker.keepalived_conns, bench.worker.nr_conns == 1) == (watched, watched)
    if watched:
        bench.client.sendall(VERIFY + b"\r\n")
        bench.worker.wait_for_and_dispatch_events(timeout=10)
        assert b"\r\nConnection: close\r\n" in bench.answer()


def test_a_client_that_wants_to_be_left_is(bench: Bench) -> None:
    assert bench.sends(VERIFY + b"Connection: close\r\n\r\n") == "closed"
    assert bench.answer().endswith(b"ok")


class Pool:
    """A worker with a pool of one thread, and a connection on which each byte is a request; x is the last one."""

    def __init__(self) -> None:
        self.client, served = socket.socketpair()
        self.read_ahead = io.BytesIO()
        parser = SimpleNamespace(
            unreader=SimpleNamespace(buf=self.read_ahead), mesg=SimpleNamespace(path="/auth/verify")
        )
        self.conn = SimpleNamespace(sock=served, parser=parser)
        self.worker: Any = Worker.__new__(Worker)
        self.worker.alive = True
        self.worker.tpool = Threads(max_workers=1)
        self.handled = 0

    def close(self) -> None:
        self.worker.tpool.shutdown()
        self.client.close()
        self.conn.sock.close()


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    made = Pool()

    def handle(_worker: Any, conn: Any) -> bool:
        made.handled += 1
        ahead = conn.parser.unreader.buf.getvalue()
        byte: bytes = ahead[:1] or conn.sock.recv(1)
        conn.parser.unreader.buf = io.BytesIO(ahead[1:])
        return byte != b"x"

    monkeypatch.setattr(ThreadWorker, "handle", handle)
    yield made
    made.close()


def test_requests_that_follow_are_answered_by_the_same_thread(pool: Pool) -> None:
    pool.client.send(b"abc")
    assert pool.worker.handle(pool.conn) is True, "kept alive for the main thread to watch"
    assert pool.handled == 3


@pytest.mark.parametrize(("longer", "handled"), [(0, 1), (1, 3)])
def test_a_verify_is_left_to_the_main_thread_while_it_answers_at_once(pool: Pool, longer: int, handled: int) -> None:
    pool.worker._verify, pool.worker._longer = Verify(), longer
    pool.client.send(b"abc")
    assert pool.worker.handle(pool.conn) is True
    assert pool.handled == handled


def test_a_closed_connection_is_not_waited_for(pool: Pool) -> None:
    pool.client.send(b"axb")
    assert pool.worker.handle(pool.conn) is False
    assert pool.handled == 2


def test_a_thread_of_a_leaving_worker_answers_what_follows(pool: Pool) -> None:
    pool.client.send(b"ab")
    pool.worker.alive = False
    assert pool.worker.handle(pool.conn) is True
    assert pool.handled == 2


def test_a_request_that_was_read_already_is_answered_whoever_waits(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.read_ahead.write(b"ab")
    monkeypatch.setattr(Threads, "wanted", True)
    assert pool.worker.handle(pool.conn) is True
    assert pool.handled == 2


def test_who_waits_for_a_thread_comes_first(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.client.send(b"ab")
    monkeypatch.setattr(Threads, "wanted", True)
    pool.worker.handle(pool.conn)
    assert pool.handled == 1


@pytest.mark.parametrize(("path", "longer"), [("/auth/verify", 0), ("/metrics", 0), ("/auth/session", 1)])
def test_what_takes_longer_is_counted_while_it_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, path: str, longer: int
) -> None:
    seen: list[int] = []

    def handle_request(worker: Any, *_: Any) -> bool:
        seen.append(worker._longer)
        raise ConnectionResetError

    monkeypatch.setattr(ThreadWorker, "handle_request", handle_request)
    with pytest.raises(ConnectionResetError):
        bench.worker.handle_request(SimpleNamespace(path=path), bench.conn)
    assert (seen, bench.worker._longer) == ([longer], 0)
