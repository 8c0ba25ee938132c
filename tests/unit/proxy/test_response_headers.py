"""Which fields of a service's answer pass: those of an allow-list, and never one that commands more than its page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.proxy.response_headers import PASSED, Headers, ResponseHeaders
from bff.settings import Auth


def answered(*fields: tuple[str, str], more: tuple[str, ...] = (), auth: Auth = Auth.NONE) -> Headers:
    return ResponseHeaders(more).of(fields, auth)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Type", "text/html"), ("content-type", "text/html"), ("Content-Disposition", "caf\xe9"),
        ("ETag", '"1"'), ("Cache-Control", "max-age=60"), ("Location", "https://elsewhere.example/"),
        ("Content-Range", "bytes 0-1/2"), ("Link", "<a>; rel=next"), ("Retry-After", "3"), ("RateLimit", "a;r=1"),
        ("Allow", "GET"), ("Vary", "Accept"), ("Server-Timing", "db;dur=53"), ("Content-Security-Policy", "sandbox"),
        ("X-Frame-Options", "DENY"), ("Content-Length", "5"),
    ],
)  # fmt: skip
def test_what_passes(name: str, value: str) -> None:
    assert answered((name, value)) == [(name, value)]


KEPT_HOME = [
    # commands to a proxy
    "X-Accel-Redirect", "X-Accel-Expires", "X-Accel-Buffering", "X-Accel-Limit-Rate", "X-Sendfile",
    "X-Lighttpd-Send-File",
    "X-LiteSpeed-Location", "X-Reproxy-URL", "X-Envoy-Upstream-Service-Time", "X-Envoy-Immediate-Health-Check-Fail",
    "X-Envoy-Ratelimited", "Surrogate-Control", "Surrogate-Key", "CDN-Cache-Control", "Vercel-CDN-Cache-Control",
    "Cache-Tag", "Fly-Replay", "X-Middleware-Rewrite", "Via",
    # credentials and identities
    "Authorization", "Proxy-Authorization", "Authentication-Info", "DPoP-Nonce", "DPoP", "Cookie", "Set-Cookie",
    "Set-Cookie2", "Set-Login", "X-User-ID", "X-User-Email", "X-User-Roles", "X-Session-ID", "X-Auth-Time",
    "X-Original-User", "X-Forwarded-User", "X-Auth-Request-User", "Remote-User", "X-Remote-User", "X_User_ID",
    "X-Forwarded-For", "Forwarded", "X-Correlation-ID", "X-Denied-Reason",
    # the site, beyond the page
    "NEL", "Report-To", "Reporting-Endpoints", "Strict-Transport-Security", "Public-Key-Pins", "Expect-CT",
    "Clear-Site-Data", "Alt-Svc", "Service-Worker-Allowed", "Origin-Agent-Cluster", "Accept-CH", "Critical-CH",
    "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods", "Access-Control-Expose-Headers", "Access-Control-Max-Age",
    "Access-Control-Allow-Private-Network", "Timing-Allow-Origin", "Use-As-Dictionary", "Activate-Storage-Access",
    "Observe-Browsing-Topics", "Attribution-Reporting-Register-Source", "SourceMap", "X-SourceMap", "Speculation-Rules",
    # the connection
    "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Status",
    "TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings", "Server", "Date", "Status",
    # nobody knows
    "X-Anything", "", "Not a name",
]  # fmt: skip


@pytest.mark.parametrize("auth", Auth)
@pytest.mark.parametrize("name", KEPT_HOME)
def test_what_does_not(name: str, auth: Auth) -> None:
    for spelled in (name, name.lower(), name.upper()):
        assert name.lower() not in {known.lower() for known, _ in answered((spelled, "x"), auth=auth)}


@given(st.text("abcdefghijklmnopqrstuvwxyz-_", min_size=1, max_size=30), st.booleans())
def test_nothing_else_ever_passes(name: str, capitals: bool) -> None:
    assert bool(answered((name.upper() if capitals else name, "x"))) == (name in PASSED)


def test_what_a_service_declares_passes_as_well() -> None:
    fields = [("X-Total-Count", "7"), ("x-total-count", "8"), ("X-Other", "9")]
    assert answered(*fields, more=("x-total-count",)) == fields[:2]


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\0", "a\x01", "a\x7f", "\u0100"])
def test_what_is_no_value_is_dropped(value: str) -> None:
    assert answered(("ETag", value)) == []


def test_what_connection_names_stays_on_the_connection() -> None:
    fields = [("Connection", "close, ETag"), ("connection", " x-hop"), ("etag", '"1"'), ("X-Hop", "1"), ("Vary", "A")]
    assert answered(*fields, more=("x-hop",)) == [("Vary", "A")]


def test_repeated_fields_stay_apart() -> None:
    links = [("Link", "<a>"), ("Link", "<b>")]
    assert answered(*links) == links


@pytest.mark.parametrize(
    ("challenge", "auth", "shown"),
    [
        ('Bearer error="insufficient_scope"', Auth.SESSION, 'Bearer error="insufficient_scope"'),
        ('Basic realm="x"', Auth.SESSION, None),
        ('Bearer error="invalid_token"', Auth.SESSION, None),
        ('Bearer error="invalid_token"', Auth.NONE, None),
        ("Negotiate", Auth.BEARER, None),
    ],
)  # fmt: skip
def test_challenges(challenge: str, auth: Auth, shown: str | None) -> None:
    found = dict(answered(("WWW-Authenticate", challenge), auth=auth))
    assert found.get("WWW-Authenticate") == shown


def test_a_client_with_a_token_of_its_own_gets_its_challenge() -> None:
    fields = [("WWW-Authenticate", 'Bearer error="invalid_token", Basic realm="x"'), ("WWW-Authenticate", "Bearer")]
    found = ResponseHeaders(()).of(fields, Auth.BEARER, own_token=True)
    assert [value for name, value in found if name == "WWW-Authenticate"] == ['Bearer error="invalid_token"', "Bearer"]
