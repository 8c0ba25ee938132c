"""Every way in which a callback can be wrong: one counted reason, a clear answer, no session, nothing echoed."""

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from bff.crypto import digest
from bff.login.transaction import COOKIE_PREFIX
from tests.clock import Clock
from tests.flows.assertions import ECHO, Witness, come_back, with_query
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, SESSION, Site, begin, login, to_callback
from tests.flows.provider import raising


@pytest.mark.parametrize(
    "state", [None, "", "A" * 43, "ü" * 10, f"<script>{ECHO}</script>", "x" * 5000, "\x00", "../login:x"]
)
def test_state_that_nobody_made(bff: Site, browser: Browser, witness: Witness, state: str | None) -> None:
    url = to_callback(browser)
    witness.refused(come_back(browser, with_query(url, state=state)), "state_missing")
    assert come_back(browser, url).status_code == 302, "the attempt itself is not consumed"
    assert bff.idp.count("token") == 1


def test_state_of_another_browser(bff: Site, browser: Browser, witness: Witness) -> None:
    """Login CSRF: an attacker sends a victim to the callback of an attempt of his own."""
    url = to_callback(browser)
    victim = bff.browser()
    begin(victim)
    witness.refused(come_back(victim, url), "state_mismatch", started=2)
    assert bff.idp.count("token") == 0, "state is checked before the code is spent"
    assert come_back(browser, url).status_code == 302


def test_the_cookie_of_another_attempt_does_not_fit(bff: Site, browser: Browser, witness: Witness) -> None:
    first = to_callback(browser)
    (cookie,) = browser.named(COOKIE_PREFIX)
    name = cookie.name
    browser.forget(name)
    to_callback(browser)
    (other,) = browser.named(COOKIE_PREFIX)
    browser.put(name, other.value, path="/auth")
    witness.refused(come_back(browser, first), "state_mismatch", started=2)


def test_state_used_twice(bff: Site, browser: Browser, counters: Counters) -> None:
    url = to_callback(browser)
    come_back(browser, url)
    browser.forget(SESSION)
    answer = come_back(browser, url)
    assert answer.status_code == 400
    assert "state_reused" in answer.text
    assert counters.gained("bff_logins_total") == {"started": 1, "success": 1, "state_reused": 1}
    assert counters.gained("bff_security_events_total")["login_state_reused critical"] == 1
    assert counters.gained("bff_sessions_created_total") == {"": 1}
    assert bff.idp.count("token") == 1


def test_of_simultaneous_callbacks_one_wins(bff: Site, browser: Browser, counters: Counters) -> None:
    url = to_callback(browser)
    start = threading.Barrier(8)

    def open_it(twin: Browser) -> int:
        twin.cookies = list(browser.cookies)
        start.wait(10)
        return come_back(twin, url).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(open_it, [bff.browser() for _ in range(8)]))
    assert sorted(answers) == [302] + [400] * 7
    assert counters.gained("bff_logins_total") == {"started": 1, "success": 1, "state_reused": 7}
    assert bff.idp.count("token") == 1


def test_an_answer_after_the_login_timeout(bff: Site, browser: Browser, clock: Clock, witness: Witness) -> None:
    """The browser has dropped the attempt's cookie by then; the user is told that it took too long all the same."""
    url = to_callback(browser)
    clock.now += bff.services.settings.login_timeout + 1
    assert browser.named(COOKIE_PREFIX) == []
    witness.refused(come_back(browser, url), "state_expired")
    assert bff.idp.count("token") == 0


def test_an_answer_just_before_the_login_timeout(bff: Site, browser: Browser, clock: Clock) -> None:
    url = to_callback(browser)
    clock.now += bff.services.settings.login_timeout - 1
    assert "code" in url
    # The provider's own patience with the code is shorter; what counts here is that the state was accepted.
    assert "token_endpoint" in come_back(browser, url).text


def test_a_record_moved_to_another_state(bff: Site, browser: Browser, witness: Witness) -> None:
    """Whoever can write to the store cannot make one attempt out of another."""
    url, others = to_callback(browser), to_callback(bff.browser())
    own, other = (f"login:{digest(parse_qs(urlsplit(each).query)['state'][0])}" for each in (url, others))
    sealed = bff.store.inner.get(other)
    assert sealed is not None
    bff.store.inner.set(own, sealed, 300)
    witness.refused(come_back(browser, url), "state_missing", started=2)


@pytest.mark.parametrize("name", ["state", "code", "iss", "error", "unknown"])
def test_parameters_sent_twice(browser: Browser, witness: Witness, name: str) -> None:
    url = to_callback(browser)
    value = parse_qs(urlsplit(url).query).get(name, [ECHO])[0]
    repeated = urlencode([(name, value), (name, ECHO)])
    answer = come_back(browser, f"{with_query(url, **{name: None})}&{repeated}")
    witness.refused(answer, "idp_error")


@pytest.mark.parametrize("iss", ["https://evil.example", ISSUER + "/", ISSUER.upper(), None, ""])
def test_an_answer_of_another_issuer(bff: Site, browser: Browser, witness: Witness, iss: str | None) -> None:
    witness.refused(come_back(browser, with_query(to_callback(browser), iss=iss)), "state_mismatch")
    assert bff.idp.count("token") == 0


def test_no_issuer_from_a_provider_that_never_names_it(bff: Site, browser: Browser) -> None:
    bff.idp.metadata = {"authorization_response_iss_parameter_supported": False}
    assert come_back(browser, with_query(to_callback(browser), iss=None)).status_code == 302


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("access_denied", "cancelled"),
        ("login_required", "idp_error"),
        (ECHO, "idp_error"),
    ],
)
def test_the_providers_error(bff: Site, browser: Browser, witness: Witness, error: str, reason: str) -> None:
    url = with_query(
        to_callback(browser), code=None, error=error, error_description=f"<b>{ECHO}</b>", error_uri=f"https://{ECHO}"
    )
    witness.refused(come_back(browser, url), reason)
    assert bff.idp.count("token") == 0


@pytest.mark.parametrize("error", ["server_error", "temporarily_unavailable"])
def test_the_providers_own_trouble(browser: Browser, witness: Witness, error: str) -> None:
    answer = come_back(browser, with_query(to_callback(browser), code=None, error=error))
    witness.refused(answer, "idp_error", status=503)
    assert answer.headers["Retry-After"] == "5"


def test_an_error_of_another_issuer_is_not_the_providers(browser: Browser, witness: Witness) -> None:
    url = with_query(to_callback(browser), code=None, error="access_denied", iss="https://evil.example")
    witness.refused(come_back(browser, url), "state_mismatch")


@pytest.mark.parametrize("code", [None, ""])
def test_no_code(browser: Browser, witness: Witness, code: str | None) -> None:
    witness.refused(come_back(browser, with_query(to_callback(browser), code=code)), "idp_error")


def test_a_code_of_another_login_is_stopped_by_pkce(bff: Site, browser: Browser, witness: Witness) -> None:
    """Code injection (RFC 9700 section 4.5): the attacker's code, the victim's state."""
    stolen = parse_qs(urlsplit(to_callback(bff.browser())).query)["code"][0]
    witness.refused(come_back(browser, with_query(to_callback(browser), code=stolen)), "token_endpoint", started=2)


def used(browser: Browser) -> str:
    url = to_callback(browser)
    come_back(browser, url)
    return url


def late(bff: Site, browser: Browser, clock: Clock) -> str:
    url = to_callback(browser)
    clock.now += bff.services.settings.login_timeout + 1
    return url


LATE: dict[str, Callable[[Site, Browser, Clock], str]] = {
    "reused": lambda _bff, browser, _clock: used(browser),
    "unknown": lambda _bff, browser, _clock: with_query(to_callback(browser), state="A" * 43),
    "without state": lambda _bff, _browser, _clock: "/auth/callback",
    "another browser's": lambda bff, _browser, _clock: to_callback(bff.browser()),
    "expired": late,
}


@pytest.mark.parametrize("stale", LATE.values(), ids=LATE)
def test_a_stale_callback_with_a_live_session_goes_home(
    bff: Site, clock: Clock, stale: Callable[[Site, Browser, Clock], str]
) -> None:
    browser = bff.logged_in()
    url = stale(bff, browser, clock)
    counters = Counters()
    answer = come_back(browser, url)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert browser.verify().status_code == 200
    assert list(counters.gained("bff_logins_total").values()) == [1]
    assert counters.gained("bff_sessions_created_total") == {}
    assert counters.gained("bff_sessions_destroyed_total") == {}


def test_a_provider_error_is_told_even_with_a_live_session(bff: Site) -> None:
    browser = bff.logged_in()
    url = with_query(to_callback(browser), code=None, error="access_denied")
    assert come_back(browser, url).status_code == 400
    assert browser.verify().status_code == 200


def test_the_answer_offers_another_try(browser: Browser) -> None:
    answer = come_back(browser, "/auth/callback?state=unknown")
    assert answer.content_type.startswith("text/html")
    assert f'href="{BFF}/auth/login"' in answer.text


def test_a_script_gets_problem_details(bff: Site, browser: Browser) -> None:
    answer = browser.fetch("/auth/callback?state=unknown&code=x")
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
    content = json.loads(answer.data)
    assert content["code"] == "state_missing"
    assert content["correlation_id"] == answer.headers["X-Correlation-ID"]


def test_the_store_goes_down_while_somebody_logs_in(bff: Site, browser: Browser, counters: Counters) -> None:
    url = to_callback(browser)
    bff.store.down = True
    answer = come_back(browser, url)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.headers.getlist("Set-Cookie") == []
    assert counters.gained("bff_logins_total") == {"started": 1, "store": 1}
    bff.store.down = False
    assert come_back(browser, url).status_code == 302, "nothing was consumed"


@pytest.mark.parametrize("calls", range(4))
def test_the_store_goes_down_in_the_midst_of_a_callback(
    bff: Site, browser: Browser, counters: Counters, calls: int
) -> None:
    """Whichever call to the store is the first to fail, the answer is 503 and counted once."""
    browser = bff.logged_in()
    url = to_callback(browser)
    counters.start()
    bff.store.calls_left = calls
    answer = come_back(browser, url)
    assert answer.status_code == 503
    assert answer.headers.getlist("Set-Cookie") == []
    assert counters.gained("bff_logins_total") == {"store": 1}


def test_the_store_goes_down_after_the_new_session_is_made(bff: Site, browser: Browser, counters: Counters) -> None:
    """All that is missing then is the end of the former session, which ends by itself when idle."""
    browser = bff.logged_in()
    url = to_callback(browser)
    counters.start()
    bff.store.calls_left = 4
    assert come_back(browser, url).status_code == 302
    assert counters.gained("bff_logins_total") == {"success": 1}
    assert counters.gained("bff_sessions_destroyed_total") == {}


def test_the_store_goes_down_while_a_stale_callback_is_looked_at(bff: Site, counters: Counters) -> None:
    """The callback is wrong; whether its browser is logged in cannot be told any more."""
    browser = bff.logged_in()
    counters.start()
    bff.store.calls_left = 1
    answer = come_back(browser, "/auth/callback?state=unknown")
    assert answer.status_code in (400, 503)
    assert answer.headers.getlist("Set-Cookie") == []
    assert list(counters.gained("bff_logins_total").values()) == [1]


SECRET_PARAMETERS = {"state", "nonce", "code", "code_verifier", "code_challenge", "client_secret", "request_uri"}


def test_no_secret_reaches_a_log_record(bff: Site, browser: Browser, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    login(browser)
    bff.idp.header = {"kid": "nobody"}
    login(browser)
    bff.idp.break_endpoint("token", raising(requests.ConnectionError("https://idp.example/token?secret")))
    login(browser)
    come_back(browser, f"/auth/callback?state={ECHO}&code={ECHO}")
    written = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "session" in written
    sent = [value for call in bff.idp.calls for name, value in call.form.items() if name in SECRET_PARAMETERS]
    cookies = [cookie.value for cookie in browser.cookies if cookie.value]
    assert [secret for secret in [*sent, *cookies, *bff.idp.issued, ECHO] if secret in written] == []
