"""METRICS_BIND's own server reads a request as the workers do."""

from threading import Thread
from typing import Any
from wsgiref.simple_server import make_server

import pytest

from bff.metrics_server import _Handler, _Server
from tests.peers import raw


@pytest.mark.parametrize(
    "sent",
    [
        "X_Forwarded_For: 10.0.0.1\r\n",
        "X-Forwarded-For: 203.0.113.9\r\nX_Forwarded_For: 10.0.0.1\r\n",
        "x_forwarded_for: 10.0.0.1\r\nX-Forwarded-For: 203.0.113.9\r\nX_FORWARDED-For: 10.0.0.1\r\n",
        "X_Real_IP: 10.0.0.1\r\nX-Forwarded-For: 203.0.113.9\r\n",
    ],
)
def test_a_field_in_another_spelling_is_dropped(sent: str) -> None:
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with make_server("127.0.0.1", 0, app, server_class=_Server, handler_class=_Handler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        answer = raw.ask(server.server_port, f"GET /metrics HTTP/1.1\r\nHost: a.test\r\n{sent}\r\n".encode())
        thread.join()
    assert answer.status == 200
    expected = "203.0.113.9" if "X-Forwarded-For" in sent else None
    assert (seen[0].get("HTTP_X_FORWARDED_FOR"), seen[0].get("HTTP_X_REAL_IP")) == (expected, None)
