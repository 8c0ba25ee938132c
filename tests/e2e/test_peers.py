"""What the tests of the token workflow take for granted of the OpenID Provider, asked of it directly, without a BFF."""

import hashlib
import secrets
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from joserfc.jwt import Token

from tests.peers import openid, process
from tests.peers.faulty_proxy import Proxy
from tests.peers.openid import Browser, Provider

pytestmark = pytest.mark.e2e

BASE_URL = "http://127.0.0.1:9"  # nobody is there, and no browser gets that far
API, BILLING, OPAQUE = (f"https://{name}.example.test" for name in ("api", "billing", "opaque"))
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
SCOPE = f"{openid.SCOPES} api:read api:write opaque:read"
TIMEOUT = 10
LONG = 60
A_MOMENT = 0.2
POLLS = 5000
TTL = 77


@dataclass(frozen=True)
class Rp:
    """A client of the provider that speaks for itself."""

    provider: Provider
    client: openid.Client
    browser: Browser = field(default_factory=Browser)
    timeout: float = TIMEOUT

    def login(self, user: str = "alice", **query: str) -> dict[str, Any]:
        """The token response after a login without forms."""
        answer = self.token("authorization_code", **self.code(user, **query))
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    def code(self, user: str = "alice", **query: str) -> dict[str, str]:
        """The parameters that a code is exchanged with."""
        verifier, callback = secrets.token_urlsafe(48), f"{BASE_URL}/auth/callback"
        query = {"scope": SCOPE, "login_hint": user, "redirect_uri": callback, **query}
        query |= {"client_id": self.client.metadata["client_id"], "response_type": "code"}
        query |= {"code_challenge": _sha256(verifier), "code_challenge_method": "S256"}
        landed = self.browser.walk(f"{self.provider.issuer}/auth?{urlencode(query)}", callback)
        code = parse_qs(urlsplit(landed).query)["code"][0]
        return {"code": code, "redirect_uri": callback, "code_verifier": verifier}

    def refresh(self, tokens: dict[str, Any], **parameters: str) -> requests.Response:
        return self.token("refresh_token", refresh_token=tokens["refresh_token"], **parameters)

    def exchange(self, subject_token: str, **parameters: str) -> requests.Response:
        parameters = {"subject_token_type": ACCESS_TOKEN, **parameters}
        return self.token(openid.TOKEN_EXCHANGE, subject_token=subject_token, **parameters)

    def token(self, grant_type: str, *, proof: str = "", **parameters: str) -> requests.Response:
        data = {name: self.client.metadata[name] for name in ("client_id", "client_secret")}
        data |= {"grant_type": grant_type, **parameters}
        headers = {"DPoP": proof} if proof else {}
        return requests.post(f"{self.provider.issuer}/token", data=data, headers=headers, timeout=self.timeout)

    def decode(self, token: str) -> Token:
        """Verified with the provider's keys."""
        keys = requests.get(f"{self.provider.issuer}/jwks", timeout=TIMEOUT).json()
        return jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"])


def _sha256(text: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _outcome(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("error", "")


@pytest.fixture(scope="module")
def logout_tokens() -> Iterator[tuple[str, "SimpleQueue[str]"]]:
    """Where a relying party receives logout tokens, and those that came."""
    received: SimpleQueue[str] = SimpleQueue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            received.put(parse_qs(body)["logout_token"][0])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Keep the test's output quiet."""

    with _serving(HTTPServer(("127.0.0.1", 0), Receiver)) as port:
        yield f"http://127.0.0.1:{port}/backchannel", received


@contextmanager
def _serving(server: HTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def provider(folder: Path, logout_tokens: tuple[str, Any]) -> Iterator[Provider]:
    with openid.running(_clients(logout_tokens[0]), autologin=True, log=folder / "provider.log") as running:
        yield running


@pytest.fixture(scope="module")
def strict(folder: Path) -> Iterator[Provider]:
    """The other way round: no rotation, nonces in DPoP proofs, and a JWT for who names no resource."""
    with openid.running(
        _clients(),
        autologin=True,
        access_token_ttl=TTL,
        rotate=False,
        dpop_nonces=True,
        default_resource=API,
        log=folder / "strict.log",
    ) as running:
        yield running


def _clients(logout_uri: str = "") -> list[openid.Client]:
    grants = ("client_credentials", openid.TOKEN_EXCHANGE)
    method = "client_secret_post"
    return [
        openid.client("rp", BASE_URL, method=method, grants=grants, backchannel_logout_uri=logout_uri),
        openid.client("dpop", BASE_URL, method=method, grants=grants, dpop=True),
    ]


@pytest.fixture
def rp(provider: Provider) -> Iterator[Rp]:
    with Browser() as browser:
        yield Rp(provider, _clients()[0], browser)


@pytest.fixture
def strict_rp(strict: Provider) -> Iterator[Rp]:
    with Browser() as browser:
        yield Rp(strict, _clients()[0], browser)


class TestRefresh:
    def test_the_old_token_is_used_up_and_using_it_again_ends_the_grant(self, rp: Rp) -> None:
        first = rp.login()
        second = rp.refresh(first).json()
        assert second["refresh_token"] != first["refresh_token"]
        assert rp.provider.is_active(second["access_token"])

        assert _outcome(rp.refresh(first)) == (400, "invalid_grant")
        assert _outcome(rp.refresh(second)) == (400, "invalid_grant")
        assert not rp.provider.is_active(second["access_token"])

    def test_without_rotation_it_stays_the_same(self, strict_rp: Rp) -> None:
        first = strict_rp.login()
        assert [strict_rp.refresh(first).json()["refresh_token"] for _ in range(2)] == [first["refresh_token"]] * 2

    def test_the_life_of_an_access_token(self, rp: Rp, strict_rp: Rp) -> None:
        assert (rp.login()["expires_in"], strict_rp.login()["expires_in"]) == (300, TTL)

    def test_revoking_a_person(self, rp: Rp) -> None:
        hers, his = rp.login("alice"), Rp(rp.provider, rp.client).login("bob")
        rp.provider.revoke("alice")
        assert _outcome(rp.refresh(hers)) == (400, "invalid_grant")
        assert not rp.provider.is_active(hers["access_token"])
        assert _outcome(rp.refresh(his)) == (200, "")
        assert rp.refresh(rp.login("alice")).status_code == 200


class TestResources:
    def test_a_jwt_for_one_resource(self, rp: Rp) -> None:
        tokens = rp.login(resource=API)
        token = rp.decode(tokens["access_token"])
        assert (token.header["typ"], token.header["alg"]) == ("at+jwt", "RS256")
        expected = {"iss": rp.provider.issuer, "aud": API, "sub": "alice", "client_id": "rp"}
        assert expected.items() <= token.claims.items()
        assert (token.claims["scope"], token.claims["roles"]) == ("api:read api:write", ["admin", "user"])
        again = rp.decode(rp.refresh(tokens, scope="api:read").json()["access_token"])
        assert (again.claims["aud"], again.claims["scope"]) == (API, "api:read")

    def test_an_opaque_token_for_another(self, rp: Rp) -> None:
        token = rp.login(resource=OPAQUE)["access_token"]
        assert "." not in token
        assert rp.provider.is_active(token)

    def test_none_without_a_resource(self, rp: Rp, strict_rp: Rp) -> None:
        assert "." not in rp.login()["access_token"]
        assert strict_rp.decode(strict_rp.login()["access_token"]).claims["aud"] == API

    def test_an_unknown_resource(self, rp: Rp) -> None:
        landed = rp.token("client_credentials", resource="https://unknown.example.test")
        assert _outcome(landed) == (400, "invalid_target")

    def test_client_credentials(self, rp: Rp) -> None:
        answer = rp.token("client_credentials", resource=BILLING, scope="billing:read").json()
        claims = rp.decode(answer["access_token"]).claims
        assert (claims["sub"], claims["aud"], claims["scope"]) == ("rp", BILLING, "billing:read")


class TestExchange:
    @pytest.mark.parametrize("resource", [API, OPAQUE])
    @pytest.mark.parametrize("name", ["audience", "resource"])
    def test_a_token_for_another_api(self, rp: Rp, resource: str, name: str) -> None:
        subject = rp.login("bob", resource=resource)["access_token"]
        answer = rp.exchange(subject, **{name: BILLING}).json()
        assert (answer["issued_token_type"], answer["token_type"], answer["scope"]) == (
            ACCESS_TOKEN,
            "Bearer",
            "billing:read",
        )
        claims = rp.decode(answer["access_token"]).claims
        assert (claims["sub"], claims["aud"], claims["roles"]) == ("bob", BILLING, ["user"])
        assert rp.exchange(answer["access_token"], audience=OPAQUE).status_code == 200

    def test_fewer_scopes(self, rp: Rp) -> None:
        answer = rp.exchange(rp.login()["access_token"], audience=API, scope="api:read").json()
        assert (answer["scope"], rp.decode(answer["access_token"]).claims["scope"]) == ("api:read", "api:read")

    def test_what_is_refused(self, rp: Rp) -> None:
        token = rp.login(resource=API)["access_token"]
        assert _outcome(rp.exchange(token, audience="https://unknown.example.test")) == (400, "invalid_target")
        assert _outcome(rp.exchange(token)) == (400, "invalid_target")
        assert _outcome(rp.exchange(token, audience=API, scope="api:everything")) == (400, "invalid_scope")
        assert _outcome(rp.exchange(token, audience=API, subject_token_type="other")) == (400, "invalid_request")
        assert _outcome(rp.exchange(token[:-5] + "aaaaa", audience=API)) == (400, "invalid_grant")
        rp.provider.revoke("alice")
        assert _outcome(rp.exchange(token, audience=API)) == (400, "invalid_grant")


class TestDpop:
    """RFC 9449."""

    def test_no_token_without_a_proof(self, provider: Provider) -> None:
        rp = Rp(provider, _clients()[1])
        assert _outcome(rp.token("client_credentials", resource=API)) == (400, "invalid_grant")

    def test_tokens_are_bound_to_the_key(self, provider: Provider) -> None:
        rp, key = Rp(provider, _clients()[1]), ECKey.generate_key("P-256")
        tokens = rp.token("authorization_code", proof=_proof(rp, key), **rp.code(resource=API)).json()
        assert tokens["token_type"] == "DPoP"
        assert rp.decode(tokens["access_token"]).claims["cnf"] == {"jkt": key.thumbprint()}
        exchanged = rp.token(
            openid.TOKEN_EXCHANGE,
            proof=_proof(rp, key),
            subject_token=tokens["access_token"],
            subject_token_type=ACCESS_TOKEN,
            audience=BILLING,
        ).json()
        assert rp.decode(exchanged["access_token"]).claims["cnf"] == {"jkt": key.thumbprint()}
        assert _outcome(rp.refresh(tokens)) == (400, "invalid_grant")
        assert rp.refresh(tokens, proof=_proof(rp, key)).status_code == 200

    def test_a_nonce_of_the_provider(self, strict: Provider) -> None:
        rp, key = Rp(strict, _clients()[1]), ECKey.generate_key("P-256")
        refused = rp.token("client_credentials", proof=_proof(rp, key))
        assert _outcome(refused) == (400, "use_dpop_nonce")
        proof = _proof(rp, key, nonce=refused.headers["DPoP-Nonce"])
        assert rp.token("client_credentials", proof=proof).status_code == 200


def _proof(rp: Rp, key: ECKey, **claims: str) -> str:
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)}
    known = {"jti": secrets.token_urlsafe(8), "htm": "POST", "htu": f"{rp.provider.issuer}/token"}
    return jwt.encode(header, {**known, "iat": int(time.time()), **claims}, key, algorithms=["ES256"])


def test_a_logout_token(rp: Rp, logout_tokens: tuple[str, "SimpleQueue[str]"]) -> None:
    """OpenID Connect Back-Channel Logout 1.0."""
    tokens = rp.login("bob")
    query = urlencode({"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": BASE_URL})
    rp.browser.walk(f"{rp.provider.issuer}/session/end?{query}", BASE_URL, logout="yes")
    token = rp.decode(logout_tokens[1].get(timeout=TIMEOUT))
    assert (token.header["typ"], token.header["alg"]) == ("logout+jwt", "RS256")
    assert set(token.claims) == {"iss", "aud", "sub", "sid", "iat", "exp", "jti", "events"}
    assert (token.claims["sub"], token.claims["aud"]) == ("bob", "rp")
    assert token.claims["sid"] == rp.decode(tokens["id_token"]).claims["sid"]
    assert token.claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}


class TestFaults:
    @pytest.fixture(autouse=True)
    def _healed(self, rp: Rp) -> Iterator[None]:
        yield
        rp.provider.heal()

    def test_requests_are_counted_by_grant_type(self, rp: Rp) -> None:
        names = [f"POST /token {word}200" for word in ("", "refresh_token ", "authorization_code ", "token-exchange ")]
        before = [rp.provider.requests(name) for name in names]
        rp.exchange(rp.refresh(rp.login()).json()["access_token"], audience=API)
        after = [rp.provider.requests(name) for name in names]
        assert [now - then for then, now in zip(before, after, strict=True)] == [3, 1, 1, 1]

    def test_a_status_once(self, rp: Rp) -> None:
        tokens, counter = rp.login(), "POST /token refresh_token 503"
        before = rp.provider.requests(counter)
        rp.provider.fail("/token", status=503)
        assert [rp.refresh(tokens).status_code for _ in range(2)] == [503, 200]
        assert rp.provider.requests(counter) == before + 1

    @pytest.mark.parametrize(("kind", "content_type"), [("garbage", "application/json"), ("html", "text/html")])
    def test_an_answer_that_is_none(self, rp: Rp, kind: openid.Fault, content_type: str) -> None:
        tokens = rp.login()
        rp.provider.disturb("/token", kind)
        answer = rp.refresh(tokens)
        assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (200, content_type)
        with pytest.raises(requests.JSONDecodeError):
            answer.json()
        assert rp.refresh(tokens).status_code == 200

    @pytest.mark.parametrize(("kind", "handled"), [("cut", False), ("lose_answer", True)])
    def test_a_connection_that_ends(self, rp: Rp, kind: openid.Fault, handled: bool) -> None:
        tokens = rp.login()
        rp.provider.disturb("/token", kind)
        with pytest.raises(requests.ConnectionError):
            rp.refresh(tokens)
        assert _outcome(rp.refresh(tokens)) == ((400, "invalid_grant") if handled else (200, ""))

    @pytest.mark.parametrize(("kind", "handled"), [("delay", False), ("delay_answer", True)])
    def test_a_delay(self, rp: Rp, kind: openid.Fault, handled: bool) -> None:
        counter = "POST /token client_credentials 200"
        before = rp.provider.requests(counter)
        rp.provider.disturb("/token", kind, delay=LONG)
        with pytest.raises(requests.ReadTimeout):
            replace(rp, timeout=A_MOMENT).token("client_credentials")
        assert rp.provider.held() == 1
        assert rp.provider.requests(counter) == before + handled

    def test_healing_ends_a_delay(self, rp: Rp) -> None:
        rp.provider.disturb("/token", "delay", delay=LONG)
        answers: SimpleQueue[int] = SimpleQueue()
        waiting = threading.Thread(target=lambda: answers.put(rp.token("client_credentials").status_code))
        waiting.start()
        assert any(rp.provider.held() for _ in range(POLLS))
        rp.provider.heal()
        waiting.join()
        assert answers.get() == 200


def test_a_provider_behind_a_bad_network(folder: Path) -> None:
    port = process.free_port(openid.HOST)
    with (
        Proxy((openid.HOST, port), host=openid.HOST) as proxy,
        openid.running(_clients(), autologin=True, port=port, issuer=f"http://{proxy.address}") as provider,
    ):
        rp = Rp(provider, _clients()[0])
        discovered = requests.get(f"{provider.issuer}/.well-known/openid-configuration", timeout=TIMEOUT).json()
        assert (discovered["issuer"], discovered["token_endpoint"]) == (provider.issuer, f"{provider.issuer}/token")
        tokens = rp.login()
        proxy.disturb("lose_answer", times=1)
        with pytest.raises(requests.ConnectionError):
            rp.refresh(tokens)
        assert provider.requests("POST /token refresh_token 200") == 1
        proxy.down()
        with pytest.raises(requests.ConnectionError):
            rp.refresh(tokens)
        proxy.up()
        assert _outcome(rp.refresh(tokens)) == (400, "invalid_grant")
