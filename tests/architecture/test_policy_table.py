"""Every endpoint that is open, in one literal table; everything else demands a session, and a CSRF proof to change.

A new open endpoint is a new line here, for a reviewer to see.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.routing import Rule

from bff import settings
from bff.app import create_app, stop
from bff.services import Services
from bff.sessions.binding import binding_of
from bff.sessions.model import User
from bff.sessions.tokens import AccessToken, Tokens
from bff.settings.model import RATE_LIMITS
from bff.web.policy import DEFAULT, Policy, policy_of
from bff.web.verify import PATHS
from tests.architecture.source import ROOT

OPEN = Policy(session=False, csrf=False)
FROM_ELSEWHERE = Policy(session=False, csrf=False, cross_site=True)

EXCEPTIONS = {
    # logging in and out, which other sites' pages lead to and which have a proof of their own: state, cookie or token;
    # and asking whether one is logged in
    "GET /auth/login": FROM_ELSEWHERE,
    "GET /auth/callback": FROM_ELSEWHERE,
    "GET /auth/callback/<alias>": FROM_ELSEWHERE,
    "GET /auth/session": OPEN,
    "GET /api/auth/session": OPEN,
    "GET /auth/logout": FROM_ELSEWHERE,  # asks first, unless a CSRF token comes along
    "GET /auth/end-session": FROM_ELSEWHERE,  # after it: the ticket and its cookie are the credential
    # providers that end a session: the logout token, or the session id, is the credential
    "POST /auth/backchannel-logout": OPEN,
    "GET /auth/frontchannel-logout": FROM_ELSEWHERE,
    # services; the Bearer token that they show is the credential
    "GET /auth/tokens/validate": OPEN,
    # a browser's session with a CSRF proof, or a service's Bearer token: the view itself demands one of them
    "POST /access/v1/evaluation": OPEN,
    "POST /access/v1/evaluations": OPEN,
    # the policy decision point, with a Bearer token made for this
    "POST /access/v1/invalidate": OPEN,
    # services that look for the two above: addresses, which everybody may know
    "GET /.well-known/authzen-configuration": OPEN,
    # machines that watch over us
    "GET /health": OPEN,
    "GET /auth/health": OPEN,
    "GET /health/live": OPEN,
    "GET /health/ready": OPEN,
    "GET /metrics": OPEN,
    # providers: the keys that verify our assertions
    "GET /.well-known/jwks.json": OPEN,
    # tools that make clients: what there is, which is no secret
    "GET /openapi.json": OPEN,
    # browsers: what they report, and the module that they report with
    "POST /api/v1/metrics": OPEN,
    "GET /static/bff.js": OPEN,
    # the API proxy, where each route of config/routes.yaml says itself what opens it; without a word, a session
    "GET /api/<anything:_rest>": OPEN,
    "POST /api/<anything:_rest>": OPEN,
    "PUT /api/<anything:_rest>": OPEN,
    "PATCH /api/<anything:_rest>": OPEN,
    "DELETE /api/<anything:_rest>": OPEN,
    # development only: the demo page
    "GET /": OPEN,
    "GET /dev/static/<path:name>": OPEN,
    # development only: the sample API; the Bearer token that the proxy adds is the credential
    "GET /dev/api/orders": OPEN,
    "GET /dev/api/orders/<order_id>": OPEN,
    "POST /dev/api/orders": OPEN,
    # development only: the embedded OpenID Provider, which has ways of its own to know its callers
    "GET /dev/idp/.well-known/openid-configuration": OPEN,
    "GET /dev/idp/jwks": OPEN,
    "GET /dev/idp/authorize": OPEN,
    "POST /dev/idp/authorize": OPEN,
    "POST /dev/idp/token": OPEN,
    "GET /dev/idp/userinfo": OPEN,
    "POST /dev/idp/userinfo": OPEN,
    "POST /dev/idp/introspect": OPEN,
    "POST /dev/idp/revoke": OPEN,
    "GET /dev/idp/logout": OPEN,
    "POST /dev/idp/logout": OPEN,
}

LIMITS = {
    "GET /auth/login": "login",
    "GET /auth/callback": "callback",
    "GET /auth/callback/<alias>": "callback",
    "POST /auth/backchannel-logout": "backchannel_logout",
    "GET /auth/frontchannel-logout": "frontchannel_logout",
    "GET /auth/end-session": "end_session",
    "POST /auth/tokens/refresh": "token_refresh",
    "POST /auth/tokens/exchange": "token_exchange",
    "POST /api/v1/metrics": "beacon",
}
# For sessions alone, which the view tells from services; and for tokens that a provider must be asked about.
LIMITED_INSIDE = {"evaluation", "bearer_token"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The app of a development machine, which has every endpoint there is, and one view that says nothing."""
    folder: Path = tmp_path_factory.mktemp("policy")
    app = create_app(settings.load({"BFF_DATA_DIR": str(folder)}, ROOT / "config"))
    app.add_url_rule("/undecorated", view_func=lambda: "inside", methods=["GET", "POST"])
    yield app
    stop(app)


@pytest.fixture(scope="module")
def cookie(app: Flask) -> str:
    """The cookie of a live session of werkzeug's test client, as a request header."""
    services: Services = app.extensions["bff"]
    value, _ = services.store.create(
        User("alice", "alice"),
        idp="embedded",
        auth_time=1,
        sid="",
        binding=binding_of("127.0.0.1", "policy-test"),
        tokens=Tokens("embedded", AccessToken("access", 2e9)),
    )
    return f"{services.settings.cookies.name}={value}"


def endpoints(app: Flask) -> dict[str, tuple[Rule, str, Policy]]:
    found = {}
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            found[f"{method} {rule.rule}"] = rule, method, policy_of(app.view_functions[rule.endpoint])
    return found


def defaults(app: Flask) -> list[tuple[str, str]]:
    """(method, path) of every endpoint with the default policy; a placeholder becomes a word."""
    found = [(rule, method) for rule, method, policy in endpoints(app).values() if policy == DEFAULT]
    with app.test_request_context():
        urls = [(method, rule, dict.fromkeys(rule.arguments, "x")) for rule, method in found]
        return [
            (method, (rule.build(values, append_unknown=False) or ("", rule.rule))[1]) for method, rule, values in urls
        ]


def call(app: Flask, method: str, path: str, **headers: str) -> Any:
    return app.test_client(use_cookies=False).open(
        path, method=method, headers={"User-Agent": "policy-test", **headers}
    )


def test_the_exceptions_are_these(app: Flask) -> None:
    actual = {name: policy for name, (_, _, policy) in endpoints(app).items() if policy != DEFAULT}
    added, gone = actual.keys() - EXCEPTIONS.keys(), EXCEPTIONS.keys() - actual.keys()
    assert not added, f"Open, but not in EXCEPTIONS; is that meant? Add with a reason, or drop @policy: {sorted(added)}"
    assert not gone, f"No longer open, or no longer there; remove from EXCEPTIONS: {sorted(gone)}"
    assert actual == EXCEPTIONS


def test_the_limits_are_these(app: Flask) -> None:
    actual = {name: policy.limit for name, (_, _, policy) in endpoints(app).items() if policy.limit}
    assert actual == LIMITS
    assert {*LIMITS.values(), *LIMITED_INSIDE} == {limit.name for limit in RATE_LIMITS}


def test_a_default_view_answers_401_without_a_session(app: Flask) -> None:
    asked = defaults(app)
    assert ("GET", "/undecorated") in asked
    assert ("POST", "/auth/logout") in asked
    for method, path in asked:
        answer = call(app, method, path)
        assert (answer.status_code, answer.json["code"]) == (401, "unauthenticated"), f"{method} {path}"


def test_a_default_view_lets_a_session_read(app: Flask, cookie: str) -> None:
    assert call(app, "GET", "/undecorated", Cookie=cookie).text == "inside"


def test_a_default_view_demands_a_csrf_proof_to_change(app: Flask, cookie: str) -> None:
    unsafe = [(method, path) for method, path in defaults(app) if method != "GET"]
    assert ("POST", "/undecorated") in unsafe
    for method, path in unsafe:
        answer = call(app, method, path, Cookie=cookie)
        assert (answer.status_code, answer.json["code"]) == (403, "missing_cookie"), f"{method} {path}"


def test_a_default_view_opens_no_session_to_other_sites_pages(app: Flask, cookie: str) -> None:
    """Whatever the method: also what only reads. A navigation is nothing else here."""
    from_elsewhere = [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Origin": "https://evil.example"},
    ]
    asked = [*defaults(app), ("GET", "/auth/session"), ("GET", "/api/auth/session")]
    for method, path in asked:
        for headers in from_elsewhere:
            answer = call(app, method, path, Cookie=cookie, Accept="*/*", **headers)
            assert answer.status_code == 403, f"{method} {path} {headers}"
            assert "Set-Cookie" not in answer.headers


def test_verify_in_front_of_flask_demands_a_session(app: Flask, cookie: str) -> None:
    assert not {path for name in endpoints(app) for path in PATHS if name.endswith(path)}, "Flask would never see it"
    for path in PATHS:
        assert call(app, "GET", path).status_code == 401
        assert call(app, "GET", path, Cookie=cookie).status_code == 200


def test_without_a_session_there_is_nothing_to_protect_from_csrf() -> None:
    from bff.web.policy import policy

    with pytest.raises(ValueError, match="bound to a session"):
        policy(session=False)
