"""Whoever needs a token gets one that works, and a provider's bad hour is nobody's business while tokens are good."""

from collections.abc import Callable
from typing import Any

import pytest
import requests
from prometheus_client import REGISTRY
from werkzeug.wrappers import Response

from bff.errors import StoreUnavailable
from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, Site, balanced
from tests.flows.provider import REMOVED, Answer, html, raising, reply
from tests.flows.token_use import TokenSites, by_service, held, post, refusal, session_key, used

REFRESHES = "bff_token_refresh_total"
FAILED = "bff_token_refresh_failed_total"
DESTROYED = "bff_sessions_destroyed_total"
NEAR_END, EXPIRED = 550.0, 601.0
"""Seconds after the login. The provider's tokens live for 600."""
PAUSE = 2.5
"""Seconds after which a failure is forgotten."""


@pytest.fixture
def browser(at_work: Site) -> Browser:
    return at_work.logged_in()


def use(browser: Browser, service: str = "user") -> tuple[int, str]:
    return refusal(browser.fetch(f"/use/{service}"))


def no_refresh_tokens(site: Site) -> Browser:
    site.idp.token_response = {"refresh_token": REMOVED}
    return site.logged_in()


def test_a_fresh_token_costs_nothing(at_work: Site, browser: Browser, clock: Clock) -> None:
    first = used(browser)
    clock.now += 470
    assert used(browser) == used(browser, "orders") == first
    assert at_work.idp.count("token") == 1


def test_a_token_near_its_end_is_refreshed_in_passing(
    at_work: Site, browser: Browser, clock: Clock, counters: Counters
) -> None:
    first = used(browser)
    clock.now += NEAR_END
    second = used(browser)
    assert second != first
    assert used(browser) == second
    assert at_work.idp.count("token") == 2
    assert counters.gained(REFRESHES) == {"user success": 1}
    assert counters.total("bff_token_refresh_success_total") == 1
    assert counters.gained("bff_token_expiry_total") == {}
    assert counters.gained("bff_oauth_flow_duration_seconds_count")["refresh"] == 1


def test_an_expired_token_is_refreshed_before_the_answer(
    at_work: Site, browser: Browser, clock: Clock, counters: Counters
) -> None:
    first = used(browser)
    clock.now += EXPIRED
    assert used(browser, "orders") not in (first, None)
    assert counters.gained("bff_token_expiry_total") == {"orders": 1}
    assert counters.gained(REFRESHES) == {"user success": 1}


def test_a_provider_that_does_not_rotate(at_work: Site, browser: Browser, clock: Clock) -> None:
    at_work.idp.later_grants.rotates = False
    seen = {used(browser)}
    for _ in range(3):
        clock.now += NEAR_END
        seen.add(used(browser))
    assert len(seen) == 4


def test_a_token_that_lacks_a_scope(browser: Browser) -> None:
    assert use(browser, "strict") == (403, "insufficient_scope")


def test_services_of_each_kind(at_work: Site, browser: Browser) -> None:
    tokens = {service: used(browser, service) for service in ("user", "orders", "billing", "reports", "plain")}
    assert tokens["user"] == tokens["orders"]
    assert tokens["plain"] is None
    assert len({tokens["user"], tokens["billing"], tokens["reports"]}) == 3
    assert at_work.idp.count("token") == 3


def test_an_unknown_service(browser: Browser) -> None:
    assert use(browser, "nowhere") == (404, "unknown_service")


@pytest.mark.parametrize("service", ["billing", "reports"])
def test_a_services_token_is_replaced_before_and_after_its_end(
    at_work: Site, browser: Browser, clock: Clock, counters: Counters, service: str
) -> None:
    tokens = [used(browser, service)]
    clock.now += NEAR_END
    tokens.append(used(browser, service))
    clock.now += EXPIRED
    tokens.append(used(browser, service))
    assert len(set(tokens)) == 3
    assert counters.gained("bff_token_expiry_total")[service] == 1
    assert counters.gained(REFRESHES)[f"{service} success"] == 3


def test_a_subject_token_that_was_revoked_early_is_replaced_for_the_exchange(at_work: Site, browser: Browser) -> None:
    first = used(browser)
    at_work.idp.issued.remove(str(first))
    assert used(browser, "billing")
    assert used(browser) != first


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (raising(requests.ConnectionError()), "connection"),
        (raising(requests.ReadTimeout()), "timeout"),
        (html(500), "server_error"),
        (lambda: reply({"error": "temporarily_unavailable"}, 503), "server_error"),
        (lambda: reply({"error": "slow_down"}, 429), "server_error"),
        (html(200), "bad_response"),
        (html(403), "bad_response"),
        (lambda: reply({"error": "invalid_client"}, 401), "refused"),
        (lambda: reply({"error": "invalid_grant"}, 500), "server_error"),
    ],
)
def test_a_provider_that_is_down_and_comes_back(
    at_work: Site, browser: Browser, clock: Clock, counters: Counters, answer: Answer, reason: str
) -> None:
    first = used(browser)
    clock.now += NEAR_END
    at_work.idp.break_endpoint("token", answer)
    assert used(browser) == first, "it is good still"
    assert used(browser) == first
    assert at_work.idp.count("token") == 2, "one failure speaks for all who come at once"
    assert counters.gained(FAILED) == {reason: 1}
    clock.now += EXPIRED - NEAR_END
    down = browser.fetch("/use/user")
    assert refusal(down) == (503, "token_unavailable")
    assert down.headers["Retry-After"] == "2"
    assert down.headers["X-Denied-Reason"] == "token_unavailable"
    assert down.headers.getlist("Set-Cookie") == []
    assert browser.verify().status_code == 200
    at_work.idp.repair()
    clock.now += PAUSE
    assert used(browser) not in (first, None)
    assert counters.gained(FAILED) == {reason: 2}
    assert counters.gained(REFRESHES) == {"user failed": 2, "user success": 1}
    assert counters.gained(DESTROYED) == {}


@pytest.mark.parametrize("service", ["billing", "reports"])
def test_a_services_token_while_the_provider_is_down(
    at_work: Site, browser: Browser, clock: Clock, service: str
) -> None:
    first = used(browser, service)
    clock.now += NEAR_END
    used(browser)  # the session's own is fresh
    at_work.idp.break_endpoint("token", html(500))
    assert used(browser, service) == first
    clock.now += EXPIRED - NEAR_END
    assert use(browser, service) == (503, "token_unavailable")
    at_work.idp.repair()
    assert used(browser, service) not in (first, None)


@pytest.mark.parametrize("service", ["user", "billing", "reports"])
def test_a_failure_is_not_repeated_by_every_request(token_site: TokenSites, clock: Clock, service: str) -> None:
    """With what a worker remembers: an old token serves at once, and one that is over is never handed out."""
    at_work = token_site(start=True, SESSION_CACHE_TTL="60")
    assert eventually(lambda: at_work.services.cache.truthful)
    browser = at_work.logged_in()
    first = used(browser, service)
    if service == "billing":  # its token is written beside the session's, and this worker hears of that as well
        assert eventually(lambda: at_work.services.cache.held(session_key(browser), clock()) is None)
    clock.now += NEAR_END
    if service != "user":
        used(browser)
        assert eventually(lambda: at_work.services.cache.held(session_key(browser), clock()) is None), "told of its own"
    before = at_work.idp.count("token")
    at_work.idp.break_endpoint("token", html(500))
    assert [used(browser, service) for _ in range(3)] == [first] * 3
    assert at_work.idp.count("token") == before + 1
    clock.now += EXPIRED - NEAR_END
    assert use(browser, service) == (503, "token_unavailable")
    assert at_work.idp.count("token") == before + 2
    at_work.idp.repair()
    clock.now += PAUSE
    assert used(browser, service) not in (first, None)


def test_a_rejected_refresh_token_ends_the_session(
    token_site: TokenSites, clock: Clock, counters: Counters, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = (site := token_site(start=True)), token_site(start=True, providers=site.providers)
    assert eventually(lambda: one.services.cache.truthful and two.services.cache.truthful)
    browser = one.logged_in()
    twin = one.twin(browser)
    twin.hosts = two.hosts
    clock.now += EXPIRED
    assert browser.verify().status_code == twin.verify().status_code == 200
    one.idp.later_grants.end_families()
    answer = browser.fetch("/use/user")
    assert refusal(answer) == (401, "session_ended")
    assert answer.get_json(force=True)["login_url"] == f"{BFF}/auth/login"
    assert answer.headers["X-Denied-Reason"] == "session_ended"
    assert browser.verify().status_code == 401
    assert eventually(lambda: twin.verify().status_code == 401)
    assert use(twin) == use(browser) == (401, "session_ended"), "they are told why, not only who asked first"
    assert one.idp.count("token") == 2
    assert counters.gained(DESTROYED) == {"refresh_rejected": 1}
    assert counters.gained(FAILED) == {"invalid_grant": 1}
    assert counters.gained("bff_security_events_total")["refresh_rejected warning"] == 1
    assert [record for record in caplog.records if record.message == "refresh_rejected"]
    assert balanced(one, counters)


def test_a_worker_that_waited_for_a_rejection_takes_it_over(at_work: Site, clock: Clock, counters: Counters) -> None:
    """It had admitted the request before the session ended, so it knows session and tokens."""
    browser = at_work.logged_in()
    session = at_work.services.store.find(session_key(browser))
    assert session is not None
    tokens = held(at_work, session.key)
    clock.now += EXPIRED
    at_work.idp.later_grants.end_families()
    assert use(browser) == (401, "session_ended")
    with pytest.raises(Exception, match="The session has ended"):
        at_work.services.tokens.refresher.refresh(session, tokens, patient=True)
    assert at_work.idp.count("token") == 2, "the provider has said it once"
    assert counters.gained(FAILED) == {"invalid_grant": 1}
    assert counters.gained("bff_security_events_total")["refresh_rejected warning"] == 1


def test_a_rejection_that_cannot_be_written_down(
    at_work: Site, browser: Browser, clock: Clock, counters: Counters
) -> None:
    """The session lives until the store is back, and counts once."""
    clock.now += EXPIRED
    original = at_work.services.store.end

    def down(*_: Any, **__: Any) -> bool:
        raise StoreUnavailable

    at_work.idp.later_grants.end_families()
    at_work.services.store.end = down  # type: ignore[method-assign]
    assert use(browser) == (503, "store_unavailable")
    assert browser.verify().status_code == 200
    assert counters.gained(FAILED) == {}
    at_work.services.store.end = original  # type: ignore[method-assign]
    assert use(browser) == (401, "session_ended")
    assert counters.gained(FAILED) == {"invalid_grant": 1}
    assert counters.gained("bff_security_events_total")["refresh_rejected warning"] == 1


def test_an_expired_token_without_a_successor(at_work: Site, clock: Clock, counters: Counters) -> None:
    browser = no_refresh_tokens(at_work)
    first = used(browser)
    clock.now += NEAR_END
    assert used(browser) == first
    clock.now += EXPIRED - NEAR_END
    answer = browser.fetch("/use/user")
    assert refusal(answer) == (401, "token_expired")
    assert answer.get_json(force=True)["login_url"] == f"{BFF}/auth/login"
    assert browser.verify().status_code == 200
    assert counters.gained(DESTROYED) == {}
    assert use(browser, "billing") == (401, "token_expired")


def test_a_provider_that_was_withdrawn(token_site: TokenSites, clock: Clock) -> None:
    """What its sessions hold serves as long as it is good."""
    before = token_site()
    browser = before.logged_in()
    first = used(browser)
    folder = before.services.settings.store.path.parent / "config"
    (folder / "idps.yaml").write_text(
        "providers: {new: {issuer: 'https://new.example', client_id: x, client_secret: y}}"
    )
    browser.hosts = token_site(providers=before.providers).hosts
    clock.now += NEAR_END
    assert used(browser) == first
    clock.now += EXPIRED - NEAR_END
    assert use(browser) == (401, "token_expired")
    assert browser.verify().status_code == 200


def test_the_store_goes_down(token_site: TokenSites, clock: Clock) -> None:
    at_work = token_site(start=True, SESSION_OUTAGE_GRACE="0")
    assert eventually(lambda: at_work.services.cache.truthful)
    browser = at_work.logged_in()
    first = used(browser)
    at_work.store.down = True
    assert used(browser) == first
    for service in ("billing", "reports"):
        answer = browser.fetch(f"/use/{service}")
        assert refusal(answer) == (503, "store_unavailable")
        assert answer.headers.getlist("Set-Cookie") == []
    clock.now += 6  # longer than a worker remembers
    answer = browser.fetch("/use/user")
    assert refusal(answer) == (503, "store_unavailable")
    assert answer.headers["Retry-After"] == "2"
    assert answer.headers.getlist("Set-Cookie") == []
    at_work.store.down = False
    assert used(browser) == first


def test_the_store_goes_down_while_the_provider_answers(
    at_work: Site, browser: Browser, clock: Clock, counters: Counters
) -> None:
    """The answer is all there is of the new refresh token, and is written as soon as that can be done."""
    first = used(browser)
    clock.now += EXPIRED
    answered: list[Any] = []

    original = at_work.idp.later_grants.answer

    def answer(form: Any) -> Response:
        answered.append(form)
        at_work.store.down = True
        return original(form)

    at_work.idp.later_grants.answer = answer  # type: ignore[method-assign]
    second = used(browser)
    assert second != first
    at_work.store.down = False
    at_work.services.tokens.pending_writes.write()
    assert used(browser) == second
    clock.now += EXPIRED
    assert used(browser) not in (first, second)
    at_work.store.down = False
    assert len(answered) == 2
    assert counters.gained(DESTROYED) == {}


def test_two_who_write_what_could_not_be_written(at_work: Site, browser: Browser, clock: Clock) -> None:
    """A request and the background job do it at the same moment."""
    pending_writes, store = at_work.services.tokens.pending_writes, at_work.services.token_store
    session = at_work.services.store.find(session_key(browser))
    assert session is not None
    at_work.store.down = True
    assert pending_writes.save(session, lambda tokens: tokens, None) is None  # type: ignore[arg-type]  # nothing is lost
    at_work.store.down = False
    original = store.update
    nested: list[str] = []

    def update(key: str, change: Callable[[Any], Any]) -> Any:
        if not nested:
            nested.append(key)
            pending_writes.write()
        return original(key, change)

    store.update = update  # type: ignore[method-assign]
    pending_writes.write()
    assert nested == [session.key]


def test_the_breakers_story(at_work: Site, clock: Clock, counters: Counters) -> None:
    browsers = [at_work.logged_in() for _ in range(7)]
    tokens = [used(browser) for browser in browsers]
    clock.now += NEAR_END
    at_work.idp.break_endpoint("token", raising(requests.ConnectionError()))
    for browser in browsers[:5]:
        used(browser)
    assert counters.gained("circuit_breaks_total") == {"idp_default_token": 1}
    assert status() == 2
    assert [used(browser) for browser in browsers] == tokens, "nobody notices"
    assert counters.gained(FAILED) == {"connection": 5, "circuit_open": 2}
    assert at_work.idp.count("token") == 7 + 5
    clock.now += PAUSE
    during: list[float | None] = []

    def probed() -> Response:
        during.append(status())
        return html(500)()

    at_work.idp.break_endpoint("token", probed)
    used(browsers[0])
    assert (during, status()) == ([1], 2)
    clock.now += PAUSE
    at_work.idp.repair()
    assert used(browsers[0]) != tokens[0]
    assert status() == 0
    assert counters.gained("circuit_breaks_total") == {"idp_default_token": 1}, "one outage, however long"
    assert all(used(browser) not in tokens for browser in browsers)


def status() -> float | None:
    return REGISTRY.get_sample_value("circuit_breaker_status", {"service": "idp_default_token"})


def test_a_minute_without_a_provider_is_not_noticed(at_work: Site, clock: Clock, counters: Counters) -> None:
    """Tokens that are good for two minutes more."""
    browsers = [at_work.logged_in() for _ in range(5)]
    clock.now += 480
    at_work.idp.break_endpoint("token", html(503))
    for _ in range(60):
        clock.now += 1
        assert None not in [used(browser) for browser in browsers]
    at_work.idp.repair()
    clock.now += PAUSE
    for browser in browsers:
        used(browser)
    assert {by_service(browser.fetch("/auth/tokens"))["user"]["expires_in"] for browser in browsers} == {600}
    assert status() == 0
    assert counters.gained(DESTROYED) == {}


def test_who_asks_for_a_refresh_while_the_provider_is_down_is_told(at_work: Site, browser: Browser) -> None:
    at_work.idp.break_endpoint("token", html(500))
    assert refusal(post(browser, "refresh")) == (503, "token_unavailable")
    assert refusal(post(browser, "exchange", {"service": "billing"})) == (503, "token_unavailable")
    assert browser.verify().status_code == 200
