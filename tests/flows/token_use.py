"""A BFF with services of every kind, and a view that uses their tokens as the API proxy does."""

from pathlib import Path
from typing import Any

from flask import g, jsonify
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from bff.crypto import digest
from bff.sessions.tokens import Tokens
from bff.web.context import services
from tests.flows.browser import Browser
from tests.flows.internet import SESSION, Site, SiteFactory, proof

SERVICES = ("user", "orders", "strict", "billing", "small", "reports", "plain")
ROUTES = """
services:
  orders: {token: user}
  strict: {token: user, scope: orders:write}
  billing: {token: exchange, audience: billing, scope: billing:read}
  small: {token: exchange, resource: https://unknown.example}
  reports: {token: client_credentials, resource: https://reports.example, scope: reports:read}
  plain: {token: none}
"""


class TokenSites:
    """Sites whose configuration has ROUTES, all on one store: the first one, and its fleet's other workers."""

    def __init__(self, new_site: SiteFactory, folder: Path) -> None:
        self._new_site = new_site
        config = folder / "config"
        config.mkdir()
        (config / "routes.yaml").write_text(ROUTES)

    def __call__(self, *args: Any, **options: Any) -> Site:
        site: Site = self._new_site(*args, **options)
        site.app.add_url_rule("/use/<service>", "use", use)
        return site


def use(service: str) -> Response:
    usable = services().tokens.service.ensure_token(g.session, service)
    if usable is None:
        return jsonify(token=None)
    return jsonify(token=usable.token.value, type=usable.token.token_type, bound=usable.key is not None)


def used(browser: Browser, service: str = "user") -> str | None:
    """The token that a request to the service would carry."""
    answer = browser.fetch(f"/use/{service}")
    assert answer.status_code == 200, answer.text
    token: str | None = answer.get_json()["token"]
    return token


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json(force=True)["code"]


def post(browser: Browser, what: str, body: Any = None) -> TestResponse:
    """what: refresh or exchange."""
    return browser.fetch(f"/auth/tokens/{what}", method="POST", json=body, headers=proof(browser))


def by_service(answer: TestResponse) -> dict[str, dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return {each.pop("service"): each for each in answer.get_json()}


def session_key(browser: Browser) -> str:
    cookie = browser.cookie(SESSION)
    assert cookie is not None
    return digest(cookie.value)


def held(site: Site, key: str) -> Tokens:
    found = site.services.token_store.read(key)
    assert found is not None
    return found.tokens
