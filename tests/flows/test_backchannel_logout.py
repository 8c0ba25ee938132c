"""OpenID Connect Back-Channel Logout 1.0: what ends which sessions, and everything that must end none."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import Key, RSAKey
from werkzeug.test import Client, TestResponse

from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, NEW_KEY, OLD_KEY, Site, SiteFactory, site
from tests.flows.issued import BACKCHANNEL, access_token, logout_token
from tests.flows.provider import REMOVED, Answer, OpenIdProvider, html, raising
from tests.flows.tokens import compact, unsigned
from tests.fuzz import examples

DESTROYED = "bff_sessions_destroyed_total"
VALIDATION = "bff_token_validation_total"
EVENTS = "bff_security_events_total"
PATH = "/auth/backchannel-logout"
Issue = Callable[[OpenIdProvider], str]


def post(bff: Site, data: Any, content_type: str | None = "application/x-www-form-urlencoded") -> TestResponse:
    return Client(bff.app.wsgi_app, use_cookies=False).post(PATH, base_url=BFF, data=data, content_type=content_type)


def send(bff: Site, token: str) -> TestResponse:
    return post(bff, {"logout_token": token})


def user(bff: Site, sub: str = "alice", sid: str | None = "s1") -> Browser:
    """Logged in, within a session of the provider that has this name."""
    bff.idp.claims = {"sub": sub, **({"sid": sid} if sid else {})}
    return bff.logged_in()


def inside(*browsers: Browser) -> list[bool]:
    return [browser.verify().status_code == 200 for browser in browsers]


def refused(answer: TestResponse) -> bool:
    content = answer.get_json(force=True)
    assert (content["code"], content["error"]) == ("invalid_request", "invalid_request")
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code == 400


def test_the_session_of_a_sid(bff: Site, counters: Counters) -> None:
    alice, same, other, bob = user(bff), user(bff), user(bff, sid="s2"), user(bff, "bob", sid="s3")
    counters.start()
    answer = send(bff, logout_token(bff.idp, sid="s1"))
    assert (answer.status_code, answer.data, answer.headers["Cache-Control"]) == (200, b"", "no-store")
    assert inside(alice, same, other, bob) == [False, False, True, True]
    assert counters.gained(DESTROYED) == {"backchannel": 2}
    assert counters.gained(VALIDATION) == {"logout_token valid": 1}
    assert counters.gained(EVENTS) == {"backchannel_logout info": 1}
    assert "Set-Cookie" not in answer.headers


def test_all_of_a_subject(bff: Site, counters: Counters) -> None:
    first, second, bob = user(bff), user(bff, sid=None), user(bff, "bob")
    assert send(bff, logout_token(bff.idp, sub="alice")).status_code == 200
    assert inside(first, second, bob) == [False, False, True]
    assert counters.gained(DESTROYED) == {"backchannel": 2}


def test_a_sid_and_a_subject_must_belong_together(bff: Site) -> None:
    alice, other = user(bff), user(bff, sid="s2")
    assert send(bff, logout_token(bff.idp, sid="s1", sub="bob")).status_code == 200
    assert inside(alice, other) == [True, True]
    assert send(bff, logout_token(bff.idp, sid="s1", sub="alice")).status_code == 200
    assert inside(alice, other) == [False, True]


@pytest.mark.parametrize("names", [{"sid": "unknown"}, {"sub": "unknown"}, {"sid": "ὄνομα"}, {"sid": "s" * 5000}])
def test_what_nobody_has_ends_nothing_and_is_fine(bff: Site, names: dict[str, str]) -> None:
    alice = user(bff)
    assert send(bff, logout_token(bff.idp, **names)).status_code == 200  # type: ignore[arg-type]
    assert inside(alice) == [True]


def test_the_same_names_at_another_provider_are_others(bff: Site, other_rsa: Key, clock: Clock) -> None:
    alice = user(bff)
    stranger = OpenIdProvider("https://evil.example", other_rsa, clock)
    assert refused(send(bff, logout_token(stranger, sid="s1", sub="alice")))
    assert inside(alice) == [True]


def claims(**changes: Any) -> Issue:
    return lambda idp: logout_token(idp, **{"sid": "s1", "sub": "alice", **changes})


def header(**changes: Any) -> Issue:
    return lambda idp: logout_token(idp, changes, sid="s1", sub="alice")


def times(**offsets: float) -> Issue:
    return lambda idp: claims(**{name: idp.clock() + offset for name, offset in offsets.items()})(idp)


def by(sign: str) -> Issue:
    def issue(idp: OpenIdProvider) -> str:
        idp.sign = {"hs256": idp.hs256, "none": unsigned}[sign]
        return claims()(idp)

    return issue


def by_a_stranger(idp: OpenIdProvider) -> str:
    stranger = RSAKey.generate_key(2048, {"kid": str(idp.keys[0].kid)})
    idp.sign = lambda head, content: compact(head, json.dumps(content).encode(), stranger)
    return claims()(idp)


BROKEN: dict[str, tuple[Issue, str]] = {
    "alg none": (by("none"), "bad_signature"),
    "HS256 with the client secret": (by("hs256"), "bad_signature"),
    "another key under a known name": (by_a_stranger, "bad_signature"),
    "an algorithm that is not allowed": (header(alg="RS384"), "bad_signature"),
    "unknown kid": (header(kid="nobody"), "unknown_key"),
    "a critical header": (header(crit=["exp"]), "malformed"),
    "an access token's type": (header(typ="at+jwt"), "malformed"),
    "another type": (header(typ="secevent+jwt"), "malformed"),
    "another issuer": (claims(iss="https://evil.example"), "bad_issuer"),
    "no issuer": (claims(iss=REMOVED), "bad_issuer"),
    "another audience": (claims(aud="other"), "bad_audience"),
    "no audience": (claims(aud=REMOVED), "bad_audience"),
    "our address as audience": (claims(aud=BFF), "bad_audience"),
    "no iat": (claims(iat=REMOVED), "malformed"),
    "iat as text": (claims(iat="now"), "malformed"),
    "iat as a truth": (claims(iat=True), "malformed"),
    "issued in the future": (times(iat=61, exp=600), "not_yet_valid"),
    "issued long ago": (times(iat=-360, exp=600), "expired"),
    "no exp": (claims(exp=REMOVED), "malformed"),
    "expired": (times(iat=-120, exp=-60), "expired"),
    "not valid yet": (times(nbf=61), "not_yet_valid"),
    "no jti": (claims(jti=REMOVED), "malformed"),
    "an empty jti": (claims(jti=""), "malformed"),
    "jti that is a number": (claims(jti=7), "malformed"),
    "no events": (claims(events=REMOVED), "malformed"),
    "events as a list": (claims(events=[BACKCHANNEL]), "malformed"),
    "events as text": (claims(events=BACKCHANNEL), "malformed"),
    "another event": (claims(events={"http://schemas.openid.net/event/other": {}}), "malformed"),
    "an event that is no object": (claims(events={BACKCHANNEL: True}), "malformed"),
    "an event that is nothing": (claims(events={BACKCHANNEL: None}), "malformed"),
    "a nonce": (claims(nonce="n"), "malformed"),
    "a nonce that is nothing": (claims(nonce=None), "malformed"),
    "neither sid nor sub": (claims(sid=REMOVED, sub=REMOVED), "malformed"),
    "sid that is a number": (claims(sid=7), "malformed"),
    "sid that is nothing": (claims(sid=None), "malformed"),
    "an empty sid": (claims(sid=""), "malformed"),
    "sub that is a list": (claims(sub=["alice"]), "malformed"),
    "an access token": (lambda idp: access_token(idp, aud="bff", sid="s1"), "malformed"),
    "not a token": (lambda _idp: "hello", "malformed"),
    "three dots": (lambda _idp: "...", "malformed"),
    "five parts": (lambda _idp: "a.b.c.d.e", "malformed"),
    "claims that are a list": (lambda idp: compact({"alg": "RS256"}, b"[]", idp.keys[0]), "malformed"),
}


@pytest.mark.parametrize(("issue", "status"), BROKEN.values(), ids=BROKEN)
def test_a_broken_logout_token_touches_nothing(bff: Site, counters: Counters, issue: Issue, status: str) -> None:
    alice = user(bff)
    counters.start()
    token = issue(bff.idp)
    answer = send(bff, token)
    assert refused(answer)
    assert token not in answer.text
    assert counters.gained(VALIDATION) == {f"logout_token {status}": 1}
    assert counters.gained(EVENTS) == {"logout_token_rejected warning": 1}
    assert counters.gained(DESTROYED) == {}
    assert inside(alice) == [True]


def test_the_id_token_of_a_login_logs_nobody_out(bff: Site) -> None:
    alice = user(bff)
    (id_token,) = (token for token in bff.idp.issued if token.count(".") == 2)
    assert refused(send(bff, id_token))
    assert inside(alice) == [True]


GOOD: dict[str, Issue] = {
    "as it should be": claims(),
    "typed as a media type": header(typ="application/logout+jwt"),
    "typed as any JWT": header(typ="JWT"),
    "without a type": header(typ=REMOVED),
    "our audience in a list": claims(aud=["other", "bff"]),
    "an event that says more": claims(events={BACKCHANNEL: {"x": 1}, "another": {}}),
    "a little late": times(iat=-359),
    "from a clock that is ahead": times(iat=60),
    "a type by Keycloak": claims(typ="Logout"),
}


@pytest.mark.parametrize("issue", GOOD.values(), ids=GOOD)
def test_a_logout_token_that_is_unusual_but_right(bff: Site, issue: Issue) -> None:
    alice = user(bff)
    assert send(bff, issue(bff.idp)).status_code == 200
    assert inside(alice) == [False]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory, rsa: Key) -> Any:
    """One site for all examples, and alice in it."""
    bff = site(tmp_path_factory.mktemp("fuzzed"), Clock(), rsa)
    yield bff, user(bff)
    bff.services.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.just(BACKCHANNEL), inner),
    max_leaves=4,
)
NAMES = st.sampled_from(["iss", "aud", "iat", "exp", "nbf", "jti", "events", "sid", "sub"])


@examples(150)
@given(changes=st.dictionaries(NAMES, JSON | st.just(REMOVED), max_size=4), nonce=JSON)
def test_any_claims_beside_a_nonce_touch_nothing(
    fuzzed: tuple[Site, Browser], changes: dict[str, Any], nonce: Any
) -> None:
    bff, alice = fuzzed
    assert refused(send(bff, claims(**{**changes, "nonce": nonce})(bff.idp)))
    assert inside(alice) == [True]


@examples(150)
@given(changes=st.dictionaries(NAMES, JSON | st.just(REMOVED), min_size=1, max_size=4))
def test_any_claims_are_answered_and_end_nobody_elses_session(
    fuzzed: tuple[Site, Browser], changes: dict[str, Any]
) -> None:
    bff, alice = fuzzed
    answer = send(bff, claims(**{"sid": "s9", "sub": "bob", **changes})(bff.idp))
    assert answer.status_code in (200, 400)
    assert inside(alice) == [True]


# What is sent, and how.


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"", "application/x-www-form-urlencoded"),
        (b"logout_token=", "application/x-www-form-urlencoded"),
        (b"other=x", "application/x-www-form-urlencoded"),
        (b"logout_token={}&logout_token={}", "application/x-www-form-urlencoded"),
        (b"logout_token={}&a=1&a=2", "application/x-www-form-urlencoded"),
        (b'{"logout_token": "{}"}', "application/json"),
        (b"logout_token={}", "text/plain"),
        (b"logout_token={}", None),
        (
            b'--x\r\nContent-Disposition: form-data; name="logout_token"\r\n\r\n{}\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_a_request_that_is_none(bff: Site, counters: Counters, data: bytes, content_type: str | None) -> None:
    alice = user(bff)
    counters.start()
    token = claims()(bff.idp).encode()
    assert refused(post(bff, data.replace(b"{}", token), content_type))
    assert counters.gained(DESTROYED) == {}
    assert inside(alice) == [True]
    assert send(bff, token.decode()).status_code == 200, "and the token is as good as before"


def test_a_token_in_the_address_does_not_count(bff: Site) -> None:
    alice = user(bff)
    answer = Client(bff.app.wsgi_app).post(f"{PATH}?logout_token={claims()(bff.idp)}", base_url=BFF, data={"a": "b"})
    assert refused(answer)
    assert inside(alice) == [True]


def test_only_a_post_will_do(bff: Site) -> None:
    assert Client(bff.app.wsgi_app).get(PATH, base_url=BFF).status_code == 405


# Once, and only for what was there.


def test_a_token_counts_once(bff: Site, counters: Counters) -> None:
    """Somebody recorded it, and sends it again when alice has come back."""
    token = logout_token(bff.idp, sub="alice")
    first = user(bff)
    assert send(bff, token).status_code == 200
    again = user(bff)
    counters.start()
    assert refused(send(bff, token))
    assert inside(first, again) == [False, True]
    assert counters.gained(VALIDATION) == {"logout_token inactive": 1}
    assert counters.gained(EVENTS)["logout_token_rejected warning"] == 1


@pytest.mark.parametrize("later", [1, 59, 119, 179, 180, 300])
def test_a_token_is_remembered_until_it_is_dead(bff: Site, clock: Clock, later: int) -> None:
    token = logout_token(bff.idp, sub="alice")
    assert send(bff, token).status_code == 200
    clock.now += later
    alice = user(bff)
    assert refused(send(bff, token))
    assert inside(alice) == [True]


def test_a_life_without_end_does_not_help_a_token(bff: Site, clock: Clock) -> None:
    token = logout_token(bff.idp, sub="alice", exp=9e10)
    assert send(bff, token).status_code == 200
    for _ in range(9):
        clock.now += 60
        assert refused(send(bff, token))


def test_the_store_holds_no_name_of_a_token(bff: Site) -> None:
    bff.store.forget()
    send(bff, logout_token(bff.idp, sid="s1", sub="alice", jti="the-jti"))
    seen = " ".join(bff.store.reads + bff.store.writes)
    assert "logout:" in seen
    assert not any(word in seen for word in ("the-jti", "s1", "alice"))


@pytest.mark.parametrize("calls", range(7))
def test_what_the_store_could_not_do_is_done_when_the_provider_repeats_itself(
    bff: Site, clock: Clock, counters: Counters, calls: int
) -> None:
    """The store goes down before the first call, or after it, and so on; alice comes back before it is repeated."""
    first, second = user(bff), user(bff)
    counters.start()
    token = logout_token(bff.idp, sub="alice")
    bff.store.calls_left = calls
    answer = send(bff, token)
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (503, "store_unavailable")
    bff.store.calls_left, bff.store.down = None, False
    clock.now += 10
    later = user(bff) if calls else None
    assert send(bff, token).status_code == 200
    assert inside(first, second) == [False, False]
    assert counters.gained(DESTROYED) == {"backchannel": 2}
    assert refused(send(bff, token))
    assert later is None or inside(later) == [True]


def test_the_store_is_away(bff: Site, counters: Counters) -> None:
    alice = user(bff)
    counters.start()
    bff.store.down = True
    answer = send(bff, claims()(bff.idp))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert counters.gained(VALIDATION) == {"logout_token error": 1}
    assert counters.gained(EVENTS) == {}
    bff.store.down = False
    assert inside(alice) == [True]


@pytest.mark.parametrize("answer", [html(500), raising(requests.Timeout())])
def test_without_keys_there_is_no_verdict(new_site: SiteFactory, rsa: Key, clock: Clock, answer: Answer) -> None:
    bff = new_site()
    bff.idp.break_endpoint("jwks", answer)
    token = claims()(bff.idp)
    assert send(bff, token).status_code == 503
    bff.idp.repair()
    clock.now += 5
    assert send(bff, token).status_code == 200


def test_more_sessions_than_the_store_finds_at_once(bff: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff.sessions.store.MOST_PER_USER", 2)
    browsers = [user(bff) for _ in range(5)]
    assert send(bff, logout_token(bff.idp, sub="alice")).status_code == 200
    assert inside(*browsers) == [False] * 5


def test_another_worker_refuses_what_it_had_cached(new_site: SiteFactory) -> None:
    one = new_site(start=True)
    other = new_site(start=True, providers=one.providers)
    browser = user(one)
    assert eventually(lambda: one.services.cache.truthful and other.services.cache.truthful)
    twin = one.twin(browser)
    twin.hosts = other.hosts
    assert inside(browser, twin) == [True, True]
    other.store.forget()
    assert twin.verify().status_code == 200
    assert other.store.reads == [], "it is cached"
    assert send(one, logout_token(one.idp, sid="s1")).status_code == 200
    assert inside(browser) == [False], "in this worker at once"
    assert eventually(lambda: inside(twin) == [False])


def test_sessions_made_under_the_old_secret_are_found(new_site: SiteFactory) -> None:
    before = new_site(BFF_SECRETS=OLD_KEY)
    old = user(before)
    after = new_site(BFF_SECRETS=f"{NEW_KEY},{OLD_KEY}", providers=before.providers)
    old.hosts = after.hosts
    assert send(after, logout_token(after.idp, sid="s1")).status_code == 200
    assert inside(old) == [False]
