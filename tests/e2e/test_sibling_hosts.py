"""What a sibling host, and another site, can do to a session in Chromium: plant no cookie, and read nothing."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from joserfc.jwk import RSAKey
from playwright.sync_api import Browser, BrowserContext, Error, Page

from bff.sessions.binding import binding_of
from bff.sessions.model import User
from bff.sessions.tokens import AccessToken, Tokens
from bff.settings import Settings
from bff.settings.cookies import HOST_HTTP, LOGIN, SESSION
from tests.clock import Clock
from tests.flows.internet import Site, site
from tests.peers import browser, certificates, tls

pytestmark = pytest.mark.e2e

NAME = HOST_HTTP + SESSION
APP, SIBLING, STRANGER = "app.bff.test", "evil.bff.test", "evil.other.test"
ATTRIBUTES = "Domain=bff.test; Path=/; Secure; HttpOnly"
VALUE = "x" * 43
PLAIN = f"{SESSION}={VALUE}; {ATTRIBUTES}"
PLANTED = [
    PLAIN,
    f"{NAME}={VALUE}; {ATTRIBUTES}",
    f"{NAME}={VALUE}; Domain=bff.test; Path=/auth/tokens; Secure; HttpOnly",
    f"{NAME.lower()}={VALUE}; {ATTRIBUTES}",
    f"{HOST_HTTP}{LOGIN}0123456789abcdef=1.{VALUE}; {ATTRIBUTES}",
]
BY_SCRIPT = f"""() => {{
    for (const attributes of ["Path=/; Secure", "Domain=bff.test; Path=/; Secure"])
        for (const name of ["{NAME}", "{HOST_HTTP}{LOGIN}0123456789abcdef"])
            document.cookie = `${{name}}={VALUE}; ${{attributes}}`;
}}"""


@dataclass
class World:
    """The BFF at APP, and a page of nobody's at every other host; all on one port, with https."""

    bff: Site
    port: int
    seen: list[tuple[str, str, int]]
    """(path, Sec-Fetch-Site, status) of what the BFF was asked."""

    def url(self, host: str, path: str = "/") -> str:
        return f"https://{host}:{self.port}{path}"

    def answers(self, path: str) -> set[tuple[str, int]]:
        return {(mark, status) for asked, mark, status in self.seen if asked == path}

    def log_in(self, context: BrowserContext) -> None:
        value, _ = self.bff.services.store.create(
            User("alice", "alice"), idp="default", auth_time=1, sid="", binding=binding_of("127.0.0.1", ""),
            tokens=Tokens("default", AccessToken("access", 2e9)),
        )  # fmt: skip
        context.add_cookies([
            {"name": NAME, "value": value, "url": self.url(APP), "secure": True, "httpOnly": True, "sameSite": "Lax"}
        ])  # fmt: skip


def dispatched(world: Callable[[], World]) -> Callable[..., Iterable[bytes]]:
    lock = threading.Lock()  # the site's embedded parts are made for one thread

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host, path = environ["HTTP_HOST"].partition(":")[0], environ["PATH_INFO"]

        def noted(status: str, headers: Any, *more: Any) -> Any:
            world().seen.append((path, environ.get("HTTP_SEC_FETCH_SITE", ""), int(status[:3])))
            return start_response(status, headers, *more)

        if host == APP and path != "/page":
            with lock:
                return list(world().bff.app.wsgi_app(environ, noted))
        planted = [("Set-Cookie", line) for line in PLANTED] if path == "/plant" else []
        start_response("200 OK", [("Content-Type", "text/html"), *planted])
        return [b"<!doctype html><title>page</title>"]

    return app


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("world")
    made: list[World] = []
    with tls.served(dispatched(lambda: made[0]), certificates.make(folder)) as origin:
        port = urlsplit(origin).port or 0

        def as_in_production(settings: Settings) -> Settings:
            cookies = replace(settings.cookies, name=NAME, flow_prefix=HOST_HTTP)
            return replace(settings, cookies=cookies)

        environ = {"BFF_BASE_URL": f"https://{APP}:{port}", "SESSION_BINDING": "off"}
        bff = site(folder, Clock(), RSAKey.generate_key(2048, {"kid": "k"}), environ, change=as_in_production)
        made.append(World(bff, port, []))
        with closing(bff.services):
            yield made[0]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium("*.test") as program:
        yield program


@pytest.fixture
def context(chromium: Browser, world: World) -> Iterator[BrowserContext]:
    world.seen.clear()
    with chromium.new_context(ignore_https_errors=True) as made:
        yield made


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def test_a_sibling_host_plants_no_cookie_of_ours(world: World, context: BrowserContext, page: Page) -> None:
    page.goto(world.url(SIBLING, "/plant"))
    page.evaluate(BY_SCRIPT)
    names = {cookie["name"] for cookie in context.cookies()}
    assert SESSION in names, "what has no prefix is planted, so this can fail"
    # A script of the sibling may not set ours for its own host either; Chromium knows __Host-Http- since 2025.
    assert not [name for name in names if name.lower().startswith(HOST_HTTP.lower())]
    page.goto(world.url(APP, "/auth/tokens"))
    assert world.answers("/auth/tokens") == {("none", 401)}


def test_the_browser_keeps_what_a_login_sets(world: World, context: BrowserContext, page: Page) -> None:
    with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):  # there is no provider to be sent to
        page.goto(world.url(APP, "/auth/login"))
    (attempt,) = context.cookies(world.url(APP))
    assert attempt["name"].startswith(HOST_HTTP + LOGIN)
    assert (attempt["path"], attempt["secure"], attempt["httpOnly"]) == ("/", True, True)


@pytest.mark.parametrize(
    ("host", "mark", "status"), [(APP, "same-origin", 200), (SIBLING, "same-site", 403), (STRANGER, "cross-site", 403)]
)
@pytest.mark.parametrize(
    "how",
    [
        "url => fetch(url, {credentials: 'include', mode: 'no-cors'}).catch(() => 0)",
        "url => fetch(url, {credentials: 'include'}).catch(() => 0)",
        "url => new Promise(done => { const it = new Image(); it.onload = it.onerror = done; it.src = url; })",
        "url => new Promise(done => { const it = document.createElement('iframe'); it.onload = done; it.src = url;"
        " document.body.append(it); })",
        "url => new Promise(done => { const it = document.createElement('script'); it.onload = it.onerror = done;"
        " it.src = url; document.body.append(it); })",
    ],
    ids=["a script", "a script with CORS", "a picture", "a frame", "a foreign script"],
)
def test_which_page_may_ask(
    world: World, context: BrowserContext, page: Page, host: str, mark: str, status: int, how: str
) -> None:
    world.log_in(context)
    page.goto(world.url(host, "/page"))
    page.evaluate(how, world.url(APP, "/auth/tokens"))
    assert world.answers("/auth/tokens") == {(mark, status)}


@pytest.mark.parametrize(("host", "mark"), [(SIBLING, "same-site"), (STRANGER, "cross-site")])
def test_a_link_leads_to_pages_alone(world: World, context: BrowserContext, page: Page, host: str, mark: str) -> None:
    world.log_in(context)
    for path, status in (("/auth/tokens", 403), ("/auth/logout", 200)):
        page.goto(world.url(host, "/page"))
        with page.expect_navigation():
            page.evaluate("url => { location.href = url; }", world.url(APP, path))
        assert world.answers(path) == {(mark, status)}
    assert "Log out?" in page.content()
