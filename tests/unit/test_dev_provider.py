"""The embedded OpenID Provider, used as a relying party and a person with a browser use it."""

import hashlib
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import KeySet
from werkzeug.test import TestResponse

from bff import dev
from bff.crypto import base64url, random_id
from bff.kv.sqlite import SqliteStore
from bff.settings import ProviderSettings
from tests.clock import Clock

ORIGIN = "http://127.0.0.1:8000"
ISSUER = f"{ORIGIN}/dev/idp"
CALLBACK = f"{ORIGIN}/auth/callback"
CLIENT = ProviderSettings(
    id="embedded",
    issuer=ISSUER,
    client_id="a-client",
    client_secret="its:secret/+",
    scopes="openid profile email roles offline_access",
)
BASIC = ("a-client", "its%3Asecret%2F%2B")  # RFC 6749 section 2.3.1: both halves are form-encoded first
VERIFIER = "v" * 64


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def kv(tmp_path: Path, clock: Clock) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.sqlite3", clock)
    store.start()
    yield store
    store.close()


def worker(kv: SqliteStore, clock: Clock) -> Flask:
    app = Flask("worker", static_folder=None)
    dev.register(app, kv, CLIENT, ORIGIN, clock)
    return app


@pytest.fixture
def browser(kv: SqliteStore, clock: Clock) -> FlaskClient:
    return worker(kv, clock).test_client()


def request_of(**changes: str | None) -> dict[str, str]:
    asked: dict[str, str | None] = {
        "response_type": "code",
        "client_id": CLIENT.client_id,
        "redirect_uri": CALLBACK,
        "scope": CLIENT.scopes,
        "state": "a state",
        "nonce": "a nonce",
        "code_challenge": challenge(VERIFIER),
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in {**asked, **changes}.items() if value is not None}


def challenge(verifier: str) -> str:
    return base64url(hashlib.sha256(verifier.encode()).digest())


def authorize(browser: FlaskClient, **changes: str | None) -> TestResponse:
    return browser.get("/dev/idp/authorize", query_string=request_of(**changes))


def form_token(page: TestResponse) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def choose(
    browser: FlaskClient, page: TestResponse, headers: dict[str, str] | None = None, **form: str
) -> TestResponse:
    """Press a button of the login page that `page` is."""
    return browser.post(page.request.full_path, data={"form_token": form_token(page), **form}, headers=headers)


def answer(response: TestResponse) -> dict[str, str]:
    """The authorization response that a redirect to the callback carries."""
    assert response.status_code == 302, response.text
    assert response.location.startswith(CALLBACK + "?"), response.location
    return dict(parse_qsl(urlsplit(response.location).query))


def log_in(browser: FlaskClient, user: str = "alice", **changes: str | None) -> str:
    return answer(choose(browser, authorize(browser, **changes), user=user))["code"]


def redeem(client: FlaskClient, code: str, *, auth: tuple[str, str] = BASIC, **changes: str | None) -> TestResponse:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    sent = {name: value for name, value in {**form, **changes}.items() if value is not None}
    return client.post("/dev/idp/token", data=sent, auth=auth)


def refresh(client: FlaskClient, token: str, **changes: str) -> TestResponse:
    form = {"grant_type": "refresh_token", "refresh_token": token, **changes}
    return client.post("/dev/idp/token", data=form, auth=BASIC)


def tokens(browser: FlaskClient, user: str = "alice", **changes: str | None) -> dict[str, Any]:
    response = redeem(browser, log_in(browser, user, **changes))
    assert response.status_code == 200, response.text
    got: dict[str, Any] = response.get_json()
    return got


def claims(client: FlaskClient, id_token: str) -> dict[str, Any]:
    keys = KeySet.import_key_set(client.get("/dev/idp/jwks").get_json())
    return jwt.decode(id_token, keys, algorithms=["RS256"]).claims


def userinfo(client: FlaskClient, access_token: str) -> TestResponse:
    return client.get("/dev/idp/userinfo", headers={"Authorization": f"Bearer {access_token}"})


def introspect(client: FlaskClient, token: str, *, auth: tuple[str, str] = BASIC, **more: str) -> TestResponse:
    return client.post("/dev/idp/introspect", data={"token": token, **more}, auth=auth)


def log_out(browser: FlaskClient, **sent: str) -> TestResponse:
    return browser.get("/dev/idp/logout", query_string=sent)


def is_logged_in(browser: FlaskClient) -> bool:
    return "code" in answer(authorize(browser, prompt="none"))


def test_discovery_names_endpoints_that_exist(browser: FlaskClient) -> None:
    document = browser.get("/dev/idp/.well-known/openid-configuration").get_json()
    assert document["issuer"] == ISSUER
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["authorization_response_iss_parameter_supported"] is True
    for name, url in document.items():
        if name.endswith("_endpoint") or name == "jwks_uri":
            assert url.startswith(ISSUER + "/")
            assert browser.get(urlsplit(url).path).status_code != 404, name


def test_keys_are_public_and_stay(browser: FlaskClient) -> None:
    first = browser.get("/dev/idp/jwks").get_json()
    assert [set(key) & {"d", "p", "q", "dp", "dq", "qi"} for key in first["keys"]] == [set()]
    assert first["keys"][0]["kid"]
    assert browser.get("/dev/idp/jwks").get_json() == first


def test_login_page_offers_both_accounts_to_a_browser_without_scripts(browser: FlaskClient) -> None:
    page = authorize(browser)
    assert page.status_code == 200
    assert page.headers["Cache-Control"] == "no-store"
    for text in ("Continue as Alice", "alice@example.test", "Continue as Bob", 'name="user" value="bob"', "Cancel"):
        assert text in page.text
    assert "<script" not in page.text
    assert "style=" not in page.text


def test_answer_carries_state_and_issuer(browser: FlaskClient) -> None:
    got = answer(choose(browser, authorize(browser), user="alice"))
    assert got["state"] == "a state"
    assert got["iss"] == ISSUER
    assert set(got) == {"code", "state", "iss"}


def test_login_cookie(browser: FlaskClient) -> None:
    cookie = choose(browser, authorize(browser), user="alice").headers["Set-Cookie"]
    assert cookie.startswith("dev_idp_session=")
    assert {"HttpOnly", "Path=/dev/idp", "SameSite=Lax"} == set(cookie.split("; ")[1:])


def test_id_token(browser: FlaskClient, clock: Clock) -> None:
    got = tokens(browser)
    content = claims(browser, got["id_token"])
    assert content.pop("sid")
    assert content.pop("at_hash")
    assert content == {
        "iss": ISSUER,
        "aud": CLIENT.client_id,
        "sub": "alice",
        "iat": int(clock.now),
        "exp": int(clock.now) + 300,
        "auth_time": int(clock.now),
        "nonce": "a nonce",
        "name": "Alice Adams",
        "preferred_username": "alice",
        "email": "alice@example.test",
        "email_verified": True,
        "roles": ["admin", "staff"],
    }


def test_token_answer(browser: FlaskClient) -> None:
    response = redeem(browser, log_in(browser))
    got = response.get_json()
    assert (got["token_type"], got["expires_in"], got["scope"]) == ("Bearer", 300, CLIENT.scopes)
    assert got["refresh_token"]
    assert response.headers["Cache-Control"] == "no-store"


def test_claims_and_tokens_follow_the_scopes(browser: FlaskClient) -> None:
    got = tokens(browser, "bob", scope="openid email phone")
    assert got["scope"] == "openid email"
    assert "refresh_token" not in got
    assert userinfo(browser, got["access_token"]).get_json() == {
        "sub": "bob",
        "email": "bob@example.test",
        "email_verified": True,
    }


def test_userinfo(browser: FlaskClient) -> None:
    got = userinfo(browser, tokens(browser, "bob")["access_token"]).get_json()
    assert (got["sub"], got["name"], got["roles"]) == ("bob", "Bob Brown", ["staff"])


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer a.b", "Basic YTpi", "Bearer", None])
def test_userinfo_wants_a_good_token(browser: FlaskClient, header: str | None) -> None:
    response = browser.get("/dev/idp/userinfo", headers={"Authorization": header} if header else {})
    assert response.status_code == 401


def test_access_token_expires(browser: FlaskClient, clock: Clock) -> None:
    token = tokens(browser)["access_token"]
    clock.now += 299
    assert userinfo(browser, token).status_code == 200
    clock.now += 2
    assert userinfo(browser, token).status_code == 401


@pytest.mark.parametrize("verifier", ["w" * 64, "short", None])
def test_pkce_proof_must_fit(browser: FlaskClient, verifier: str | None) -> None:
    assert redeem(browser, log_in(browser), code_verifier=verifier).status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": "too short"},
    ],
)
def test_pkce_is_required_with_s256(browser: FlaskClient, changes: dict[str, str | None]) -> None:
    got = answer(authorize(browser, **changes))
    assert (got["error"], got["state"], got["iss"]) == ("invalid_request", "a state", ISSUER)


def test_code_works_once_and_its_replay_ends_the_grant(browser: FlaskClient) -> None:
    code = log_in(browser)
    first = redeem(browser, code).get_json()
    second = redeem(browser, code)
    assert (second.status_code, second.get_json()["error"]) == (400, "invalid_grant")
    assert userinfo(browser, first["access_token"]).status_code == 401
    assert refresh(browser, first["refresh_token"]).status_code == 400


def test_code_works_once_for_simultaneous_callers(kv: SqliteStore, clock: Clock, browser: FlaskClient) -> None:
    code = log_in(browser)
    workers = [worker(kv, clock).test_client() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda client: redeem(client, code), workers))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    tokens = next(answer.get_json() for answer in answers if answer.status_code == 200)
    assert refresh(browser, tokens["refresh_token"]).status_code == 400, "the others have ended the grant"


def test_code_expires(browser: FlaskClient, clock: Clock) -> None:
    code = log_in(browser)
    clock.now += 61
    assert redeem(browser, code).get_json()["error"] == "invalid_grant"


@pytest.mark.parametrize("uri", [f"{ORIGIN}/auth/other", "http://evil.test/", None])
def test_code_is_bound_to_its_redirect_uri(browser: FlaskClient, uri: str | None) -> None:
    assert redeem(browser, log_in(browser), redirect_uri=uri).get_json()["error"] == "invalid_grant"


@pytest.mark.parametrize("auth", [("a-client", "wrong"), ("a-client", ""), ("another", BASIC[1])])
def test_wrong_client_credentials(browser: FlaskClient, auth: tuple[str, str]) -> None:
    code = log_in(browser)
    response = redeem(browser, code, auth=auth)
    assert (response.status_code, response.get_json()["error"]) == (401, "invalid_client")
    assert redeem(browser, code).status_code == 200, "a stranger must not use up the code"


@pytest.mark.parametrize("header", ["Basic /w==", "Basic \u00e9", "Basic", "Bearer x"])
def test_unreadable_client_credentials(browser: FlaskClient, header: str) -> None:
    response = browser.post("/dev/idp/token", data={"grant_type": "refresh_token"}, headers={"Authorization": header})
    assert (response.status_code, response.get_json()["error"]) == (401, "invalid_client")


def test_only_known_grants(browser: FlaskClient) -> None:
    response = browser.post("/dev/idp/token", data={"grant_type": "password"}, auth=BASIC)
    assert (response.status_code, response.get_json()["error"]) == (400, "unsupported_grant_type")


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "http://evil.test/"},
        {"redirect_uri": f"{CALLBACK}?x=1"},
        {"redirect_uri": 'http://evil.test/"\\\u00e9'},
        {"client_id": "another"},
        {"client_id": None},
        {"client_id": "another", "response_type": '"'},
    ],
)
def test_never_redirects_to_where_nobody_registered(browser: FlaskClient, changes: dict[str, str | None]) -> None:
    response = authorize(browser, **changes)
    assert response.status_code == 400
    assert "That request was refused" in response.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
        ({"prompt": "none login"}, "invalid_request"),
    ],
)
def test_other_mistakes_go_back_to_the_client(browser: FlaskClient, changes: dict[str, str], error: str) -> None:
    got = answer(authorize(browser, **changes))
    assert (got["error"], got["state"], got["iss"]) == (error, "a state", ISSUER)


def test_cancel(browser: FlaskClient) -> None:
    got = answer(choose(browser, authorize(browser), cancel="1"))
    assert (got["error"], got["state"], got["iss"]) == ("access_denied", "a state", ISSUER)
    assert "code" not in got


def test_unknown_account_is_asked_again(browser: FlaskClient) -> None:
    page = choose(browser, authorize(browser), user="mallory")
    assert page.status_code == 400
    assert "code" in answer(choose(browser, page, user="bob"))


def test_form_belongs_to_one_authorization_request(browser: FlaskClient) -> None:
    stolen = form_token(authorize(browser, state="of the attacker"))
    page = authorize(browser)
    for token in (stolen, "", random_id()):
        refused = browser.post(page.request.full_path, data={"form_token": token, "user": "bob"})
        assert refused.status_code == 400
        assert "out of date" in refused.text
    assert not browser.get_cookie("dev_idp_session", path="/dev/idp")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 302),  # Referrer-Policy: no-referrer hides the origin
        ({"Origin": ORIGIN}, 302),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.test"}, 400),
        ({"Sec-Fetch-Site": "same-site", "Origin": ORIGIN}, 400),
        ({"Origin": "http://evil.test"}, 400),
        ({"Origin": "null"}, 400),
    ],
)
def test_form_must_come_from_this_site(browser: FlaskClient, headers: dict[str, str], status: int) -> None:
    assert choose(browser, authorize(browser), headers, user="bob").status_code == status


def test_parallel_tabs_all_succeed(browser: FlaskClient) -> None:
    pages = [authorize(browser, state=f"tab {number}") for number in range(5)]
    answers = [answer(choose(browser, page, user="alice")) for page in pages]
    assert [got["state"] for got in answers] == [f"tab {number}" for number in range(5)]
    assert all(redeem(browser, got["code"]).status_code == 200 for got in answers)


def test_second_login_needs_no_page(browser: FlaskClient, clock: Clock) -> None:
    first = claims(browser, tokens(browser)["id_token"])
    clock.now += 60
    code = answer(authorize(browser))["code"]
    second = claims(browser, redeem(browser, code).get_json()["id_token"])
    assert (second["sid"], second["auth_time"]) == (first["sid"], first["auth_time"])


def test_login_expires(browser: FlaskClient, clock: Clock) -> None:
    log_in(browser)
    clock.now += 8 * 3600 + 1
    assert authorize(browser).status_code == 200


def test_prompt_none(browser: FlaskClient) -> None:
    got = answer(authorize(browser, prompt="none"))
    assert (got["error"], got["state"], got["iss"]) == ("login_required", "a state", ISSUER)
    log_in(browser)
    assert is_logged_in(browser)


def test_prompt_login_asks_again_and_switches_the_person(browser: FlaskClient) -> None:
    before = claims(browser, tokens(browser)["id_token"])
    page = authorize(browser, prompt="login")
    assert "alice@example.test, logged in" in page.text
    code = answer(choose(browser, page, user="bob"))["code"]
    after = claims(browser, redeem(browser, code).get_json()["id_token"])
    assert after["sub"] == "bob"
    assert after["sid"] != before["sid"]


def test_max_age(browser: FlaskClient, clock: Clock) -> None:
    log_in(browser)
    clock.now += 60
    assert authorize(browser, max_age="120").status_code == 302
    assert authorize(browser, max_age="30").status_code == 200
    assert answer(authorize(browser, max_age="30", prompt="none"))["error"] == "login_required"


def test_login_hint_moves_the_focus(browser: FlaskClient) -> None:
    assert re.search(r'value="bob"\s+autofocus', authorize(browser, login_hint="bob@example.test").text)
    assert "autofocus" not in authorize(browser, login_hint='"><script>').text


def test_refresh_rotates(browser: FlaskClient, clock: Clock) -> None:
    first = tokens(browser)
    begun = int(clock.now)
    clock.now += 250
    response = refresh(browser, first["refresh_token"])
    second = response.get_json()
    assert response.status_code == 200
    assert len({first["access_token"], second["access_token"], first["refresh_token"], second["refresh_token"]}) == 4
    assert userinfo(browser, second["access_token"]).get_json()["sub"] == "alice"
    content = claims(browser, second["id_token"])
    assert (content["auth_time"], content["iat"], content.get("nonce")) == (begun, begun + 250, None)
    assert content["sid"] == claims(browser, first["id_token"])["sid"]


def test_replayed_refresh_token_ends_the_grant(browser: FlaskClient) -> None:
    first = tokens(browser)
    second = refresh(browser, first["refresh_token"]).get_json()
    replayed = refresh(browser, first["refresh_token"])
    assert (replayed.status_code, replayed.get_json()["error"]) == (400, "invalid_grant")
    assert refresh(browser, second["refresh_token"]).status_code == 400
    assert userinfo(browser, second["access_token"]).status_code == 401


def test_refresh_can_narrow_the_scope_for_one_access_token(browser: FlaskClient) -> None:
    narrow = refresh(browser, tokens(browser)["refresh_token"], scope="openid email").get_json()
    assert userinfo(browser, narrow["access_token"]).get_json().keys() == {"sub", "email", "email_verified"}
    assert refresh(browser, narrow["refresh_token"]).get_json()["scope"] == CLIENT.scopes


def test_refresh_cannot_widen_the_scope(browser: FlaskClient) -> None:
    token = tokens(browser, scope="openid offline_access")["refresh_token"]
    assert refresh(browser, token, scope="openid email").get_json()["error"] == "invalid_scope"


def test_introspection(browser: FlaskClient, clock: Clock) -> None:
    response = introspect(browser, tokens(browser, "bob")["access_token"], token_type_hint="access_token")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.get_json() == {
        "active": True,
        "iss": ISSUER,
        "aud": ORIGIN,
        "client_id": CLIENT.client_id,
        "token_type": "Bearer",
        "scope": CLIENT.scopes,
        "exp": int(clock.now) + 300,
        "sub": "bob",
        "roles": ["staff"],
    }


def test_introspection_tells_roles_only_where_the_scopes_do(browser: FlaskClient) -> None:
    told = introspect(browser, tokens(browser, scope="openid email")["access_token"]).get_json()
    assert (told["sub"], told["scope"]) == ("alice", "openid email")
    assert not {"roles", "email", "name"} & told.keys()


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_revoked_token_is_not_active(browser: FlaskClient, kind: str) -> None:
    got = tokens(browser)
    assert introspect(browser, got["access_token"]).get_json()["active"] is True
    browser.post("/dev/idp/revoke", data={"token": got[kind]}, auth=BASIC)
    assert introspect(browser, got["access_token"]).get_json() == {"active": False}


def test_expired_token_is_not_active(browser: FlaskClient, clock: Clock) -> None:
    token = tokens(browser)["access_token"]
    clock.now += 299
    assert introspect(browser, token).get_json()["active"] is True
    clock.now += 1
    assert introspect(browser, token).get_json() == {"active": False}


@pytest.mark.parametrize("kind", ["refresh_token", "id_token"])
def test_only_access_tokens_are_active(browser: FlaskClient, kind: str) -> None:
    token = tokens(browser)[kind]
    assert introspect(browser, token).get_json() == {"active": False}
    assert introspect(browser, token, token_type_hint="refresh_token").get_json() == {"active": False}
    assert introspect(browser, "unknown").get_json() == {"active": False}


def test_introspection_wants_the_client(browser: FlaskClient) -> None:
    refused = introspect(browser, tokens(browser)["access_token"], auth=("a-client", "wrong"))
    assert (refused.status_code, refused.get_json()["error"]) == (401, "invalid_client")


def test_revoking_a_refresh_token_ends_the_grant(browser: FlaskClient) -> None:
    got = tokens(browser)
    response = browser.post("/dev/idp/revoke", data={"token": got["refresh_token"]}, auth=BASIC)
    assert response.status_code == 200
    assert userinfo(browser, got["access_token"]).status_code == 401
    assert refresh(browser, got["refresh_token"]).status_code == 400


def test_revoking_an_access_token_leaves_the_refresh_token(browser: FlaskClient) -> None:
    got = tokens(browser)
    form = {"token": got["access_token"], "token_type_hint": "access_token"}
    assert browser.post("/dev/idp/revoke", data=form, auth=BASIC).status_code == 200
    assert userinfo(browser, got["access_token"]).status_code == 401
    assert refresh(browser, got["refresh_token"]).status_code == 200


def test_revocation_of_what_nobody_knows_is_fine(browser: FlaskClient) -> None:
    assert browser.post("/dev/idp/revoke", data={"token": "unknown"}, auth=BASIC).status_code == 200


def test_revocation_wants_the_client(browser: FlaskClient) -> None:
    got = tokens(browser)
    form = {"token": got["refresh_token"]}
    assert browser.post("/dev/idp/revoke", data=form, auth=("a-client", "wrong")).status_code == 401
    assert refresh(browser, got["refresh_token"]).status_code == 200


def test_logout_ends_the_login_and_comes_back(browser: FlaskClient) -> None:
    hint = tokens(browser)["id_token"]
    response = log_out(browser, id_token_hint=hint, post_logout_redirect_uri=f"{ORIGIN}/bye?x=1", state="s")
    assert (response.status_code, response.location) == (302, f"{ORIGIN}/bye?x=1&state=s")
    assert not is_logged_in(browser)


def keep_cookie(browser: FlaskClient) -> str:
    cookie = browser.get_cookie("dev_idp_session", path="/dev/idp")
    assert cookie
    return cookie.value


def bring_back(browser: FlaskClient, value: str) -> None:
    browser.set_cookie("dev_idp_session", value, path="/dev/idp")


def test_ended_login_does_not_come_back_with_its_cookie(browser: FlaskClient) -> None:
    log_in(browser)
    kept = keep_cookie(browser)
    page = log_out(browser)
    browser.post(page.request.full_path, data={"form_token": form_token(page)})
    bring_back(browser, kept)
    assert not is_logged_in(browser)


def test_switching_the_person_ends_the_former_login(browser: FlaskClient) -> None:
    log_in(browser)
    kept = keep_cookie(browser)
    log_in(browser, "bob", prompt="login")
    bring_back(browser, kept)
    assert not is_logged_in(browser)


def test_logout_ends_the_login_that_the_hint_names(browser: FlaskClient, kv: SqliteStore, clock: Clock) -> None:
    hint = tokens(browser)["id_token"]
    without_cookies = worker(kv, clock).test_client()
    log_out(without_cookies, id_token_hint=hint)
    assert not is_logged_in(browser)


def test_logout_accepts_an_expired_id_token(browser: FlaskClient, clock: Clock) -> None:
    hint = tokens(browser)["id_token"]
    clock.now += 3600
    assert log_out(browser, id_token_hint=hint, post_logout_redirect_uri=f"{ORIGIN}/").location == f"{ORIGIN}/"
    assert not is_logged_in(browser)


@pytest.mark.parametrize(
    "uri",
    [
        "http://evil.test/",
        "//evil.test",
        "/relative",
        f"{ORIGIN}@evil.test/",
        f"{ORIGIN}\\@evil.test",
        f"{ORIGIN}/\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
    ],
)
def test_logout_never_redirects_elsewhere(browser: FlaskClient, uri: str) -> None:
    response = log_out(browser, id_token_hint=tokens(browser)["id_token"], post_logout_redirect_uri=uri)
    assert response.status_code == 200
    assert "You are logged out" in response.text
    assert not is_logged_in(browser)


def test_logout_without_a_hint_asks_first(browser: FlaskClient) -> None:
    log_in(browser)
    page = log_out(browser, post_logout_redirect_uri=f"{ORIGIN}/")
    assert "Log out?" in page.text
    assert is_logged_in(browser)
    done = browser.post(page.request.full_path, data={"form_token": form_token(page)})
    assert "You are logged out" in done.text
    assert not is_logged_in(browser)


def test_foreign_form_cannot_log_out(browser: FlaskClient) -> None:
    log_in(browser)
    page = log_out(browser)
    form = {"form_token": form_token(page)}
    browser.post(page.request.full_path, data=form, headers={"Sec-Fetch-Site": "cross-site"})
    browser.post(page.request.full_path, data={})
    assert is_logged_in(browser)


@pytest.mark.parametrize("hint", ["this-is-no-id-token", "a.b.c", "\u00e9.\u00e9.\u00e9", "e30.e30.e30", "...."])
def test_logout_refuses_a_forged_hint(browser: FlaskClient, hint: str) -> None:
    log_in(browser)
    assert log_out(browser, id_token_hint=hint, post_logout_redirect_uri=f"{ORIGIN}/").status_code == 400
    assert is_logged_in(browser)


def test_two_workers_are_one_provider(kv: SqliteStore, clock: Clock) -> None:
    one, other = worker(kv, clock).test_client(), worker(kv, clock).test_client()
    page = authorize(one)
    code = answer(choose(other, page, user="alice"))["code"]
    got = redeem(one, code).get_json()
    assert claims(other, got["id_token"])["sub"] == "alice"
    assert userinfo(other, got["access_token"]).status_code == 200
    assert refresh(other, got["refresh_token"]).status_code == 200
    assert one.get("/dev/idp/jwks").get_json() == other.get("/dev/idp/jwks").get_json()


def test_workers_that_start_together_agree_on_the_key(kv: SqliteStore, clock: Clock) -> None:
    workers = [worker(kv, clock).test_client() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        keys = list(pool.map(lambda client: client.get("/dev/idp/jwks").text, workers))
    assert len(set(keys)) == 1


def test_emptied_store_means_a_new_key(browser: FlaskClient, kv: SqliteStore) -> None:
    before = browser.get("/dev/idp/jwks").get_json()
    kv.delete("dev:idp:key")
    assert browser.get("/dev/idp/jwks").get_json() != before


def test_the_store_names_no_secret(browser: FlaskClient, tmp_path: Path) -> None:
    got = tokens(browser)
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("store.sqlite3*"))
    for secret in (got["access_token"], got["refresh_token"], keep_cookie(browser)):
        assert secret.encode() not in stored


def test_no_token_is_logged(browser: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        got = tokens(browser)
        refresh(browser, got["refresh_token"])
    assert got["access_token"] not in caplog.text
    assert got["refresh_token"] not in caplog.text
