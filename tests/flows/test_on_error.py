"""`on_error: allow` everywhere, and bob, who may nothing: an outage lets him through, nothing he sends does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from joserfc.jwk import Key
from werkzeug.wrappers import Request, Response

from bff.dev.in_process import WsgiTransport
from bff.settings import OnError
from tests.clock import Clock
from tests.flows.api import ORDERS, Backend, call, refusal
from tests.flows.browser import VERIFY_BIND, Browser
from tests.flows.internet import ISSUER, Site, proof, site
from tests.flows.policy import with_pdp
from tests.flows.provider import OpenIdProvider

PDP = "https://pdp.example"
ROUTES = """
services: {orders: {base_url: https://orders.example}}
routes:
  - id: add
    path: /api/orders
    service: orders
    methods: [POST]
    authz: pdp
    on_error: allow
    authz_map: {resource: orders, action: add, props: {quantity: "$.body.quantity | number", note: "$.query.note?"}}
"""
PROFILES = "profiles: {pages: {authz: pdp, resource: pages, on_error: allow}}"
RULES = """
permit(principal in role::"staff", action, resource);
forbid(principal, action == Action::"add", resource is orders) when { resource.quantity > 50 };
"""


class Pdp:
    """Denies everything; what it cannot read it refuses, as servers do. Without metadata."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        return self._answer(request)(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if request.method == "GET" or self.status != 200:
            return Response(status=404 if request.method == "GET" else self.status)
        self.asked += 1
        text = request.get_data(as_text=True)
        status = next((int(word[-3:]) for word in ("say-400", "say-413", "say-403", "say-404") if word in text), 200)
        if "say-nothing" in text:
            return Response("{}", content_type="application/json")
        said = {"decision": status != 200, "context": {"x": "y" * 1024 * 1024 if "say-much" in text else ""}}
        return Response(json.dumps(said), status, content_type="application/json")


class World:
    def __init__(self, folder: Path, clock: Clock, key: Key, remote: bool) -> None:
        config = folder / "config"
        (config / "policies").mkdir(parents=True)
        (config / "routes.yaml").write_text(ROUTES)
        (config / "verify.yaml").write_text(PROFILES)
        (config / "policies" / "all.cedar").write_text(RULES)
        self.pdp, self.orders = Pdp(), Backend()
        idp = OpenIdProvider(ISSUER, key, clock)
        elsewhere = {"base_url": PDP} if remote else {}
        self.bff: Site = site(
            folder, clock, key, {"VERIFY_BIND": VERIFY_BIND}, {"default": idp},
            network=WsgiTransport({ISSUER: idp, PDP: self.pdp}), behind={ORDERS: self.orders},
            change=with_pdp(on_error=OnError.ALLOW, **elsewhere),
        )  # fmt: skip
        self.bob: Browser = self.bff.logged_in()


@pytest.fixture(params=["embedded", "remote"])
def world(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, rsa: Key) -> Iterator[World]:
    made = World(tmp_path, clock, rsa, request.param == "remote")
    yield made
    made.bff.services.close()


@pytest.fixture
def remote(tmp_path: Path, clock: Clock, rsa: Key) -> Iterator[World]:
    made = World(tmp_path, clock, rsa, remote=True)
    yield made
    made.bff.services.close()


BODIES = [
    "1.5",
    "null",
    str(2**63),
    '"60"',
    "[]",
    "{}",
    '{"__entity": {"type": "user", "id": "a"}}',
    "1e400",
    "60",
    "-0.0",
]


@pytest.mark.parametrize("quantity", BODIES)
def test_no_value_of_a_body_lets_him_through(world: World, quantity: str) -> None:
    body = f'{{"quantity": {quantity}}}'.encode()
    answer = call(world.bob, "POST", "/api/orders", data=body, headers={"Content-Type": "application/json"})
    assert refusal(answer)[0] == 403
    assert refusal(answer)[1] in ("property_invalid", "deny")
    assert world.orders.seen == []


NOTES = ["say-400", "say-413", "say-403", "say-404", "say-nothing", "say-much", "\x00", "x" * 33_000, "\ufffe", "𝒳"]


@pytest.mark.parametrize("note", NOTES, ids=range(len(NOTES)))
def test_nor_does_what_an_engine_chokes_on(world: World, note: str) -> None:
    for _ in range(12):
        target = f"/api/orders?note={quote(note)}"
        answer = call(world.bob, "POST", target, json={"quantity": 1})
        assert refusal(answer)[0] == 403
    assert world.orders.seen == []


@pytest.mark.parametrize("note", ["say-400", "say-413", "say-nothing", "say-much", "x" * 60_000])
def test_nor_through_a_proxy_that_asks(world: World, note: str) -> None:
    for _ in range(12):
        assert world.bob.verify(f"/page?{note}", profile="@pages").status_code == 403


@pytest.mark.parametrize("note", ["say-400", "say-413", "say-404", "say-nothing", "say-much", None, 1.5, 2**63])
def test_nor_by_asking(world: World, note: object) -> None:
    body = {
        "action": {"name": "add"},
        "resource": {"type": "orders", "id": "1", "properties": {"quantity": 1, "note": note}},
    }
    for path, asked in (("", body), ("s", {"evaluations": [body, body]})):
        answer = world.bob.fetch(f"/access/v1/evaluation{path}", method="POST", json=asked, headers=proof(world.bob))
        for decided in answer.get_json().get("evaluations", [answer.get_json()]):
            assert decided["decision"] is False
            assert decided.get("context", {}).get("error", {}).get("status") != 503, "what lasts is not of the moment"


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_an_outage_does(remote: World, status: int) -> None:
    remote.pdp.status = status
    assert call(remote.bob, "POST", "/api/orders", json={"quantity": 1}).status_code == 200
    assert remote.bob.verify("/page", profile="@pages").status_code == 200
    assert len(remote.orders.seen) == 1


def test_but_not_for_what_no_question_can_be_made_of(remote: World) -> None:
    remote.pdp.status = 503
    for body in ({"quantity": "60"}, {"quantity": None}, {}):
        assert refusal(call(remote.bob, "POST", "/api/orders", json=body))[0] == 403
    assert remote.orders.seen == []
