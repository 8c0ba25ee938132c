"""What `make run` serves with nothing configured: browsers log in, order what the policy allows, and read why not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

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
    """A page in a fresh profile; whatever it complains about fails the test, except that the policy says no."""
    context = chromium.new_context()
    context.set_default_timeout(browser.TIMEOUT_MS)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if _complains(message) else None)
    yield opened
    context.close()
    assert not complaints


def _complains(message: ConsoleMessage) -> bool:
    forbidden = "status of 403" in message.text and message.location["url"].endswith("/api/orders")
    return message.type == "error" and not forbidden


def log_in(page: Page, service: Bff, name: str) -> None:
    page.goto(f"{service.base_url}/")
    page.click("#login")
    page.get_by_role("button", name=f"Continue as {name.partition(' ')[0]}").click()
    page.wait_for_url(f"{service.base_url}/")
    expect(page.locator("#user-name")).to_have_text(name)


def order(page: Page, quantity: int, button: str = "#post-order") -> Locator:
    """What the page shows of it. A button that is still busy with its last order takes no other."""
    page.fill("#order-quantity", str(quantity))
    expect(page.locator(button)).not_to_have_attribute("aria-busy", "true")
    with page.expect_response("**/api/orders"):
        page.click(button)
    return page.locator("#api-result")


def test_alice_logs_in_orders_and_logs_out(page: Page, service: Bff, folder: Path) -> None:
    log_in(page, service, "Alice Adams")
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies["bff_session"]["httpOnly"]
    assert cookies["bff_session"]["sameSite"] == "Lax"
    assert "bff_session" not in page.evaluate("document.cookie")

    page.click("#call-api")
    expect(page.locator("#api-result .status")).to_have_text("200")
    expect(order(page, 50).locator(".status")).to_have_text("201")
    expect(page.locator("#api-result .why")).to_have_count(0)
    refused = order(page, 51)
    expect(refused.locator(".status")).to_have_text("403")
    expect(refused.locator(".why")).to_have_text("The policy says: An order may have at most 50 pieces.")
    unproved = order(page, 1, "#post-without-token")
    expect(unproved.locator(".why")).to_contain_text("The CSRF check says: ")
    page.click("#refresh-tokens")
    expect(page.locator("#tokens-result")).to_contain_text('"refreshable": true')
    page.screenshot(path=folder / "demo.png", full_page=True)

    page.click("#logout")
    expect(page.locator("#login")).to_be_visible()
    assert "bff_session" not in {cookie["name"] for cookie in page.context.cookies()}
    assert page.evaluate("fetch('/auth/session').then(answer => answer.json())")["authenticated"] is False


def test_bob_may_look_but_not_order_and_the_page_tells_why(page: Page, service: Bff, folder: Path) -> None:
    log_in(page, service, "Bob Brown")
    denied = service.value("bff_authz_requests_total", action="add", decision="deny")
    served = service.value("bff_upstream_requests_total", service="orders", status="200")
    page.click("#call-api")
    expect(page.locator("#api-result .status")).to_have_text("200")
    refused = order(page, 1)
    expect(refused.locator(".status")).to_have_text("403")
    why = "Only an admin may place orders; staff may look at them."
    expect(refused.locator(".why")).to_have_text(f"The policy says: {why}")
    expect(refused.locator(".why")).to_be_visible()
    assert service.value("bff_authz_requests_total", action="add", decision="deny") == denied + 1
    assert service.value("bff_upstream_requests_total", service="orders", status="200") == served + 1
    counted = page.locator("[data-metric=bff_authz_requests_total]")
    expect(counted.locator("[data-series='add · deny · orders'] .delta")).to_have_text("+1")
    page.screenshot(path=folder / "demo-bob.png", full_page=True)


def test_one_worker_with_one_thread_serves_its_own_provider(service: Bff) -> None:
    with Visitor(service.base_url) as bob:
        assert bob.login("bob").status_code == 302
        user = bob.session()["user"]
    assert (user["sub"], user["name"]) == ("bob", "Bob Brown")


def test_sessions_are_shown_by_device_and_can_be_revoked(page: Page, service: Bff, folder: Path) -> None:
    log_in(page, service, "Alice Adams")
    with Visitor(service.base_url) as elsewhere:
        assert elsewhere.login("alice").status_code == 302
        page.click("#list-sessions")
        rows = page.locator("#sessions-list li")
        expect(rows).to_have_count(2)
        expect(page.locator("#sessions-list .current")).to_contain_text("Chrome on Linux")
        page.screenshot(path=folder / "demo-sessions.png", full_page=True)
        rows.filter(has_not_text="this one").get_by_role("button").click()
        expect(rows).to_have_count(1)
        assert elsewhere.session()["authenticated"] is False
    rows.get_by_role("button").click()
    expect(page.locator("#login")).to_be_visible()
    expect(page.locator("#sessions")).to_be_hidden()
