"""An answer of a provider has one deadline: what must be fetched before it, and its repetitions, are part of it."""

from collections.abc import Callable

import pytest
from joserfc.jwk import RSAKey
from werkzeug.wrappers import Request, Response

from bff.bearer.introspection import introspected
from bff.dev.in_process import WsgiTransport
from bff.errors import ProviderUnavailable
from bff.http import HttpClient
from bff.oidc.dpop import Dpop
from bff.oidc.provider import CALL_LIMIT, Provider
from bff.oidc.token_endpoint import REFRESH, RequestFailed, TokenEndpoint
from bff.oidc.token_response import TokenResponseParser
from bff.oidc.userinfo import UserInfo
from bff.sessions.tokens import AccessToken, Tokens
from bff.settings.model import ProviderSettings
from bff.tokens.revocation import _revoked
from tests.clock import Clock
from tests.flows.provider import OpenIdProvider
from tests.flows.registration import SECRET

ISSUER = "https://idp.example"
KEY = RSAKey.generate_key(2048, {"kid": "k"})
ACCESS = AccessToken("a", 0.0)


def token(provider: Provider, clock: Clock) -> None:
    endpoint = TokenEndpoint(Dpop(clock), TokenResponseParser(60, clock))
    with pytest.raises(RequestFailed, match="timeout"):
        endpoint.request(provider, REFRESH, {"refresh_token": "r"})


def userinfo(provider: Provider, clock: Clock) -> None:
    assert UserInfo(Dpop(clock)).claims(provider, "alice", ACCESS, None) is None


def introspection(provider: Provider, clock: Clock) -> None:
    with pytest.raises(ProviderUnavailable):
        introspected("opaque", provider, "https://app.example", clock())


def revocation(provider: Provider, _clock: Clock) -> None:
    assert _revoked(provider, Tokens("x", ACCESS, "r")) is False


def keys(provider: Provider, _clock: Clock) -> None:
    with pytest.raises(ProviderUnavailable):
        provider.keys()


CALLS = {"token": token, "userinfo": userinfo, "introspect": introspection, "revoke": revocation, "jwks": keys}


@pytest.mark.parametrize("endpoint", CALLS)
def test_metadata_that_took_all_the_time_leaves_none_for_the_call(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    idp = OpenIdProvider(ISSUER, KEY, clock)
    discovery: Callable[[Request], Response] = idp._discovery

    def slow(request: Request) -> Response:
        clock.now += CALL_LIMIT
        return discovery(request)

    monkeypatch.setattr(idp, "_discovery", slow)
    http = HttpClient("idp", timeout=CALL_LIMIT, whole=True, adapter=WsgiTransport({ISSUER: idp}), clock=clock)
    config = ProviderSettings("x", ISSUER, "bff", client_secret=SECRET)
    provider = Provider(config, http, clock, monotonic=clock)
    CALLS[endpoint](provider, clock)
    assert (idp.count("discovery"), idp.count(endpoint)) == (1, 0)
