"""Which header fields of a request pass: a table, and every spelling of those that must not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.proxy.headers import PASSED, BaseOrigin, RequestHeaders, within_trace

ORIGIN = BaseOrigin.of("https://app.example:8443")
OURS = {"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"}


def sent(*more: str, **environ: str) -> dict[str, str]:
    return RequestHeaders(more, ORIGIN).of(environ, "203.0.113.7")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("CONTENT_TYPE", "Content-Type"),
        ("HTTP_ACCEPT", "Accept"),
        ("HTTP_IF_NONE_MATCH", "If-None-Match"),
        ("HTTP_RANGE", "Range"),
        ("HTTP_LAST_EVENT_ID", "Last-Event-Id"),
        ("HTTP_TRACEPARENT", "Traceparent"),
        ("HTTP_IDEMPOTENCY_KEY", "Idempotency-Key"),
    ],
)
def test_what_passes(key: str, name: str) -> None:
    assert {field.lower(): value for field, value in sent(**{key: "v"}).items()}[name.lower()] == "v"


@pytest.mark.parametrize(
    "key",
    [
        "HTTP_COOKIE", "HTTP_AUTHORIZATION", "HTTP_DPOP", "HTTP_X_CSRF_TOKEN", "HTTP_HOST", "HTTP_ORIGIN",
        "HTTP_REFERER", "HTTP_CONNECTION", "HTTP_KEEP_ALIVE", "HTTP_TE", "HTTP_TRAILER", "HTTP_TRANSFER_ENCODING",
        "HTTP_UPGRADE",
        "HTTP_PROXY_AUTHORIZATION", "HTTP_EXPECT", "HTTP_PROXY", "CONTENT_LENGTH", "HTTP_CONTENT_LENGTH",
        "HTTP_X_USER_ID", "HTTP_X_USER_EMAIL", "HTTP_X_USER_NAME", "HTTP_X_USER_ROLES", "HTTP_X_SESSION_ID",
        "HTTP_X_AUTH_TIME", "HTTP_X_ORIGINAL_USER", "HTTP_REMOTE_USER", "HTTP_X_REMOTE_USER", "HTTP_X_FORWARDED_USER",
        "HTTP_X_AUTH_REQUEST_USER", "HTTP_SSL_CLIENT_CERT", "HTTP_X_REAL_IP", "HTTP_X_CORRELATION_ID",
        "HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_HTTP_METHOD", "HTTP_X_METHOD_OVERRIDE", "HTTP_X_ORIGINAL_URL",
        "HTTP_X_REWRITE_URL", "HTTP_X_FORWARDED_PREFIX", "HTTP_X_FORWARDED_URI", "HTTP_X_ANYTHING_ELSE",
    ],
)  # fmt: skip
def test_what_stays_home(key: str) -> None:
    assert sent(**{key: "mallory"}).keys() == OURS


@pytest.mark.parametrize(
    "key", ["HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_FORWARDED"]
)
def test_what_is_told_about_the_client_is_ours(key: str) -> None:
    assert sent(**{key: "mallory"}) == {
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "app.example:8443",
        "Forwarded": 'for=203.0.113.7;host="app.example:8443";proto=https',
    }


def test_an_address_with_colons_is_quoted() -> None:
    headers = RequestHeaders((), BaseOrigin.of("http://app.example")).of({}, "2001:db8::1")
    assert headers["Forwarded"] == 'for="[2001:db8::1]";host=app.example;proto=http'
    assert headers["X-Forwarded-For"] == "2001:db8::1"


def test_a_service_gets_what_it_asked_for() -> None:
    assert sent("x-tenant", HTTP_X_TENANT="t1")["X-Tenant"] == "t1"
    assert "X-Tenant" not in sent(HTTP_X_TENANT="t1")


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=30))
def test_nothing_else_ever_passes(name: str) -> None:
    known = {each.upper().replace("-", "_") for each in PASSED}
    assert (len(sent(**{f"HTTP_{name}": "x"})) > len(OURS)) == (name in known - {"CONTENT_TYPE"})


TRACE = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}


@pytest.mark.parametrize("trace", [TRACE, TRACE | {"tracestate": "a=b"}])
@pytest.mark.parametrize("names", [("Traceparent", "Tracestate"), ("traceparent", "tracestate"), ("TRACEPARENT",), ()])
def test_a_service_is_told_of_one_trace(trace: dict[str, str], names: tuple[str, ...]) -> None:
    """Whatever the caller said of its own, in whichever spelling."""
    told = within_trace({"Accept": "*/*", **dict.fromkeys(names, "the caller's")}, trace)
    assert told == {"Accept": "*/*", **trace}


def test_outside_a_trace_a_service_is_told_what_the_caller_said() -> None:
    assert within_trace({"Traceparent": "x"}, {}) == {"Traceparent": "x"}
