"""What a worker can answer at once, it answers whatever others wait for; over real connections."""

import http.client
import select
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.peers import openid, raw, redis
from tests.peers.bff import Bff, Visitor
from tests.peers.bff import running as bff_running

pytestmark = pytest.mark.e2e

UNKNOWN = "A" * 43
OUTLIVES = "10"  # seconds that an entry of the cache lives, longer than this takes


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[redis.RedisServer]:
    with redis.RedisServer(redis.debian(), folder) as server:
        yield server


@pytest.fixture(scope="module", params=["gthread", "gevent"])
def bff(folder: Path, store: redis.RedisServer, request: pytest.FixtureRequest) -> Iterator[Bff]:
    settings = {"REDIS_URL": store.url, "SESSION_CACHE_TTL": OUTLIVES, "WEB_WORKER_CLASS": request.param}
    with bff_running(folder, settings) as service:
        yield service


@pytest.fixture(scope="module")
def session(bff: Bff) -> str:
    with Visitor(bff.base_url) as alice:
        assert alice.login().status_code == 302
        return alice.cookie()


def question(session: str, method: str = "GET", more: str = "") -> bytes:
    agent = openid.NAVIGATION["User-Agent"]
    return (
        f"{method} /auth/verify HTTP/1.1\r\nHost: a.test\r\nUser-Agent: {agent}\r\n"
        f"Cookie: bff_session={session}\r\n{more}\r\n"
    ).encode()


def connected(bff: Bff) -> http.client.HTTPConnection:
    """On a connection that has had an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", bff.port, timeout=raw.PATIENCE)
    connection.request("GET", "/health/live")
    connection.getresponse().read()
    return connection


def test_who_must_wait_for_the_store_is_in_nobodys_way(bff: Bff, store: redis.RedisServer, session: str) -> None:
    with closing(connected(bff)) as known, closing(connected(bff)) as unknown:
        known.sock.sendall(question(session))
        assert raw.answer(known.sock).status == 200
        store.pause()
        try:
            unknown.sock.sendall(question(UNKNOWN))
            for _ in range(20):
                known.sock.sendall(question(session))
                assert raw.answer(known.sock).status == 200
            assert not select.select([unknown.sock], [], [], 0)[0], "it had its answer before the others"
        finally:
            store.resume()
        assert raw.answer(unknown.sock).status in {401, 503}


def test_requests_in_any_portions_get_their_answers(bff: Bff, session: str) -> None:
    """In one, in two, two at a time, and with a body that nobody wants: in their order, and no answer is another's."""
    whole = question(session)
    body = question(session, "POST", "Content-Length: 5\r\n") + b"hello"
    portions = {
        whole: 1, whole[:30]: 0, whole[30:]: 1, whole + whole: 2, body + whole: 2, body[:-2]: 0, body[-2:] + whole: 2,
        whole + body: 2,
    }  # fmt: skip
    expected, received = 0, b""
    with closing(connected(bff)) as connection:
        for portion, answers in portions.items():
            connection.sock.sendall(portion)
            expected += answers
            while received.count(b"HTTP/1.1 ") < expected:
                received += connection.sock.recv(65536)
    assert [answer.status for answer in raw.answers(received)] == [200] * expected


@pytest.mark.parametrize("path", ["/auth/verify", "/auth/tokens"])
@pytest.mark.parametrize("first", ["theme=dark", "theme=a,b", "bff_session=short"])
def test_cookies_in_two_fields_are_read(bff: Bff, session: str, path: str, first: str) -> None:
    """Of what is answered where it is read, and of what gunicorn hands to Flask."""
    whole = question(session, more=f"Cookie: {first}\r\n").replace(b"/auth/verify", path.encode())
    reversed_ = question("short", more=f"Cookie: {first}; bff_session={session}\r\n").replace(
        b"/auth/verify", path.encode()
    )
    with closing(connected(bff)) as connection:
        for sent in (whole, reversed_):
            connection.sock.sendall(sent)
            assert raw.answer(connection.sock).status == 200


def test_what_it_answers_is_logged_and_counted(bff: Bff, session: str) -> None:
    def count() -> float:
        return bff.value("http_requests_total", endpoint="/auth/verify", status="200")

    before, logged = count(), len([each for each in bff.records() if each.get("path") == "/auth/verify"])
    with closing(connected(bff)) as connection:
        for _ in range(10):
            connection.sock.sendall(question(session))
            assert raw.answer(connection.sock).fields["X-User-ID"]
    assert count() - before == 10
    assert len([each for each in bff.records() if each.get("path") == "/auth/verify"]) - logged == 10
