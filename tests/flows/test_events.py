"""What happens to people at the BFF is told: in order, with nobody's name, and before they are answered."""

import json
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from bff.crypto import digest
from bff.errors import StoreUnavailable
from bff.events.model import EVENTS, Durability, EventType
from bff.events.outbox import LOG, SAMPLED
from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.internet import ISSUER, SESSION, Site, SiteFactory, log_out, login, proof
from tests.flows.provider import reply
from tests.flows.token_use import post
from tests.unit.events.support import kept


def told(site: Site, *event_types: EventType) -> list[dict[str, Any]]:
    """The data of every event so far, or of those of some types, with the type."""
    wanted = event_types or tuple(EventType)
    return [{"type": event["type"], **event["data"]} for event in site.events() if event["type"] in wanted]


def types(site: Site) -> list[str]:
    return [event["type"] for event in site.events()]


def reference(browser: Browser) -> str:
    cookie = browser.cookie(SESSION)
    assert cookie is not None
    return digest(digest(cookie.value))[:24]


def test_a_login_is_told_before_it_is_answered(bff: Site, browser: Browser) -> None:
    login(browser)
    # Straight from the store: nothing was flushed.
    found = [event.content for event in kept(bff.store, bff.services.events.outbox)]
    assert [event["type"] for event in found] == ["session.created", "auth.login.succeeded"]
    session = reference(browser)
    user = bff.services.audit.pseudonym("alice")
    assert found[0]["data"] == {"session": session, "user": user, "idp": "default"}
    assert found[1]["data"] == {"session": session, "idp": "default"}
    assert {event["subject"] for event in found} == {session}
    assert len({event["correlationid"] for event in found}) == 1


@pytest.mark.parametrize(
    ("everywhere", "expected"),
    [(False, ["session.ended", "auth.logout"]), (True, ["session.ended", "session.ended", "auth.logout.everywhere"])],
)
def test_a_logout_is_told_before_it_is_answered(bff: Site, everywhere: bool, expected: list[str]) -> None:
    bff.logged_in()
    browser = bff.logged_in()
    before = len(kept(bff.store, bff.services.events.outbox))
    assert log_out(browser, everywhere=everywhere).status_code == 200
    found = [event.content["type"] for event in kept(bff.store, bff.services.events.outbox)[before:]]
    assert found == expected


def test_every_end_of_a_session_is_told_with_its_reason(bff: Site, clock: Clock) -> None:
    first = bff.logged_in()
    login(first)
    clock.now += 4000
    assert first.verify().status_code == 401
    bff.logged_in()
    clock.now += 4000
    bff.services.store.sweep()
    ends = [event["reason"] for event in told(bff, EventType.SESSION_ENDED)]
    assert ends == ["replaced", "idle_timeout", "idle_timeout"]


def test_what_is_suspicious(bff: Site, browser: Browser) -> None:
    login(browser)
    session = reference(browser)
    browser.fetch("/auth/logout", method="POST")
    browser.navigate("/auth/login?return_to=https://evil.example")
    browser.navigate("/auth/callback?state=forged&code=x")
    thief = bff.twin(browser, "198.51.100.9")
    thief.agent = "curl/8"
    assert thief.verify().status_code == 200
    assert told(bff)[2:] == [
        {"type": "security.session.binding", "session": session, "reason": "both"},
        {"type": "security.csrf.violation", "session": session, "reason": "missing_cookie"},
        {"type": "security.return_url.refused"},
        {"type": "auth.login.failed", "reason": "state_missing"},
    ]


def test_a_limit(new_site: SiteFactory) -> None:
    site = new_site(RATE_LIMITS="beacon=1/minute")
    browser = site.browser()
    for _ in range(3):
        browser.fetch("/api/v1/metrics", method="POST", json={"event": "page_view"})
    assert told(site) == [{"type": "security.rate_limit.exceeded", "limit": "beacon"}] * 2


class TestRefresh:
    def test_that_failed_and_was_rejected(self, at_work: Site, clock: Clock) -> None:
        browser = at_work.logged_in()
        session, user = reference(browser), at_work.services.audit.pseudonym("alice")
        at_work.idp.break_endpoint("token", lambda: reply({}, 500))
        post(browser, "refresh")
        at_work.idp.repair()
        clock.now += 60
        at_work.idp.later_grants.end_families()
        post(browser, "refresh")
        assert told(at_work)[2:] == [
            {"type": "auth.refresh.failed", "session": session, "user": user, "reason": "server_error"},
            {
                "type": "session.ended",
                "session": session,
                "user": user,
                "idp": "default",
                "reason": "refresh_rejected",
            },
            {"type": "auth.refresh.rejected", "session": session},
        ]

    @pytest.mark.parametrize(
        ("claims", "changed"),
        [
            ({}, {}),
            ({"name": "Alice Other"}, {}),
            ({"roles": ["user", "clerk"]}, {"roles": ["user", "clerk"]}),
            ({"roles": []}, {"roles": []}),
            ({"roles": None}, {"roles": []}),
            ({"roles": "user"}, {}),
            ({"permissions": ["pay"]}, {"permissions": ["pay"]}),
            ({"roles": ["boss"], "permissions": ["pay"]}, {"roles": ["boss"], "permissions": ["pay"]}),
        ],
    )
    def test_that_brought_other_claims(
        self, at_work: Site, claims: dict[str, Any], changed: dict[str, list[str]]
    ) -> None:
        browser = at_work.logged_in()
        at_work.idp.user |= claims
        post(browser, "refresh")
        post(browser, "refresh")
        found = told(at_work, EventType.CLAIMS_CHANGED)
        who = {"session": reference(browser), "user": at_work.services.audit.pseudonym("alice")}
        assert found == ([{"type": "auth.claims.changed", **who, **changed}] if changed else []), "once"


def test_a_store_that_does_not_take_events_is_in_nobodys_way(bff: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Redis without room for more, or with a key of another type in the log's place."""
    with monkeypatch.context() as patch:
        patch.setattr(type(bff.store), "_up", _away)
        browser = bff.logged_in()
        assert browser.verify().status_code == 200
        assert log_out(browser).status_code == 200
    assert types(bff) == ["session.created", "auth.login.succeeded", "session.ended", "auth.logout"]


def _away(_store: object) -> None:
    raise StoreUnavailable


def test_without_brokers_they_are_in_the_log(bff: Site, browser: Browser, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="bff.events")
    login(browser)
    bff.services.events.relay.run()
    written = [record.__dict__["cloudevent"]["type"] for record in caplog.records if record.name == "bff.events"]
    assert written == ["session.created", "auth.login.succeeded"]
    assert bff.store.log_length(LOG) == 0


def test_nobody_is_named(bff: Site, browser: Browser) -> None:
    login(browser)
    used_up = browser.cookie(SESSION)
    proof(browser)
    log_out(browser)
    text = json.dumps(bff.events())
    assert used_up is not None
    for secret in ("alice", "Alice", "example.com", used_up.value, digest(used_up.value), *bff.idp.issued):
        assert secret not in text


def test_what_any_stranger_can_cause_is_never_durable(new_site: SiteFactory) -> None:
    """A table in plain sight: whoever makes one of these durable lets strangers write to the store."""
    durable = {event for event in EventType if EVENTS[event].durability({}) is Durability.DURABLE}
    assert durable == {
        EventType.AUTHZ_DECISION,
        EventType.LOGIN_SUCCEEDED,
        EventType.LOGOUT,
        EventType.LOGOUT_EVERYWHERE,
        EventType.BACKCHANNEL_LOGOUT,
        EventType.FRONTCHANNEL_LOGOUT,
        EventType.REFRESH_REJECTED,
        EventType.SESSION_ENDED,
        EventType.SESSION_REVOKED,
        EventType.SESSION_BINDING,
        EventType.ID_TOKEN_REJECTED,
    }
    bff = new_site(RATE_LIMITS="beacon=1/minute")
    stranger = bff.browser()
    for _ in range(3):
        every_way(bff, stranger)
    bff.services.events.outbox.flush()
    assert kept(bff.store, bff.services.events.outbox, LOG) == []
    told_of = {event.content["type"] for event in kept(bff.store, bff.services.events.outbox)}
    assert told_of == {str(event) for event in STRANGERS}, "and each of them is seen"


STRANGERS = {
    EventType.LOGIN_FAILED,
    EventType.LOGIN_STATE_REUSED,
    EventType.RETURN_URL_REFUSED,
    EventType.LOGOUT_TOKEN_REJECTED,
    EventType.FRONTCHANNEL_LOGOUT,
    EventType.RATE_LIMITED,
}


def every_way(bff: Site, stranger: Browser) -> None:
    """That a client without a credential has to be told of."""
    begun = stranger.navigate("/auth/login")
    state = parse_qs(urlsplit(begun.location).query)["state"][0]
    for query in ("state=forged&code=x", f"state={state}&code=x", f"state={state}&code=x", "error=access_denied"):
        stranger.navigate(f"/auth/callback?{query}")
    stranger.navigate("/auth/login?return_to=//evil.example")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    stranger.fetch("/auth/backchannel-logout", method="POST", data=b"logout_token=x", headers=form)
    stranger.navigate(f"/auth/frontchannel-logout?iss={quote(ISSUER, safe='')}&sid=nobodys")
    for _ in range(2):
        stranger.fetch("/api/v1/metrics", method="POST", json={"event": "page_view"})


def test_strangers_push_out_nobody_s_decisions(new_site: SiteFactory, clock: Clock) -> None:
    """Brokers away, a small outbox, and all that a client without a credential can cause, again and again."""
    site = new_site(OUTBOX_MAX_EVENTS="100", RATE_LIMITS="beacon=1/minute,login=1000/minute")
    alice = site.logged_in()
    asked = {"action": {"name": "read"}, "resource": {"type": "orders", "id": "7"}}
    for _ in range(40):
        alice.fetch("/access/v1/evaluation", method="POST", json=asked, headers=proof(alice))
        every_way(site, site.browser())
        site.services.events.outbox.flush()
        clock.now += 1
    assert len(told(site, EventType.AUTHZ_DECISION)) == 40
    assert len(told(site, EventType.LOGIN_SUCCEEDED)) == 1
    assert site.store.log_length(LOG) == 42
    assert site.store.log_length(SAMPLED) == 10
