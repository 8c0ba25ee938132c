"""A thread of the worker stays with a connection whose next request is there, and with no other."""

import io
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers.gthread import ThreadWorker

from bff.worker import Threads, Worker


class Bench:
    """A worker with one thread pool and no server around it, and a connection to it."""

    def __init__(self) -> None:
        self.client, served = socket.socketpair()
        self.read_ahead = io.BytesIO()
        parser = SimpleNamespace(unreader=SimpleNamespace(buf=self.read_ahead))
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
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench()

    def handle(_worker: Any, conn: Any) -> bool:
        """One byte is one request; the last one ends the connection."""
        made.handled += 1
        ahead = conn.parser.unreader.buf.getvalue()
        byte: bytes = ahead[:1] or conn.sock.recv(1)
        conn.parser.unreader.buf = io.BytesIO(ahead[1:])
        return byte != b"x"

    monkeypatch.setattr(ThreadWorker, "handle", handle)
    yield made
    made.close()


def test_requests_that_follow_are_answered_by_the_same_thread(bench: Bench) -> None:
    bench.client.send(b"abc")
    assert bench.worker.handle(bench.conn) is True, "kept alive for the main thread to watch"
    assert bench.handled == 3


def test_a_closed_connection_is_not_waited_for(bench: Bench) -> None:
    bench.client.send(b"axb")
    assert bench.worker.handle(bench.conn) is False
    assert bench.handled == 2


def test_a_leaving_worker_takes_no_further_request(bench: Bench) -> None:
    bench.client.send(b"ab")
    bench.worker.alive = False
    assert bench.worker.handle(bench.conn) is True
    assert bench.handled == 1


def test_a_request_that_was_read_already_is_answered_whoever_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.read_ahead.write(b"ab")
    monkeypatch.setattr(Threads, "wanted", True)
    assert bench.worker.handle(bench.conn) is True
    assert bench.handled == 2


def test_who_waits_for_a_thread_comes_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.client.send(b"ab")
    monkeypatch.setattr(Threads, "wanted", True)
    bench.worker.handle(bench.conn)
    assert bench.handled == 1
