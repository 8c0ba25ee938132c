"""A service's share of a worker: who is refused while it is taken, and that each place comes back."""

from pathlib import Path

import pytest
from werkzeug.wrappers import Response

from bff.errors import BadGateway
from tests.flows.api import ROUTES, ApiSites, call, refusal
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import Site, SiteFactory

ONE = ROUTES.replace("request_headers: [X-Tenant]", "request_headers: [X-Tenant], max_concurrent: 1")
OWN_ENDPOINTS = (
    "/auth/logout",
    "/auth/session",
    "/access/v1/evaluation",
    "/api/v1/metrics",
    "/auth/backchannel-logout",
    "/health/live",
)
LONGEST = 64 * 1024


@pytest.fixture
def api(new_site: SiteFactory, tmp_path: Path) -> ApiSites:
    return ApiSites(new_site, tmp_path)


@pytest.fixture
def bff(api: ApiSites) -> Site:
    return api(ONE)


@pytest.fixture
def alice(bff: Site) -> Browser:
    return bff.logged_in()


def test_a_service_is_asked_by_no_more_than_its_share(alice: Browser, api: ApiSites, counters: Counters) -> None:
    """Another service by the next one; and by an address that has no route, or without a session, nobody."""
    found: dict[str, tuple[int, str]] = {}

    def meanwhile(_: object) -> Response:
        answer = call(alice, "GET", "/api/orders/8")
        found["orders"] = refusal(answer)
        assert (answer.headers["Retry-After"], answer.headers["X-Denied-Reason"]) == ("1", "busy")
        found["billing"] = (call(alice, "GET", "/api/invoices/1").status_code, "")
        return Response("done")

    api.orders.answers.append(meanwhile)
    assert call(alice, "GET", "/api/orders/7").status_code == 200
    assert found == {"orders": (503, "busy"), "billing": (200, "")}
    assert counters.gained("bff_bulkhead_rejections_total") == {"orders": 1}
    assert len(api.orders.seen) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [200, 204, 304, 500])
def test_a_place_comes_back(alice: Browser, api: ApiSites, method: str, status: int) -> None:
    for _ in range(2):
        api.orders.then(status)
        assert call(alice, method, "/api/orders/7").status_code == status


def test_it_comes_back_from_a_service_that_fails(alice: Browser, api: ApiSites) -> None:
    def fail(_: object) -> Response:
        raise BadGateway

    for _ in range(2):
        api.orders.answers.append(fail)
        assert refusal(call(alice, "GET", "/api/orders/7")) == (502, "upstream_unreachable")
    assert call(alice, "GET", "/api/orders/7").status_code == 200


def test_a_request_that_proves_nothing_takes_none(bff: Site, alice: Browser, api: ApiSites) -> None:
    found: list[int] = []

    def meanwhile(_: object) -> Response:
        found.append(bff.browser().fetch("/api/orders/8").status_code)
        return Response("done")

    api.orders.answers.append(meanwhile)
    call(alice, "GET", "/api/orders/7")
    assert found == [401]


@pytest.mark.parametrize("path", OWN_ENDPOINTS)
@pytest.mark.parametrize(("size", "refused"), [(LONGEST, False), (LONGEST + 1, True)])
def test_a_body_of_our_own_has_a_bound(alice: Browser, path: str, size: int, refused: bool) -> None:
    """Before anything else is asked; a route's is the route's (`body_limit`)."""
    method = "GET" if path in ("/auth/session", "/health/live") else "POST"
    answer = alice.fetch(path, method=method, data=b" " * size, headers={"Content-Type": "application/json"})
    too_large = answer.status_code == 413 and b"At most 65536 bytes" in answer.data
    assert too_large is refused
    assert call(alice, "PUT", "/api/orders/7", data=b" " * size).status_code == 200
