"""A token endpoint that lies, at login and later: each lie has a name and is counted, and nothing is lost by it."""

from typing import Any

import pytest
from werkzeug.wrappers import Response

from tests.clock import Clock
from tests.flows.assertions import ECHO
from tests.flows.counters import Counters
from tests.flows.internet import Site, login
from tests.flows.provider import REMOVED, Answer, html, reply
from tests.flows.token_use import held, refusal, session_key, used

FAULTS = "bff_token_response_faults_total"
FAILED = "bff_token_refresh_failed_total"
NEAR_END, EXPIRED, PAUSE = 550.0, 601.0, 2.5

UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"access_token": REMOVED}, "access_token"),
    ({"access_token": 7}, "access_token"),
    ({"access_token": "h\u00e4sslich"}, "access_token"),
    ({"access_token": "split\r\nheader"}, "access_token"),
    ({"token_type": REMOVED}, "token_type"),
    ({"token_type": "mac"}, "token_type"),
    ({"token_type": ["Bearer"]}, "token_type"),
]
DOUBTFUL: list[tuple[dict[str, Any], str]] = [
    ({"expires_in": life}, "expires_in")
    for life in (-1, 0, "-600", "soon", 1e300, 10**400, True, [600], {"a": 1}, float("nan"))
]


def huge() -> Response:
    return Response(b'{"a": "' + b"x" * 2_000_000 + b'"}', content_type="application/json")


NO_ANSWER: list[tuple[Answer, str]] = [
    (html(200), "not_json"),
    (huge, "too_large"),
    (lambda: reply([ECHO]), "not_json"),
    (lambda: Response(b"\xff\xfe", content_type="application/json"), "not_json"),
]


@pytest.mark.parametrize(("change", "fault"), UNUSABLE)
def test_at_login_what_cannot_be_used_is_refused(
    at_work: Site, counters: Counters, change: dict[str, Any], fault: str
) -> None:
    at_work.idp.token_response = change
    at_work.idp.claims = {"at_hash": REMOVED}
    assert login(at_work.browser()).status_code == 503
    assert counters.gained(FAULTS) == {f"authorization_code {fault}": 1}
    assert counters.gained("bff_logins_total") == {"started": 1, "token_endpoint": 1}


@pytest.mark.parametrize(("change", "fault"), [*DOUBTFUL, ({"expires_in": REMOVED}, "expires_in_missing")])
def test_at_login_a_token_of_unknown_life_is_refreshed_soon(
    at_work: Site, clock: Clock, counters: Counters, change: dict[str, Any], fault: str
) -> None:
    at_work.idp.token_response = change
    browser = at_work.logged_in()
    assert counters.gained(FAULTS) == {f"authorization_code {fault}": 1}
    first = used(browser)
    at_work.idp.token_response = {}
    clock.now += 301
    assert used(browser) not in (first, None)


@pytest.mark.parametrize(("answer", "fault"), NO_ANSWER)
def test_at_login_no_answer_at_all(at_work: Site, counters: Counters, answer: Answer, fault: str) -> None:
    at_work.idp.break_endpoint("token", answer)
    refused = login(at_work.browser())
    assert refused.status_code == 503
    assert ECHO not in refused.text
    assert counters.gained(FAULTS) == {f"authorization_code {fault}": 1}


@pytest.mark.parametrize(("change", "fault"), UNUSABLE)
def test_at_refresh_the_old_token_serves_and_the_new_refresh_token_is_kept(
    at_work: Site, clock: Clock, counters: Counters, change: dict[str, Any], fault: str
) -> None:
    browser = at_work.logged_in()
    key, first = session_key(browser), used(browser)
    spent = held(at_work, key).refresh_token
    at_work.idp.claims = {"at_hash": REMOVED}
    at_work.idp.later_grants.response = {name: None if value is REMOVED else value for name, value in change.items()}
    clock.now += NEAR_END
    assert used(browser) == first
    assert counters.gained(FAULTS) == {f"refresh_token {fault}": 1}
    assert counters.gained(FAILED) == {"bad_response": 1}
    kept = held(at_work, key).refresh_token
    assert kept != spent
    assert at_work.idp.later_grants.alive(str(kept))
    at_work.idp.later_grants.response = {}
    clock.now += PAUSE
    assert used(browser) not in (first, None), "rotation and reuse detection notwithstanding"
    assert counters.gained("bff_sessions_destroyed_total") == {}


@pytest.mark.parametrize(("change", "fault"), UNUSABLE)
def test_at_refresh_of_an_expired_token(
    at_work: Site, clock: Clock, counters: Counters, change: dict[str, Any], fault: str
) -> None:
    browser = at_work.logged_in()
    at_work.idp.claims = {"at_hash": REMOVED}
    at_work.idp.later_grants.response = {name: None if value is REMOVED else value for name, value in change.items()}
    clock.now += EXPIRED
    answer = browser.fetch("/use/user")
    assert refusal(answer) == (503, "token_unavailable")
    assert browser.verify().status_code == 200
    at_work.idp.later_grants.response = {}
    clock.now += PAUSE
    assert used(browser)
    assert counters.gained(FAULTS) == {f"refresh_token {fault}": 1}


@pytest.mark.parametrize("when", [NEAR_END, EXPIRED])
@pytest.mark.parametrize(("change", "fault"), [*DOUBTFUL, ({"scope": "openid"}, "scope")])
def test_a_doubtful_new_token_is_better_than_an_old_one(
    at_work: Site, clock: Clock, counters: Counters, change: dict[str, Any], fault: str, when: float
) -> None:
    """The provider may have ended the old one with its refresh token."""
    browser = at_work.logged_in()
    key, first = session_key(browser), used(browser)
    at_work.idp.later_grants.response = change
    clock.now += when
    second = used(browser)
    assert second not in (first, None)
    assert counters.gained(FAULTS) == {f"refresh_token {fault}": 1}
    assert counters.gained(FAILED) == {}
    assert held(at_work, key).access.scope == change.get("scope", "openid profile email")
    clock.now += EXPIRED
    at_work.idp.later_grants.response = {}
    assert used(browser) not in (second, None), "and is replaced in its turn"


def test_a_life_in_text_is_a_life(at_work: Site, clock: Clock, counters: Counters) -> None:
    browser = at_work.logged_in()
    first = used(browser)
    at_work.idp.later_grants.response = {"expires_in": "3600"}
    clock.now += EXPIRED
    second = used(browser)
    assert second not in (first, None)
    clock.now += 2000
    assert used(browser) == second
    assert counters.gained(FAULTS) == {}


def test_a_missing_expires_in_is_no_lie(at_work: Site, clock: Clock, counters: Counters) -> None:
    browser = at_work.logged_in()
    first = used(browser)
    at_work.idp.later_grants.response = {"expires_in": None}
    clock.now += NEAR_END
    assert used(browser) not in (first, None)
    assert counters.gained(FAULTS) == {"refresh_token expires_in_missing": 1}


@pytest.mark.parametrize(("answer", "fault"), NO_ANSWER)
def test_at_refresh_no_answer_at_all(
    at_work: Site, clock: Clock, counters: Counters, answer: Answer, fault: str
) -> None:
    browser = at_work.logged_in()
    first = used(browser)
    at_work.idp.break_endpoint("token", answer)
    clock.now += NEAR_END
    assert used(browser) == first
    assert counters.gained(FAULTS) == {f"refresh_token {fault}": 1}
    clock.now += EXPIRED - NEAR_END
    unavailable = browser.fetch("/use/user")
    assert refusal(unavailable) == (503, "token_unavailable")
    assert ECHO not in unavailable.text
    at_work.idp.repair()
    clock.now += PAUSE
    assert used(browser) not in (first, None)


@pytest.mark.parametrize("access_token", [True, False])
def test_at_refresh_an_id_token_of_another_person(
    at_work: Site, clock: Clock, counters: Counters, access_token: bool
) -> None:
    """Then the other tokens may be that person's as well, and none of them is taken."""
    browser = at_work.logged_in()
    before = held(at_work, session_key(browser))
    at_work.idp.later_grants.rotates = False
    at_work.idp.claims = {"sub": "mallory"}
    if not access_token:
        at_work.idp.later_grants.response = {"access_token": None, "refresh_token": "of-mallory"}
    clock.now += NEAR_END
    assert used(browser) == before.access.value
    assert held(at_work, session_key(browser)) == before
    faults = {"refresh_token subject": 1} | ({} if access_token else {"refresh_token access_token": 1})
    assert counters.gained(FAULTS) == faults
    at_work.idp.claims, at_work.idp.later_grants.response = {}, {}
    clock.now += PAUSE
    assert used(browser) not in (before.access.value, None)


@pytest.mark.parametrize(
    "claims", [{"exp": 5}, {"aud": "another"}, {"iss": "https://evil.example"}, {"at_hash": "of-another"}, {"iat": "x"}]
)
def test_at_refresh_an_id_token_that_is_not_right(
    at_work: Site, clock: Clock, counters: Counters, claims: dict[str, Any]
) -> None:
    browser = at_work.logged_in()
    before = held(at_work, session_key(browser))
    at_work.idp.claims = claims
    clock.now += NEAR_END
    assert used(browser) == before.access.value
    after = held(at_work, session_key(browser))
    assert after.id_token == before.id_token
    assert after.refresh_token != before.refresh_token
    assert counters.gained(FAULTS) == {"refresh_token id_token": 1}
    at_work.idp.claims = {}
    clock.now += PAUSE
    assert used(browser) not in (before.access.value, None), "rotation and reuse detection notwithstanding"


@pytest.mark.parametrize(("change", "fault"), [*UNUSABLE[:1], ({"token_type": "mac"}, "token_type")])
def test_at_an_exchange(at_work: Site, counters: Counters, change: dict[str, Any], fault: str) -> None:
    browser = at_work.logged_in()
    at_work.idp.later_grants.response = {name: None if value is REMOVED else value for name, value in change.items()}
    for service in ("billing", "reports"):
        assert refusal(browser.fetch(f"/use/{service}")) == (503, "token_unavailable")
    assert counters.gained(FAULTS) == {f"token_exchange {fault}": 1, f"client_credentials {fault}": 1}
    assert counters.gained(FAILED) == {"bad_response": 2}
    at_work.idp.later_grants.response = {}
    assert used(browser, "billing")
    assert used(browser, "reports")
