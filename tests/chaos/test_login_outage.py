"""The provider goes away while its metadata is known: a login says so at once, instead of sending a browser there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.backends import eventually
from tests.peers import bff, openid, process
from tests.peers.bff import Bff, Visitor
from tests.peers.faulty_proxy import Proxy

pytestmark = pytest.mark.e2e

PATIENCE = 30


@dataclass(frozen=True)
class Place:
    service: Bff
    network: Proxy


@pytest.fixture(scope="module", params=["gthread", "gevent"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    port, upstream = process.free_port(), process.free_port(openid.HOST)
    client = openid.client("bff", f"http://127.0.0.1:{port}")
    with (
        Proxy((openid.HOST, upstream), host=openid.HOST) as network,
        openid.running([client], autologin=True, port=upstream, issuer=f"http://{network.address}") as provider,
    ):
        settings = {**client.environ, "OIDC_ISSUER": provider.issuer, "WEB_WORKER_CLASS": request.param}
        with bff.running(folder, settings, port=port) as service:
            yield Place(service, network)


def began(visitor: Visitor) -> tuple[int, str]:
    """The status of /auth/login, and its page."""
    answer = visitor.open(f"{visitor.base_url}/auth/login?return_to=/orders")
    return answer.status_code, answer.text


def test_a_login_says_so_at_once_and_works_again_when_the_provider_does(place: Place) -> None:
    with Visitor(place.service.base_url) as alice, Visitor(place.service.base_url) as bob:
        assert alice.login(login_hint="alice").status_code == 302
        place.network.down()
        try:
            assert eventually(lambda: began(bob)[0] == 503, PATIENCE)
            status, page = began(bob)
            assert (status, "/auth/login" in page, "orders" in page) == (503, True, True), "a page with a way to retry"
            assert alice.auth_verify().status_code == 200, "those who are logged in go on"
        finally:
            place.network.up()
        assert eventually(lambda: began(bob)[0] == 302, PATIENCE)
        assert bob.login(login_hint="bob").status_code == 302
