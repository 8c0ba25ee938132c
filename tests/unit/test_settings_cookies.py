"""What cookies are called, and which names and domains are refused."""

from pathlib import Path

import pytest

from bff import settings
from tests.unit.test_settings_check import PRODUCTION, found

HOST_HTTP = "__Host-Http-"
STAGING = {"ENVIRONMENT": "staging"}
HTTP = {"BFF_BASE_URL": "http://app.example.com"}


@pytest.mark.parametrize(
    ("change", "name", "flow_prefix", "flow_path"),
    [
        ({}, "__Host-Http-bff_session", HOST_HTTP, "/"),
        ({"BFF_COOKIE_DOMAIN": "example.com"}, "bff_session", HOST_HTTP, "/"),
        ({"BFF_COOKIE_NAME": "shop"}, "shop", HOST_HTTP, "/"),
        ({"BFF_COOKIE_NAME": "bff_session"}, "bff_session", HOST_HTTP, "/"),
        ({"BFF_COOKIE_SECURE": "false"}, "bff_session", "", "/auth"),
        (STAGING, "bff_session", "", "/auth"),
        ({**STAGING, "BFF_COOKIE_NAME": "__Host-sid"}, "__Host-sid", HOST_HTTP, "/"),
        ({**STAGING, "BFF_COOKIE_NAME": "__host-http-sid"}, "__host-http-sid", HOST_HTTP, "/"),
        ({**STAGING, "BFF_COOKIE_NAME": "__Secure-s", "BFF_COOKIE_DOMAIN": "example.com"}, "__Secure-s", "", "/auth"),
        ({"ENVIRONMENT": "development", **HTTP}, "bff_session", "", "/auth"),
    ],
)  # fmt: skip
def test_the_names_of_our_cookies(
    tmp_path: Path, change: dict[str, str], name: str, flow_prefix: str, flow_path: str
) -> None:
    cookies = settings.load({"BFF_DATA_DIR": str(tmp_path), **PRODUCTION, **change}, tmp_path).cookies
    assert (cookies.name, cookies.flow_prefix, cookies.flow_path) == (name, flow_prefix, flow_path)


@pytest.mark.parametrize(
    "name",
    [
        "bff_end_session",
        "bff_rounds",
        "_eid_csrf_v1",
        "_EID_CSRF_V1",
        "bff_login_",
        "bff_login_0123456789abcdef",
        "BFF_Login_x",
    ],
)
@pytest.mark.parametrize("prefix", ["", "__Host-Http-", "__host-http-"])
def test_the_name_of_another_cookie_of_ours_is_taken(tmp_path: Path, name: str, prefix: str) -> None:
    (line,) = found({**PRODUCTION, "BFF_COOKIE_NAME": prefix + name}, tmp_path)
    assert line.startswith(f"BFF_COOKIE_NAME: {prefix + name!r} is the name of another cookie of ours")


@pytest.mark.parametrize("name", ["__Host-s", "__host-s", "__HOST-HTTP-s", "__Host-Http-s"])
def test_a_host_cookie_has_no_domain_and_no_http(tmp_path: Path, name: str) -> None:
    rule = "BFF_COOKIE_NAME: a __Host- cookie must be Secure and cannot have BFF_COOKIE_DOMAIN"
    (line,) = found({**PRODUCTION, "BFF_COOKIE_NAME": name, "BFF_COOKIE_DOMAIN": "example.com"}, tmp_path)
    assert line.startswith(rule)
    (line,) = found({"BFF_COOKIE_NAME": name}, tmp_path)
    assert line.startswith(rule)


@pytest.mark.parametrize("prefix", ["__Secure-", "__secure-", "__Http-", "__http-"])
def test_other_prefixes_need_https(tmp_path: Path, prefix: str) -> None:
    (line,) = found({"BFF_COOKIE_NAME": f"{prefix}s"}, tmp_path)
    assert line.lower().startswith(f"bff_cookie_name: a {prefix.lower()} cookie must be secure")
    assert found({**PRODUCTION, "BFF_COOKIE_NAME": f"{prefix}s", "BFF_COOKIE_DOMAIN": "example.com"}, tmp_path) == []


@pytest.mark.parametrize(
    ("host", "domain", "message"),
    [
        ("app.example.com", "com", "'com' is not one organisation's"),
        ("app.example.com", ".COM", "'com' is not one organisation's"),
        ("app.example.co.uk", "co.uk", "'co.uk' is not one organisation's"),
        ("app.example.com.au", ".com.au", "'com.au' is not one organisation's"),
        ("intranet", "intranet", "'intranet' is not one organisation's"),
        ("localhost", "localhost", "'localhost' is not one organisation's"),
        ("192.0.2.7", "192.0.2.7", "cookies of addresses have no Domain"),
        ("192.0.2.7", "2.7", "cookies of addresses have no Domain"),
        ("[2001:db8::7]", "2001:db8::7", "cookies of addresses have no Domain"),
        ("[2001:db8::7]", "[2001:db8::7]", "cookies of addresses have no Domain"),
        ("app.example.com", "ample.com", "'ample.com' does not contain the host"),
        ("app.example.com", "app.example.com.evil.example", "does not contain the host"),
        ("example.com", "app.example.com", "does not contain the host"),
    ],
)
def test_a_domain_that_is_not_ours(tmp_path: Path, host: str, domain: str, message: str) -> None:
    (line,) = found({**PRODUCTION, "BFF_BASE_URL": f"https://{host}", "BFF_COOKIE_DOMAIN": domain}, tmp_path)
    assert line.startswith("BFF_COOKIE_DOMAIN: ")
    assert message in line


@pytest.mark.parametrize(
    ("host", "domain"),
    [("app.example.com", ".example.com"), ("app.example.co.uk", "example.co.uk"), ("a.b.example.com", "B.Example.com")],
)
def test_a_domain_of_ours(tmp_path: Path, host: str, domain: str) -> None:
    assert found({**PRODUCTION, "BFF_BASE_URL": f"https://{host}", "BFF_COOKIE_DOMAIN": domain}, tmp_path) == []


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("__Host-Http-csrf", {}, "pages read this cookie"),
        ("__http-csrf", {}, "pages read this cookie"),
        ("__Host-csrf", {"BFF_COOKIE_DOMAIN": "example.com"}, "a __Host- cookie must be Secure"),
        ("__Host-csrf", {"ENVIRONMENT": "staging", "BFF_COOKIE_SECURE": "false"}, "a __Host- cookie must be Secure"),
        ("__Secure-csrf", {"ENVIRONMENT": "staging", "BFF_COOKIE_SECURE": "false"}, "a __Secure- cookie must be"),
        ("bff_session", {}, "is the name of another cookie of ours"),
        ("shop", {"BFF_COOKIE_NAME": "shop"}, "is the name of another cookie of ours"),
        ("bff_rounds", {}, "is the name of another cookie of ours"),
        ("bff_login_x", {}, "is the name of another cookie of ours"),
        ("a b", {}, "is not a cookie name"),
        ('a"b', {}, "is not a cookie name"),
    ],
)
def test_a_csrf_cookie_that_could_not_do_its_work(
    tmp_path: Path, name: str, change: dict[str, str], complaint: str
) -> None:
    lines = found({**PRODUCTION, **change, "BFF_CSRF_COOKIE_NAME": name}, tmp_path)
    (line,) = [line for line in lines if "BFF_CSRF_COOKIE_NAME" in line]
    assert complaint in line


@pytest.mark.parametrize("name", ["shop_csrf", "__Host-csrf", "__Secure-csrf", "XSRF-TOKEN", "_EID_CSRF_V1"])
def test_a_csrf_cookie_of_another_name(tmp_path: Path, name: str) -> None:
    assert found({**PRODUCTION, "BFF_CSRF_COOKIE_NAME": name}, tmp_path) == []
