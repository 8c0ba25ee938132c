"""Tokens in two workers on one store: one truth, one call at the provider, and at the end one refresh token revoked."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import requests
from werkzeug.wrappers import Response

from bff.oidc.token_response import TokenResponse
from bff.sessions.token_store import CODE_LIFE
from bff.sessions.tokens import Tokens
from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import Site, balanced, log_out, login
from tests.flows.provider import Answer, html, raising
from tests.flows.token_use import TokenSites, by_service, held, post, refusal, session_key, used

NEAR_END, EXPIRED = 550.0, 601.0


@pytest.fixture
def workers(token_site: TokenSites) -> tuple[Site, Site]:
    one = token_site(start=True)
    two = token_site(start=True, providers=one.providers)
    assert eventually(lambda: one.services.cache.truthful and two.services.cache.truthful)
    return one, two


def at(worker: Site, browser: Browser) -> Browser:
    twin = worker.twin(browser)
    twin.hosts = worker.hosts
    return twin


def test_what_one_worker_refreshed_the_other_one_sees(workers: tuple[Site, Site], clock: Clock) -> None:
    one, two = workers
    browser = one.logged_in()
    twin = at(two, browser)
    assert used(browser) == used(twin)
    by_service(post(browser, "refresh"))
    newer = used(browser)
    assert eventually(lambda: used(twin) == newer)
    by_service(post(twin, "exchange", {"service": "billing"}))
    billing = used(twin, "billing")
    assert eventually(lambda: used(browser, "billing") == billing)
    clock.now += NEAR_END
    newest = used(twin)
    assert newest not in (newer, None)
    assert eventually(lambda: used(browser) == newest)
    assert one.idp.count("token") == 4


@pytest.mark.parametrize(("service", "calls"), [("user", 1), ("orders", 1), ("billing", 2), ("reports", 1)])
@pytest.mark.parametrize("passed", [NEAR_END, EXPIRED])
def test_many_at_once_make_one_call(
    workers: tuple[Site, Site], clock: Clock, counters: Counters, service: str, calls: int, passed: float
) -> None:
    browser = workers[0].logged_in()
    idp, old = workers[0].idp, used(browser, service)
    browsers = [at(workers[number % 2], browser) for number in range(12)]
    clock.now += passed
    before, start = idp.count("token"), threading.Barrier(12)
    answer_slowly(idp.later_grants, 0.1)

    def ask(each: Browser) -> str | None:
        start.wait(10)
        return used(each, service)

    with ThreadPoolExecutor(12) as pool:
        tokens = set(pool.map(ask, browsers))
    made = idp.count("token") - before
    assert made <= calls, "one for each token that wanted it"
    if passed == EXPIRED:
        assert len(tokens) == 1
        assert made == calls
    (new,) = tokens - {old}
    clock.now += 2.5
    assert used(browser, service) == new
    assert counters.gained("bff_token_refresh_failed_total") == {}
    assert counters.gained("bff_sessions_destroyed_total") == {}


def answer_slowly(grants: Any, seconds: float) -> None:
    """So that all the others arrive in the meantime."""
    original = grants.answer

    def answer(form: Any) -> Response:
        threading.Event().wait(seconds)
        response: Response = original(form)
        return response

    grants.answer = answer


def test_many_at_once_are_rejected_once(workers: tuple[Site, Site], clock: Clock, counters: Counters) -> None:
    browser = workers[0].logged_in()
    idp = workers[0].idp
    clock.now += EXPIRED
    browsers = [at(workers[number % 2], browser) for number in range(8)]
    assert [each.verify().status_code for each in browsers] == [200] * 8
    idp.later_grants.end_families()
    answer_slowly(idp.later_grants, 0.2)
    start = threading.Barrier(8)

    def ask(each: Browser) -> tuple[int, str]:
        start.wait(10)
        return refusal(each.fetch("/use/user"))

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(ask, browsers))
    assert answers <= {(401, "session_ended"), (401, "unauthenticated")}
    assert idp.count("token") == 2
    assert counters.gained("bff_token_refresh_failed_total") == {"invalid_grant": 1}
    assert counters.gained("bff_sessions_destroyed_total") == {"refresh_rejected": 1}
    assert counters.gained("bff_security_events_total")["refresh_rejected warning"] == 1


def test_a_race_that_looks_like_a_rejection(at_work: Site, clock: Clock, counters: Counters) -> None:
    """Another worker, whose lock ran out, was quicker: what it got is taken, and nobody is logged out."""
    browser = at_work.logged_in()
    key = session_key(browser)
    clock.now += EXPIRED
    original = at_work.idp.later_grants.answer

    def overtaken(form: Any) -> Response:
        at_work.idp.later_grants.answer = original  # type: ignore[method-assign]
        session = at_work.services.store.find(key)
        assert session is not None
        content: dict[str, Any] = original(form).get_json()
        issued = at_work.services.tokens.refresher.endpoint.reader.parse(content, token_type="Bearer")
        at_work.services.token_store.update(key, lambda old: _with(old, issued))
        return original(form)  # a second use

    at_work.idp.later_grants.answer = overtaken  # type: ignore[method-assign]
    assert used(browser) == held(at_work, key).access.value
    assert counters.gained("bff_token_refresh_total") == {"user reused": 1}
    assert counters.gained("bff_sessions_destroyed_total") == {}


def _with(old: Tokens, issued: TokenResponse) -> Tokens:
    assert issued.access is not None
    return replace(old, access=issued.access, refresh_token=issued.refresh_token)


# How a session ends, and what its browser sends to bring that about.


def replaced(site: Site, browser: Browser, clock: Clock) -> str:
    """By somebody else: who logs in again is one grant to the provider, and keeps it."""
    site.idp.user = {**site.idp.user, "sub": "bob"}
    login(browser)
    return "replaced"


def logged_out(site: Site, browser: Browser, clock: Clock) -> str:
    log_out(browser)
    return "logout"


def logged_out_everywhere(site: Site, browser: Browser, clock: Clock) -> str:
    log_out(site.logged_in(), everywhere=True)
    return "logout_everywhere"


def idle(site: Site, browser: Browser, clock: Clock) -> str:
    clock.now += 4000
    site.services.store.sweep()
    return "idle_timeout"


def rejected(site: Site, browser: Browser, clock: Clock) -> str:
    site.idp.later_grants.end_families()
    clock.now += EXPIRED
    assert browser.fetch("/use/user").status_code == 401
    return "refresh_rejected"


@pytest.mark.parametrize("end", [replaced, logged_out, logged_out_everywhere, idle, rejected])
@pytest.mark.parametrize("broken", [None, html(503), html(429), raising(requests.ConnectionError())])
def test_the_newest_refresh_token_is_revoked(
    at_work: Site,
    clock: Clock,
    counters: Counters,
    end: Callable[[Site, Browser, Clock], str],
    broken: Answer | None,
) -> None:
    browser = at_work.logged_in()
    key = session_key(browser)
    first = held(at_work, key).refresh_token
    by_service(post(browser, "refresh"))
    newest = held(at_work, key).refresh_token
    assert newest != first
    if broken:
        at_work.idp.break_endpoint("revoke", broken)
    reason = end(at_work, browser, clock)
    assert counters.gained("bff_sessions_destroyed_total")[reason] >= 1
    revocations = at_work.services.tokens.revocations
    if not reason.startswith("logout"):
        revocations.revoke_due()
        assert at_work.idp.count("revoke") == 0, "a login of the same person may be under way"
        clock.now += at_work.services.settings.login_timeout + CODE_LIFE
    for _ in range(3):
        revocations.revoke_due()
        clock.now += 5
    if broken:
        assert at_work.idp.revoked == []
        assert held(at_work, key).refresh_token == newest, "kept until it is revoked"
        at_work.idp.repair()
        clock.now += 5
    revocations.revoke_due()
    assert at_work.idp.revoked.count(str(newest)) == 1
    assert first not in at_work.idp.revoked
    assert at_work.services.token_store.read(key) is None
    asked = at_work.idp.count("revoke")
    clock.now += 1000
    revocations.revoke_due()
    assert at_work.idp.count("revoke") == asked, "done is done"
    assert balanced(at_work, counters)


@pytest.mark.parametrize("change", [{}, {"access_token": None}])
def test_a_refresh_that_was_under_way_when_the_session_ended(
    at_work: Site, clock: Clock, change: dict[str, None]
) -> None:
    """Whether its tokens were revoked by then or not, the newest refresh token does not outlive the session."""
    at_work.idp.later_grants.response = change
    for revoke_at_once in (False, True):
        browser = at_work.logged_in()
        twin, key = at_work.twin(browser), session_key(browser)
        clock.now += EXPIRED
        original = at_work.idp.later_grants.answer

        def ending(form: Any, twin: Browser = twin, original: Any = original, broken: bool = not revoke_at_once) -> Any:
            at_work.idp.later_grants.answer = original  # type: ignore[method-assign]
            response = original(form)
            if broken:
                at_work.idp.break_endpoint("revoke", html(503))
            log_out(twin)
            return response

        at_work.idp.later_grants.answer = ending  # type: ignore[method-assign]
        browser.fetch("/use/user")
        at_work.idp.repair()
        clock.now += at_work.services.settings.login_timeout + CODE_LIFE
        at_work.services.tokens.revocations.revoke_due()
        newest = at_work.idp.issued[-2]
        assert newest in at_work.idp.revoked
        assert at_work.services.token_store.read(key) is None


def test_who_is_at_work_never_waits(at_work: Site, clock: Clock, counters: Counters) -> None:
    busy, gone = at_work.logged_in(), at_work.logged_in()
    first = used(busy)
    clock.now += 400
    assert busy.verify().status_code == 200
    at_work.services.authenticator.flush()
    clock.now += 150
    at_work.services.tokens.sweep.run()
    assert at_work.idp.count("token") == 2 + 1
    second = held(at_work, session_key(busy)).access.value
    assert second != first
    assert used(busy) == second
    assert at_work.idp.count("token") == 3, "it was there already"
    at_work.services.tokens.sweep.run()
    assert at_work.idp.count("token") == 3
    assert used(gone)
    assert at_work.idp.count("token") == 4, "whoever comes back is served, too"
    assert counters.gained("bff_token_refresh_total") == {"user success": 2}


def test_a_session_that_expired_but_was_not_swept_is_left_alone(token_site: TokenSites, clock: Clock) -> None:
    at_work = token_site(SESSION_IDLE_TIMEOUT="60", TOKEN_REFRESH_THRESHOLD="300")
    at_work.idp.token_response = {"expires_in": 50}
    at_work.logged_in()
    clock.now += 70
    at_work.services.tokens.sweep.run()
    assert at_work.idp.count("token") == 1


def test_the_sweep_while_the_provider_is_down(at_work: Site, clock: Clock, counters: Counters) -> None:
    browser = at_work.logged_in()
    clock.now += 400
    assert browser.verify().status_code == 200
    at_work.services.authenticator.flush()
    clock.now += 120
    at_work.idp.break_endpoint("token", html(500))
    at_work.services.tokens.sweep.run()
    at_work.services.tokens.sweep.run()
    assert at_work.idp.count("token") == 2, "it is tried again later"
    at_work.idp.repair()
    clock.now += 31
    at_work.services.tokens.sweep.run()
    assert at_work.idp.count("token") == 3
    assert counters.gained("bff_sessions_destroyed_total") == {}


def test_the_sweep_meets_a_rejection(at_work: Site, clock: Clock, counters: Counters) -> None:
    browser = at_work.logged_in()
    clock.now += 400
    assert browser.verify().status_code == 200
    at_work.services.authenticator.flush()
    clock.now += 120
    at_work.idp.later_grants.end_families()
    at_work.services.tokens.sweep.run()
    assert browser.verify().status_code == 401
    assert counters.gained("bff_sessions_destroyed_total") == {"refresh_rejected": 1}
