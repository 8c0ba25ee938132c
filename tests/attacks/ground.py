"""What the attacks of this folder are made against: one BFF with a profile whose answer carries a token, an application
and a service, and the five proxies in front, with the files in deploy/ as they are. All of it starts once.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.attacks import wire
from tests.e2e.protected import AGENT, PROXIES
from tests.peers import bff, h2c, process, proxies, service
from tests.peers.bff import Visitor
from tests.peers.h2c import Application
from tests.peers.service import Service

THREADS = 8
PROFILE = "@svc"
PROFILES = "profiles: {svc: {service: work}}"
ROUTES = """
services:
  work: {{token: user, base_url: "{work}"}}
  open: {{token: none, base_url: "{work}"}}
  slow: {{token: none, base_url: "{work}"}}
  steer: {{token: none, base_url: "http://{application}"}}
  wire: {{token: none, base_url: "{wire}"}}
routes:
  - {{id: work, path: "/api/work/*", service: work, methods: [GET, POST]}}
  - {{id: open, path: "/api/open/*", service: open, auth: none, methods: [GET, POST]}}
  - {{id: slow, path: "/api/slow/*", service: slow, auth: none}}
  - {{id: steer, path: "/api/steer/*", service: steer, auth: none}}
  - {{id: wire, path: "/api/wire/*", service: wire, auth: none}}
"""


@dataclass(frozen=True)
class Site:
    """ports: by proxy. cookie: of a session of alice's, as a request header."""

    ports: dict[str, int]
    bff: bff.Bff
    application: Application
    work: Service
    cookie: str

    @property
    def session(self) -> str:
        """The header fields by which she is known."""
        return f"User-Agent: {AGENT}\r\nCookie: {self.cookie}\r\n"


@contextmanager
def running(folder: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        application = stack.enter_context(h2c.running(folder))
        work = stack.enter_context(service.running(folder))
        broken = stack.enter_context(wire.service())
        routes = ROUTES.format(work=work.url, application=application.address, wire=broken)
        (folder / "routes.yaml").write_text(routes)
        (folder / "verify.yaml").write_text(PROFILES)
        settings = {"BFF_CONFIG_DIR": str(folder), "WEB_THREADS": str(THREADS)}
        running = stack.enter_context(bff.running(folder, settings, verify=True))
        ports = {proxy: process.free_port() for proxy in PROXIES}
        for proxy, port in ports.items():
            start = getattr(proxies, proxy)
            at = {"verify": running.verify_address, "profile": PROFILE, "log": folder / f"{proxy}.log"}
            stack.enter_context(start(port, running.address, application.address, **at))
        yield Site(ports, running, application, work, _cookie(running))


def _cookie(running: bff.Bff) -> str:
    with Visitor(running.base_url) as alice:
        alice.headers["User-Agent"] = AGENT
        answer = alice.login()
        if answer.status_code != 302:
            raise RuntimeError(f"{answer.status_code} from the callback: {answer.text[:500]}")
        return f"bff_session={alice.cookie()}"
