"""A service that does not take the token it is sent: another one, once for all, and the request again if it can be."""

from pathlib import Path

import pytest

from tests.flows.api import ApiSites, call
from tests.flows.browser import Browser
from tests.flows.instruments import Counters
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
