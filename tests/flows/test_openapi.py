"""The service against its own description: whatever openapi.yaml allows and forbids is sent, by strangers, people and
services, and every answer must be one of those that it promises."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import Key
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from bff import settings
from bff.dev.in_process import WsgiApp, WsgiTransport
from bff.web.openapi import document
from tests.clock import Clock
from tests.flows.api import ORDERS, Backend
from tests.flows.browser import ON_VERIFY_BIND, QUESTIONS, VERIFY_BIND
from tests.flows.internet import BFF, Site, proof, site
from tests.flows.policy import policies, services_own_token, with_pdp
from tests.fuzz import examples

CHANGE_TOKEN = "c" * 40
PROFILES = "profiles: {asked: {authz: pdp, resource: site}, orders: {service: orders, unauthenticated: redirect}}"
RULES = 'permit(principal, action == Action::"read", resource);'
ROUTES = f"""
services:
  orders: {{base_url: "{ORDERS}"}}
  billing: {{token: exchange, audience: billing}}
routes:
  - {{id: orders, path: /api/orders, service: orders, methods: [GET, PUT, POST]}}
  - {{id: machines, path: /api/machines, service: orders, auth: bearer}}
"""
PROXY = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Uri": "/page",
    "X-Original-Method": "GET",
    "X-Original-URL": "https://app.example/page",
}
"""What a proxy adds."""

KNOWN: Mapping[str, Sequence[str]] = {
    "path": ("orders", "machines"),
    "profile": ("asked", "orders"),
    "service": ("billing", "user", "orders"),
}
"""Values of parameters and members that lead somewhere."""

TIMEOUT = 5.0
PROMISED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


def listening(app: WsgiApp) -> WsgiApp:
    """Where proxies ask, their questions; everything else on the public listener."""

    def both(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"].startswith(QUESTIONS):
            environ.update(ON_VERIFY_BIND)
        return app(environ, start_response)

    return both


Credentials = tuple[dict[str, str], dict[str, str]]
"""Header fields and cookies."""


class Town:
    """A BFF and those who call it."""

    def __init__(self, bff: Site) -> None:
        self.bff = bff
        self._alice = bff.logged_in()
        self._wire = requests.Session()
        self._wire.mount(BFF, WsgiTransport({BFF: listening(bff.app.wsgi_app)}))

    def credentials(self, wanted: str) -> Credentials:
        """wanted: what the description calls a security scheme, or nothing."""
        if wanted in ("bearer", "invalidation"):
            token = CHANGE_TOKEN if wanted == "invalidation" else services_own_token(self.bff)
            return {"Authorization": f"Bearer {token}"}, {}
        return self._session() if wanted == "session" else ({}, {})

    def proves(self, case: Any, data: st.DataObject) -> None:
        """Send a request, by whomever, and hold the answer against the description."""
        schemes = {scheme for choice in case.operation.definition.raw["x-security"] for scheme in choice}
        headers, cookies = self.credentials(data.draw(st.sampled_from([*sorted(schemes - {"csrf"}), ""])))
        fetched = data.draw(st.sampled_from(["cors", "navigate"]))
        case.call_and_validate(
            base_url=BFF,
            session=self._wire,
            headers={**PROXY, "Sec-Fetch-Mode": fetched, **headers},
            cookies=cookies,
            timeout=TIMEOUT,
            checks=PROMISED,
        )

    def _session(self) -> Credentials:
        """Alice's; another one when the last request has ended it."""
        if not self._alice.fetch("/auth/session").get_json()["authenticated"]:
            self._alice = self.bff.logged_in()
        headers = {**proof(self._alice), "User-Agent": self._alice.agent}
        return headers, {cookie.name: cookie.value for cookie in self._alice.cookies}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, rsa: Key) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("described")
    (folder / "config").mkdir()
    (folder / "config" / "verify.yaml").write_text(PROFILES)
    (folder / "config" / "routes.yaml").write_text(ROUTES)
    made = site(
        folder,
        Clock(),
        rsa,
        {"VERIFY_BIND": VERIFY_BIND},
        behind={ORDERS: Backend()},
        change=with_pdp(policies=policies(folder / "policies", all=RULES), invalidation_token=CHANGE_TOKEN),
    )
    yield Town(made)
    made.services.close()


@cache
def operations() -> Mapping[str, Any]:
    """Without what they say of security: credentials are the town's to add."""
    content = document(settings.load({}))
    for path in content["paths"].values():
        for method in path.keys() - {"parameters"}:
            path[method]["x-security"] = path[method].pop("security", [])
    schema = schemathesis.openapi.from_dict(content)
    schema.config.checks.negative_data_rejection.expected_statuses = ["4XX", "503"]
    return {found.ok().label: found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)}


def has_a_body_of_ours(name: str) -> bool:
    return operations()[name].body and "/api/{path}" not in name


@pytest.mark.parametrize("name", operations())
@examples(15)
@given(data=st.data())
def test_what_is_allowed(town: Town, name: str, data: st.DataObject) -> None:
    case = data.draw(operations()[name].as_strategy(generation_mode=GenerationMode.POSITIVE))
    for values in (case.path_parameters, case.body if isinstance(case.body, dict) else {}):
        for known in KNOWN.keys() & values.keys():
            values[known] = data.draw(st.sampled_from([*KNOWN[known], values[known]]))
    town.proves(case, data)


@pytest.mark.parametrize("name", [name for name in operations() if has_a_body_of_ours(name)])
@examples(30)
@given(data=st.data())
def test_what_is_forbidden(town: Town, name: str, data: st.DataObject) -> None:
    town.proves(data.draw(operations()[name].as_strategy(generation_mode=GenerationMode.NEGATIVE)), data)
