"""A whole internet in this process: the real BFF (Verify included), an OpenID Provider, browsers, and one clock."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from joserfc.jwk import Key
from werkzeug.test import TestResponse

from bff import services as service_layer
from bff import settings as settings_layer
from bff.app import create_app
from bff.dev.in_process import WsgiApp, WsgiTransport, WsgiUpstream
from bff.kv.sqlite import SqliteStore
from bff.services import Services
from bff.settings import Settings
from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.provider import OpenIdProvider
from tests.flows.registration import SECRET
from tests.flows.store import WatchedStore
from tests.unit.events.support import kept

BFF = "https://app.example"
OTHER_APP = "https://other.example"
ISSUER = "https://idp.example"
SESSION = "bff_session"
NEW_KEY, OLD_KEY = (base64.b64encode(hashlib.sha256(name).digest()).decode() for name in (b"new", b"old"))


@dataclass
class Site:
    """A BFF under test and everything around it."""

    services: Services
    app: Flask
    store: WatchedStore
    clock: Clock
    providers: Mapping[str, OpenIdProvider]
    hosts: Mapping[str, WsgiApp]

    @property
    def idp(self) -> OpenIdProvider:
        return next(iter(self.providers.values()))

    def browser(self, address: str = "203.0.113.7") -> Browser:
        return Browser(self.hosts, BFF, self.clock, address)

    def logged_in(self, address: str = "203.0.113.7") -> Browser:
        browser = self.browser(address)
        answer = login(browser)
        assert answer.status_code == 302, answer.text
        return browser

    def twin(self, browser: Browser, address: str = "203.0.113.7") -> Browser:
        """Another browser with the same cookies: a thief's, or the same one for another thread."""
        twin = self.browser(address)
        twin.cookies = list(browser.cookies)
        return twin

    def events(self, event_type: str = "") -> list[dict[str, Any]]:
        """What has happened so far, oldest first, all or of one type, as CloudEvents."""
        self.store.down, self.store.crash = False, None
        self.services.events.outbox.flush()
        found = [event.content for event in kept(self.store, self.services.events.outbox)]
        return [event for event in found if event_type in ("", event["type"])]

    def active(self) -> int:
        return self.services.store.active()


def site(
    folder: Path,
    clock: Clock,
    key: Key,
    environ: Mapping[str, str] | None = None,
    providers: Mapping[str, OpenIdProvider] | None = None,
    network: WsgiTransport | None = None,
    behind: Mapping[str, WsgiApp] | None = None,
    change: Callable[[Settings], Settings] = lambda settings: settings,
) -> Site:
    """A BFF whose files are in folder. Two of them with one folder and one clock are two workers of one fleet.

    network: what carries the BFF's own calls, only to the providers if None. behind: the services behind it, by
    origin. change: makes of the settings what no variable says.
    """
    environ = {
        "ENVIRONMENT": "staging",
        "BFF_BASE_URL": BFF,
        "BFF_SECRETS": NEW_KEY,
        "BFF_DATA_DIR": str(folder),
        "BFF_CONFIG_DIR": str(folder / "config"),
        "OIDC_ISSUER": ISSUER,
        "AUTH_CLIENT_ID": "bff",
        "AUTH_CLIENT_SECRET": SECRET,
        "TRUSTED_PROXIES": "127.0.0.0/8,::1",
        "BFF_ALLOWED_REDIRECT_HOSTS": OTHER_APP,
        **(environ or {}),
    }
    settings = change(settings_layer.load(environ))
    providers = providers or {"default": OpenIdProvider(ISSUER, key, clock)}
    store = WatchedStore(SqliteStore(settings.store.path, clock))
    hosts: dict[str, WsgiApp] = {provider.origin: provider for provider in providers.values()}
    network = network or WsgiTransport(dict(hosts))
    services = service_layer.build(
        settings,
        clock=clock,
        kv=store,
        transport=network,
        monotonic=clock,
        wait=lambda _seconds: None,
        later=lambda work: work(),
        upstream=lambda config, _disconnects: WsgiUpstream(config, _app(behind or {}, config.base_url)),
    )
    app = create_app(services=services)
    hosts[BFF] = app.wsgi_app
    return Site(services, app, store, clock, providers, hosts)


def _app(hosts: Mapping[str, WsgiApp], url: str) -> WsgiApp:
    parts = urlsplit(url)
    return hosts[f"{parts.scheme}://{parts.netloc}"]


def begin(browser: Browser, query: str = "") -> TestResponse:
    """Open the login; the answer's Location is the provider's."""
    return browser.navigate(f"/auth/login{query}", came_from=BFF)


def to_callback(browser: Browser, query: str = "") -> str:
    """Log in at the provider; the callback's address, not opened yet."""
    answer = browser.follow(begin(browser, query), until=f"{BFF}/auth/callback")
    location = answer.headers.get("Location")
    assert location is not None, answer.text
    return location


def login(browser: Browser, query: str = "") -> TestResponse:
    """A whole login; the callback's answer."""
    return browser.navigate(to_callback(browser, query), came_from=ISSUER)


def proof(browser: Browser) -> dict[str, str]:
    """The header that an unsafe request needs."""
    return {"X-CSRF-Token": browser.fetch("/auth/csrf").get_json()["csrf_token"]}


def log_out(browser: Browser, **body: Any) -> TestResponse:
    return browser.fetch("/auth/logout", method="POST", json=body, headers=proof(browser))


def balanced(bff: Site, counters: Counters) -> bool:
    """Every session that was created and has not ended is active, and no other."""
    ended = counters.total("bff_sessions_destroyed_total")
    return counters.total("bff_sessions_created_total") - ended == bff.active()


SiteFactory = Callable[..., Site]
