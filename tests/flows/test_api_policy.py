"""Routes with `authz: pdp`: the policy decides by path, query and body, and what it cannot be asked about is denied."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bff.events.model import EventSink
from tests.flows.api import ApiSites, call, refusal
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import Site, SiteFactory, proof

ROUTES = """
services:
  orders: {base_url: https://orders.example/v1}
routes:
  - {id: list, path: /api/orders, service: orders, authz: pdp, authz_map: {resource: orders, action: list}}
  - id: read
    path: /api/orders/{id}
    service: orders
    authz: pdp
    authz_map: {resource: orders, action: read, id_from: $.path.id, props: {region: "$.query.region?"}}
  - id: add
    path: /api/orders
    service: orders
    methods: [POST]
    authz: pdp
    authz_map: {resource: orders, action: add, props: {quantity: $.body.quantity, skus: "$.body.lines[*].sku?"}}
  - {id: unmapped, path: /api/unmapped, service: orders, authz: pdp}
  - id: lenient
    path: /api/lenient
    service: orders
    authz: pdp
    on_error: allow
    authz_map: {resource: 9x, action: a}
  - {id: strict, path: /api/strict, service: orders, authz: pdp, authz_map: {resource: 9x, action: a}}
"""
POLICY = """
@id("everybody") permit(principal in role::"user", action == Action::"list", resource is orders);
@id("own") permit(principal in role::"user", action == Action::"read", resource is orders)
  unless { resource has region };
@id("north") permit(principal in role::"user", action == Action::"read", resource is orders)
  when { resource has region && resource.region == "north" };
@id("few") permit(principal, action == Action::"add", resource is orders) when { resource.quantity <= 10 };
@id("secret") @reason("Order 13 is nobody's business.")
forbid(principal, action, resource == orders::"13");
@id("poison") @reason("Nobody orders poison.")
forbid(principal, action == Action::"add", resource is orders)
  when { resource has skus && resource.skus.contains("poison") };
"""


class Notes:
    """An EventSink that a test reads."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []

    def emit(self, event_type: str, data: Mapping[str, Any]) -> None:
        self.events.append((event_type, data))


@pytest.fixture
def api(new_site: SiteFactory, tmp_path: Path) -> ApiSites:
    sites = ApiSites(new_site, tmp_path)
    (tmp_path / "config" / "policies").mkdir()
    (tmp_path / "config" / "policies" / "orders.cedar").write_text(POLICY)
    (tmp_path / "config" / "pdp.yaml").write_text("mapping: deny\n")
    return sites


@pytest.fixture
def bff(api: ApiSites) -> Site:
    return api(ROUTES)


@pytest.fixture
def alice(bff: Site) -> Browser:
    return bff.logged_in()


@pytest.fixture
def notes(bff: Site) -> Notes:
    found: EventSink = Notes()
    bff.services.audit._sink = found
    assert isinstance(found, Notes)
    return found


ORDER = {"quantity": 3, "lines": [{"sku": "tea"}]}


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/api/orders", None, (200, "")),
        ("GET", "/api/orders/7", None, (200, "")),
        ("GET", "/api/orders/7?region=north", None, (200, "")),
        ("GET", "/api/orders/7?region=south", None, (403, "deny")),
        ("GET", "/api/orders/7?region=north&region=south", None, (403, "property_invalid")),
        ("GET", "/api/orders/13", None, (403, "deny")),
        ("GET", "/api/orders/%31%33", None, (403, "deny")),
        ("POST", "/api/orders", ORDER, (200, "")),
        ("POST", "/api/orders", {"quantity": 11}, (403, "deny")),
        ("POST", "/api/orders", {"quantity": 3, "lines": [{"sku": "tea"}, {"sku": "poison"}]}, (403, "deny")),
        ("POST", "/api/orders", {"quantity": "3"}, (403, "deny")),
        ("POST", "/api/orders", {}, (403, "property_missing")),
        ("POST", "/api/orders", [], (403, "property_missing")),
        ("GET", "/api/unmapped", None, (403, "no_mapping")),
        ("GET", "/api/lenient", None, (403, "error")),
        ("GET", "/api/strict", None, (403, "error")),
    ],
)
def test_the_policy_decides(
    alice: Browser, api: ApiSites, method: str, path: str, body: Any, expected: tuple[int, str]
) -> None:
    answer = call(alice, method, path, json=body)
    assert (answer.status_code, "" if answer.status_code == 200 else refusal(answer)[1]) == expected
    assert len(api.orders.seen) == (expected[0] == 200)
    if expected[0] == 403:
        assert answer.headers["X-Denied-Reason"] == expected[1]


@pytest.mark.parametrize(
    ("content", "headers", "code"),
    [
        (b'{"quantity": 1, "quantity": 100}', {}, "body_ambiguous"),
        (b'{"quantity": 1', {}, "body_not_json"),
        (b'\xef\xbb\xbf{"quantity": 1}', {}, "body_not_json"),
        (b'{"quantity": NaN}', {}, "body_not_json"),
        (b'{"quantity": 1}', {"Content-Type": "text/plain"}, "body_not_json"),
        (b'{"quantity": 1}', {"Content-Encoding": "gzip"}, "body_encoded"),
        (b"[" * 100_000, {}, "body_not_json"),
    ],
)
def test_a_body_that_is_not_what_the_mapping_expects(
    alice: Browser, api: ApiSites, content: bytes, headers: dict[str, str], code: str
) -> None:
    sent = {"Content-Type": "application/json", **headers}
    assert refusal(call(alice, "POST", "/api/orders", data=content, headers=sent)) == (403, code)
    assert api.orders.seen == []


def test_what_was_decided_about_is_what_is_sent(alice: Browser, api: ApiSites) -> None:
    content = b'  {"quantity" :1, "note": "\\u00e9"}  '
    assert (
        call(alice, "POST", "/api/orders", data=content, headers={"Content-Type": "application/json"}).status_code
        == 200
    )
    assert api.orders.last["body"].encode("latin-1") == content


def test_the_policy_tells_why(alice: Browser) -> None:
    answer = alice.fetch("/api/orders/13")
    assert answer.get_json(force=True)["detail"] == "Order 13 is nobody's business."


def test_the_order_of_questions(bff: Site, counters: Counters) -> None:
    """Who has no session, or no proof, is not worth a decision."""
    assert bff.browser().fetch("/api/orders/13").status_code == 401
    assert bff.logged_in().fetch("/api/orders", method="POST", json={"quantity": 11}).status_code == 403
    assert counters.gained("bff_authz_requests_total") == {}


def test_decisions_are_counted_and_remembered(alice: Browser, counters: Counters, bff: Site) -> None:
    bff.services.decisions._listening(True)
    counters.start()
    for path in ("/api/orders/7", "/api/orders/7", "/api/orders/13", "/api/unmapped", "/api/strict"):
        alice.fetch(path)
    assert counters.gained("bff_authz_requests_total") == {
        "orders read allow": 2,
        "orders read deny": 1,
        "other other no_mapping": 1,
        "9x a error": 1,
    }
    assert counters.gained("bff_authz_cache_total") == {"hit": 1, "miss": 3}


def test_each_protected_request_leaves_one_event(alice: Browser, notes: Notes, bff: Site) -> None:
    headers = {"X-Correlation-ID": "e" * 20}
    alice.fetch("/api/orders/7", headers=headers)
    alice.fetch("/api/orders/13", headers=headers)
    call(alice, "POST", "/api/orders", json={}, headers=headers)
    kinds = [kind for kind, _ in notes.events]
    assert kinds == ["authz.decision"] * 3
    events = [dict(data) for _, data in notes.events]
    assert all(event.pop("latency") >= 0 for event in events)
    users = {event.pop("user") for event in events}
    assert len(users) == 1
    assert "alice" not in str(users)
    shared = {"resource": "orders", "correlation_id": "e" * 20}
    assert events == [
        {**shared, "decision": "allow", "passed": True, "action": "read", "id": "7", "route": "read", "reason": ""},
        {**shared, "decision": "deny", "passed": False, "action": "read", "id": "13", "route": "read",
         "reason": "Order 13 is nobody's business."},
        {**shared, "decision": "deny", "passed": False, "action": "add", "id": "", "route": "add",
         "reason": "property_missing"},
    ]  # fmt: skip


def test_a_changed_role_counts_at_the_next_login(bff: Site) -> None:
    alice = bff.logged_in()
    assert alice.fetch("/api/orders").status_code == 200
    bff.idp.user["roles"] = []
    assert bff.logged_in().fetch("/api/orders").status_code == 403
    assert alice.fetch("/api/orders").status_code == 200


def test_the_proof_is_asked_for_before_the_body_is_read(alice: Browser, api: ApiSites) -> None:
    headers = {**proof(alice), "X-CSRF-Token": "forged"}
    assert refusal(alice.fetch("/api/orders", method="POST", json=ORDER, headers=headers)) == (403, "mismatch")
