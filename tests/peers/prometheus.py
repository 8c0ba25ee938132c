"""A real Prometheus, and an Alertmanager that tells a webhook."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import requests
import yaml

from tests.peers import install, process

TIMEOUT = 10


@dataclass(frozen=True)
class Prometheus:
    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        return self._get("query", query=expression)["result"]  # type: ignore[no-any-return]

    def exemplars(self, expression: str) -> list[dict[str, Any]]:
        now = time.time()
        return self._get("query_exemplars", query=expression, start=now - 600, end=now + 60)  # type: ignore[no-any-return]

    def targets(self) -> list[dict[str, Any]]:
        return self._get("targets")["activeTargets"]  # type: ignore[no-any-return]

    def _get(self, endpoint: str, **parameters: Any) -> Any:
        answer = requests.get(f"{self.url}/api/v1/{endpoint}", params=parameters, timeout=TIMEOUT).json()
        assert answer["status"] == "success", answer
        return answer["data"]


@contextmanager
def running(folder: Path, configuration: Mapping[str, Any]) -> Iterator[Prometheus]:
    """configuration: what prometheus.yml would say."""
    program = install.debian("prometheus", "prometheus")
    port = process.free_port()
    file = folder / "prometheus.json"  # which is YAML, too
    file.write_text(json.dumps(configuration))
    command: list[str | Path] = [
        program,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    with process.running(command, port=port, log=folder / "prometheus.log"):
        yield Prometheus(f"http://127.0.0.1:{port}")


@contextmanager
def alertmanager(folder: Path, webhook: str) -> Iterator[str]:
    """host:port of one that tells the webhook about everything at once."""
    program = install.debian("prometheus-alertmanager", "prometheus-alertmanager")
    port = process.free_port()
    file = folder / "alertmanager.yml"
    route = {"receiver": "test", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s"}
    receivers = [{"name": "test", "webhook_configs": [{"url": webhook}]}]
    file.write_text(yaml.safe_dump({"route": route, "receivers": receivers}))
    command: list[str | Path] = [
        program,
        f"--config.file={file}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with process.running(command, port=port, log=folder / "alertmanager.log"):
        yield f"127.0.0.1:{port}"


class Webhook:
    """Remembers the alerts that it is told; a context manager."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        told = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": process.POLL})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> "Webhook":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
