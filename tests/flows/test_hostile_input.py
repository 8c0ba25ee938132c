"""Whatever a stranger sends: an answer below 500 within the contract, and nothing created."""

import string
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import Key
from werkzeug.test import EnvironBuilder, run_wsgi_app
from werkzeug.wrappers import Response

from tests.clock import Clock
from tests.flows.browser import ON_VERIFY_BIND, QUESTIONS, VERIFY_BIND
from tests.flows.counters import Counters
from tests.flows.internet import BFF, OTHER_APP, SESSION, Site, site
from tests.fuzz import examples

PEER = "203.0.113.7"
PROFILES = "profiles: {asked: {unauthenticated: redirect, authz: pdp, resource: site}}"
FEW = examples(60)

# What a server hands on as a header's text (PEP 3333): Latin-1 without the characters that end a line.
latin1 = st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n")
header = st.text(latin1, max_size=200)
token = st.text(string.ascii_letters + string.digits + "-_", min_size=40, max_size=46)
cookie_name = st.sampled_from([SESSION, "bff_login_", "_eid_csrf_v1", "bff_login_0123456789abcdef"]) | st.text(
    latin1, max_size=20
)
cookie = st.tuples(cookie_name, token | st.text(latin1, max_size=60)).map("=".join) | st.text(latin1, max_size=60)
cookies = st.lists(cookie, max_size=12).map("; ".join)
name = st.sampled_from(["state", "code", "iss", "error", "return_to", "idp", "prompt", "login_hint", "csrf", "touch"])
pair = st.tuples(name | header, header | token | st.text(max_size=60)).map("=".join) | header
query = st.lists(pair, max_size=8).map("&".join).map(lambda text: text.encode().decode("latin-1"))


@pytest.fixture(scope="module")
def bff(tmp_path_factory: pytest.TempPathFactory, rsa: Key) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "config" / "policies").mkdir(parents=True)
    (folder / "config" / "verify.yaml").write_text(PROFILES)
    (folder / "config" / "policies" / "all.cedar").write_text("permit(principal, action, resource is site);")
    made = site(folder, Clock(), rsa, {"VERIFY_BIND": VERIFY_BIND})
    yield made
    made.services.close()


def ask(bff: Site, path: str, raw: dict[str, Any], *, method: str = "GET", body: bytes = b"") -> Response:
    """raw: entries of the WSGI environment as they are."""
    environ = EnvironBuilder(path, base_url=BFF, method=method, data=body).get_environ()
    environ |= ON_VERIFY_BIND if path.startswith(QUESTIONS) else {}
    chunks, status, headers = run_wsgi_app(bff.app.wsgi_app, {**environ, "REMOTE_ADDR": PEER, **raw}, buffered=True)
    return Response(b"".join(chunks), status, headers)


def nothing_happened(bff: Site, counters: Counters, answer: Response, *statuses: int) -> None:
    assert answer.status_code in statuses, answer.get_data(as_text=True)
    assert counters.gained("bff_sessions_created_total") == counters.gained("bff_sessions_destroyed_total") == {}
    assert not any("\n" in value or "\r" in value for _, value in answer.headers)


@FEW
@given(cookies, st.sampled_from(["/auth/verify", "/auth/session", "/auth/csrf", "/auth/logout"]))
def test_cookies(bff: Site, text: str, path: str) -> None:
    counters = Counters()
    bff.store.forget()
    nothing_happened(bff, counters, ask(bff, path, {"HTTP_COOKIE": text}), 200 if "session" in path else 401, 302)
    assert bff.store.writes == []


@FEW
@given(query, cookies)
def test_callback(bff: Site, text: str, cookies: str) -> None:
    counters = Counters()
    bff.store.forget()
    answer = ask(bff, "/auth/callback", {"QUERY_STRING": text, "HTTP_COOKIE": cookies})
    nothing_happened(bff, counters, answer, 400)
    assert counters.total("bff_logins_total") == 1
    assert bff.store.writes == []


@FEW
@given(query, cookies)
def test_login(bff: Site, text: str, cookies: str) -> None:
    """It may begin an attempt, and that is all."""
    counters = Counters()
    raw = {"QUERY_STRING": text, "HTTP_COOKIE": cookies, "HTTP_SEC_FETCH_MODE": "navigate"}
    answer = ask(bff, "/auth/login", raw)
    nothing_happened(bff, counters, answer, 302, 400)
    assert counters.total("bff_logins_total") == (1 if answer.status_code == 302 else 0)
    assert all("=" in line and line.startswith("bff_login_") for line in answer.headers.getlist("Set-Cookie"))


FORWARDED = [f"HTTP_X_FORWARDED_{name}" for name in ("FOR", "HOST", "PROTO", "URI", "METHOD", "PORT")]
ORIGINAL = ["HTTP_X_ORIGINAL_METHOD", "HTTP_X_ORIGINAL_URL"]
address = st.ip_addresses().map(str) | header
addresses = st.lists(address, max_size=5).map(", ".join)
origin = st.sampled_from([BFF, "https://evil.example", "https://app.example@evil.example", "javascript:", "https://"])
url = st.tuples(origin, header).map("".join) | header
path = header.map("/".__add__) | header
method = st.sampled_from(["GET", "POST", "get", "BREW"]) | header
values = {"METHOD": method, "URL": url, "HOST": st.sampled_from(["app.example", "evil.example"]) | header}
said = st.fixed_dictionaries(
    {}, optional={name: values.get(name.rpartition("_")[2], path) for name in [*FORWARDED, *ORIGINAL]}
)
dialect = st.sampled_from(["/auth/verify", "/auth/forward", "/auth/verify/nginx", "/auth/verify/envoy"])
peers = st.sampled_from(["127.0.0.1", "::1", PEER, "", "unix:", "fe80::1%eth0"])


def question(said: dict[str, str], dialect: str, target: str, more: dict[str, str]) -> dict[str, Any]:
    """The WSGI environment of what a proxy asks. target: what stands behind Envoy's address."""
    behind = target if "envoy" in dialect else ""
    return {
        **said,
        **more,
        **ON_VERIFY_BIND,
        "PATH_INFO": dialect + behind.partition("?")[0],
        "RAW_URI": dialect + behind,
    }


@FEW
@given(said, addresses, peers, header, header, dialect, header.map("/".__add__))
def test_what_proxies_say(
    bff: Site,
    said: dict[str, str],
    chain: str,
    peer: str,
    accept: str,
    correlation_id: str,
    dialect: str,
    target: str,
) -> None:
    counters = Counters()
    bff.store.forget()
    more = {"HTTP_X_FORWARDED_FOR": chain, "HTTP_ACCEPT": accept, "HTTP_X_CORRELATION_ID": correlation_id}
    answer = ask(bff, "/", {**question(said, dialect, target, more), "REMOTE_ADDR": peer})
    nothing_happened(bff, counters, answer, 401)
    assert bff.store.writes == bff.store.reads == []
    if answer.content_type == "application/problem+json":
        leads_back_to_us(answer.get_json(force=True)["login_url"])


@FEW
@given(said, peers, dialect, header.map("/".__add__))
def test_where_a_person_is_sent(bff: Site, said: dict[str, str], peer: str, dialect: str, target: str) -> None:
    counters = Counters()
    more = {"HTTP_SEC_FETCH_MODE": "navigate"}
    answer = ask(bff, "/", {**question(said, f"{dialect}@asked", target, more), "REMOTE_ADDR": peer})
    nothing_happened(bff, counters, answer, 302, 303, 401)
    assert (answer.status_code == 401) is ("nginx" in dialect)
    leads_back_to_us(answer.headers["Location"])


def leads_back_to_us(login: str) -> None:
    place, _, query = login.partition("?")
    assert place == f"{BFF}/auth/login"
    assert all(back.startswith((f"{BFF}/", f"{OTHER_APP}/")) for back in parse_qs(query).get("return_to", []))


@FEW
@given(said, dialect, header.map("/".__add__))
def test_what_the_policy_is_asked(bff: Site, said: dict[str, str], dialect: str, target: str) -> None:
    """The policy permits whatever it is asked, so what passes is a request that makes sense."""
    user = bff.logged_in(PEER)
    counters = Counters()
    more = {
        "HTTP_COOKIE": user.cookie_header(f"{BFF}/") or "",
        "HTTP_USER_AGENT": user.agent,
        "HTTP_X_FORWARDED_FOR": PEER,
    }
    environ = question(said, f"{dialect}@asked", target, more)
    answer = ask(bff, "/", {**environ, "REMOTE_ADDR": "127.0.0.1"})
    nothing_happened(bff, counters, answer, 200, 400)
    assert (answer.status_code == 400) is ("X-User-ID" not in answer.headers)
    if dialect == "/auth/verify/nginx" and answer.status_code == 200:
        assert environ["HTTP_X_ORIGINAL_URL"].startswith(("https://", "http://"))


@FEW
@given(st.text(latin1, max_size=60), st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]), query)
def test_paths(bff: Site, path: str, method: str, text: str) -> None:
    counters = Counters()
    bff.store.forget()
    answer = ask(bff, "/", {"PATH_INFO": f"/{path}", "QUERY_STRING": text}, method=method)
    nothing_happened(bff, counters, answer, 200, 204, 302, 400, 401, 404, 405)
    assert bff.store.writes == []
    assert counters.total("http_requests_total") == 1


@FEW
@given(cookies, header, header, st.binary(max_size=200), st.sampled_from(["application/json", "text/plain", ""]))
def test_unsafe_requests_of_a_stranger(
    bff: Site, cookies: str, proof: str, origin: str, body: bytes, content_type: str
) -> None:
    counters = Counters()
    bff.store.forget()
    raw = {"HTTP_COOKIE": cookies, "HTTP_X_CSRF_TOKEN": proof, "HTTP_ORIGIN": origin, "CONTENT_TYPE": content_type}
    answer = ask(bff, "/auth/logout", raw, method="POST", body=body)
    nothing_happened(bff, counters, answer, 401)
    assert bff.store.writes == []


@FEW
@given(header, header, st.binary(max_size=200), st.sampled_from(["application/json", "text/plain", ""]))
def test_unsafe_requests_of_a_user(bff: Site, planted: str, origin: str, body: bytes, content_type: str) -> None:
    """Logged in, but without a proof that anybody could have made."""
    browser = bff.logged_in(PEER)
    counters = Counters()
    raw = {
        "HTTP_COOKIE": f"{browser.cookie_header(BFF + '/')}; _eid_csrf_v1={planted}",
        "HTTP_X_CSRF_TOKEN": planted,
        "HTTP_ORIGIN": origin,
        "HTTP_USER_AGENT": browser.agent,
        "CONTENT_TYPE": content_type,
    }
    answer = ask(bff, "/auth/logout", raw, method="POST", body=body)
    nothing_happened(bff, counters, answer, 403)
    assert counters.total("bff_csrf_violations_total") == 1
