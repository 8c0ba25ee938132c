"""Clients that are slow or silent hold up nobody else, though they are more than a worker has threads."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests

from tests.peers import bff, raw
from tests.peers.bff import TIMEOUT, Bff

pytestmark = pytest.mark.e2e

THREADS = 2
CLIENTS = THREADS + 1
SOON = 1.0  # seconds; the least that any of them could hold up a worker for is two
HEAD = b"GET /health/live HTTP/1.1\r\nHost: a.test\r\n"


@pytest.fixture(scope="module", params=["gthread", "gevent"])
def service(folder: Path, request: pytest.FixtureRequest) -> Iterator[Bff]:
    with bff.running(folder, {"WEB_WORKER_CLASS": request.param, "WEB_THREADS": str(THREADS)}) as running:
        yield running


def connected(service: Bff, stack: ExitStack) -> list[socket.socket]:
    return [
        stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=raw.PATIENCE))
        for _ in range(CLIENTS)
    ]


def answers_soon(service: Bff) -> bool:
    before = time.monotonic()
    answer = requests.get(f"http://{service.address}/health/live", timeout=TIMEOUT)
    return answer.status_code == 200 and time.monotonic() - before < SOON


def test_who_says_nothing(service: Bff) -> None:
    with ExitStack() as stack:
        clients = connected(service, stack)
        assert answers_soon(service)
        for client in clients:
            client.sendall(HEAD + b"\r\n")
            assert raw.answer(client).status == 200


@pytest.mark.parametrize("before", [b"", HEAD + b"\r\n"], ids=["first", "next"])
def test_who_sends_half_of_a_head(service: Bff, before: bytes) -> None:
    with ExitStack() as stack:
        clients = connected(service, stack)
        for client in clients:
            client.sendall(before + HEAD)
            assert not before or raw.answer(client).status == 200
        assert answers_soon(service)
        for client in clients:
            client.sendall(b"\r\n")
            assert raw.answer(client).status == 200


def test_who_leaves_a_connection_open_that_was_closed(service: Bff) -> None:
    with ExitStack() as stack:
        for client in connected(service, stack):
            client.sendall(HEAD + b"Connection: close\r\n\r\n")
            assert raw.answer(client).status == 200
        assert answers_soon(service)


def test_whose_head_has_no_end(service: Bff) -> None:
    with ExitStack() as stack:
        for client in connected(service, stack):
            with suppress(ConnectionError):
                client.sendall(HEAD + b"".join(b"X-%d: %s\r\n" % (number, b"a" * 4000) for number in range(40)))
        assert answers_soon(service)
