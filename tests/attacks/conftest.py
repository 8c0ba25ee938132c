"""The ground of all attacks starts once for the whole folder, and one browser with it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.attacks import ground
from tests.attacks.ground import Site
from tests.e2e.protected import AGENT
from tests.peers import browser


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ground.running(tmp_path_factory.mktemp("attacks")) as found:
        yield found


@pytest.fixture(scope="package")
def page(site: Site) -> Iterator[Page]:
    """Of a browser that has alice's session."""
    name, _, value = site.cookie.partition("=")
    with browser.chromium() as program:
        context = program.new_context(user_agent=AGENT)
        context.add_cookies([{"name": name, "value": value, "domain": "127.0.0.1", "path": "/", "httpOnly": True}])
        yield context.new_page()
