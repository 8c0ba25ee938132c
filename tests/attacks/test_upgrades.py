"""A3: a protocol other than WebSocket is asked for, so as to talk to the application past the proxy.

What is inside a tunnel no proxy judges: a request in it claims any identity. The application accepts HTTP/2 in clear,
asked for by `Upgrade: h2c` (RFC 7540 section 3.2) or by prior knowledge.
"""

import socket
from contextlib import suppress
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamReset
from h2.exceptions import ProtocolError

from tests.attacks.ground import Site
from tests.e2e.protected import AGENT, PROXIES
from tests.peers import raw

pytestmark = pytest.mark.e2e
proxies = pytest.mark.parametrize("proxy", PROXIES)

SETTINGS = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
ASKED = {
    "h2c": "Upgrade: h2c\r\n",
    "H2C": "Upgrade: H2C\r\n",
    "TLS": "Upgrade: TLS/1.0\r\n",
    "h2": "Upgrade: h2\r\n",
    "a list": "Upgrade: websocket, h2c\r\n",
    "a list, the other way round": "Upgrade: h2c, websocket\r\n",
    "two fields": "Upgrade: websocket\r\nUpgrade: h2c\r\n",
    "two fields, the other way round": "Upgrade: h2c\r\nUpgrade: websocket\r\n",
    "an empty one first": "Upgrade:\r\nUpgrade: h2c\r\n",
    "a version": "Upgrade: websocket/13\r\n",
    "a prefix": "Upgrade: websockets\r\n",
    "other letters": "Upgrade: web\u017focket\r\n",
    "tabs": "Upgrade:\th2c\t\r\n",
}
CONNECTIONS = {
    "named": "Connection: Upgrade, HTTP2-Settings\r\n",
    "alone": "Connection: upgrade\r\n",
    "twice": "Connection: HTTP2-Settings\r\nConnection: Upgrade\r\n",
    "not at all": "",
}
INSIDE = b"/admin"
ADMIN = ((":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/admin"), ("x-user-id", "alice"))
CLIENT = H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False)
KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
SWITCHED = b"HTTP/1.1 101"
PLACES = {"open": "/public/x", "protected": "/reports"}


def inside(*fields: tuple[str, str], connection: H2Connection | None = None) -> bytes:
    """The whole beginning of a client's HTTP/2 connection, with a request; the one that claims to be alice's, unless
    fields are another."""
    connection = connection or H2Connection(CLIENT)
    connection.initiate_connection()
    connection.send_headers(3, fields or ADMIN, end_stream=(":method", "CONNECT") not in fields)
    return connection.data_to_send()


def head(site: Site, port: int, path: str, fields: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{site.session}{fields}\r\n".encode()


def attack(port: int, head: bytes, then: bytes) -> bytes:
    """What comes back for a head and, once there is an answer to it, for what follows: until the server closes, or has
    answered the request that was inside."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), raw.PATIENCE) as client, suppress(ConnectionError):
        client.sendall(head)
        received = client.recv(65536)
        client.sendall(then)
        if received.startswith(b"HTTP/1.1 ") and not received.startswith(SWITCHED):
            with suppress(OSError):  # it closed, which is as well
                client.shutdown(socket.SHUT_WR)
        while INSIDE not in received and (part := client.recv(65536)):
            received += part
    return received


def over_http2(port: int, *fields: tuple[str, str]) -> str:
    """The status of the answer to a request with prior knowledge, as `inside`; empty where no HTTP/2 is spoken."""
    connection = H2Connection(CLIENT)
    with (
        socket.create_connection(("127.0.0.1", port), raw.PATIENCE) as client,
        suppress(ConnectionError, ProtocolError),
    ):
        client.sendall(inside(*fields, connection=connection))
        while part := client.recv(65536):
            for event in connection.receive_data(part):
                if isinstance(event, ResponseReceived):
                    return {str(name): str(value) for name, value in event.headers}[":status"]
                if isinstance(event, StreamReset):
                    return "reset"
    return ""


def told(seen: dict[str, Any], name: str) -> list[str]:
    return [value for known, value in seen["headers"] if known.lower() == name]


def check(site: Site) -> None:
    """The application saw no request that the proxy had not judged, and no wish for another protocol."""
    for seen in site.application.seen():
        assert seen["path"] != "/admin", seen
        assert seen["version"].startswith("1"), seen
        assert [value.lower() for value in told(seen, "upgrade")] in ([], ["websocket"]), seen
        assert told(seen, "http2-settings") == [], seen


def test_the_application_does_accept_it(site: Site) -> None:
    port = site.application.port
    for begin in (head(site, port, "/", CONNECTIONS["named"] + ASKED["h2c"] + SETTINGS), b""):
        site.application.forget()
        answer = attack(port, begin or inside(), inside() if begin else b"")
        assert bool(begin) is answer.startswith(SWITCHED)
        assert ("/admin", ["alice"]) in [(seen["path"], told(seen, "x-user-id")) for seen in site.application.seen()]


@proxies
@pytest.mark.parametrize("place", PLACES)
def test_no_tunnel_opens(site: Site, proxy: str, place: str) -> None:
    port = site.ports[proxy]
    for asked in ASKED.values():
        for connection in CONNECTIONS.values():
            site.application.forget()
            answer = attack(port, head(site, port, PLACES[place], connection + asked + SETTINGS), inside())
            assert answer.startswith(b"HTTP/1.1 "), (asked, connection)
            assert SWITCHED not in answer, (asked, connection)
            check(site)


@proxies
def test_prior_knowledge_leads_nowhere_around_verify(site: Site, proxy: str) -> None:
    """A proxy that speaks HTTP/2 on its own listener judges each request in it like any other."""
    site.application.forget()
    own = f"127.0.0.1:{site.ports[proxy]}"
    asked = [(name, own if name == ":authority" else value) for name, value in ADMIN]
    assert over_http2(site.ports[proxy], *asked) in {"401", "400", ""}
    check(site)


@proxies
@pytest.mark.parametrize("protocol", ["h2c", "websocket, h2c", "connect-udp"])
def test_an_extended_connect_opens_no_tunnel_either(site: Site, proxy: str, protocol: str) -> None:
    """RFC 8441: HTTP/2's way to ask for a WebSocket, and by its words for anything else. It comes from alice."""
    site.application.forget()
    own = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":path", "/reports")]
    session = [("cookie", site.cookie), ("user-agent", AGENT), ("http2-settings", "AAMAAABkAAQAAP__")]
    over_http2(site.ports[proxy], *own, (":authority", f"127.0.0.1:{site.ports[proxy]}"), *session)
    check(site)


@proxies
@pytest.mark.parametrize("spelling", ["websocket", "WebSocket", "WEBSOCKET"])
@pytest.mark.parametrize("place", PLACES)
def test_a_websocket_passes(site: Site, proxy: str, spelling: str, place: str) -> None:
    port = site.ports[proxy]
    fields = f"Connection: Upgrade\r\nUpgrade: {spelling}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    site.application.forget()
    with socket.create_connection(("127.0.0.1", port), raw.PATIENCE) as client:
        client.sendall(head(site, port, PLACES[place], fields))
        with client.makefile("rb") as received:
            assert received.readline().startswith(SWITCHED)
            while received.readline().strip():
                pass
            client.sendall(b"\x81\x85\0\0\0\0hello")  # one text message, masked with zeros
            assert received.read(7) == b"\x81\x05hello"
    (seen,) = site.application.seen()
    assert (seen["type"], seen["path"]) == ("websocket", PLACES[place])
    assert [value.lower() for value in told(seen, "upgrade")] == ["websocket"]
    assert told(seen, "x-user-id") == (["alice"] if place == "protected" else [])
