"""Fixtures of the flows: a BFF on an embedded store in the test's own folder, and the clock that it lives by."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, Key, RSAKey
from werkzeug.routing import Rule

from bff.dev.in_process import WsgiApp
from bff.settings import Settings
from tests.clock import Clock
from tests.flows.assertions import Witness
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import Site, SiteFactory, site
from tests.flows.provider import OpenIdProvider
from tests.flows.token_use import TokenSites
from tests.unit.events.support import valid


@pytest.fixture(scope="session", autouse=True)
def rules_compiled_once() -> Iterator[None]:
    """werkzeug writes and compiles two functions for each rule of each app, a quarter of what these tests take; all
    their apps have the same rules."""
    compiled: dict[tuple[str, bool], Any] = {}
    original = Rule._compile_builder

    def once(rule: Rule, append_unknown: bool = True) -> Any:
        key = rule.rule, append_unknown
        if key not in compiled:
            compiled[key] = original(rule, append_unknown)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", once)
        yield


@pytest.fixture(scope="session")
def rsa() -> Key:
    return RSAKey.generate_key(2048, {"kid": "first", "alg": "RS256", "use": "sig"})


@pytest.fixture(scope="session")
def other_rsa() -> Key:
    return RSAKey.generate_key(2048, {"kid": "second", "alg": "RS256", "use": "sig"})


@pytest.fixture(scope="session")
def ec() -> Key:
    return ECKey.generate_key("P-256", {"kid": "elliptic", "alg": "ES256", "use": "sig"})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def new_site(tmp_path: Path, clock: Clock, rsa: Key) -> Iterator[SiteFactory]:
    """Makes sites on one store. Settings are environment variables. In the end, every event that the test has caused is
    proved against its schema."""
    made: list[Site] = []

    def make(
        providers: Mapping[str, OpenIdProvider] | None = None,
        *,
        start: bool = False,
        behind: Mapping[str, WsgiApp] | None = None,
        change: Callable[[Settings], Settings] = lambda settings: settings,
        **environ: str,
    ) -> Site:
        made.append(site(tmp_path, clock, rsa, environ, providers, behind=behind, change=change))
        if start:
            made[-1].services.start()
        return made[-1]

    yield make
    for each in made:
        for event in each.events():
            valid(event)
        each.services.close()


@pytest.fixture
def bff(new_site: SiteFactory) -> Site:
    """Nothing started, so its session cache is bypassed and every look-up goes to the store."""
    return new_site()


@pytest.fixture
def browser(bff: Site) -> Browser:
    return bff.browser()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def witness(bff: Site, counters: Counters) -> Witness:
    return Witness(bff, counters)


@pytest.fixture
def token_site(new_site: SiteFactory, tmp_path: Path) -> TokenSites:
    return TokenSites(new_site, tmp_path)


@pytest.fixture
def at_work(token_site: TokenSites) -> Site:
    """A BFF with services; nothing started, as `bff`."""
    return token_site()
