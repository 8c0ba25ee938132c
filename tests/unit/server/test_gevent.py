"""Who answers on a connection of a gevent worker, and when it is closed; real sockets and greenlets."""

import os
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import socket

from bff.server.fast_http import LONGEST
from bff.server.gevent import BffGeventWorker
from bff.server.limits import DRAIN_MS, RECEIVE_TIMEOUT
from bff.server.waiting import Waiting
from tests.unit.server.support import CLIENT, NOT_AT_ONCE, SERVER, VERIFY, Verify, config

SLOW = b"GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n"
OTHER = b"GET /other HTTP/1.1\r\nHost: a.test\r\n\r\n"
POST = b"POST /other HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\n"
PATIENCE = 10


class Bench:
    """A worker without a server around it, and connections to it."""

    def __init__(self) -> None:
        settings = config()
        levels = dict.fromkeys(("debug", "info", "warning", "exception"), self._say)
        log = SimpleNamespace(access=self._access, **levels)
        self.worker: Any = BffGeventWorker(1, 0, [], SimpleNamespace(), 30, settings, log)
        self.worker.ppid = os.getppid()
        self.worker.alive = True
        self.worker.max_requests = 100
        self.verify = Verify()
        self.worker.verify = self.verify
        self.worker.wsgi = self._app
        self.listener = SimpleNamespace(getsockname=lambda: SERVER)
        self.go_on = gevent.event.Event()
        self.said: list[str] = []
        self.logged: list[str] = []
        self.greenlets: list[Any] = []
        self.sockets: list[Any] = []

    def connect(self) -> Any:
        client, served = socket.socketpair()
        client.settimeout(PATIENCE)
        self.sockets += [client, served]
        self.greenlets.append(gevent.spawn(self.worker.handle, self.listener, served, CLIENT))
        gevent.sleep(0)
        return client

    def asked(self) -> Any:
        """A connection that has had an answer from the application."""
        client = self.connect()
        client.sendall(OTHER)
        assert answer(client).endswith(b"app")
        return client

    def close(self) -> None:
        self.go_on.set()
        for each in self.sockets:
            each.close()
        gevent.joinall(self.greenlets, timeout=PATIENCE, raise_error=True)
        self.worker.tmp.close()

    def _app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> tuple[bytes]:
        if environ["PATH_INFO"] == "/slow":
            self.go_on.wait()
        start_response("200 OK", [("Content-Length", "3")])
        return (b"app",)

    def _access(self, answer: Any, _request: Any, environ: dict[str, Any], *_: Any) -> None:
        self.logged.append(f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO')} {answer.status}")

    def _say(self, text: str, *_: Any, **__: Any) -> None:
        self.said.append(text)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def answer(client: Any) -> bytes:
    received: bytes = client.recv(65536)
    return received


def test_what_memory_answers_is_answered_at_once(bench: Bench) -> None:
    client = bench.asked()
    for number in range(2, 5):
        client.sendall(VERIFY + b"\r\n")
        assert answer(client).endswith(b"ok")
        assert len(bench.logged) == bench.worker.nr == number
    assert bench.logged == ["GET /other 200 OK"] + ["GET /auth/verify 200 OK"] * 3


@pytest.mark.parametrize("data", NOT_AT_ONCE.values(), ids=NOT_AT_ONCE.keys())
def test_everything_else_gunicorn_gets_whole(bench: Bench, data: bytes) -> None:
    """It answers each in its own way; that of an unfinished one comes when the rest has come."""
    fresh, known = bench.connect(), bench.asked()
    for client in (fresh, known):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
    gevent.joinall(bench.greenlets, timeout=PATIENCE)
    answers = undated(everything(known))
    assert answers == undated(everything(fresh))
    assert not answers.endswith(b"ok")


def everything(client: Any) -> bytes:
    return b"".join(iter(lambda: answer(client), b""))


def undated(data: bytes) -> bytes:
    return b"\r\n".join(line for line in data.split(b"\r\n") if not line.startswith(b"Date: "))


def test_gunicorn_gets_a_long_head_in_its_order(bench: Bench) -> None:
    client = bench.asked()
    half = b"a" * (LONGEST // 2)
    client.sendall(VERIFY + b"A: " + half + b"\r\nB: " + half + b"\r\n\r\n")
    assert answer(client).endswith(b"app")


@pytest.mark.parametrize("fails", [False, True])
def test_what_memory_does_not_know_the_application_answers(bench: Bench, fails: bool) -> None:
    bench.verify.knows, bench.verify.fails = False, fails
    client = bench.asked()
    client.sendall(VERIFY + b"\r\n")
    assert answer(client).endswith(b"app")


def test_another_application_has_no_verify(bench: Bench) -> None:
    bench.worker.verify = None
    client = bench.asked()
    client.sendall(VERIFY + b"\r\n")
    assert answer(client).endswith(b"app")


def test_a_body_that_nobody_read_is_no_question(bench: Bench) -> None:
    client = bench.connect()
    client.sendall(POST + b"he")
    gevent.sleep(0.01)
    assert bench.logged == [], "the application is asked when the body is there"
    client.sendall(b"llo" + VERIFY + b"\r\n")
    received = answer(client)
    while received.count(b"app") < 2:  # the second was read together with the body's end, and so is gunicorn's
        received += answer(client)
    client.sendall(VERIFY + b"\r\n")
    assert answer(client).endswith(b"ok")


@pytest.mark.parametrize("drips", [False, True])
def test_a_body_that_does_not_arrive_in_time_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, drips: bool
) -> None:
    bench.worker._receiving = Waiting(0.1)
    client = bench.connect()
    client.sendall(POST + b"h")
    if drips:
        gevent.sleep(0.05)
        client.sendall(b"e")
    received = everything(client)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nConnection: close\r\n" in received
    assert bench.logged == ["POST /other 408 The request did not arrive in time"]


def test_the_oldest_unfinished_body_is_over_when_all_are_too_large(bench: Bench) -> None:
    bench.worker._receiving = Waiting(PATIENCE, budget=5)
    old, young = bench.connect(), bench.connect()
    for client in (old, young):
        client.sendall(POST + b"abc")
        gevent.sleep(0.01)
    bench.worker.notify()
    assert everything(old).startswith(b"HTTP/1.1 408 ")
    young.sendall(b"de")
    assert answer(young).endswith(b"app")


@pytest.mark.parametrize("sent", [b"Content-Length: 65537\r\n\r\nabc", b"Content-Length: 5\r\n\r\nab"])
def test_after_a_body_that_has_not_come_the_connection_ends(bench: Bench, sent: bytes) -> None:
    """Because it is a long one that nobody read, or because the client has ended it. The client sees the answer."""
    client = bench.connect()
    client.sendall(b"POST /other HTTP/1.1\r\nHost: a.test\r\n" + sent)
    if b": 5" in sent:
        client.shutdown(socket.SHUT_WR)
    else:
        assert b"\r\nConnection: close\r\n" in answer(client)
        client.sendall(OTHER * 3)
        client.close()
    gevent.joinall(bench.greenlets, timeout=PATIENCE)
    assert len(bench.logged) == 1


def test_who_always_asks_keeps_nobody_waiting(bench: Bench) -> None:
    busy, other = bench.asked(), bench.asked()
    answered: list[str] = []

    def again(given: Any) -> None:
        """The one's next request is there before its connection can be looked at; the other's first one as well."""
        if not answered:
            other.sendall(VERIFY + b"X-Who: other\r\n\r\n")
        answered.append(given.environ["HTTP_X_WHO"])
        if answered[-1] == "busy" and len(answered) < 10:
            busy.sendall(VERIFY + b"X-Who: busy\r\n\r\n")

    bench.worker.note = again
    busy.sendall(VERIFY + b"X-Who: busy\r\n\r\n")
    assert answer(other).endswith(b"ok")
    assert answered.index("other") <= 2


def test_who_takes_no_answer_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff.server.gevent.STALL_TIMEOUT", 0.05)
    bench.worker.max_requests = 1_000_000
    client = bench.asked()
    with gevent.Timeout(PATIENCE):
        while not bench.greenlets[0].dead:
            answers = len(bench.logged)
            client.sendall(VERIFY + b"\r\n")
            while len(bench.logged) == answers:
                gevent.sleep(0)
            gevent.sleep(0)
    assert bench.said == ["Closing connection. %s"]


def test_the_last_answer_of_a_worker_ends_the_connection(bench: Bench) -> None:
    bench.worker.max_requests = 2
    client = bench.asked()
    client.sendall(VERIFY + b"\r\n")
    assert b"\r\nConnection: close\r\n" in answer(client)
    assert answer(client) == b""
    assert not bench.worker.alive


def test_a_worker_that_leaves_answers_one_more_request_on_idle_connections(bench: Bench) -> None:
    known, fresh = bench.asked(), bench.connect()
    bench.worker.alive = False
    bench.worker.notify()
    for client, ours in ((known, b"ok"), (fresh, b"app")):
        client.sendall(VERIFY + b"\r\n")
        assert b"\r\nConnection: close\r\n" in (last := answer(client))
        assert last.endswith(ours)


def test_a_first_request_is_answered_after_the_listener_was_closed(bench: Bench) -> None:
    client = bench.connect()
    bench.listener.getsockname = lambda: pytest.fail("it is closed")
    client.sendall(OTHER)
    assert answer(client).endswith(b"app")


def test_it_does_not_wait_for_one(bench: Bench) -> None:
    known, fresh = bench.asked(), bench.connect()
    bench.worker.alive = False
    bench.worker.notify()
    assert [answer(known), answer(fresh)] == [b"", b""]
    gevent.joinall(bench.greenlets, timeout=PATIENCE, raise_error=True)
    assert bench.worker._connections == {}


def test_it_waits_for_whom_it_is_answering_and_for_who_has_begun(bench: Bench) -> None:
    slow, begun = bench.connect(), bench.asked()
    slow.sendall(SLOW)
    begun.sendall(VERIFY)
    gevent.sleep(0.01)
    bench.worker.alive = False
    bench.worker.notify()
    gevent.sleep(2 * DRAIN_MS / 1000)
    bench.worker.notify()
    bench.go_on.set()
    begun.sendall(b"\r\n")
    assert [answer(slow)[-3:], answer(begun)[-3:]] == [b"app", b"app"]


@pytest.mark.parametrize(("sent", "seconds"), [(b"", 95), (VERIFY, RECEIVE_TIMEOUT)], ids=["nothing", "half a head"])
def test_who_sends_nothing_more_is_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, sent: bytes, seconds: float
) -> None:
    bench.worker.cfg.keepalive = 95
    client = bench.asked()
    client.sendall(sent)
    gevent.sleep(0.01)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + seconds - 1)
    bench.worker.notify()
    gevent.sleep(0.01)
    assert not bench.greenlets[0].dead
    monkeypatch.setattr(time, "monotonic", lambda: now + seconds + 1)
    bench.worker.notify()
    assert answer(client) == b""


def test_a_stream_is_left_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    client = bench.connect()
    client.sendall(SLOW)
    gevent.sleep(0.01)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 10 * bench.worker.cfg.keepalive)
    bench.worker.notify()
    bench.go_on.set()
    assert answer(client).endswith(b"app")


def test_a_client_that_is_gone_is_no_matter(bench: Bench) -> None:
    client = bench.asked()
    client.close()
    gevent.joinall(bench.greenlets, timeout=PATIENCE, raise_error=True)
    assert bench.worker._connections == {}
    assert bench.said == ["Closing connection. %s"]
