"""Proofs of possession as RFC 9449 section 4.2 has them, checked with the public key that they carry."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey
from joserfc.util import urlsafe_b64decode

from bff.crypto import base64url
from bff.dev.in_process import WsgiTransport
from bff.http import HttpClient, Response
from bff.oidc import dpop
from bff.oidc.dpop import Dpop
from bff.oidc.provider import Provider
from bff.oidc.token_endpoint import REFRESH, GrantRefused, TokenEndpoint
from bff.oidc.token_response import TokenResponseParser
from bff.sessions.tokens import AccessToken
from bff.settings.model import ProviderSettings
from tests.clock import Clock
from tests.flows.provider import OpenIdProvider
from tests.flows.registration import SECRET
from tests.fuzz import examples

ISSUER = "https://idp.example"
URL = "https://api.example/orders"
KEY = dpop.new_key()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def proofs(clock: Clock) -> Dpop:
    return Dpop(clock)


def opened(proof: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(header, claims), verified as a server would."""
    header = json.loads(urlsafe_b64decode(proof.split(".", maxsplit=1)[0].encode()))
    token = jwt.decode(proof, ECKey.import_key(header["jwk"]), algorithms=["ES256"])
    return dict(token.header), dict(token.claims)


def offer(nonce: str, status: int = 200, body: bytes = b"", **headers: str) -> Response:
    return Response(status, {"DPoP-Nonce": nonce, **headers}, body)


class TestAProof:
    def test_for_a_token_endpoint(self, proofs: Dpop, clock: Clock) -> None:
        header, claims = opened(proofs.proof(KEY, "POST", URL))
        assert set(header) == {"typ", "alg", "jwk"}
        assert (header["typ"], header["alg"]) == ("dpop+jwt", "ES256")
        assert set(claims) == {"jti", "htm", "htu", "iat"}
        assert (claims["htm"], claims["htu"], claims["iat"]) == ("POST", URL, int(clock()))

    def test_with_an_access_token(self, proofs: Dpop) -> None:
        _, claims = opened(proofs.proof(KEY, "GET", URL, "the token"))
        assert set(claims) == {"jti", "htm", "htu", "iat", "ath"}
        assert claims["ath"] == base64url(hashlib.sha256(b"the token").digest())

    def test_the_key_in_it_is_public(self, proofs: Dpop) -> None:
        header, _ = opened(proofs.proof(KEY, "GET", URL))
        assert set(header["jwk"]) <= {"kty", "crv", "x", "y", "kid"}
        assert json.loads(KEY)["d"] not in proofs.proof(KEY, "GET", URL)

    def test_of_another_key_is_another_proof(self, proofs: Dpop) -> None:
        header, _ = opened(proofs.proof(dpop.new_key(), "GET", URL))
        assert header["jwk"]["x"] != json.loads(KEY)["x"]

    @pytest.mark.parametrize("tail", ["", "?a=1", "#part", "?a=1#part", "#part?a=1"])
    def test_names_no_query_and_no_fragment(self, tail: str, proofs: Dpop) -> None:
        assert opened(proofs.proof(KEY, "GET", URL + tail))[1]["htu"] == URL

    @examples(50)
    @given(tail=st.text(alphabet="?#&=/a%", max_size=8))
    def test_names_no_query_whatever_the_url(self, tail: str) -> None:
        htu = opened(Dpop(Clock()).proof(KEY, "GET", f"{URL}{tail}"))[1]["htu"]
        assert htu.startswith(URL)
        assert not {"?", "#"} & set(htu)

    def test_is_used_once(self, proofs: Dpop) -> None:
        assert len({opened(proofs.proof(KEY, "GET", URL))[1]["jti"] for _ in range(50)}) == 50


def test_a_thumbprint_is_that_of_rfc_7638() -> None:
    public = {name: json.loads(KEY)[name] for name in ("crv", "kty", "x", "y")}
    canonical = json.dumps(public, sort_keys=True, separators=(",", ":")).encode()
    assert dpop.thumbprint(KEY) == base64url(hashlib.sha256(canonical).digest())


class TestAuthorization:
    def test_a_bearer_token(self, proofs: Dpop) -> None:
        assert proofs.authorization(AccessToken("t", 0.0), KEY, "GET", URL) == {"Authorization": "Bearer t"}

    def test_a_bound_token(self, proofs: Dpop) -> None:
        headers = proofs.authorization(AccessToken("t", 0.0, token_type="DPoP"), KEY, "GET", URL)
        assert headers["Authorization"] == "DPoP t"
        assert opened(headers["DPoP"])[1]["ath"] == base64url(hashlib.sha256(b"t").digest())


class TestNonces:
    def test_one_that_was_offered_is_in_the_next_proof(self, proofs: Dpop) -> None:
        assert not proofs.wants_another(URL, offer("first"))
        assert opened(proofs.proof(KEY, "GET", f"{URL}?page=2"))[1]["nonce"] == "first"
        proofs.wants_another(URL, offer("second"))
        assert opened(proofs.proof(KEY, "GET", URL))[1]["nonce"] == "second"

    def test_an_origin_has_its_own(self, proofs: Dpop) -> None:
        proofs.wants_another(URL, offer("first"))
        for other in ("https://api.example:8443/orders", "http://api.example/orders", "https://other.example/"):
            assert "nonce" not in opened(proofs.proof(KEY, "GET", other))[1]

    @pytest.mark.parametrize(
        "refusal",
        [
            offer("n", 400, b'{"error": "use_dpop_nonce"}'),
            offer("n", 401, b"", **{"WWW-Authenticate": 'DPoP error="use_dpop_nonce"'}),
        ],
        ids=["token endpoint", "resource server"],
    )
    def test_a_refusal_for_the_want_of_one(self, refusal: Response, proofs: Dpop) -> None:
        assert proofs.wants_another(URL, refusal)

    @pytest.mark.parametrize(
        "answer",
        [
            Response(400, {}, b'{"error": "use_dpop_nonce"}'),
            offer("n", 400, b'{"error": "invalid_grant"}'),
            offer("n", 500, b"use_dpop_nonce"),
            offer("n", 200, b"use_dpop_nonce"),
            offer("n" * 513, 400, b'{"error": "use_dpop_nonce"}'),
        ],
        ids=["no nonce", "another error", "500", "200", "a long nonce"],
    )
    def test_nothing_to_send_again(self, answer: Response, proofs: Dpop) -> None:
        assert not proofs.wants_another(URL, answer)

    def test_a_long_one_is_not_kept(self, proofs: Dpop) -> None:
        proofs.wants_another(URL, offer("n" * 513))
        assert "nonce" not in opened(proofs.proof(KEY, "GET", URL))[1]

    def test_two_requests_that_were_refused_together(self, proofs: Dpop) -> None:
        """Both were sent without a nonce, and both have to be sent again with the same one."""
        refusal = offer("n", 400, b'{"error": "use_dpop_nonce"}')
        assert [proofs.wants_another(URL, refusal) for _ in range(2)] == [True, True]


class DemandingProvider:
    """A WSGI app around the test provider, whose token endpoint wants a nonce in every proof."""

    def __init__(self, provider: OpenIdProvider, nonce: str) -> None:
        self.provider = provider
        self.nonce = nonce
        self.proofs: list[str] = []
        self.both_here: threading.Barrier | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/token":
            return self.provider(environ, start_response)
        self.proofs.append(environ["HTTP_DPOP"])
        if opened(environ["HTTP_DPOP"])[1].get("nonce") == self.nonce:
            body, status = {"access_token": "a", "token_type": "DPoP", "expires_in": 60}, "200 OK"
        else:
            if self.both_here is not None:
                self.both_here.wait(10)
            body, status = {"error": "use_dpop_nonce"}, "400 Bad Request"
        offered = self.nonce or "never enough"
        start_response(status, [("Content-Type", "application/json"), ("DPoP-Nonce", offered)])
        return [json.dumps(body).encode()]


class TestTheTokenEndpoint:
    @pytest.fixture
    def idp(self, clock: Clock) -> DemandingProvider:
        key = ECKey.generate_key("P-256", {"kid": "k", "alg": "ES256"})
        return DemandingProvider(OpenIdProvider(ISSUER, key, clock), "wanted")

    @pytest.fixture
    def provider(self, idp: DemandingProvider, clock: Clock) -> Provider:
        config = ProviderSettings("x", ISSUER, "bff", client_secret=SECRET, dpop=True)
        return Provider(config, HttpClient("idp", timeout=1, adapter=WsgiTransport({ISSUER: idp})), clock)

    @pytest.fixture
    def endpoint(self, proofs: Dpop, clock: Clock) -> TokenEndpoint:
        return TokenEndpoint(proofs, TokenResponseParser(300, clock))

    def test_a_nonce_is_learned_and_kept(
        self, idp: DemandingProvider, provider: Provider, endpoint: TokenEndpoint
    ) -> None:
        for _ in range(2):
            issued = endpoint.request(provider, REFRESH, {"refresh_token": "r"}, key=KEY)
            assert issued.access is not None
            assert issued.access.token_type == "DPoP"
        claims = [opened(proof)[1] for proof in idp.proofs]
        assert [each.get("nonce") for each in claims] == [None, "wanted", "wanted"]
        assert len({each["jti"] for each in claims}) == 3
        assert {(each["htm"], each["htu"]) for each in claims} == {("POST", f"{ISSUER}/token")}

    def test_it_is_asked_again_only_once(
        self, idp: DemandingProvider, provider: Provider, endpoint: TokenEndpoint
    ) -> None:
        idp.nonce = ""
        with pytest.raises(GrantRefused, match="use_dpop_nonce"):
            endpoint.request(provider, REFRESH, {"refresh_token": "r"}, key=KEY)
        assert len(idp.proofs) == 2

    def test_two_at_once_both_succeed(
        self, idp: DemandingProvider, provider: Provider, endpoint: TokenEndpoint
    ) -> None:
        provider.metadata()
        idp.both_here = threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            every = [
                pool.submit(endpoint.request, provider, REFRESH, {"refresh_token": "r"}, key=KEY) for _ in range(2)
            ]
            assert all(each.result(10).access for each in every)
        assert len(idp.proofs) == 4
