"""The development parts inside the whole application: log in, call the sample API, log out."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from bff import settings
from bff.app import create_app, start, stop

ORIGIN = "http://127.0.0.1:8000"
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
ORDERS = "/dev/api/orders"


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

    def post_without_token(self, path: str, body: object) -> TestResponse:
        return self.client.post(path, base_url=ORIGIN, json=body)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    config = settings.load({"BFF_DATA_DIR": str(tmp_path), "BFF_BASE_URL": ORIGIN}, tmp_path)
    app = create_app(config)
    start(app)
    yield Browser(app.test_client())
    stop(app)


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
    browser.post(ORDERS, {"item": "Tea"})
    listed = browser.get(ORDERS).get_json()
    assert listed["customer"] == "Alice Adams"
    assert [(order["item"], order["quantity"]) for order in listed["orders"]] == [("Tea", 1), ("Espresso", 2)]
    assert listed["orders"][1] == ordered.get_json()
    assert browser.visit(browser.post("/auth/logout", {}).get_json()["logout_url"]).request.path == "/"
    assert browser.get(ORDERS).status_code == 401
    assert "Who are you today?" in browser.visit("/auth/login").text, "the provider's own login has ended, too"


def test_everybody_has_their_own_orders(browser: Browser) -> None:
    browser.log_in("alice")
    browser.post(ORDERS, {"item": "Espresso"})
    browser.visit(browser.post("/auth/logout", {}).get_json()["logout_url"])
    browser.log_in("bob")
    assert browser.get(ORDERS).get_json() == {"customer": "Bob Brown", "orders": []}


def test_cancelled_login_leaves_nobody_logged_in(browser: Browser) -> None:
    assert browser.press(cancel="1").status_code == 400
    assert browser.get("/auth/session").get_json()["authenticated"] is False


def test_anonymous_calls_are_refused(browser: Browser) -> None:
    refused = browser.get(ORDERS)
    assert (refused.status_code, refused.content_type) == (401, "application/problem+json")
    assert browser.post_without_token(ORDERS, {"item": "Tea"}).status_code == 401


def test_order_without_the_token_is_refused(browser: Browser) -> None:
    browser.log_in("alice")
    refused = browser.post_without_token(ORDERS, {"item": "Tea"})
    assert (refused.status_code, refused.get_json()["code"]) == (403, "missing_cookie")
    assert browser.get(ORDERS).get_json()["orders"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"item": ""},
        {"item": "x" * 81},
        {"item": 7},
        {"item": "Tea", "quantity": 0},
        {"item": "Tea", "quantity": 1.5},
        {"item": "Tea", "quantity": None},
        ["Tea"],
        None,
    ],
)
def test_order_must_make_sense(browser: Browser, body: object) -> None:
    browser.log_in("alice")
    refused = browser.post(ORDERS, body)
    assert (refused.status_code, refused.get_json()["code"]) == (400, "invalid_order")
    assert browser.get(ORDERS).get_json()["orders"] == []


def test_orders_are_bounded(browser: Browser) -> None:
    browser.log_in("alice")
    answers = [browser.post(ORDERS, {"item": "Tea"}).status_code for _ in range(101)]
    assert answers == [201] * 100 + [400]
    assert len(browser.get(ORDERS).get_json()["orders"]) == 100
