"""What `make run` serves with nothing configured: a browser logs in, sees who it is, calls an API and logs out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.peers import bff, browser
from tests.peers.bff import Bff, Visitor

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Bff]:
    with bff.running(folder, {"WEB_THREADS": "1"}) as running:
        yield running


@pytest.fixture(scope="module")
def chromium(service: Bff) -> Iterator[Browser]:
    """Closed before the service is: its idle connections would hold up a graceful stop."""
    with browser.chromium() as running:
        yield running


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page in a fresh profile; whatever its scripts complain about fails the test."""
    context = chromium.new_context()
    context.set_default_timeout(browser.TIMEOUT_MS)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    assert not complaints


def test_alice_logs_in_calls_the_api_and_logs_out(page: Page, service: Bff, folder: Path) -> None:
    page.goto(f"{service.base_url}/")
    page.click("#login")
    page.get_by_role("button", name="Continue as Alice").click()
    page.wait_for_url(f"{service.base_url}/")
    expect(page.locator("#user-name")).to_contain_text("Alice Adams")

    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies["bff_session"]["httpOnly"]
    assert cookies["bff_session"]["sameSite"] == "Lax"
    assert "bff_session" not in page.evaluate("document.cookie")

    page.click("#call-api")
    expect(page.locator("#api-result")).to_contain_text("200")
    page.click("#post-order")
    expect(page.locator("#api-result")).to_contain_text("201")
    page.click("#refresh-tokens")
    expect(page.locator("#tokens-result")).to_contain_text('"refreshable": true')
    page.screenshot(path=folder / "demo.png", full_page=True)

    page.click("#logout")
    expect(page.locator("#login")).to_be_visible()
    assert "bff_session" not in {cookie["name"] for cookie in page.context.cookies()}
    assert page.evaluate("fetch('/auth/session').then(answer => answer.json())")["authenticated"] is False


def test_one_worker_with_one_thread_serves_its_own_provider(service: Bff) -> None:
    with Visitor(service.base_url) as bob:
        assert bob.login("bob").status_code == 302
        user = bob.session()["user"]
    assert (user["sub"], user["name"]) == ("bob", "Bob Brown")
