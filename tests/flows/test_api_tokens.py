"""A service that does not take the token it is sent: another one, once for all, and the request again if it can be."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from tests.flows.api import ApiSites, call
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import Site, SiteFactory
from tests.flows.provider import reply

CALLS = {"orders": "/api/orders/7", "billing": "/api/invoices/7", "reports": "/api/reports/7"}


@pytest.fixture
def api(new_site: SiteFactory, tmp_path: Path) -> ApiSites:
    return ApiSites(new_site, tmp_path)


@pytest.fixture
def bff(api: ApiSites) -> Site:
    return api()


@pytest.fixture
def alice(bff: Site) -> Browser:
    return bff.logged_in()


def tokens(api: ApiSites) -> list[str]:
    return [each["headers"]["Authorization"] for each in (*api.orders.seen, *api.billing.seen)]


@pytest.mark.parametrize("service", CALLS)
def test_a_refused_token_is_replaced(alice: Browser, api: ApiSites, service: str) -> None:
    backend = api.billing if service == "billing" else api.orders
    backend.then(401)
    assert alice.fetch(CALLS[service]).status_code == 200
    first, second = tokens(api)
    assert first != second
    assert backend.closed == 2
    assert alice.fetch(CALLS[service]).status_code == 200
    assert tokens(api)[-1] == second, "the new one serves from now on"


def test_a_small_body_is_sent_again(alice: Browser, api: ApiSites) -> None:
    api.orders.then(401)
    assert call(alice, "PUT", "/api/orders/7", json={"a": 1}).status_code == 200
    assert api.orders.seen[0]["body"] == api.orders.seen[1]["body"] != ""


def test_a_large_body_is_not(alice: Browser, api: ApiSites, bff: Site) -> None:
    api.orders.then(401)
    answer = call(alice, "PUT", "/api/orders/7", data=b"x" * (64 * 1024 + 1), headers={"Content-Type": "text/plain"})
    assert answer.status_code == 401
    assert len(api.orders.seen) == 1


def test_a_service_that_always_refuses_is_believed(alice: Browser, api: ApiSites, bff: Site) -> None:
    for _ in range(6):
        api.orders.then(401, "no")
    before = bff.idp.count("token")
    assert [alice.fetch("/api/orders/7").status_code for _ in range(3)] == [401, 401, 401]
    assert bff.idp.count("token") == before + 1, "one refresh, not one for each refusal"
    bff.clock.now += 31
    assert alice.fetch("/api/orders/7").status_code == 401
    assert bff.idp.count("token") == before + 2


def test_a_refusal_is_passed_on_without_its_challenge(alice: Browser, api: ApiSites) -> None:
    for _ in range(2):
        api.orders.then(401, "no", {"WWW-Authenticate": "Basic realm=x"})
    answer = alice.fetch("/api/orders/7")
    assert (answer.status_code, answer.text) == (401, "no")
    assert "WWW-Authenticate" not in answer.headers


def test_a_provider_that_is_away_leaves_the_services_answer(alice: Browser, api: ApiSites, bff: Site) -> None:
    bff.idp.break_endpoint("token", lambda: reply({}, 503))
    api.orders.then(401, "no")
    answer = alice.fetch("/api/orders/7")
    assert (answer.status_code, answer.text) == (401, "no")
    assert alice.fetch("/auth/session").get_json()["authenticated"]


def test_a_session_that_ends_meanwhile_says_so(alice: Browser, api: ApiSites, bff: Site) -> None:
    bff.idp.break_endpoint("token", lambda: reply({"error": "invalid_grant"}, 400))
    api.orders.then(401, "no")
    answer = alice.fetch("/api/orders/7")
    assert (answer.status_code, answer.get_json()["code"]) == (401, "session_ended")
    assert api.orders.closed == 1


def test_another_request_that_was_quicker_spares_a_refresh(
    alice: Browser, api: ApiSites, bff: Site, counters: Counters
) -> None:
    """Both were refused with the same token; the second finds the first one's."""
    before = bff.idp.count("token")
    inner: list[int] = []

    def refuses_late(_request: object) -> object:
        from werkzeug.wrappers import Response

        api.orders.then(401)
        inner.append(bff.twin(alice).fetch("/api/orders/8").status_code)
        return Response(status=401)

    api.orders.answers.append(refuses_late)  # type: ignore[arg-type]
    assert alice.fetch("/api/orders/7").status_code == 200
    assert inner == [200]
    assert bff.idp.count("token") == before + 1


def test_no_other_statuses_cost_a_token(alice: Browser, api: ApiSites, bff: Site) -> None:
    before = bff.idp.count("token")
    for status in (400, 403, 407, 500):
        api.orders.then(status)
        assert alice.fetch("/api/orders/7").status_code == status
    assert bff.idp.count("token") == before


# Challenges that no other token answers (RFC 9470, RFC 6750).

STEP_UP = 'Bearer error="insufficient_user_authentication", acr_values="phr", max_age="5"'
SCOPE = 'Bearer error="insufficient_scope", scope="orders:write"'


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("challenge", [STEP_UP, SCOPE, STEP_UP.replace("Bearer", "DPoP"), STEP_UP.replace("B", "b", 1)])
def test_a_token_that_is_not_enough_is_kept(
    alice: Browser, api: ApiSites, bff: Site, service: str, status: int, challenge: str
) -> None:
    """The request is sent once, and the page learns what is wanted of its user."""
    backend = api.billing if service == "billing" else api.orders
    assert alice.fetch(CALLS[service]).status_code == 200
    before = bff.idp.count("token")
    backend.then(status, "more is wanted", {"WWW-Authenticate": f"Basic realm=x, {challenge}"})
    answer = alice.fetch(CALLS[service])
    assert (answer.status_code, answer.text, answer.headers.getlist("WWW-Authenticate")) == (
        status,
        "more is wanted",
        [challenge],
    )
    assert alice.fetch(CALLS[service]).status_code == 200
    sent = tokens(api)
    assert (len(sent), len(set(sent)), bff.idp.count("token")) == (3, 1, before)


def test_a_change_is_not_sent_again_for_a_challenge(alice: Browser, api: ApiSites) -> None:
    api.orders.then(401, "", {"WWW-Authenticate": STEP_UP})
    answer = call(alice, "PUT", "/api/orders/7", json={"a": 1})
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, STEP_UP)
    assert len(api.orders.seen) == 1


def test_a_challenge_says_that_the_token_is_not_good(alice: Browser, api: ApiSites) -> None:
    api.orders.then(401, "", {"WWW-Authenticate": 'Bearer realm="x", error="invalid_token"'})
    assert alice.fetch("/api/orders/7").status_code == 200
    first, second = tokens(api)
    assert first != second


def test_another_token_is_not_enough_either(alice: Browser, api: ApiSites) -> None:
    """A refused token is replaced; that the service then wants more is not a refusal to be believed."""
    api.orders.then(401)
    api.orders.then(401, "", {"WWW-Authenticate": STEP_UP})
    answer = alice.fetch("/api/orders/7")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, STEP_UP)
    api.orders.then(401)
    assert alice.fetch("/api/orders/7").status_code == 200


# The BFF's own token, which is the same for every session.


class Refusing:
    """A service that takes no token of a set, or none at all, and waits until so many requests have been refused."""

    def __init__(self, refused: set[str] | None, together: int) -> None:
        self.refused = refused
        self._together = Barrier(together) if together > 1 else None
        self.sent: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        token = Request(environ).headers["Authorization"]
        self.sent.append(token)
        bad = self.refused is None or token in self.refused
        if bad and self._together is not None:
            self._together.wait(10)
        return Response(json.dumps({}), 401 if bad else 200)(environ, start_response)


@pytest.fixture
def fleet(api: ApiSites) -> tuple[Site, Site]:
    one = api(start=True)
    return one, api(start=True, providers=one.providers)


SESSIONS = 8


def test_many_sessions_that_are_refused_make_one_renewal(api: ApiSites, fleet: tuple[Site, Site]) -> None:
    """In two workers, all at the same moment."""
    one, _two = fleet
    people = [fleet[number % 2].logged_in() for number in range(SESSIONS)]
    assert [person.fetch("/api/reports/1").status_code for person in people[:2]] == [200, 200]
    assert len(set(tokens(api))) == 1
    before = one.idp.count("token")
    reports = Refusing(set(tokens(api)), SESSIONS)
    api.orders.answers += [lambda request: through(reports, request)] * 100
    with ThreadPoolExecutor(SESSIONS) as pool:
        statuses = list(pool.map(lambda person: person.fetch("/api/reports/1").status_code, people))
    assert statuses == [200] * SESSIONS
    assert one.idp.count("token") == before + 1
    assert len(set(reports.sent)) == 2


def through(app: Refusing, request: Request) -> Response:
    return Response.from_app(app, request.environ)


def test_a_service_that_always_refuses_is_believed_by_all(api: ApiSites, fleet: tuple[Site, Site]) -> None:
    """Or each session that comes by costs another token."""
    one, _two = fleet
    people = [fleet[number % 2].logged_in() for number in range(SESSIONS)]
    assert people[0].fetch("/api/reports/1").status_code == 200
    before = one.idp.count("token")
    api.orders.answers += [lambda _: Response("no", 401)] * 1000
    assert {person.fetch("/api/reports/1").status_code for person in people * 3} == {401}
    assert one.idp.count("token") == before + 1
    one.clock.now += 31
    assert {person.fetch("/api/reports/1").status_code for person in people} == {401}
    assert one.idp.count("token") == before + 2
