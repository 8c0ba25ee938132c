"""A BFF whose policy decision point is elsewhere: what it shows there, and what it says about its health."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import Key
from werkzeug.wrappers import Request, Response

from bff.dev.in_process import WsgiTransport
from bff.settings import ServiceSettings, TokenKind
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.flows.internet import ISSUER, Site, site
from tests.flows.policy import with_pdp
from tests.flows.provider import OpenIdProvider
from tests.flows.test_health import look
from tests.flows.test_pdp import READ, ask, decided

PDP = "https://pdp.example"
SERVICE = ServiceSettings("pdp", TokenKind.CLIENT_CREDENTIALS, scope="decide")


class Pdp:
    """Allows everything to whoever shows a token that it accepts; without metadata."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.shown: list[tuple[str, str]] = []
        self.accepted = {""}
        self.status = 200
        self.takes = 0.0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        self._clock.now += self.takes
        return self._answer(request)(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if request.method == "GET":
            return Response(status=404 if self.status == 200 else self.status)
        self.shown.append((request.headers.get("Authorization", ""), request.headers["X-Request-ID"]))
        if self.shown[-1][0] not in self.accepted:
            return Response(status=401)
        return Response('{"decision": true}', status=self.status, content_type="application/json")


@pytest.fixture
def pdp(clock: Clock) -> Pdp:
    return Pdp(clock)


class Sites:
    def __init__(self, folder: Path, clock: Clock, key: Key, pdp: Pdp) -> None:
        self._folder, self._clock, self._key, self._pdp = folder, clock, key, pdp
        self.made: list[Site] = []

    def __call__(self, environ: dict[str, str] | None = None, **settings: Any) -> Site:
        idp = OpenIdProvider(ISSUER, self._key, self._clock)
        network = WsgiTransport({ISSUER: idp, PDP: self._pdp})
        change = with_pdp(base_url=PDP, **settings)
        self.made.append(
            site(self._folder, self._clock, self._key, environ, {"default": idp}, network=network, change=change)
        )
        return self.made[-1]


@pytest.fixture
def remote(tmp_path: Path, clock: Clock, rsa: Key, pdp: Pdp) -> Iterator[Sites]:
    sites = Sites(tmp_path, clock, rsa, pdp)
    yield sites
    for each in sites.made:
        each.services.close()


def test_it_is_asked_under_the_request_s_own_name(remote: Sites, pdp: Pdp) -> None:
    alice = remote().logged_in()
    assert decided(ask(alice, READ, **{"X-Correlation-ID": "correlation-0001"}))
    assert pdp.shown == [("", "correlation-0001")]


def test_a_fixed_token_is_shown(remote: Sites, pdp: Pdp) -> None:
    pdp.accepted = {"Bearer fixed"}
    assert decided(ask(remote(bearer="fixed").logged_in(), READ))


def test_a_token_of_its_own_is_fetched_and_renewed_when_refused(remote: Sites, pdp: Pdp, clock: Clock) -> None:
    bff = remote(service=SERVICE)
    alice, issued = bff.logged_in(), bff.idp.issued
    pdp.accepted = set()
    assert ask(alice, READ).get_json()["context"]["error"]["status"] == 500, "nobody who waits gets another answer"
    assert [shown for shown, _ in pdp.shown] == [f"Bearer {token}" for token in issued[-2:]]
    pdp.accepted = {f"Bearer {issued[-1]}"}
    for _ in range(3):
        assert decided(ask(alice, READ))
    assert bff.idp.last("token").form["scope"] == "decide"
    number = len(issued)
    clock.now += 20
    pdp.accepted = {""}
    ask(alice, READ)
    assert len(issued) == number + 1


def test_a_provider_that_is_away_takes_the_decision_with_it(remote: Sites, pdp: Pdp) -> None:
    bff = remote(service=SERVICE)
    alice = bff.logged_in()
    bff.idp.break_endpoint("token", lambda: Response(status=500))
    assert ask(alice, READ).get_json()["context"]["error"]["status"] == 503
    assert pdp.shown == []


def test_its_health_is_told(remote: Sites, pdp: Pdp) -> None:
    bff = remote({"READINESS_CHECKS": "store,pdp"})
    browser = bff.browser()
    look(bff)
    assert browser.fetch("/health").get_json()["checks"]["pdp"]["status"] == "up"
    assert browser.fetch("/health/ready").status_code == 200
    pdp.status = 500
    look(bff)
    answer = browser.fetch("/health")
    assert (answer.status_code, answer.get_json()["checks"]["pdp"]["status"]) == (200, "down")
    assert browser.fetch("/health/ready").status_code == 503


def test_its_breaker_has_a_name(remote: Sites, pdp: Pdp, counters: Counters) -> None:
    bff = remote(allow_ttl=0.0)
    alice = bff.logged_in()
    assert decided(ask(alice, READ))
    pdp.status = 500
    for _ in range(6):
        ask(alice, READ)
    assert counters.gained("circuit_breaks_total") == {"pdp_evaluation": 1}
    assert counters.gained("bff_authz_requests_total") == {"other other allow": 1, "other other error": 6}


def test_the_embedded_one_has_no_health_of_its_own(bff: Site) -> None:
    assert "pdp" not in bff.services.health.names
