"""Mutual TLS: the connection proves who the BFF is (RFC 8705), over real TLS on the loopback address."""

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import Key
from requests.adapters import HTTPAdapter
from werkzeug.wrappers import Response

from bff.dev.in_process import WsgiTransport
from bff.errors import UpstreamError
from bff.http import HttpClient
from bff.settings.model import MTLS_METHODS
from tests.clock import Clock
from tests.flows.internet import Site, begin, log_out, site
from tests.flows.provider import OpenIdProvider
from tests.peers import certificates
from tests.peers.certificates import Certificates
from tests.peers.tls import served

PATIENT = 5.0
ALIASED = {
    "token_endpoint": "token",
    "pushed_authorization_request_endpoint": "par",
    "revocation_endpoint": "revoke",
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    made = certificates.make(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made.ca))
    return made


def hello(environ: dict[str, Any], start_response: Any) -> Any:
    return Response("{}")(environ, start_response)


def status(url: str, certificate: tuple[Path, Path] | None) -> int | str:
    client = HttpClient("test", timeout=PATIENT, certificate=certificate, wait=lambda _seconds: None)
    try:
        return client.get(url, target="t").status
    except UpstreamError as err:
        return err.outcome
    finally:
        client.close()


def test_a_server_that_demands_a_certificate(files: Certificates, tmp_path: Path) -> None:
    (tmp_path / "stranger").mkdir()
    stranger = certificates.make(tmp_path / "stranger")
    with served(hello, files, mutual=True) as url:
        assert status(url, (files.client_certificate, files.client_key)) == 200
        assert status(url, None) == "connection"
        assert status(url, (stranger.client_certificate, stranger.client_key)) == "connection"


@dataclasses.dataclass
class Provider:
    """An OpenID Provider with two addresses: one for everybody, and one for clients with a certificate."""

    openid: OpenIdProvider
    mutual: str

    def offer_aliases(self) -> None:
        self.openid.metadata["mtls_endpoint_aliases"] = {
            "authorization_endpoint": f"{self.mutual}/no-browser-has-the-certificate",
            **{name: f"{self.mutual}/{path}" for name, path in ALIASED.items()},
        }


@pytest.fixture
def provider(files: Certificates, clock: Clock, rsa: Key) -> Iterator[Provider]:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        return openid(environ, start_response)

    with ExitStack() as servers:
        openid = OpenIdProvider(servers.enter_context(served(app, files)), rsa, clock)
        openid.client.certificate = files.client_certificate.read_text()
        openid.offer_par()
        yield Provider(openid, servers.enter_context(served(app, files, mutual=True)))


@pytest.fixture
def bff(files: Certificates, provider: Provider, tmp_path: Path, clock: Clock, rsa: Key, method: str) -> Iterator[Site]:
    provider.openid.client.method = method
    environ = {
        "OIDC_ISSUER": provider.openid.issuer,
        "TOKEN_AUTH_METHOD": method,
        "AUTH_CLIENT_CERTIFICATE": str(files.client_certificate),
        "AUTH_CLIENT_CERTIFICATE_KEY": str(files.client_key),
    }
    network = WsgiTransport({}, others=HTTPAdapter())
    made = site(tmp_path, clock, rsa, environ, {"default": provider.openid}, network)
    yield made
    made.services.close()


@pytest.mark.parametrize("method", MTLS_METHODS)
def test_login_and_logout(bff: Site, provider: Provider) -> None:
    provider.offer_aliases()
    browser = bff.logged_in()
    assert browser.verify().status_code == 200
    log_out(browser)
    assert len(bff.idp.revoked) == 1
    for endpoint in ALIASED.values():
        form = bff.idp.last(endpoint).form
        assert form["client_id"] == "bff"
        assert not {"client_secret", "client_assertion"} & form.keys()


@pytest.mark.parametrize("method", ["tls_client_auth"])
def test_a_provider_without_aliases_is_asked_where_it_is(bff: Site, provider: Provider) -> None:
    """This one demands no certificate there, so it sees none and refuses."""
    assert begin(bff.browser()).status_code == 503
    assert bff.idp.count("par") == 1


@pytest.mark.parametrize("method", ["client_secret_post"])
def test_aliases_are_not_for_other_methods(bff: Site, provider: Provider) -> None:
    provider.offer_aliases()
    metadata = bff.services.providers["default"].metadata()
    assert metadata.token_endpoint == f"{bff.idp.issuer}/token"
