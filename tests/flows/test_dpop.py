"""Tokens bound to a key of the session (RFC 9449), from the authorization request to every use of them."""

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import Key

from bff.oidc.dpop import thumbprint
from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.dpop_provider import DpopProvider
from tests.flows.internet import ISSUER, Site, begin, log_out, login, to_callback
from tests.flows.provider import REMOVED
from tests.flows.token_use import TokenSites, by_service, held, post, refusal, session_key, used

NEAR_END = 550.0
FAULTS = "bff_token_response_faults_total"


@pytest.fixture
def idp(clock: Clock, rsa: Key) -> DpopProvider:
    return DpopProvider(ISSUER, rsa, clock)


@pytest.fixture
def at_work(token_site: TokenSites, idp: DpopProvider) -> Site:
    return token_site({"default": idp}, DPOP_ENABLED="true")


@pytest.fixture(params=["no nonce", "one nonce", "another nonce each time"])
def nonces(request: pytest.FixtureRequest, idp: DpopProvider) -> str:
    idp.demands_nonce = request.param != "no nonce"
    return str(request.param)


def turn(idp: DpopProvider, nonces: str) -> None:
    if nonces == "another nonce each time":
        idp.new_nonce()


def key_of(site: Site, browser: Browser) -> str:
    key = held(site, session_key(browser)).dpop_key
    assert key is not None
    return key


@pytest.mark.parametrize("par", [False, True])
def test_a_session_from_login_to_logout(
    at_work: Site, idp: DpopProvider, clock: Clock, counters: Counters, nonces: str, par: bool
) -> None:
    idp.claims = {"name": REMOVED}
    idp.userinfo = {"name": "From Userinfo"}
    if par:
        idp.offer_par(required=True)
    browser = at_work.logged_in()
    assert browser.fetch("/auth/session").get_json()["user"]["name"] == "From Userinfo"
    jkt = thumbprint(key_of(at_work, browser))
    used_by = {"user": used(browser)}
    turn(idp, nonces)
    used_by["billing"] = used(browser, "billing")
    turn(idp, nonces)
    clock.now += NEAR_END
    used_by["user, again"] = used(browser)
    turn(idp, nonces)
    used_by["billing, again"] = used(browser, "billing")
    assert {idp.bound[str(token)] for token in used_by.values()} == {jkt}
    assert len(set(used_by.values())) == 4
    answer = browser.fetch("/use/user").get_json()
    assert (answer["type"], answer["bound"]) == ("DPoP", True)
    assert idp.nonces == {"no nonce": 0, "one nonce": 1, "another nonce each time": 4}[nonces]
    assert counters.gained(FAULTS) == {}
    refresh_token = held(at_work, session_key(browser)).refresh_token
    log_out(browser)
    assert idp.revoked == [refresh_token]


def test_the_bffs_own_token_has_a_key_of_its_own(at_work: Site, idp: DpopProvider, nonces: str) -> None:
    browser = at_work.logged_in()
    turn(idp, nonces)
    own = used(browser, "reports")
    assert idp.bound[str(own)] not in (thumbprint(key_of(at_work, browser)), None)


def test_the_authorization_request_names_the_key(at_work: Site, idp: DpopProvider) -> None:
    location = begin(at_work.browser()).headers["Location"]
    assert len(parse_qs(urlsplit(location).query)["dpop_jkt"][0]) == 43


def test_a_pushed_authorization_request_names_it_there(at_work: Site, idp: DpopProvider) -> None:
    idp.offer_par()
    assert "dpop_jkt" not in begin(at_work.browser()).headers["Location"]
    assert len(idp.last("par").form["dpop_jkt"]) == 43


def test_a_code_is_of_no_use_with_another_key(at_work: Site, idp: DpopProvider) -> None:
    browser = at_work.browser()
    url = to_callback(browser)
    (grant,) = idp._grants.values()
    grant["dpop_jkt"] = "of-somebody-else"
    assert browser.navigate(url, came_from=ISSUER).status_code == 400


def test_each_session_has_a_key_of_its_own(at_work: Site) -> None:
    keys = {thumbprint(key_of(at_work, at_work.logged_in())) for _ in range(3)}
    assert len(keys) == 3


def test_two_who_are_told_the_same_nonce(at_work: Site, idp: DpopProvider) -> None:
    """Both were refused for the want of it, so both try again."""
    browsers = [at_work.browser(), at_work.browser()]
    urls = [to_callback(browser) for browser in browsers]
    idp.demands_nonce, idp.meeting = True, threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda each: each[0].navigate(each[1], came_from=ISSUER), zip(browsers, urls, strict=True))
        assert [answer.status_code for answer in answers] == [302, 302]


def test_a_nonce_that_is_never_accepted(at_work: Site, idp: DpopProvider, counters: Counters) -> None:
    idp.demands_nonce = True
    original = idp._nonce_checked

    def moving(*args: object) -> None:
        idp.new_nonce()
        original(*args)  # type: ignore[arg-type]

    idp._nonce_checked = moving  # type: ignore[method-assign, assignment]
    assert login(at_work.browser()).status_code == 400
    assert idp.count("token") == 2, "one more, and no more than that"
    assert counters.gained("bff_logins_total") == {"started": 1, "token_endpoint": 1}


def test_a_bearer_token_is_refused_at_login(at_work: Site, idp: DpopProvider, counters: Counters) -> None:
    idp.token_type = "Bearer"
    assert login(at_work.browser()).status_code == 503
    assert counters.gained(FAULTS) == {"authorization_code token_type": 1}
    assert counters.gained("bff_logins_total") == {"started": 1, "token_endpoint": 1}


def test_a_bearer_token_is_refused_later(at_work: Site, idp: DpopProvider, clock: Clock, counters: Counters) -> None:
    browser = at_work.logged_in()
    first = used(browser)
    idp.token_type = "Bearer"
    clock.now += NEAR_END
    assert used(browser) == first
    assert refusal(post(browser, "exchange", {"service": "billing"})) == (503, "token_unavailable")
    idp.token_type = "DPoP"
    clock.now += 2.5
    assert used(browser) not in (first, None)
    assert counters.gained(FAULTS) == {"refresh_token token_type": 1, "token_exchange token_type": 1}


def test_a_dpop_token_that_nobody_asked_for_is_refused(token_site: TokenSites, counters: Counters) -> None:
    bff = token_site()
    bff.idp.token_response = {"token_type": "DPoP"}
    assert login(bff.browser()).status_code == 503
    assert counters.gained(FAULTS) == {"authorization_code token_type": 1}


def test_a_provider_of_idps_yaml(token_site: TokenSites, idp: DpopProvider) -> None:
    plain = token_site({"default": idp})
    folder = plain.services.settings.store.path.parent / "config"
    declared = {"issuer": ISSUER, "client_id": "bff", "client_secret": idp.client.secret, "dpop": True}
    (folder / "idps.yaml").write_text(json.dumps({"providers": {"bound": declared}}))
    bff = token_site({"bound": idp})
    browser = bff.logged_in()
    assert idp.bound[str(used(browser))] == thumbprint(key_of(bff, browser))


def test_the_key_never_leaves_the_server(
    at_work: Site, idp: DpopProvider, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    idp.demands_nonce = True
    browser = at_work.browser()
    answers = [login(browser)]
    private = json.loads(key_of(at_work, browser))["d"]
    clock.now += NEAR_END
    answers += [browser.fetch("/use/user"), browser.fetch("/auth/tokens"), browser.fetch("/auth/session")]
    by_service(post(browser, "exchange", {"service": "billing"}))
    answers += [post(browser, "refresh"), browser.verify(), log_out(browser)]
    shown = "".join(answer.text + str(answer.headers) for answer in answers)
    sent = "".join(idp.proofs) + json.dumps([call.form for call in idp.calls])
    logged = caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    cookies = "".join(cookie.value for cookie in browser.cookies)
    for where in (shown, sent, logged, cookies):
        assert private not in where
    assert [proof for proof in idp.proofs if proof in logged + shown] == []
    on_disk = b"".join(file.read_bytes() for file in at_work.services.settings.store.path.parent.glob("store.sqlite3*"))
    assert private.encode() not in on_disk
