"""BFF_COOKIE_SAMESITE in Chromium: a page that needs a session is reached by one login, whichever site links to it."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from joserfc.jwk import RSAKey
from playwright.sync_api import Browser, expect

from bff.web.rounds import MOST_ROUNDS
from tests.clock import Clock
from tests.flows.internet import SESSION, Site, site
from tests.flows.provider import OpenIdProvider
from tests.peers import browser, certificates, tls

pytestmark = pytest.mark.e2e

APP, PROVIDER, STRANGER = "app.bff.test", "idp.other.test", "www.stranger.test"
PAGE = "/orders"
MOST_LOGINS = 20
"""After which a loop is let go, or the browser would never come to rest."""


class World:
    """The BFF at APP with a page behind it that wants a session, the provider, and a link to the page."""

    def __init__(self) -> None:
        self.bff: Site | None = None
        self.logins = 0
        self.forgetful = False
        self._lock = threading.Lock()  # the site's embedded parts are made for one thread

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        assert self.bff is not None
        host, path = environ["HTTP_HOST"].partition(":")[0], environ["PATH_INFO"]
        with self._lock:
            if host == PROVIDER:
                return list(self.bff.idp(environ, start_response))
            if host == APP and path != PAGE:
                self.logins += path == "/auth/login"
                return list(self.bff.app.wsgi_app(environ, start_response))
        return self._page(host, environ, start_response)

    def _page(self, host: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = [("Content-Type", "text/html")]
        if host != APP:
            start_response("200 OK", headers)
            return [f'<a href="https://{APP}:{environ["SERVER_PORT"]}{PAGE}">Orders</a>'.encode()]
        with_session = f"{SESSION}=" in environ.get("HTTP_COOKIE", "") and not self.forgetful
        if with_session or self.logins >= MOST_LOGINS:
            start_response("200 OK", headers)
            return [b"<h1>Your orders</h1>"]
        start_response("302 Found", [*headers, ("Location", f"/auth/login?return_to={PAGE}")])
        return []


def served(folder: Path, samesite: str) -> Iterator[tuple[World, str]]:
    world = World()
    with tls.served(world, certificates.make(folder)) as origin:
        port = urlsplit(origin).port or 0
        clock = Clock()
        provider = OpenIdProvider(f"https://{PROVIDER}:{port}", RSAKey.generate_key(2048, {"kid": "k"}), clock)
        environ = {
            "BFF_BASE_URL": f"https://{APP}:{port}", "BFF_COOKIE_SAMESITE": samesite, "OIDC_ISSUER": provider.issuer,
        }  # fmt: skip
        world.bff = site(folder, clock, provider.keys[0], environ, {"default": provider})
        with closing(world.bff.services):
            yield world, f":{port}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium("*.test") as program:
        yield program


@pytest.fixture(params=["Strict", "Lax"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[World, str]]:
    yield from served(tmp_path, request.param)


@pytest.mark.parametrize("link", [True, False])
def test_one_login_is_enough(world: tuple[World, str], chromium: Browser, link: bool) -> None:
    made, port = world
    with chromium.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        if link:
            page.goto(f"https://{STRANGER}{port}/")
            page.get_by_role("link").click()
        else:
            page.goto(f"https://{APP}{port}{PAGE}")
        expect(page.get_by_role("heading")).to_have_text("Your orders")
        assert page.url == f"https://{APP}{port}{PAGE}"
    assert made.logins == 1


def test_a_page_that_never_believes_it_ends_in_an_explanation(world: tuple[World, str], chromium: Browser) -> None:
    made, port = world
    made.forgetful = True
    with chromium.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        page.goto(f"https://{APP}{port}{PAGE}")
        expect(page.get_by_role("heading")).to_have_text("The login goes round in circles")
    assert made.logins == MOST_ROUNDS + 1
