"""B12: more slow bodies, or more calls of one slow service, than the BFF has threads. Verify, health, pages and other
services are answered all the same; each of them is counted, and none is timed."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.attacks.ground import THREADS, Site
from tests.peers import raw

pytestmark = pytest.mark.e2e

CLIENTS = 3 * THREADS
ROUNDS = 10
ENDPOINTS = (
    "POST /api/v1/metrics",
    "POST /auth/logout",
    "POST /auth/backchannel-logout",
    "POST /access/v1/evaluation",
    "POST /api/open/x",
    "POST /api/work/x",
)
OWN = tuple(each for each in ENDPOINTS if each.split()[1] not in ("/api/open/x", "/api/work/x"))
BODY = b"{" + b" " * 898 + b"}"


@contextmanager
def clients(port: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", port), raw.PATIENCE)) for _ in range(CLIENTS)]


def ask(port: int, path: str, fields: str = "") -> raw.Answer:
    return raw.ask(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{fields}\r\n".encode())


def assert_all_goes_on(site: Site) -> None:
    nginx, verify = site.ports["nginx"], int(site.bff.verify_address.rpartition(":")[2])
    for _ in range(ROUNDS):
        assert ask(verify, "/auth/verify", site.session).status == 200
        assert ask(verify, "/auth/verify").status == 401
        assert ask(site.bff.port, "/health/live").status == 200
        assert ask(site.bff.port, "/health/ready").status == 200
        assert b'"alice"' in ask(nginx, "/reports", site.session).body
        assert json.loads(ask(nginx, "/auth/session", site.session).body)["authenticated"] is True
        assert ask(nginx, "/api/open/x").status == 200


def slow_bodies(site: Site, port: int, endpoints: tuple[str, ...]) -> None:
    """Held while all goes on, then ended: nobody who is only slow is refused."""
    with clients(port) as slow:
        for number, client in enumerate(slow):
            endpoint = endpoints[number % len(endpoints)]
            fields = f"Host: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"
            client.sendall(f"{endpoint} HTTP/1.1\r\n{fields}\r\n".encode() + BODY[:100])
        site.work.forget()
        assert_all_goes_on(site)
        assert not [seen for seen in site.work.seen() if seen.head.startswith("POST")]
        for client in slow:
            client.sendall(BODY[100:])
        assert {raw.answer(client).status // 100 for client in slow} <= {2, 4}


def test_slow_bodies_through_nginx(site: Site) -> None:
    """Of strangers, on any endpoint and on a service's route: nginx reads them whole before anybody else sees them."""
    slow_bodies(site, site.ports["nginx"], ENDPOINTS)


def test_slow_bodies_at_the_bff_itself(site: Site) -> None:
    """On its own endpoints, which are what a stranger reaches through the proxies that pass bodies on as they come."""
    slow_bodies(site, site.bff.port, OWN)


def test_a_slow_service_has_its_share_of_the_threads_alone(site: Site) -> None:
    site.work.forget()
    before = site.bff.value("bff_bulkhead_rejections_total", service="slow")
    port = site.ports["nginx"]
    with clients(port) as waiting:
        for client in waiting:
            client.sendall(f"GET /api/slow/never HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        site.work.wait(lambda seen: any("/never" in each.head for each in seen))
        assert_all_goes_on(site)
        refused = [raw.answer(client) for client in answered(site, waiting)]
        assert {(answer.status, json.loads(answer.body)["code"]) for answer in refused} == {(503, "busy")}
        assert 0 < CLIENTS - len(refused) < THREADS
        assert site.bff.value("bff_bulkhead_rejections_total", service="slow") - before == len(refused)


def answered(site: Site, waiting: list[socket.socket]) -> list[socket.socket]:
    """Those that need not wait any longer, as soon as all others are where they wait: at the service."""

    def ready() -> list[socket.socket]:
        return [client for client in waiting if not raw.idle(client)]

    site.work.wait(lambda seen: len(ready()) + len([each for each in seen if "/never" in each.head]) == len(waiting))
    return ready()
