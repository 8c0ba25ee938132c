"""Services behind the BFF, as the API proxy reaches them, and the configuration that leads there."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from werkzeug.test import TestResponse
from werkzeug.wrappers import Request, Response

from tests.flows.browser import Browser
from tests.flows.internet import Site, SiteFactory, proof

ORDERS = "https://orders.example"
BILLING = "https://billing.example"
ROUTES = """
services:
  orders: {base_url: https://orders.example/v1, request_headers: [X-Tenant], response_headers: [X-Total-Count]}
  billing: {base_url: https://billing.example, token: exchange, audience: billing}
  reports: {base_url: https://orders.example/reports, token: client_credentials, audience: reports}
  files: {base_url: https://orders.example/files, token: none}
routes:
  - {id: orders-list, path: /api/orders, service: orders}
  - {id: orders-add, path: /api/orders, service: orders, methods: [POST], body_limit: 1KiB}
  - id: orders-item
    path: /api/orders/{id}
    service: orders
    methods: [GET, PUT, DELETE, PATCH, OPTIONS]
  - {id: invoices, path: "/api/invoices/{id}", service: billing, methods: [GET, POST]}
  - {id: reports, path: "/api/reports/*", service: reports, upstream_path: "/daily/*"}
  - {id: whole, path: "/api/whole/*", service: orders, preserve_path: true}
  - {id: public, path: /api/public, service: files, auth: none, methods: [GET, POST]}
  - {id: machines, path: /api/machines, service: orders, auth: bearer, methods: [GET, POST], scopes: [orders]}
  - {id: scoped, path: /api/scoped, service: orders, scopes: [orders]}
  - {id: limited, path: /api/limited, service: orders, rate_limit: 2/minute}
"""


@dataclass
class Backend:
    """A service that remembers what it was sent, and answers it back until a test says otherwise."""

    seen: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Callable[[Request], Response]] = field(default_factory=list)
    closed: int = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        self.seen.append({
            "method": request.method,
            "target": environ["RAW_URI"],
            "headers": dict(request.headers),
            "body": request.get_data().decode("latin-1"),
        })  # fmt: skip
        response = self.answers.pop(0)(request) if self.answers else self._echo()
        response.call_on_close(self._close)
        return response(environ, start_response)

    @property
    def last(self) -> dict[str, Any]:
        return self.seen[-1]

    @property
    def token(self) -> str | None:
        """What the last request was authorised with."""
        sent: str | None = self.last["headers"].get("Authorization")
        return sent

    def then(self, status: int = 200, body: Any = "", headers: Mapping[str, str] | None = None) -> None:
        """Answer the next request so."""
        self.answers.append(lambda _: Response(body, status, headers))

    def _echo(self) -> Response:
        return Response(json.dumps(self.last), content_type="application/json")

    def _close(self) -> None:
        self.closed += 1


class ApiSites:
    """Sites with ROUTES, or others."""

    def __init__(self, new_site: SiteFactory, folder: Path) -> None:
        self._new_site = new_site
        self._folder = folder / "config"
        self._folder.mkdir(exist_ok=True)
        self.orders, self.billing = Backend(), Backend()

    def __call__(self, routes: str = ROUTES, **options: Any) -> Site:
        (self._folder / "routes.yaml").write_text(routes)
        made: Site = self._new_site(behind={ORDERS: self.orders, BILLING: self.billing}, **options)
        return made


def call(browser: Browser, method: str, path: str, **options: Any) -> TestResponse:
    """As a script of the page does, with the CSRF proof."""
    headers = {**proof(browser), **options.pop("headers", {})}
    return browser.fetch(path, method=method, headers=headers, **options)


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json(force=True)["code"]


def stream(*parts: bytes) -> Iterator[bytes]:
    yield from parts
