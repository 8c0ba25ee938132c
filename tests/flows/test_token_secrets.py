"""Whatever happens to tokens, no log, answer or label shows one, at the most talkative level."""

import json
import logging

import pytest
from joserfc.jwk import ECKey
from prometheus_client import generate_latest

from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.internet import NEW_KEY, Site, log_out, login
from tests.flows.provider import html, reply
from tests.flows.token_use import TokenSites, held, post, session_key

SECRET_FIELDS = (
    "code",
    "code_verifier",
    "client_assertion",
    "refresh_token",
    "subject_token",
    "token",
    "nonce",
    "state",
)


def test_nothing_secret_is_logged(token_site: TokenSites, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = ECKey.generate_key("P-256")
    private = key.as_dict(private=True)
    at_work = token_site(
        TOKEN_AUTH_METHOD="private_key_jwt", AUTH_CLIENT_KEY=json.dumps(private), AUTH_CLIENT_SECRET=""
    )
    at_work.idp.client.method, at_work.idp.client.public_key = "private_key_jwt", key
    browser = at_work.browser()
    login(browser)
    cookies = {cookie.value for cookie in browser.cookies}
    sessions = {held(at_work, session_key(browser)).access.value, session_key(browser)}
    shown = live(at_work, browser, clock)
    cookies |= {cookie.value for cookie in browser.cookies}
    forms = [call.form for call in at_work.idp.calls]
    secrets = {
        *at_work.idp.issued,
        *cookies,
        *sessions,
        *(form[name] for form in forms for name in SECRET_FIELDS if name in form),
        str(private["d"]),
        NEW_KEY,
    }
    secrets.discard("")  # of a cookie that was deleted
    assert len(secrets) > 20
    logged = caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    assert {"refresh_failed", "refresh_rejected", "token_response_fault", "grant_refused", "session_ended"} <= {
        record.message for record in caplog.records
    }, "there was something to log"
    labels = generate_latest().decode()
    assert [secret for secret in secrets if secret in logged + labels] == []
    assert [token for token in at_work.idp.issued if token in shown] == []
    for word in ("alice@example.com", "Alice Example"):
        assert word not in logged + labels


def live(at_work: Site, browser: Browser, clock: Clock) -> str:
    """A session with every kind of bad luck; what its browser was shown."""
    idp, answers = at_work.idp, []
    for service in ("billing", "reports", "small"):
        answers.append(post(browser, "exchange", {"service": service}))
    answers += [post(browser, "refresh"), browser.fetch("/auth/tokens"), post(browser, "refresh", {"service": "x"})]
    for answer in (html(200), html(500), lambda: reply({"error": idp.issued[0], "error_description": "x"}, 400)):
        idp.break_endpoint("token", answer)
        clock.now += 3
        answers.append(post(browser, "refresh"))
    idp.repair()
    idp.later_grants.response = {"expires_in": "echo", "scope": "openid"}
    clock.now += 3
    answers.append(post(browser, "refresh"))
    idp.later_grants.response = {}
    answers.append(post(browser, "refresh"))
    idp.claims = {"sub": "mallory"}
    clock.now += 3
    answers.append(post(browser, "refresh"))
    idp.claims = {}
    at_work.store.down = True
    answers.append(browser.fetch("/auth/tokens"))
    at_work.store.down = False
    answers.append(browser.verify())
    idp.break_endpoint("revoke", html(503))
    other = at_work.logged_in()
    answers.append(log_out(other))
    idp.repair()
    at_work.services.tokens.revocations.revoke_due()
    idp.later_grants.end_families()
    clock.now += 700
    answers.append(browser.fetch("/use/billing"))
    answers.append(browser.fetch("/use/user"))
    clock.now += 10
    at_work.services.tokens.sweep.run()
    at_work.services.tokens.revocations.revoke_due()
    return "".join(answer.text + str(answer.headers) for answer in answers)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/auth/session",
            "/api/auth/session",
            "/auth/csrf",
            "/auth/sessions",
            "/auth/tokens",
            "/auth/tokens/validate",
        ),
        *("/auth/logout", "/auth/end-session?ticket=x", "/auth/callback?state=x&code=y", "/auth/login?idp=x"),
        *("/auth/verify", "/api/nothing", "/nothing", "/openapi.json", "/metrics", "/health"),
    ],
)
@pytest.mark.parametrize("how", ["fetch", "navigate"])
def test_no_answer_that_a_page_can_read_holds_a_token(at_work: Site, path: str, how: str) -> None:
    browser = at_work.logged_in()
    answer = getattr(browser, how)(path)
    shown = answer.text + str(answer.headers)
    assert len(at_work.idp.issued) >= 3
    assert [token for token in at_work.idp.issued if token in shown] == []
