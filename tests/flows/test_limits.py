"""Rate limits where browsers, services and providers meet them: who is counted, what is said, and without a store."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from bff.web.provider_logout import FORM
from tests.clock import Clock
from tests.flows.api import ApiSites, call
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import Site, SiteFactory

Ask = Callable[[Browser], TestResponse]
FIELDS = ("RateLimit-Policy", "RateLimit", "Retry-After")
HITS = "bff_rate_limit_hits_total"

QUESTION = {"action": {"name": "read"}, "resource": {"type": "orders", "id": "7"}}
SERVICE = {"service": "user"}


def posted(path: str, content: object, method: str = "POST") -> Ask:
    return lambda browser: call(browser, method, path, json=content)


def form(browser: Browser) -> TestResponse:
    return browser.send("POST", "/auth/backchannel-logout", {"Content-Type": FORM}, data=b"logout_token=x")


PER_ADDRESS: Mapping[str, tuple[Ask, int]] = {
    "login": (lambda browser: browser.navigate("/auth/login"), 302),
    "callback": (lambda browser: browser.navigate("/auth/callback?state=s&code=c"), 400),
    "backchannel_logout": (form, 400),
    "frontchannel_logout": (lambda browser: browser.navigate("/auth/frontchannel-logout"), 400),
    "end_session": (lambda browser: browser.navigate("/auth/end-session?ticket=t"), 200),
    "beacon": (lambda browser: browser.fetch("/api/v1/metrics", method="POST", json=[{"event": "page_view"}]), 204),
}
PER_SESSION: Mapping[str, tuple[Ask, int]] = {
    "token_refresh": (posted("/auth/tokens/refresh", SERVICE), 200),
    "token_exchange": (posted("/auth/tokens/exchange", SERVICE), 400),
    "evaluation": (posted("/access/v1/evaluation", QUESTION), 200),
}


def told(answer: TestResponse) -> list[str | None]:
    return [answer.headers.get(name) for name in FIELDS]


@pytest.mark.parametrize("name", PER_ADDRESS)
def test_each_address_has_its_limit(new_site: SiteFactory, clock: Clock, counters: Counters, name: str) -> None:
    site, (ask, status) = new_site(RATE_LIMITS=f"{name}=2/minute"), PER_ADDRESS[name]
    policy = f'"{name}";q=2;w=60'
    first, second = site.browser("192.0.2.1"), site.browser("192.0.2.1")
    answers = [ask(first), ask(second)]
    assert [answer.status_code for answer in answers] == [status, status]
    assert [told(answer) for answer in answers] == [[policy, f'"{name}";r={left};t=60', None] for left in (1, 0)]
    clock.now += 15
    refused = ask(first)
    assert refused.status_code == 429
    assert told(refused) == [policy, f'"{name}";r=0;t=45', "45"]
    assert ask(site.browser("192.0.2.2")).status_code == status
    clock.now += 45
    assert ask(second).status_code == status
    assert counters.gained(HITS) == {name: 1}
    (event,) = site.events("security.rate_limit.exceeded")
    assert event["data"]["limit"] == name


@pytest.mark.parametrize("name", PER_SESSION)
def test_each_session_has_its_limit(new_site: SiteFactory, counters: Counters, name: str) -> None:
    site, (ask, status) = new_site(RATE_LIMITS=f"{name}=2/minute"), PER_SESSION[name]
    alice, other = site.logged_in(), site.logged_in()
    assert [ask(alice).status_code for _ in range(3)] == [status, status, 429]
    answer = ask(other)
    assert (answer.status_code, told(answer)[:2]) == (status, [f'"{name}";q=2;w=60', f'"{name}";r=1;t=60'])
    assert counters.gained(HITS) == {name: 1}


def test_the_problem_that_a_script_reads(new_site: SiteFactory) -> None:
    browser = new_site(RATE_LIMITS="beacon=1/minute").browser()
    ask, _ = PER_ADDRESS["beacon"]
    refused = [ask(browser) for _ in range(2)][-1]
    assert refused.content_type == "application/problem+json"
    content = refused.get_json(force=True)
    assert (content["status"], content["code"], content["title"]) == (429, "rate_limited", "Too many requests")


def test_the_page_that_a_person_reads(new_site: SiteFactory) -> None:
    browser = new_site(RATE_LIMITS="login=1/minute").browser()
    assert browser.navigate("/auth/login").status_code == 302
    refused = browser.navigate("/auth/login")
    assert (refused.status_code, refused.mimetype) == (429, "text/html")
    assert "Too many requests" in refused.text
    assert "Set-Cookie" not in refused.headers


def test_a_request_that_a_foreign_page_sends_uses_nothing_up(new_site: SiteFactory) -> None:
    alice = new_site(RATE_LIMITS="token_refresh=1/minute").logged_in()
    for _ in range(3):
        assert alice.fetch("/auth/tokens/refresh", method="POST").status_code == 403
    assert PER_SESSION["token_refresh"][0](alice).status_code == 200


def test_the_defaults_are_never_met_by_a_person(bff: Site) -> None:
    """Fifty logins in one office, and each of them with fifty calls, within one second."""
    people = [bff.logged_in() for _ in range(50)]
    assert {PER_SESSION["evaluation"][0](people[0]).status_code for _ in range(50)} == {200}
    assert {PER_ADDRESS["beacon"][0](each).status_code for each in people} == {204}


def test_verify_has_none(bff: Site) -> None:
    alice = bff.logged_in()
    before = len(bff.store.hits)
    assert [told(alice.verify()) for _ in range(3)] == [[None] * 3] * 3
    assert len(bff.store.hits) == before


@pytest.mark.parametrize("name", PER_ADDRESS)
@pytest.mark.parametrize("away", ["open", "closed"])
def test_with_the_store_away_each_address_limit_does_what_it_declares(
    new_site: SiteFactory, name: str, away: str
) -> None:
    site = new_site(RATE_LIMITS=f"{name}=2/minute:{away}")
    (ask, status), browser = PER_ADDRESS[name], site.browser()
    site.store.down = True
    answers = [ask(browser) for _ in range(4)]
    if away == "closed":
        assert {answer.status_code for answer in answers} == {503}
        assert {answer.headers["Retry-After"] for answer in answers} == {"2"}
        assert not [answer for answer in answers if "Set-Cookie" in answer.headers]
    elif name in ("login", "callback"):
        assert {answer.status_code for answer in answers} == {503}, (
            "let through, and then they need the store themselves"
        )
    else:
        assert {answer.status_code for answer in answers} == {status}
    assert {tuple(told(answer)[:2]) for answer in answers} == {(None, None)}
    site.store.down = False
    assert [ask(browser).status_code for _ in range(3)] == [status, status, 429]


ROUTES = """
services: {files: {base_url: https://orders.example/files, token: none}}
routes:
  - {id: opened, path: /api/opened, service: files, auth: none, rate_limit: 2/minute}
  - {id: shut, path: /api/shut, service: files, auth: none, rate_limit: 2/minute:closed}
"""


def test_with_the_store_away_each_route_does_what_it_declares(new_site: SiteFactory, tmp_path: Path) -> None:
    api = ApiSites(new_site, tmp_path)
    site = api(ROUTES)
    browser = site.browser()
    site.store.down = True
    assert [browser.fetch("/api/opened").status_code for _ in range(4)] == [200] * 4
    refused = [browser.fetch("/api/shut") for _ in range(4)]
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in refused] == [(503, "2")] * 4
    assert len(api.orders.seen) == 4
    site.store.down = False
    for path in ("/api/opened", "/api/shut"):
        assert [browser.fetch(path).status_code for _ in range(3)] == [200, 200, 429]


def test_a_service_may_say_what_it_limits_itself(new_site: SiteFactory, tmp_path: Path) -> None:
    api = ApiSites(new_site, tmp_path)
    browser = api(ROUTES).browser()
    api.orders.then(200, headers={"RateLimit": '"theirs";r=5;t=9', "RateLimit-Policy": '"theirs";q=9;w=9'})
    answer = browser.fetch("/api/opened")
    assert answer.headers.getlist("RateLimit") == ['"theirs";r=5;t=9', '"route:opened";r=1;t=60']
    assert answer.headers.getlist("RateLimit-Policy") == ['"theirs";q=9;w=9', '"route:opened";q=2;w=60']
