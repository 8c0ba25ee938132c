"""/static/bff.js in a real browser: events outlive their page; CSRF and login are handled for the application."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.peers import bff, browser, process
from tests.peers.bff import Bff

pytestmark = pytest.mark.e2e

CSRF = "_eid_csrf_v1"
ORDERS = "/api/orders"
REJECTED = "bff_public_metrics_rejected_total"
HIDE = "Object.defineProperty(document, 'hidden', {value: true}), document.dispatchEvent(new Event('visibilitychange'))"
ORDER = f"""bff.fetch('{ORDERS}', {{
    method: 'POST', body: JSON.stringify({{item: 'Tea', quantity: 1}}), headers: {{'Content-Type': 'application/json'}}
}}).then((answer) => answer.status)"""


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Bff]:
    with bff.running(folder, workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def chromium(service: Bff) -> Iterator[Browser]:
    with browser.chromium() as running:
        yield running


@pytest.fixture
def page(chromium: Browser, service: Bff) -> Iterator[Page]:
    """A page of the BFF's origin that runs nothing by itself but has the module."""
    context = chromium.new_context()
    context.set_default_timeout(browser.TIMEOUT_MS)
    opened = context.new_page()
    opened.goto(f"{service.base_url}/health/live")
    run(opened, "0")
    yield opened
    context.close()


def run(page: Page, code: str) -> Any:
    """The value of an expression in which `bff` is the module and `seen` what it told the page."""
    return page.evaluate(
        f"""async () => {{
            window.bff ??= await import("/static/bff.js");
            if (!window.seen) {{
                window.seen = [];
                addEventListener("bff:unauthenticated", (event) => seen.push(event.detail));
            }}
            return await ({code});
        }}"""
    )


def log_in(page: Page, service: Bff) -> None:
    page.goto(f"{service.base_url}/auth/login?return_to=/health/live")
    page.get_by_role("button", name="Continue as Alice").click()
    page.wait_for_url(f"{service.base_url}/health/live")
    run(page, "0")


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(process.POLL)
    return condition()


def counted(service: Bff, event: str) -> float:
    return service.value("bff_public_metrics_total", event=event)


@pytest.mark.parametrize("end", ["navigation", "close", "tab"])
def test_an_event_survives_the_end_of_its_page(page: Page, service: Bff, end: str) -> None:
    before = counted(service, "login_click"), counted(service, "other")
    run(page, "bff.beacon('login_click'), bff.beacon('not declared', {path: '/x', attributes: {n: 1}})")
    assert (counted(service, "login_click"), counted(service, "other")) == before, "it waits for company"
    match end:
        case "navigation":
            page.goto("about:blank")
        case "close":
            page.close(run_before_unload=True)
        case "tab":
            run(page, HIDE)
    assert eventually(lambda: counted(service, "login_click") == before[0] + 1)
    assert counted(service, "other") == before[1] + 1


def test_many_events_go_in_several_reports(page: Page, service: Bff) -> None:
    before, refused = counted(service, "spa_error"), service.value(REJECTED)
    run(page, "Array.from({length: 120}, (_, n) => bff.beacon('spa_error', {path: '/ä/' + 'x- '.repeat(n)}))")
    page.goto("about:blank")
    assert eventually(lambda: counted(service, "spa_error") == before + 120)
    assert service.value(REJECTED) == refused


def test_the_demo_page_reports_itself_and_its_vitals(page: Page, service: Bff) -> None:
    def vitals(part: str) -> dict[str, float]:
        return {
            name: service.value(f"bff_public_web_vitals_{part}", name=name) for name in ("LCP", "FCP", "TTFB", "CLS")
        }

    before, seen, refused = vitals("count"), counted(service, "page_view"), service.value(REJECTED, reason="schema")
    page.goto(f"{service.base_url}/")
    page.click("#verify")
    page.wait_for_selector("#verify-result:not([hidden])")
    page.goto("about:blank")
    assert eventually(lambda: counted(service, "page_view") == seen + 1)
    assert vitals("count") == {name: count + 1 for name, count in before.items()}
    assert all(0 <= value < 30 for value in vitals("sum").values())
    assert service.value(REJECTED, reason="schema") == refused


def test_a_stranger_is_told_to_log_in(page: Page, service: Bff) -> None:
    assert run(page, "bff.session()") == {"authenticated": False, "login_url": f"{service.base_url}/auth/login"}
    assert run(page, f"bff.fetch('{ORDERS}').then(({{status}}) => status)") == 401
    assert run(page, "seen.map(({code, login_url}) => [code, login_url])") == [
        ["unauthenticated", f"{service.base_url}/auth/login"]
    ]
    assert run(page, f"bff.fetch('{ORDERS}', {{method: 'POST', body: '{{}}'}}).then(({{status}}) => status)") == 401
    run(page, "bff.login('/health')")
    page.wait_for_url(re.compile("/dev/idp/authorize"))
    page.get_by_role("button", name="Continue as Bob").click()
    page.wait_for_url(f"{service.base_url}/health")


def test_unsafe_requests_carry_a_token_that_is_good(page: Page, service: Bff) -> None:
    log_in(page, service)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url.removeprefix(service.base_url)}"))
    assert run(page, ORDER) == 201
    assert asked == ["GET /auth/csrf", f"POST {ORDERS}"]
    asked.clear()
    assert run(page, ORDER) == 201
    assert asked == [f"POST {ORDERS}"], "the token is fetched once"
    asked.clear()
    page.context.add_cookies([{"name": CSRF, "value": "stale.token", "url": service.base_url}])
    assert run(page, ORDER) == 201
    assert asked == [f"POST {ORDERS}", "GET /auth/csrf", f"POST {ORDERS}"], (
        "it is refetched, and the request repeated once"
    )
    assert run(page, f"Promise.all([1, 2, 3].map(() => {ORDER}))") == [201] * 3
    page.context.clear_cookies(name=CSRF)
    assert run(page, f"Promise.all([1, 2, 3].map(() => {ORDER}))") == [201] * 3
    assert run(page, f"bff.fetch('{ORDERS}').then(a => a.json()).then(({{orders}}) => orders.length)") == 9


def test_a_planted_token_costs_one_request(page: Page, service: Bff) -> None:
    """Of two cookies of the name a page reads the one with the longer path first, for as long as it is there."""
    log_in(page, service)
    page.goto(f"{service.base_url}/health/live")
    planted = {"name": CSRF, "value": "planted.token", "domain": "127.0.0.1", "path": "/health"}
    page.context.add_cookies([planted])  # type: ignore[list-item]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url.removeprefix(service.base_url)}"))
    assert run(page, "document.cookie").count("planted.token") == 1
    asked.clear()
    assert [run(page, ORDER), run(page, ORDER)] == [201, 201]
    assert asked == [f"POST {ORDERS}", "GET /auth/csrf", f"POST {ORDERS}", f"POST {ORDERS}"]


def test_logging_out_leaves_the_page(page: Page, service: Bff) -> None:
    log_in(page, service)
    assert run(page, "bff.session({touch: false})")["user"]["name"] == "Alice Adams"
    run(page, "bff.logout({everywhere: true})")
    page.wait_for_url(re.compile("/dev/idp/logout|/$"))
    page.goto(f"{service.base_url}/health/live")
    assert run(page, "bff.session()")["authenticated"] is False
    assert run(page, "bff.logout().catch(({status, problem}) => [status, problem.code])") == [401, "unauthenticated"]


def test_other_origins_get_no_token(page: Page, service: Bff) -> None:
    log_in(page, service)
    sent: list[dict[str, str]] = []

    def answer(route: Route) -> None:
        sent.append(route.request.headers)
        route.fulfill(status=204, headers={"Access-Control-Allow-Origin": "*"})

    page.route("**/elsewhere", answer)
    page.route("**/blank", lambda route: route.fulfill(body="<title>blank</title>", content_type="text/html"))
    page.goto(f"{service.base_url}/blank")  # without a Content-Security-Policy
    assert run(page, f"{ORDER}") == 201
    run(page, "bff.fetch('http://127.0.0.9/elsewhere', {method: 'POST', body: 'x'})")
    assert len(sent) == 1
    assert "x-csrf-token" not in sent[0]
    assert "cookie" not in sent[0]
