"""Verify by profile: headers, tokens, redirects, and an application behind the policy that knows nothing of it."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from bff import settings, settings_check
from tests.flows.browser import ON_VERIFY_BIND, VERIFY_BIND, Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, SESSION, Site, SiteFactory
from tests.flows.token_use import post

PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
PROFILES = """
profiles:
  pages: {unauthenticated: redirect}
  everything:
    headers: [X-User-ID, X-User-Name, X-User-Email, X-User-Roles, X-Session-ID, X-Auth-Time]
  nothing: {headers: []}
  orders: {service: orders}
  billing: {service: billing}
  legacy: {authz: pdp, resource: legacy}
  lenient: {authz: pdp, resource: unknown, on_error: allow}
"""
ROUTES = """
services:
  orders: {token: user}
  billing: {token: exchange, audience: billing}
"""
POLICY = """
@id("read")
permit(principal in role::"user", action in [Action::"GET", Action::"HEAD"], resource is legacy);
@id("reports")
permit(principal, action == Action::"POST", resource == legacy::"/reports/café") when { resource.query == "run=1" };
@id("closed") @reason("The archive is closed.")
forbid(principal, action, resource == legacy::"/archive");
@id("network") @reason("Not from there.")
forbid(principal, action, resource is legacy) when { context.client_address == "203.0.113.66" };
@id("host") @reason("Not on this host.")
forbid(principal, action, resource is legacy) when { resource has host && resource.host == "evil.example" };
"""


@pytest.fixture
def bff(new_site: SiteFactory, tmp_path: Path) -> Site:
    config = tmp_path / "config"
    (config / "policies").mkdir(parents=True)
    (config / "verify.yaml").write_text(PROFILES)
    (config / "routes.yaml").write_text(ROUTES)
    (config / "policies" / "legacy.cedar").write_text(POLICY)
    made: Site = new_site(VERIFY_BIND=VERIFY_BIND)
    assert settings_check.problems(made.services.settings) == []
    return made


@pytest.fixture
def alice(bff: Site) -> Browser:
    return bff.logged_in()


def test_all_that_can_be_told(alice: Browser) -> None:
    headers = dict(alice.verify(profile="@everything").headers)
    assert headers["X-User-ID"] == "alice"
    assert headers["X-User-Name"] == "Alice%20Example"
    assert headers["X-User-Email"] == "alice@example.com"
    assert headers["X-User-Roles"] == "user"
    assert {"X-Session-ID", "X-Auth-Time", "X-Correlation-ID"} <= headers.keys()


def test_no_more_than_is_declared(alice: Browser) -> None:
    told = dict(alice.verify(profile="@nothing").headers)
    assert told.keys() == {"Content-Length", "Cache-Control", "X-Correlation-ID"}
    assert "X-User-Email" not in alice.verify().headers


def test_profiles_do_not_mix(alice: Browser) -> None:
    for _ in range(2):
        assert "X-User-Email" in alice.verify(profile="@everything").headers
        assert "X-User-Email" not in alice.verify().headers
        assert "X-User-ID" not in alice.verify(profile="@nothing").headers


def test_what_has_no_value_is_empty(bff: Site) -> None:
    bff.idp.user = {"sub": "carol", "roles": ["a b", "c,d"]}
    headers = bff.logged_in().verify(profile="@everything").headers
    assert (headers["X-User-Name"], headers["X-User-Email"], headers["X-User-Roles"]) == ("", "", "a%20b,c%2Cd")


@pytest.mark.parametrize(("profile", "same"), [("@orders", True), ("@billing", False)])
def test_a_token_goes_along(alice: Browser, bff: Site, profile: str, same: bool) -> None:
    scheme, _, token = alice.verify(profile=profile).headers["Authorization"].partition(" ")
    cookie = alice.cookie(SESSION)
    assert cookie is not None
    assert scheme == "Bearer"
    assert (token == bff.idp.issued[0]) is same or token in bff.idp.issued
    assert "Authorization" not in alice.verify().headers


@pytest.mark.parametrize(("method", "status"), [("GET", 302), ("HEAD", 302), ("POST", 303), ("DELETE", 303)])
def test_a_person_is_sent_to_log_in(bff: Site, method: str, status: int) -> None:
    answer = bff.browser().verify("/reports?a=1", method=method, headers=PAGE, profile="@pages")
    assert answer.status_code == status
    location = urlsplit(answer.headers["Location"])
    assert location.path == "/auth/login"
    assert parse_qs(location.query)["return_to"] == [f"{BFF}/reports?a=1"]


def test_a_script_is_told_instead(bff: Site) -> None:
    assert bff.browser().verify(profile="@pages").status_code == 401
    assert bff.browser().verify(headers=PAGE).status_code == 401


def test_a_store_outage_sends_nobody_to_log_in(bff: Site) -> None:
    alice = bff.logged_in()
    bff.store.down = True
    answer = alice.verify(headers=PAGE, profile="@pages")
    assert (answer.status_code, "Location" in answer.headers) == (503, False)


@pytest.mark.parametrize("profile", ["@unknown", "@", "@pages@pages", "@pages/"])
def test_an_unknown_profile(bff: Site, counters: Counters, profile: str) -> None:
    answer = bff.logged_in().verify(profile=profile)
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (500, "unknown_profile")
    assert counters.gained("http_requests_total")["GET unmatched 500"] == 1


# The policy.


@pytest.mark.parametrize(
    ("method", "uri", "expected"),
    [
        ("GET", "/anything/at/all", (200, None)),
        ("HEAD", "/", (200, None)),
        ("POST", "/anything", (403, "deny")),
        ("POST", "/reports/caf%C3%A9?run=1", (200, None)),
        ("POST", "/reports/caf%c3%a9?run=2", (403, "deny")),
        ("GET", "/archive", (403, "deny")),
        ("GET", "/%61rchive", (403, "deny")),
        ("GET", "/x/../archive", (400, "bad_path")),
        ("GET", "/x/%2e%2e/archive", (400, "bad_path")),
        ("GET", "/x%2farchive", (400, "bad_path")),
        ("GET", "//archive", (400, "bad_path")),
        ("GET", "/archive;x", (400, "bad_path")),
        ("GET", "", (400, "bad_request")),
        ("", "/", (400, "bad_request")),
    ],
)
def test_an_application_behind_the_policy(
    alice: Browser, method: str, uri: str, expected: tuple[int, str | None]
) -> None:
    answer = alice.verify(uri, method=method, profile="@legacy")
    code = answer.get_json(force=True)["code"] if answer.data else None
    assert (answer.status_code, code) == expected
    if answer.status_code == 403:
        assert answer.headers["X-Denied-Reason"] == code
        assert "X-User-ID" not in answer.headers


def test_the_policy_tells_why(alice: Browser, counters: Counters) -> None:
    assert alice.verify("/archive", profile="@legacy").get_json(force=True)["detail"] == "The archive is closed."
    assert counters.gained("bff_verify_duration_seconds_count") == {"forbidden": 1}
    assert counters.gained("bff_authz_requests_total") == {"legacy GET deny": 1}
    assert counters.gained("http_requests_total")["GET /auth/verify@legacy 403"] == 1


def test_where_the_client_is_counts(bff: Site) -> None:
    assert bff.logged_in("203.0.113.66").verify("/", profile="@legacy").status_code == 403


def test_only_a_trusted_proxy_says_what_is_asked(alice: Browser) -> None:
    answer = alice.verify("/", profile="@legacy", peer=alice.address)
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (403, "untrusted_proxy")


def test_no_session_no_question(bff: Site, counters: Counters) -> None:
    assert bff.browser().verify("/", profile="@legacy").status_code == 401
    assert counters.gained("bff_authz_requests_total") == {}


# Mistakes.


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("a: {service: nowhere}", "nowhere"),
        ("a: {authz: pdp}", "resource"),
        ("a: {headers: [X-Admin]}", "X-Admin"),
        ("a: {unauthenticated: maybe}", "unauthenticated"),
        ("a: {hedaers: []}", "headers"),
        ("Ä: {}", "Ä"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "verify.yaml").write_text(f"profiles:\n  {line}\n")
    config = settings.load({"BFF_DATA_DIR": str(tmp_path), "VERIFY_BIND": VERIFY_BIND}, tmp_path)
    found = [problem for problem in settings_check.problems(config) if "verify.yaml" in problem]
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize("path", ["/auth/verify", "/auth/forward", "/auth/verify/nginx", "/auth/verify/envoy"])
@pytest.mark.parametrize(
    ("profile", "at_once"),
    [
        ("pages", True), ("everything", True), ("nothing", True), ("orders", False), ("billing", False),
        ("legacy", False), ("lenient", False), ("unknown", False),
    ],
)  # fmt: skip
def test_which_profiles_are_answered_at_once(bff: Site, path: str, profile: str, at_once: bool) -> None:
    """Those whose answer depends on the session alone; never Envoy's, whose address differs with each request."""
    verify = bff.app.extensions["bff_verify"]
    expected = at_once and not path.endswith("envoy")
    assert (f"{path}@{profile}" in verify.paths) is expected
    answered: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": f"{path}@{profile}", "REMOTE_ADDR": "192.0.2.1"}
    body = verify.at_once({**environ, **ON_VERIFY_BIND}, lambda status, _headers: answered.append(status))
    assert (body is not None, answered) == (expected, ["401 Login required"] if expected else [])
    assert verify.at_once(environ, lambda status, _headers: answered.append(status)) is None


def test_a_role_that_the_provider_took_away_is_gone_after_the_next_refresh(bff: Site, alice: Browser) -> None:
    """From the identity headers, the session and the policy, whose remembered answer was for the old role."""
    assert alice.verify(profile="@legacy", uri="/page").status_code == 200
    assert alice.verify(profile="@everything").headers["X-User-Roles"] == "user"
    bff.idp.user |= {"roles": []}
    assert post(alice, "refresh").status_code == 200
    assert alice.verify(profile="@everything").headers["X-User-Roles"] == ""
    assert json.loads(alice.fetch("/auth/session").text)["user"]["roles"] == []
    assert alice.verify(profile="@legacy", uri="/page").status_code == 403
