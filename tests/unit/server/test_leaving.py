"""A worker that leaves closes its listeners at once; what waits there is fetched first where nothing succeeds it."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.pool import Pool

from bff.server import draining
from tests.unit.server import test_gevent, test_gthread

PATIENCE = 10


@pytest.fixture
def waiting() -> Iterator[tuple[Any, list[socket.socket]]]:
    """A listener, and connections to it that the system has accepted and no worker has fetched."""
    with ExitStack() as stack:
        listener = stack.enter_context(closing(gevent.socket.socket()))
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        clients = [stack.enter_context(closing(socket.create_connection(address, PATIENCE))) for _ in range(3)]
        yield listener, clients


@pytest.mark.parametrize("leaves", [True, False], ids=["the instance leaves", "a worker is replaced"])
def test_a_threaded_worker(
    waiting: tuple[Any, list[socket.socket]], monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    listener, clients = waiting
    monkeypatch.setattr(draining, "_page", bytes([leaves]))
    bench = test_gthread.Bench()
    listener.setblocking(False)
    bench.worker.sockets = [listener]
    bench.worker.set_accept_enabled(True)
    bench.worker.alive = False
    bench.worker.set_accept_enabled(False)
    assert listener.fileno() == -1
    fetched = list(bench.worker.keepalived_conns)[1:]
    assert len(fetched) == (len(clients) if leaves else 0)
    for each in fetched:
        bench.worker.poller.unregister(each.sock)
        each.sock.close()
    bench.close()


@pytest.mark.parametrize("leaves", [True, False], ids=["the instance leaves", "a worker is replaced"])
def test_a_gevent_worker(
    waiting: tuple[Any, list[socket.socket]], monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    listener, clients = waiting
    monkeypatch.setattr(draining, "_page", bytes([leaves]))
    bench, pool = test_gevent.Bench(), Pool(10)
    server = bench.worker.server_class(listener, spawn=pool, application=bench.worker.wsgi)
    server.close()
    assert listener.fileno() == -1
    assert len(pool) == (len(clients) if leaves else 0)
    if leaves:
        clients[0].sendall(test_gevent.OTHER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        clients[0].settimeout(0)
        deadline = gevent.Timeout(PATIENCE)
        with deadline:
            gevent.socket.wait_read(clients[0].fileno())
        assert clients[0].recv(1000).startswith(b"HTTP/1.1 200")
    pool.kill()
    bench.worker.tmp.close()
