"""Requests in traces: whose trace it is, what it is called, and who is told about it. The collector here is a list."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from bff.dev.in_process import WsgiTransport
from tests.clock import Clock
from tests.flows.api import ApiSites, call
from tests.flows.browser import VERIFY_BIND, Browser
from tests.flows.internet import BFF, ISSUER, Site, SiteFactory, login, site
from tests.flows.policy import with_pdp
from tests.flows.provider import OpenIdProvider
from tests.recorded_spans import Recorded, recording

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"
PROXY, STRANGER = "127.0.0.1", "198.51.100.1"
EXPORTS = {"OTLP_ENDPOINT": "http://127.0.0.1:9"}
PDP = "https://pdp.example"
PROFILES = "profiles: {legacy: {authz: pdp, resource: legacy}}"


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with recording() as found:
        yield found


@pytest.fixture
def bff(new_site: SiteFactory, recorded: Recorded) -> Site:
    made: Site = new_site(**EXPORTS)
    return made


def ask(bff: Site, path: str, traceparent: str = SAMPLED, peer: str = PROXY, **headers: str) -> Any:
    return Client(bff.app.wsgi_app, use_cookies=False).get(
        path,
        base_url=BFF,
        headers={"traceparent": traceparent, **headers},
        environ_base={"REMOTE_ADDR": peer},
    )


def trace(span: ReadableSpan) -> str:
    assert span.context
    return f"{span.context.trace_id:032x}"


def parent(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


def own(span: ReadableSpan) -> str:
    assert span.context
    return f"{span.context.span_id:016x}"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/auth/session", "GET /auth/session"),
        ("/auth/csrf", "GET /auth/csrf"),  # which the policy refuses, before any view
        ("/auth/verify", "GET /auth/verify"),
        ("/auth/forward", "GET /auth/forward"),
        ("/auth/verify@nobody", "GET"),
        ("/api/people/alice@example.com", "GET /api/*"),
        ("/nowhere/alice@example.com?mail=alice@example.com", "GET"),
    ],
)
def test_a_request_is_called_by_its_route(bff: Site, recorded: Recorded, path: str, name: str) -> None:
    ask(bff, path)
    (found,) = recorded.spans()
    assert (found.name, trace(found), parent(found)) == (name, TRACE, CALLER)
    assert "alice" not in str((found.attributes or {}).get("http.route"))


@pytest.mark.parametrize("path", ["/auth/session", "/auth/csrf", "/nowhere"])
def test_a_stranger_joins_no_trace(bff: Site, recorded: Recorded, path: str) -> None:
    ask(bff, path, peer=STRANGER)
    (found,) = recorded.spans()
    assert trace(found) != TRACE
    assert parent(found) == ""


@pytest.mark.parametrize(
    ("traceparent", "peer"), [(SAMPLED, STRANGER), (UNSAMPLED, PROXY), ("x" * 8000, PROXY), ("", PROXY)]
)
def test_verify_has_no_span_of_its_own_accord(bff: Site, recorded: Recorded, traceparent: str, peer: str) -> None:
    assert ask(bff, "/auth/verify", traceparent, peer).status_code == 401
    assert recorded.spans() == []


def test_verify_says_how_it_ended(bff: Site, recorded: Recorded) -> None:
    ask(bff, "/auth/verify")
    assert dict(recorded.span("GET /auth/verify").attributes or {}) == {
        "http.request.method": "GET", "http.route": "/auth/verify", "bff.outcome": "unauthenticated",
        "http.response.status_code": 401,
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics", "/static/bff.js"])
def test_what_machines_ask_all_the_time_is_no_trace(bff: Site, recorded: Recorded, path: str) -> None:
    assert ask(bff, path).status_code in (200, 503)
    assert recorded.spans() == []


@pytest.mark.parametrize("path", ["/auth/session?x=/health", "/auth/session?http://x/metrics", "/nowhere/health/live"])
def test_nobody_hides_behind_them(bff: Site, recorded: Recorded, path: str) -> None:
    ask(bff, path)
    assert len(recorded.spans()) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "[::1"},
        {"Host": "a" * 5000},
        {"Host": "app.example:x"},
        {"Host": "\xff"},
        {"User-Agent": "\xff" * 3000},
        {"tracestate": "=,=,=" * 500},
        {"tracestate": "a=b," * 2000},
        {"baggage": "a=b," * 2000},
        {"X-Forwarded-Host": "]["},
    ],
)
@pytest.mark.parametrize("traceparent", [SAMPLED, "00-" + "f" * 8000, "\xff", ""])
@pytest.mark.parametrize("path", ["/auth/session", "/auth/verify"])
def test_no_header_makes_the_instrumentation_fail(
    bff: Site, headers: dict[str, str], traceparent: str, path: str
) -> None:
    assert ask(bff, path, traceparent, **headers).status_code in (200, 400, 401)


def test_a_login_is_told_to_the_provider(bff: Site, recorded: Recorded) -> None:
    seen: list[str] = []
    inner = bff.idp.__class__.__call__

    def watched(self: Any, environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(environ.get("HTTP_TRACEPARENT", ""))
        return inner(self, environ, start_response)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bff.idp.__class__, "__call__", watched)
        assert login(bff.browser()).status_code == 302
    calls = [span for span in recorded.spans() if (span.attributes or {}).get("server.address") == "idp.example"]
    assert calls
    assert {f"00-{trace(span)}-{own(span)}" for span in calls} <= {each[:-3] for each in seen}
    callback, inside = recorded.span("GET /auth/callback"), recorded.span("callback")
    assert parent(inside) == own(callback)
    assert {parent(span) for span in calls} <= {own(recorded.span("login")), own(inside)}


@pytest.fixture
def api(new_site: SiteFactory, tmp_path: Path) -> ApiSites:
    return ApiSites(new_site, tmp_path)


def test_a_service_learns_of_the_call_that_is_made(api: ApiSites, recorded: Recorded) -> None:
    alice = api(**EXPORTS).logged_in()
    sent = {"traceparent": SAMPLED, "tracestate": "who=alice", "baggage": "who=alice"}
    assert call(alice, "GET", "/api/orders/7?of=alice", headers=sent).status_code == 200
    entry, made = recorded.span("GET /api/orders/{id}"), recorded.span("GET orders")
    assert parent(made) == own(entry)
    told = {name.lower(): value for name, value in api.orders.last["headers"].items()}
    assert told["traceparent"].split("-")[1:3] == [trace(made), own(made)]
    assert not told.keys() & {"tracestate", "baggage"}, "of a stranger's trace nothing is passed on"
    assert dict(made.attributes or {}) == {
        "http.request.method": "GET", "server.address": "orders.example", "bff.service": "orders",
        "http.response.status_code": 200,
    }  # fmt: skip


def test_a_service_that_fails_shows_in_the_trace(api: ApiSites, recorded: Recorded) -> None:
    alice = api(**EXPORTS).logged_in()
    api.orders.then(503)
    assert call(alice, "GET", "/api/orders").status_code == 503
    found = recorded.span("GET orders")
    assert (found.attributes or {})["error.type"] == "503"
    assert not found.status.is_ok


def test_an_exchange_is_part_of_the_call_it_is_for(api: ApiSites, recorded: Recorded) -> None:
    alice = api(**EXPORTS).logged_in()
    assert call(alice, "GET", "/api/invoices/1").status_code == 200
    exchange = recorded.span("token_exchange")
    assert parent(exchange) == own(recorded.span("GET /api/invoices/{id}"))
    assert dict(exchange.attributes or {}) == {"bff.service": "billing", "bff.idp": "default"}
    assert parent(recorded.span("GET billing")) == own(recorded.span("GET /api/invoices/{id}"))


def test_where_nothing_is_exported_a_service_gets_what_the_client_sent(api: ApiSites) -> None:
    alice = api().logged_in()
    call(alice, "GET", "/api/orders", headers={"traceparent": SAMPLED, "tracestate": "a=b"})
    told = api.orders.last["headers"]
    assert (told["Traceparent"], told["Tracestate"]) == (SAMPLED, "a=b")


class Pdp:
    """Allows everything, and remembers in which trace it was asked."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        if request.method == "GET":
            return Response(status=404)(environ, start_response)
        self.told.append(request.headers.get("traceparent", ""))
        return Response('{"decision": true}', content_type="application/json")(environ, start_response)


@pytest.fixture
def remote(tmp_path: Path, clock: Clock, rsa: Any, recorded: Recorded) -> Iterator[tuple[Browser, Pdp]]:
    """Somebody logged in at a BFF that asks a policy decision point elsewhere about pages."""
    pdp, idp = Pdp(), OpenIdProvider(ISSUER, rsa, clock)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "verify.yaml").write_text(PROFILES)
    network = WsgiTransport({ISSUER: idp, PDP: pdp})
    change = with_pdp(base_url=PDP)
    environ = {**EXPORTS, "VERIFY_BIND": VERIFY_BIND}
    made = site(tmp_path, clock, rsa, environ, {"default": idp}, network=network, change=change)
    yield made.logged_in(), pdp
    made.services.close()


def test_the_policy_decision_point_is_told_too(remote: tuple[Browser, Pdp], recorded: Recorded) -> None:
    alice, pdp = remote
    assert alice.verify("/page", profile="@legacy", headers={"traceparent": SAMPLED}).status_code == 200
    decision = recorded.span("decision")
    (asked,) = [span for span in recorded.spans() if parent(span) == own(decision) and span.name == "POST"]
    assert pdp.told == [f"00-{TRACE}-{own(asked)}-01"]
    assert parent(decision) == own(recorded.span("GET /auth/verify@legacy"))
    assert (decision.attributes or {})["bff.decision"] == "allow"


def test_of_an_unsampled_trace_as_well(remote: tuple[Browser, Pdp], recorded: Recorded) -> None:
    alice, pdp = remote
    before = len(recorded.spans())
    assert alice.verify("/page", profile="@legacy", headers={"traceparent": UNSAMPLED}).status_code == 200
    assert len(recorded.spans()) == before
    (told,) = pdp.told
    assert told.startswith(f"00-{TRACE}-")
    assert told.endswith("-00")
