"""Keys and metadata that cannot be had, or cannot be used."""

import json
from typing import Any

import pytest
import requests
from joserfc.jwk import Key
from werkzeug.wrappers import Request, Response

from bff.lib.stale_cache import RETRY_AFTER
from bff.login.flow import LONGEST
from tests.clock import Clock
from tests.flows.assertions import Witness
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import Site, SiteFactory, begin, login
from tests.flows.provider import REMOVED, Answer, OpenIdProvider, html, raising, reply


def test_unknown_keys_are_looked_up_at_most_every_ten_seconds(bff: Site, clock: Clock) -> None:
    bff.logged_in()
    assert bff.idp.count("jwks") == 1
    bff.idp.header = {"kid": "nobody"}
    for seconds, expected in ((0, 2), (0, 2), (9.9, 2), (0.1, 3), (9, 3), (1, 4)):
        clock.now += seconds
        login(bff.browser())
        assert bff.idp.count("jwks") == expected


def test_unknown_keys_are_looked_up_as_rarely_while_the_keys_cannot_be_fetched(bff: Site, clock: Clock) -> None:
    bff.logged_in()
    clock.now += 60
    bff.idp.break_endpoint("jwks", html(500))
    bff.idp.header = {"kid": "nobody"}
    for _ in range(5):
        login(bff.browser())
    assert bff.idp.count("jwks") == 2


def test_one_bad_key_does_not_spoil_the_others(bff: Site, browser: Browser, rsa: Key) -> None:
    """RFC 7517 section 5: keys that are not understood, or lack something, are ignored."""
    others = [
        {"kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "AA"},
        {"kty": "EC", "kid": "off", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "RSA", "kid": "half", "n": "AA"},
        {"kty": 7},
        "not a key",
        rsa.as_dict(private=False),
    ]
    bff.idp.break_endpoint("jwks", lambda: reply({"keys": others}))
    assert login(browser).status_code == 302


@pytest.mark.parametrize(
    "answer",
    [
        html(200),
        html(404),
        html(500),
        raising(requests.Timeout()),
        lambda: reply([]),
        lambda: reply({}),
        lambda: reply({"keys": []}),
        lambda: reply({"keys": [7]}),
        lambda: reply({"keys": {"a": 1}}),
    ],
)
def test_keys_that_cannot_be_had(bff: Site, browser: Browser, witness: Witness, answer: Answer) -> None:
    bff.idp.break_endpoint("jwks", answer)
    answered = login(browser)
    assert answered.status_code == 503
    assert "idp_unavailable" in answered.text
    assert witness.counters.gained("bff_logins_total") == {"started": 1, "idp_error": 1}
    assert bff.active() == 0


def test_a_person_waits_for_all_the_providers_answers_together_and_not_for_each(
    bff: Site, browser: Browser, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token endpoint took all the time that there was. So nothing else is asked, and no circuit hears of it."""
    issue = bff.idp._token

    def slowly(request: Request) -> Response:
        clock.now += LONGEST
        return issue(request)

    monkeypatch.setattr(bff.idp, "_token", slowly)
    answered = login(browser)
    assert (answered.status_code, "idp_unavailable" in answered.text) == (503, True)
    assert bff.idp.count("jwks") == 0


def test_a_failure_is_remembered_for_a_moment(bff: Site, clock: Clock) -> None:
    """Each of a queue of logins would otherwise hold a thread for as long as the provider may take."""
    bff.idp.break_endpoint("discovery", raising(requests.Timeout()))
    for seconds, asked in ((0, 1), (0, 1), (RETRY_AFTER - 0.1, 1), (0.1, 2)):
        clock.now += seconds
        assert begin(bff.browser()).status_code == 503
        assert bff.idp.count("discovery") == asked


ENDPOINTS = (
    "authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "introspection_endpoint",
    "revocation_endpoint", "end_session_endpoint", "pushed_authorization_request_endpoint",
)  # fmt: skip
PROVED = ("token_endpoint", "introspection_endpoint", "revocation_endpoint", "pushed_authorization_request_endpoint")


@pytest.mark.parametrize("scheme", ["http:", "HTTP:", "ftp:", "javascript:", ""])
@pytest.mark.parametrize(
    ("change", "name"),
    [
        *(({name: "%s//idp.example/x"}, name) for name in ENDPOINTS),
        *(({"mtls_endpoint_aliases": {name: "%s//mtls.example/x"}}, f"mtls {name}") for name in PROVED),
    ],
)
def test_an_https_issuer_with_an_endpoint_without_tls(
    bff: Site, browser: Browser, caplog: pytest.LogCaptureFixture, change: Any, name: str, scheme: str
) -> None:
    """Whoever can read and change the way there would read our secret, or choose the keys that tokens are proved by."""
    bff.idp.metadata = json.loads(json.dumps(change).replace("%s", scheme))
    answer = begin(browser)
    assert answer.status_code == 503
    assert "idp_unavailable" in answer.text
    (logged,) = [record for record in caplog.records if record.msg == "insecure_endpoint"]
    assert (logged.__dict__["idp"], logged.__dict__["endpoint"]) == ("default", name.removeprefix("mtls "))
    assert bff.store.writes == []


def test_metadata_with_an_endpoint_without_tls_does_not_replace_the_good_copy(
    bff: Site, browser: Browser, clock: Clock
) -> None:
    login(browser)
    bff.idp.metadata = {"token_endpoint": "http://idp.example/token"}
    clock.now += 24 * 3600
    login(bff.browser())
    assert bff.idp.count("token") == 2, "at the address that is known"


def test_an_http_issuer_may_have_http_endpoints(new_site: SiteFactory, clock: Clock, rsa: Key) -> None:
    """In development, and on the loopback address."""
    idp = OpenIdProvider("http://127.0.0.9", rsa, clock)
    bff = new_site({"default": idp}, OIDC_ISSUER="http://127.0.0.9")
    assert bff.logged_in().verify().status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"issuer": REMOVED},
        {"authorization_endpoint": REMOVED},
        {"authorization_endpoint": None},
        {"token_endpoint": 7},
        {"jwks_uri": ["https://idp.example/jwks"]},
    ],
)
def test_a_discovery_document_that_is_not_the_providers(
    bff: Site, browser: Browser, counters: Counters, change: dict[str, Any]
) -> None:
    bff.idp.metadata = change
    answer = begin(browser)
    assert answer.status_code == 503
    assert "evil" not in answer.text
    assert counters.gained("bff_logins_total") == {}
    assert bff.store.writes == []
