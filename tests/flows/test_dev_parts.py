"""The development parts inside the whole application: log in, call the sample API through the proxy, log out."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from bff import settings
from bff.app import create_app, start, stop
from bff.crypto import digest
from bff.services import Services
from bff.sessions.tokens import Tokens
from tests.architecture.source import ROOT

ORIGIN = "http://127.0.0.1:8000"
PAGES = "http://127.0.0.1:5173"
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
ORDERS = "/api/orders"
SERVICE = "/dev/api/orders"
TEA = {"item": "Tea", "quantity": 1}


class Browser:
    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def visit(self, url: str) -> TestResponse:
        return self.client.get(url, base_url=ORIGIN, headers=NAVIGATION, follow_redirects=True)

    def log_in(self, user: str) -> TestResponse:
        return self.press(user=user)

    def press(self, **button: str) -> TestResponse:
        """Begin a login and press this button of the provider's page."""
        page = self.visit("/auth/login?return_to=/")
        token = re.search(r'name="form_token" value="([^"]+)"', page.text)
        assert token, page.text
        form = {"form_token": token[1], **button}
        return self.client.post(
            page.request.full_path, base_url=ORIGIN, data=form, headers=NAVIGATION, follow_redirects=True
        )

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, base_url=ORIGIN, **options)

    def post(self, path: str, body: object) -> TestResponse:
        token = self.get("/auth/csrf").get_json()["csrf_token"]
        return self.client.post(path, base_url=ORIGIN, json=body, headers={"X-CSRF-Token": token, "Origin": ORIGIN})

    def tokens(self) -> Tokens:
        """What the BFF holds for this browser's session."""
        services: Services = self.client.application.extensions["bff"]
        cookie = self.client.get_cookie(services.settings.cookies.name, domain="127.0.0.1")
        held = services.token_store.read(digest(cookie.value)) if cookie else None
        assert held is not None
        return held.tokens

    def post_without_token(self, path: str, body: object) -> TestResponse:
        return self.client.post(path, base_url=ORIGIN, json=body)


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """At a BFF with the repository's own routes and policies."""
    environ = {"BFF_DATA_DIR": str(tmp_path), "BFF_BASE_URL": ORIGIN, "BFF_ALLOWED_REDIRECT_HOSTS": PAGES}
    config = settings.load(environ, ROOT / "config")
    app = create_app(config)
    start(app)
    yield Browser(app.test_client())
    stop(app)


def test_the_login_form_leads_on_to_the_application(browser: Browser) -> None:
    """Chromium asks form-action about the redirects that follow, the last of which goes to return_to."""
    page = browser.visit(f"/auth/login?return_to={PAGES}/")
    assert "<form" in page.text
    assert f"form-action 'self' {PAGES};" in page.headers["Content-Security-Policy"]


def test_demo_page_keeps_to_its_content_security_policy(browser: Browser) -> None:
    page = browser.visit("/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)", page.text)
    assets = re.findall(r'(?:src|href)="(/dev/static/[^"]+)"', page.text)
    assert len(assets) >= 4
    for asset in assets:
        with browser.get(asset) as served:
            assert served.status_code == 200, asset


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (ORIGIN, 200),
        ("http://localhost:8000", 302),
        ("http://[::1]:8000", 302),
        ("http://127.0.0.2:8000", 302),
        ("http://bff.example.test", 200),
    ],
)
def test_another_name_of_this_machine_moves_to_the_base_url(browser: Browser, origin: str, status: int) -> None:
    response = browser.client.get("/", base_url=origin)
    assert response.status_code == status
    assert response.headers.get("Location") == (f"{ORIGIN}/" if status == 302 else None)


def test_log_in_order_log_out(browser: Browser) -> None:
    assert browser.log_in("alice").request.path == "/"
    user = browser.get("/auth/session").get_json()["user"]
    assert (user["sub"], user["name"], user["roles"]) == ("alice", "Alice Adams", ["admin", "staff"])
    ordered = browser.post(ORDERS, {"item": "Espresso", "quantity": 2, "price": 0})
    assert ordered.status_code == 201
    browser.post(ORDERS, TEA)
    listed = browser.get(ORDERS).get_json()
    assert listed["customer"] == "alice"
    assert [(order["item"], order["quantity"]) for order in listed["orders"]] == [("Tea", 1), ("Espresso", 2)]
    assert listed["orders"][1] == ordered.get_json() == browser.get(f"{ORDERS}/{ordered.get_json()['id']}").get_json()
    assert browser.visit(browser.post("/auth/logout", {}).get_json()["logout_url"]).request.path == "/"
    assert browser.get(ORDERS).status_code == 401
    assert "Who are you today?" in browser.visit("/auth/login").text, "the provider's own login has ended, too"


def test_everybody_has_their_own_orders(browser: Browser) -> None:
    browser.log_in("alice")
    alices = browser.post(ORDERS, TEA).get_json()["id"]
    browser.visit(browser.post("/auth/logout", {}).get_json()["logout_url"])
    browser.log_in("bob")
    assert browser.get(ORDERS).get_json() == {"customer": "bob", "orders": []}
    assert refusal(browser.get(f"{ORDERS}/{alices}")) == (404, "no_such_order")


@pytest.mark.parametrize(
    ("user", "quantity", "reason"),
    [
        ("alice", 50, None),
        ("alice", 51, "An order may have at most 50 pieces."),
        ("bob", 1, "Only an admin may place orders; staff may look at them."),
    ],
)
def test_the_policy_decides_and_says_why(browser: Browser, user: str, quantity: int, reason: str | None) -> None:
    browser.log_in(user)
    answer = browser.post(ORDERS, {"item": "Tea", "quantity": quantity})
    expected = (201, None, None) if reason is None else (403, "deny", reason)
    assert (answer.status_code, answer.headers.get("X-Denied-Reason"), answer.get_json().get("detail")) == expected
    assert len(browser.get(ORDERS).get_json()["orders"]) == (reason is None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"item": "Tea"}, "property_missing"),
        ({"item": "Tea", "quantity": "51"}, "property_invalid"),
        ({"item": "Tea", "quantity": 1.5}, "property_invalid"),
        ({"item": "Tea", "quantity": None}, "property_invalid"),
        (["Tea"], "property_missing"),
        ("Tea", "property_missing"),
    ],
)
def test_what_the_policy_cannot_judge_is_denied(browser: Browser, body: object, code: str) -> None:
    browser.log_in("alice")
    assert refusal(browser.post(ORDERS, body)) == (403, code)
    assert browser.get(ORDERS).get_json()["orders"] == []


def test_the_service_wants_a_valid_token_and_nothing_else(browser: Browser) -> None:
    browser.log_in("bob")
    held = browser.tokens()
    assert refusal(browser.get(SERVICE)) == (401, "token_required"), "a session opens the BFF, not the service"
    for wrong in ("nonsense", held.refresh_token, held.id_token):
        refused = browser.get(SERVICE, headers={"Authorization": f"Bearer {wrong}"})
        assert refusal(refused) == (401, "invalid_token")
        assert refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    stranger = browser.client.application.test_client()
    shown = {"Authorization": f"Bearer {held.access.value}"}
    assert stranger.get(SERVICE, base_url=ORIGIN, headers=shown).get_json() == {"customer": "bob", "orders": []}
    added = stranger.post(SERVICE, base_url=ORIGIN, headers=shown, json={"item": "Tea", "quantity": 99})
    assert added.status_code == 201, "roles and limits are the policy's part, in front of the service"
    for path in (SERVICE, f"{SERVICE}/1"):
        assert refusal(stranger.get(path, base_url=ORIGIN)) == (401, "token_required")
    assert refusal(stranger.post(SERVICE, base_url=ORIGIN, json=TEA)) == (401, "token_required")


def test_services_can_have_the_providers_opaque_tokens_validated(browser: Browser) -> None:
    browser.log_in("alice")
    shown = {"Authorization": f"Bearer {browser.tokens().access.value}"}
    said = browser.get("/auth/tokens/validate", headers=shown).get_json()
    assert (said["sub"], said["arn"], said["roles"]) == ("alice", "auth:account:embedded:alice", ["admin", "staff"])


def test_cancelled_login_leaves_nobody_logged_in(browser: Browser) -> None:
    assert browser.press(cancel="1").status_code == 400
    assert browser.get("/auth/session").get_json()["authenticated"] is False


def test_anonymous_calls_are_refused(browser: Browser) -> None:
    refused = browser.get(ORDERS)
    assert (refused.status_code, refused.content_type) == (401, "application/problem+json")
    assert browser.post_without_token(ORDERS, TEA).status_code == 401


def test_order_without_the_token_is_refused(browser: Browser) -> None:
    browser.log_in("alice")
    assert refusal(browser.post_without_token(ORDERS, TEA)) == (403, "missing_cookie")
    browser.get("/auth/csrf")
    assert refusal(browser.post_without_token(ORDERS, TEA)) == (403, "missing_header")
    assert browser.get(ORDERS).get_json()["orders"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"quantity": 1},
        {"item": "", "quantity": 1},
        {"item": "x" * 81, "quantity": 1},
        {"item": 7, "quantity": 1},
        {"item": "Tea", "quantity": 0},
    ],
)
def test_order_must_make_sense(browser: Browser, body: object) -> None:
    browser.log_in("alice")
    assert refusal(browser.post(ORDERS, body)) == (400, "invalid_order")
    assert browser.get(ORDERS).get_json()["orders"] == []


def test_orders_are_bounded(browser: Browser) -> None:
    browser.log_in("alice")
    answers = [browser.post(ORDERS, TEA).status_code for _ in range(101)]
    assert answers == [201] * 100 + [400]
    assert len(browser.get(ORDERS).get_json()["orders"]) == 100
