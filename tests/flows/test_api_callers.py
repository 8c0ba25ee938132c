"""Who may call a route besides a browser with a session, and how a service is shown a token that is bound to a key."""

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import Key
from joserfc.util import urlsafe_b64decode
from werkzeug.test import Client, TestResponse
from werkzeug.wrappers import Request, Response

from tests.clock import Clock
from tests.flows.api import ApiSites, refusal
from tests.flows.dpop_provider import DpopProvider
from tests.flows.internet import BFF, ISSUER, Site, SiteFactory
from tests.flows.issued import access_token

ROUTES = """
services:
  orders: {base_url: https://orders.example/v1}
  own: {base_url: https://orders.example/own, token: client_credentials, audience: own}
  open: {base_url: https://orders.example/open, token: none}
routes:
  - {id: machines, path: /api/machines, service: orders, auth: bearer, methods: [GET, POST], scopes: "orders:read"}
  - {id: writers, path: /api/writers, service: orders, auth: bearer, scopes: ["orders:read", "orders:delete"]}
  - {id: machines-own, path: /api/own, service: own, auth: bearer}
  - {id: machines-open, path: /api/open, service: open, auth: bearer}
  - {id: anybody, path: /api/anybody, service: own, auth: none, rate_limit: 2/minute}
  - {id: people, path: "/api/people/*", service: orders}
"""


@pytest.fixture
def api(new_site: SiteFactory, tmp_path: Path) -> ApiSites:
    return ApiSites(new_site, tmp_path)


@pytest.fixture
def bff(api: ApiSites) -> Site:
    return api(ROUTES)


def asked(bff: Site, path: str, token: str | None, method: str = "GET", **options: Any) -> TestResponse:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    options = {"environ_base": {"REMOTE_ADDR": "203.0.113.9"}, **options}
    return Client(bff.app.wsgi_app, use_cookies=False).open(
        path, method=method, base_url=BFF, headers=headers, buffered=True, **options
    )


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_machine_with_a_token(bff: Site, api: ApiSites, method: str) -> None:
    """No cookie, so nobody could make a browser send it: it needs no CSRF proof."""
    token = access_token(bff.idp)
    answer = asked(bff, "/api/machines", token, method)
    assert answer.status_code == 200
    assert api.orders.token == f"Bearer {token}"
    assert api.orders.last["headers"]["X-Original-User"] == "auth:account:default:alice"


def test_a_machine_for_a_service_with_its_own_token(bff: Site, api: ApiSites) -> None:
    token = access_token(bff.idp)
    assert asked(bff, "/api/own", token).status_code == 200
    assert api.orders.token not in (None, f"Bearer {token}")
    assert asked(bff, "/api/open", token).status_code == 200
    assert api.orders.token is None


def test_a_refused_token_of_our_own_is_replaced_without_a_session(bff: Site, api: ApiSites) -> None:
    api.orders.then(401)
    assert asked(bff, "/api/anybody", None).status_code == 200
    first, second = [each["headers"]["Authorization"] for each in api.orders.seen]
    assert first != second


def test_a_machines_own_token_is_not_replaced(bff: Site, api: ApiSites) -> None:
    api.orders.then(401)
    assert asked(bff, "/api/machines", access_token(bff.idp)).status_code == 401
    assert len(api.orders.seen) == 1


@pytest.mark.parametrize(("path", "shown"), [("/api/machines", 'Bearer error="invalid_token"'), ("/api/own", None)])
def test_a_machine_gets_the_challenge_to_its_own_token(bff: Site, api: ApiSites, path: str, shown: str | None) -> None:
    for _ in range(2):
        api.orders.then(401, "", {"WWW-Authenticate": 'Bearer error="invalid_token", Basic realm="x"'})
    answer = asked(bff, path, access_token(bff.idp))
    assert (answer.status_code, answer.headers.get("WWW-Authenticate")) == (401, shown)


@pytest.mark.parametrize("path", ["/api/machines", "/api/own", "/api/open"])
def test_what_a_token_opened_is_kept_from_others(bff: Site, api: ApiSites, path: str) -> None:
    api.orders.then(200, "", {"Cache-Control": "s-maxage=60, max-age=5"})
    headers = asked(bff, path, access_token(bff.idp)).headers
    assert (headers["Cache-Control"], headers["Vary"]) == ("private, max-age=5", "Authorization")


@pytest.mark.parametrize(
    ("token", "expected"),
    [(None, (401, "token_required")), ("not-a-token", (401, "invalid_token")), ("a b", (400, "invalid_request"))],
)
def test_a_machine_without_a_good_token(bff: Site, api: ApiSites, token: str | None, expected: tuple[int, str]) -> None:
    answer = asked(bff, "/api/machines", token)
    assert refusal(answer) == expected
    assert "login_url" not in answer.get_json(force=True)
    assert api.orders.seen == []


def test_a_session_opens_no_route_of_machines(bff: Site) -> None:
    assert bff.logged_in().fetch("/api/machines").status_code == 401


def test_a_token_opens_no_route_of_people(bff: Site) -> None:
    assert asked(bff, "/api/people/x", access_token(bff.idp)).status_code == 401


def test_a_machine_whose_scope_is_too_small(bff: Site, api: ApiSites) -> None:
    answer = asked(bff, "/api/writers", access_token(bff.idp))
    assert refusal(answer) == (403, "insufficient_scope")
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge == 'Bearer error="insufficient_scope", scope="orders:read orders:delete"'
    assert api.orders.seen == []


def test_anybody_is_limited_by_address(bff: Site) -> None:
    assert [asked(bff, "/api/anybody", None).status_code for _ in range(3)] == [200, 200, 429]
    other = {"REMOTE_ADDR": "198.51.100.7"}
    assert asked(bff, "/api/anybody", None, environ_base=other).status_code == 200


# Tokens that are bound to a key (RFC 9449).


@pytest.fixture
def bound(api: ApiSites, clock: Clock, rsa: Key) -> Site:
    return api(ROUTES, providers={"default": DpopProvider(ISSUER, rsa, clock)}, DPOP_ENABLED="true")


def proof_of(seen: dict[str, Any]) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(seen["headers"]["Dpop"].split(".")[1].encode()))
    return claims


def test_a_service_is_shown_a_proof(bound: Site, api: ApiSites) -> None:
    alice = bound.logged_in()
    assert alice.fetch("/api/people/a%2Cb?c=d", headers={"DPoP": "mallory"}).status_code == 200
    assert str(api.orders.token).startswith("DPoP ")
    claims = proof_of(api.orders.last)
    assert (claims["htm"], claims["htu"]) == ("GET", "https://orders.example/v1/people/a%2Cb")
    assert "ath" in claims


def test_a_service_that_wants_a_nonce_gets_it(bound: Site, api: ApiSites) -> None:
    def demands(request: Request) -> Response:
        challenge = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "dpop-nonce": "n-1"}
        return Response(status=401, headers=challenge)

    alice = bound.logged_in()
    before = bound.idp.count("token")
    api.orders.answers.append(demands)
    answer = alice.fetch("/api/people/x")
    assert answer.status_code == 200
    assert [proof_of(each).get("nonce") for each in api.orders.seen] == [None, "n-1"]
    assert len({each["headers"]["Authorization"] for each in api.orders.seen}) == 1
    assert bound.idp.count("token") == before
    alice.fetch("/api/people/x")
    assert proof_of(api.orders.last)["nonce"] == "n-1"
