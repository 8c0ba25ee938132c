"""A user looks at their own sessions and takes one back; nobody sees or ends anybody else's."""

from typing import Any

import pytest
from werkzeug.test import TestResponse

from bff.events.model import EventType
from bff.settings.cookies import CSRF
from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import SESSION, Site, SiteFactory, balanced, log_out, proof

DESTROYED = "bff_sessions_destroyed_total"
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36"


def listed(browser: Browser) -> list[dict[str, Any]]:
    answer = browser.fetch("/auth/sessions")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.get_json()["sessions"]
    return found


def own(browser: Browser) -> str:
    """The reference of this browser's session."""
    return str(browser.verify().headers["X-Session-ID"])


def revoke(browser: Browser, reference: str) -> TestResponse:
    return browser.fetch(f"/auth/sessions/{reference}", method="DELETE", headers=proof(browser))


def bob(bff: Site) -> Browser:
    bff.idp.user["sub"] = "bob"
    browser = bff.logged_in()
    bff.idp.user["sub"] = "alice"
    return browser


def test_the_last_begun_first_each_with_its_device(bff: Site, clock: Clock) -> None:
    desk = bff.logged_in("203.0.113.7")
    clock.now += 100
    phone = bff.browser("2001:db8:7:8::9")
    phone.agent = CHROME
    phone.follow(phone.navigate("/auth/login"), until="https://app.example/none")
    clock.now += 50
    answer = desk.fetch("/auth/sessions")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.get_json() == {
        "sessions": [
            {
                "id": own(phone), "device": "Chrome on Windows", "network": "2001:db8:7::/48", "idp": "default",
                "since": int(clock.now) - 50, "last_seen": int(clock.now) - 50, "current": False,
            },
            {
                "id": own(desk), "device": "Firefox on Linux", "network": "203.0.113.0/24", "idp": "default",
                "since": int(clock.now) - 150, "last_seen": int(clock.now), "current": True,
            },
        ],
        "more": False,
    }  # fmt: skip
    assert [each["current"] for each in listed(phone)] == [True, False]


def test_last_seen_moves_with_use(bff: Site, clock: Clock) -> None:
    here, there = bff.logged_in(), bff.logged_in()
    clock.now += 600
    assert there.verify().status_code == 200
    bff.services.authenticator.flush()
    clock.now += 30
    seen = {each["id"]: int(clock.now) - each["last_seen"] for each in listed(here)}
    assert seen == {own(here): 0, own(there): 30}


def test_nothing_in_the_list_opens_anything(bff: Site) -> None:
    browser = bff.logged_in()
    cookie = browser.cookie(SESSION)
    assert cookie is not None
    text = browser.fetch("/auth/sessions").text
    (session,) = bff.services.store.of_user("default", "alice")
    for secret in (cookie.value, session.key, session.binding.agent, "alice", browser.agent, *bff.idp.issued):
        assert secret not in text
    browser.put(SESSION, own(browser))
    browser.cookies = browser.cookies[-1:]
    assert browser.verify().status_code == 401


def test_nobody_sees_the_sessions_of_others(bff: Site) -> None:
    alice, other = bff.logged_in(), bob(bff)
    assert [each["id"] for each in listed(alice)] == [own(alice)]
    assert [each["id"] for each in listed(other)] == [own(other)]


def test_what_has_expired_is_not_listed_though_nobody_has_swept_it(bff: Site, clock: Clock) -> None:
    bff.logged_in()
    clock.now += 3000
    browser = bff.logged_in()
    clock.now += 600
    assert [each["id"] for each in listed(browser)] == [own(browser)]


def test_of_very_many_the_latest_used_are_listed(bff: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff.web.sessions.MOST_LISTED", 2)
    made = []
    for _ in range(3):
        made.append(bff.logged_in())
        clock.now += 60
    assert made[0].verify().status_code == 200
    bff.services.authenticator.flush()
    content = made[0].fetch("/auth/sessions").get_json()
    assert [each["id"] for each in content["sessions"]] == [own(made[2]), own(made[0])]
    assert content["more"] is True


def test_a_record_from_before_devices_were_kept_is_listed(bff: Site) -> None:
    """As a worker of the release before writes it, beside one of this release."""
    browser = bff.logged_in()
    (session,) = bff.services.store.of_user("default", "alice")
    records = bff.services.directory._records
    raw = records._sealer.open(bff.store.inner.get(f"hot:{session.key}") or b"", f"hot:{session.key}")
    former = raw.replace(b',"device":"Firefox on Linux"', b"")
    assert former != raw
    bff.store.inner.set(f"hot:{session.key}", records._sealer.seal(former, f"hot:{session.key}"), 1000)
    assert [each["device"] for each in listed(browser)] == [""]


def test_revoking_another_device(bff: Site, counters: Counters) -> None:
    here = bff.logged_in()
    bff.clock.now += 1
    there = bff.logged_in("198.51.100.1")
    reference = own(there)
    answer = revoke(here, reference)
    assert (answer.status_code, answer.data, answer.headers.getlist("Set-Cookie")) == (204, b"", [])
    refused = there.verify()
    assert (refused.status_code, refused.headers["X-Denied-Reason"]) == (401, "session_ended")
    assert here.verify().status_code == 200
    assert counters.gained(DESTROYED) == {"revoked": 1}
    assert counters.gained("bff_security_events_total")["session_revoked info"] == 1
    assert len(bff.idp.revoked) == 1
    assert balanced(bff, counters)
    (told,) = bff.events(EventType.SESSION_REVOKED)
    assert told["data"] == {"session": reference, "by": "user"}
    (ended,) = bff.events(EventType.SESSION_ENDED)
    assert (ended["data"]["session"], ended["data"]["reason"], ended["data"]["by"]) == (reference, "revoked", "user")
    assert [each["id"] for each in listed(here)] == [own(here)]


def test_revoking_the_session_at_hand_logs_out(bff: Site, counters: Counters) -> None:
    browser = bff.logged_in()
    assert revoke(browser, own(browser)).status_code == 204
    assert browser.cookie(SESSION) is None
    assert browser.cookie(CSRF) is None
    assert counters.gained(DESTROYED) == {"revoked": 1}
    assert len(bff.idp.revoked) == 1
    assert browser.fetch("/auth/sessions").status_code == 401


def test_a_strangers_session_and_none_at_all_look_the_same(bff: Site, counters: Counters) -> None:
    alice, other = bff.logged_in(), bob(bff)
    answers = [revoke(alice, own(other)), revoke(alice, "0" * 24)]
    contents = [answer.get_json(force=True) for answer in answers]
    for content in contents:
        content.pop("correlation_id")
    assert [answer.status_code for answer in answers] == [404, 404]
    assert contents[0] == contents[1]
    assert contents[0]["code"] == "unknown_session"
    assert other.verify().status_code == 200
    assert counters.gained(DESTROYED) == {}


def test_a_session_at_another_provider_is_somebody_elses(bff: Site) -> None:
    """The same `sub` there may be another person."""
    alice = bff.logged_in()
    (session,) = bff.services.store.of_user("default", "alice")
    assert bff.services.directory.named("default", "alice", own(alice)) == session
    assert bff.services.directory.named("another", "alice", own(alice)) is None


def test_twice(bff: Site, counters: Counters) -> None:
    here, there = bff.logged_in(), bff.logged_in()
    reference = own(there)
    assert [revoke(here, reference).status_code for _ in range(2)] == [204, 404]
    assert counters.gained(DESTROYED) == {"revoked": 1}


@pytest.mark.parametrize(
    "reference",
    ["%00", "..", "%2e%2e", "%0d%0aX:1", "%ff", "x" * 5000, "0" * 64, "*", "'%20OR%201=1--", "%E2%80%AE", "-1", "null"],
)
def test_hostile_ids(bff: Site, counters: Counters, reference: str) -> None:
    browser = bff.logged_in()
    answer = revoke(browser, reference)
    assert answer.status_code in (404, 405), "no session, or no such address at all"
    assert answer.content_type == "application/problem+json"
    assert counters.gained(DESTROYED) == {}
    assert browser.verify().status_code == 200


def test_a_cookies_own_names_are_no_references(bff: Site) -> None:
    """Whoever knows a cookie, or its name in the store, learns nothing with it here."""
    browser = bff.logged_in()
    cookie = browser.cookie(SESSION)
    (session,) = bff.services.store.of_user("default", "alice")
    assert cookie is not None
    assert [revoke(browser, name).status_code for name in (cookie.value, session.key)] == [404, 404]


def test_without_a_proof_nothing_ends(bff: Site, counters: Counters) -> None:
    here, there = bff.logged_in(), bff.logged_in()
    answer = here.fetch(f"/auth/sessions/{own(there)}", method="DELETE")
    assert (answer.status_code, answer.headers["X-Denied-Reason"]) == (403, "missing_cookie")
    assert there.verify().status_code == 200
    assert counters.gained(DESTROYED) == {}


@pytest.mark.parametrize(("method", "path"), [("GET", "/auth/sessions"), ("DELETE", "/auth/sessions/" + "0" * 24)])
def test_without_a_session(bff: Site, method: str, path: str) -> None:
    answer = bff.browser().fetch(path, method=method)
    assert answer.status_code == 401
    assert answer.get_json(force=True)["login_url"] == "https://app.example/auth/login"


@pytest.mark.parametrize(("method", "calls"), [("GET", 0), ("GET", 2), ("DELETE", 0), ("DELETE", 1), ("DELETE", 3)])
def test_the_store_goes_down_in_the_midst(bff: Site, counters: Counters, method: str, calls: int) -> None:
    here, there = bff.logged_in(), bff.logged_in()
    path = "/auth/sessions" if method == "GET" else f"/auth/sessions/{own(there)}"
    headers = proof(here)
    bff.store.calls_left = calls
    answer = here.fetch(path, method=method, headers=headers)
    assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (503, [])
    assert "Retry-After" in answer.headers
    bff.store.down, bff.store.calls_left = False, None
    assert [here.verify().status_code, there.verify().status_code] == [200, 200]
    assert counters.gained(DESTROYED) == {}


@pytest.mark.parametrize("calls", [5, 6])
def test_logging_out_everywhere_can_be_asked_for_again(bff: Site, counters: Counters, calls: int) -> None:
    """The session that asks is the last to end: a store that fails in the midst leaves somebody who can try again."""
    others = [bff.logged_in() for _ in range(3)]
    browser = bff.logged_in()
    headers = proof(browser)
    bff.store.calls_left = calls
    answer = browser.fetch("/auth/logout", method="POST", json={"everywhere": True}, headers=headers)
    assert answer.status_code == 503
    bff.store.down, bff.store.calls_left = False, None
    assert 0 < counters.total(DESTROYED) < 4
    assert browser.verify().status_code == 200
    assert log_out(browser, everywhere=True).status_code == 200
    assert [each.verify().status_code for each in (*others, browser)] == [401] * 4
    assert counters.gained(DESTROYED) == {"logout_everywhere": 4}
    bff.services.tokens.revocations.revoke_due()
    assert len(bff.idp.revoked) == 4


def test_logging_out_everywhere_tells_how_many_sessions_that_were(bff: Site) -> None:
    browsers = [bff.logged_in() for _ in range(3)]
    reference = own(browsers[0])
    log_out(browsers[0], everywhere=True)
    (told,) = bff.events(EventType.LOGOUT_EVERYWHERE)
    assert told["data"] == {"session": reference, "sessions": "3"}


def test_another_worker_refuses_what_it_had_cached(new_site: SiteFactory) -> None:
    one = new_site(start=True)
    other = new_site(start=True, providers=one.providers)
    here, there = one.logged_in(), one.logged_in()
    assert eventually(lambda: one.services.cache.truthful and other.services.cache.truthful)
    twin = one.twin(there)
    twin.hosts = other.hosts
    assert [there.verify().status_code, twin.verify().status_code] == [200, 200]
    assert revoke(here, own(there)).status_code == 204
    assert there.verify().status_code == 401, "in this worker at once"
    assert eventually(lambda: twin.verify().status_code == 401)
