"""METRICS_BIND's own server reads a request as the workers do."""

import time
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any
from wsgiref.simple_server import make_server

import pytest
import requests

from bff import settings
from bff.server.metrics_server import Beside, _Handler, _Server
from bff.settings import Settings
from tests.peers import process, raw

PATIENCE = 60


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


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    environ = {
        "BFF_DATA_DIR": str(tmp_path),
        "METRICS_BIND": f"127.0.0.1:{process.free_port()}",
        "METRICS_TOKEN": "first",
        "LOG_LEVEL_FILE": str(tmp_path / "level"),
    }
    (tmp_path / "level").write_text("info")
    read = settings.load(environ, tmp_path)
    (tmp_path / "level").unlink()  # who reads it again has other settings
    return read


def wait_until_answered(config: Settings, token: str) -> None:
    assert config.metrics.bind is not None
    host, port = config.metrics.bind
    deadline = time.monotonic() + PATIENCE
    while _status(f"http://{host}:{port}/metrics", token) != 200:
        assert time.monotonic() < deadline, "it is not answered in time"
        time.sleep(process.POLL)


def _status(url: str, token: str) -> int:
    try:
        return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10).status_code
    except requests.RequestException:
        return 0


def test_it_serves_with_what_the_master_has_in_effect(config: Settings) -> None:
    beside = Beside()
    try:
        beside.run(config)
        wait_until_answered(config, "first")
        supervisor = beside._supervisor
        beside.run(replace(config))
        assert beside._supervisor is supervisor, "nothing has changed"
        beside.run(replace(config, metrics=replace(config.metrics, token="second")))
        wait_until_answered(config, "second")
        beside.run(replace(config, metrics=replace(config.metrics, bind=None)))
        assert beside._supervisor is None
    finally:
        beside.stop()
        ended = [each.wait(PATIENCE) for each in beside._former]
    assert set(ended) == {0}, "also of one that had not ended yet when the next was told to"
