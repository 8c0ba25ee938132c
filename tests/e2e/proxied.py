"""The BFF with its API proxy in front of a real nginx and a service that remembers what it was sent."""

import http.client
import random
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.peers import bff, nginx, service, shared
from tests.peers.bff import Bff
from tests.peers.service import Service

KINDS = ("gthread", "gevent")
ROUTES = """
services:
  files: {{token: none, base_url: "{files}"}}
  work: {{token: none, base_url: "{work}", response_headers: [X-Custom]}}
  mine: {{token: user, base_url: "{work}"}}
routes:
  - {{id: files, path: /api/files/*, service: files, auth: none}}
  - {{id: streamed, path: /api/streamed/*, service: files, auth: none, streaming: true, upstream_path: "/files/*"}}
  - id: work
    path: /api/work/*
    service: work
    auth: none
    streaming: true
    methods: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]
    body_limit: 4GiB
  - {{id: plain, path: /api/plain/*, service: work, auth: none, timeout: 5}}
  - {{id: small, path: /api/small/*, service: work, auth: none, methods: [POST], body_limit: 1MiB}}
  - {{id: impatient, path: /api/impatient/*, service: work, auth: none, methods: [GET, POST], timeout: 0.5}}
  - {{id: mine, path: /api/mine/*, service: mine, methods: [GET, POST], streaming: true}}
"""
TEXT = "".join(f"line {number} of a text that compresses well\n" for number in range(2000)).encode()
TIMEOUT = 10
IMAGE = random.Random(1).randbytes(300_000)


@dataclass(frozen=True)
class Site:
    """since: lines of the log that earlier modules have caused."""

    bff: Bff
    work: Service
    since: int = 0

    def url(self, path: str) -> str:
        return f"http://{self.bff.address}/api/{path}"

    def complaints(self) -> list[str]:
        """Tracebacks, and whatever else went wrong in the BFF without being foreseen."""
        lines = self.bff.log.read_text().splitlines()[self.since :]
        return [line for line in lines if "Traceback" in line or "unexpected_error" in line or '"ERROR"' in line]


@contextmanager
def open_answer(site: Site, path: str, *, method: str = "GET", **headers: str) -> Iterator[http.client.HTTPResponse]:
    """An answer whose body is still to be read; it goes away with the block. No content coding is undone."""
    connection = http.client.HTTPConnection("127.0.0.1", site.bff.port, timeout=TIMEOUT)
    with closing(connection):
        connection.request(method, f"/api/{path}", headers=headers)
        with connection.getresponse() as answer:
            yield answer


@contextmanager
def running(folder: Path, kind: str, environ: Mapping[str, str] | None = None, *, workers: int = 1) -> Iterator[Site]:
    """kind: of gunicorn's workers."""
    files = folder / "www" / "files"
    files.mkdir(parents=True)
    (files / "text.txt").write_bytes(TEXT)
    (files / "image.png").write_bytes(IMAGE)
    own = {"WEB_WORKER_CLASS": kind, "BFF_CONFIG_DIR": str(folder), **(environ or {})}
    with (
        nginx.running(folder, files.parent, log=folder / "nginx.log") as web,
        service.running(folder) as work,
    ):
        (folder / "routes.yaml").write_text(ROUTES.format(files=web, work=work.url))
        with bff.running(folder, own, workers=workers) as running:
            yield Site(running, work)


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Under each kind of worker, one after the other; for several modules."""
    return shared_site(tmp_path_factory, request.param)


def shared_site(tmp_path_factory: pytest.TempPathFactory, kind: str, environ: Mapping[str, str] | None = None) -> Site:
    name = ("proxied", kind, *sorted((environ or {}).items()))
    site = shared.once(name, lambda: running(tmp_path_factory.mktemp(kind), kind, environ))
    site.work.forget()
    return replace(site, since=len(site.bff.log.read_text().splitlines()))
