"""Which other origins' pages may call the BFF with the user's cookie."""

import pytest

from tests.flows.internet import Site, SiteFactory

SPA = "https://spa.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-csrf-token"}


@pytest.fixture
def bff(new_site: SiteFactory) -> Site:
    return new_site(CORS_ALLOW_ORIGINS=SPA)


def test_a_page_of_an_allowed_origin_may_read_the_answer(bff: Site) -> None:
    headers = bff.logged_in().fetch("/auth/session", headers={"Origin": SPA}).headers
    assert headers["Access-Control-Allow-Origin"] == SPA
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in headers["Vary"]


def test_its_preflight_needs_no_session(bff: Site) -> None:
    answer = bff.browser().send("OPTIONS", "/auth/logout", {"Origin": SPA, **PREFLIGHT})
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == SPA
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "X-CSRF-Token" in answer.headers["Access-Control-Allow-Headers"]
    assert bff.store.reads == bff.store.writes == []


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", f"{SPA}.evil.example", "http://spa.example", "*"]
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_no_other_origin_may(bff: Site, origin: str, method: str) -> None:
    answer = bff.logged_in().send(method, "/auth/session", {"Origin": origin, **PREFLIGHT})
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control-Allow")]


def test_nobody_may_unless_the_operator_says_so(new_site: SiteFactory) -> None:
    answer = new_site(CORS_ALLOW_ORIGINS="").browser().fetch("/auth/session", headers={"Origin": SPA})
    assert "Access-Control-Allow-Origin" not in answer.headers
