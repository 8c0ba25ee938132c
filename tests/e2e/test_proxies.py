"""Behind the real proxies with the very files in deploy/: the whole way, from the login to the application's API."""

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.architecture import markdown
from tests.e2e.claims import claims, identity
from tests.e2e.protected import PROXIES
from tests.peers import bff, openid, process, proxies
from tests.peers.bff import Visitor

pytestmark = pytest.mark.e2e

ROUTES = """
services: {orders: {base_url: "http://%s/v1"}}
routes: [{id: orders, path: "/api/orders/*", service: orders}]
"""


@dataclass(frozen=True)
class Site:
    """What a browser sees: the proxy, with the BFF's paths and the application everywhere else. bff: its own port."""

    port: int
    bff: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self,
        method: str,
        path: str,
        headers: list[tuple[str, str]],
        *,
        body: bytes | None = None,
        source: str = "127.0.0.1",
        directly: bool = False,
    ) -> tuple[int, Any]:
        """Exactly these header fields, as no well-behaved client would let one send; (status, decoded body).
        directly: at the BFF, past the proxy."""
        port = self.bff if directly else self.port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
        with closing(connection):
            connection.putrequest(method, path)
            for name, value in headers:
                connection.putheader(name, value)
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content.startswith(b"{") else content


@pytest.fixture(scope="module", params=PROXIES)
def site(folder: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    found = Site(process.free_port())
    client = openid.client("bff", found.base_url)
    with (
        openid.running([client], autologin=True, log=folder / "provider.log") as provider,
        proxies.echo() as application,
        bff.running(
            folder,
            {
                "BFF_BASE_URL": found.base_url,
                "BFF_CONFIG_DIR": str(_configuration(folder, application)),
                "OIDC_ISSUER": provider.issuer,
                "SESSION_BINDING": "enforce",
                **client.environ,
            },
            verify=True,
        ) as service,
        getattr(proxies, request.param)(
            found.port, service.address, application, verify=service.verify_address, log=folder / "proxy.log"
        ),
    ):
        yield replace(found, bff=service.port)


def _configuration(folder: Path, application: str) -> Path:
    (folder / "routes.yaml").write_text(ROUTES % application)
    return folder


@pytest.fixture
def alice(site: Site) -> Iterator[Visitor]:
    with Visitor(site.base_url) as person:
        assert person.login().status_code == 302
        yield person


def as_sent_by(visitor: Visitor) -> list[tuple[str, str]]:
    return [("Cookie", f"bff_session={visitor.cookie()}"), ("User-Agent", str(visitor.headers["User-Agent"]))]


def test_the_application_learns_who_is_logged_in(site: Site, alice: Visitor) -> None:
    status, seen = site.request("POST", "/orders?id=1", as_sent_by(alice), body=b"a=1")
    assert (status, seen["method"], seen["path"]) == (200, "POST", "/orders?id=1")
    assert identity(seen)["X-User-ID"] == ["alice"]
    assert alice.cookie() not in str(identity(seen))


def test_the_provider_finds_our_public_keys(site: Site) -> None:
    assert site.request("GET", "/.well-known/jwks.json", []) == (200, {"keys": []})


def test_an_open_path_carries_no_claim_either(site: Site) -> None:
    status, seen = site.request("GET", "/public/logo.svg", claims())
    assert (status, identity(seen)) == (200, {})


@pytest.mark.parametrize("path", ["/public/x", "/reports"])
def test_the_request_line_alone_says_what_is_asked_for(site: Site, alice: Visitor, path: str) -> None:
    """Some frameworks take another method or address from these, about which the BFF was not asked."""
    named = [
        "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Original-Method",
        "X-Rewrite-URL", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Prefix",
    ]  # fmt: skip
    status, seen = site.request("POST", path, [*as_sent_by(alice), *((name, "/admin") for name in named)])
    assert (status, seen["method"], seen["path"]) == (200, "POST", path)
    assert not {name.lower() for name in named} & {name.lower() for name, _ in seen["headers"]}


def test_a_user_cannot_hide_behind_the_connection_header(site: Site, alice: Visitor) -> None:
    """A proxy drops fields that Connection names (RFC 9110 section 7.6.1), and some only after adding their own."""
    status, seen = site.request("GET", "/reports", [*as_sent_by(alice), ("Connection", "close, X-User-ID")])
    assert status == 400 or identity(seen)["X-User-ID"] == ["alice"]


def test_a_cookie_from_another_network_is_refused_and_its_session_lives_on(site: Site, alice: Visitor) -> None:
    status, problem = site.request("GET", "/reports", as_sent_by(alice), source="127.9.9.9")
    assert (status, problem["code"]) == (401, "session_binding")
    assert site.request("GET", "/reports", as_sent_by(alice))[0] == 200


def test_nobody_can_forge_the_network_they_come_from(site: Site, alice: Visitor) -> None:
    forged = [("X-Forwarded-For", "127.0.0.1"), ("X_Forwarded_For", "127.0.0.1"), ("Forwarded", "for=127.0.0.1")]
    status, problem = site.request("GET", "/reports", forged + as_sent_by(alice), source="127.9.9.9")
    assert (status, problem["code"]) == (401, "session_binding")


def test_the_bffs_own_api_is_reached_through_it(site: Site, alice: Visitor) -> None:
    path = "/api/orders/caf%C3%A9%2C7?a=%7e"
    status, seen = site.request("GET", path, [*claims(), *as_sent_by(alice), ("Authorization", "Bearer forged")])
    assert (status, seen["path"]) == (200, "/v1/orders/caf%C3%A9%2C7?a=%7e")
    told = {name.lower(): value for name, value in seen["headers"]}
    assert told["x-original-user"] == "auth:account:default:alice"
    assert (told["x-forwarded-for"], told["x-forwarded-host"]) == ("127.0.0.1", f"127.0.0.1:{site.port}")
    assert "forged" not in told["authorization"]
    assert identity(seen) == {}
    assert "cookie" not in told


def test_nobody_reaches_the_api_without_a_session(site: Site) -> None:
    status, problem = site.request("GET", "/api/orders/7", claims())
    assert (status, problem["code"]) == (401, "unauthenticated")


PATHS = [
    (cells[1].split(", ")[0], re.sub(r"[{]\w+[}]", "x", path.replace("**", "orders/7")), cells[2])
    for path, cells in markdown.rows("paths.md").items()
]
"""(method, path, where) of each path that docs/paths.md lists."""


@pytest.mark.parametrize(("method", "path"), [row[:2] for row in PATHS if row[2] == "public"])
def test_a_public_path_is_the_bffs_own(site: Site, alice: Visitor, method: str, path: str) -> None:
    """The same answer as at the BFF itself; with a session, every other path is the application's."""
    own = as_sent_by(alice)
    there, here = (site.request(method, path, own, directly=directly) for directly in (True, False))
    assert (here[0], kind(here[1])) == (there[0], kind(there[1]))
    assert "the application" not in kind(here[1]) or path == "/api/orders/7"


@pytest.mark.parametrize("path", [path for _, path, where in PATHS if where == "inside"])
def test_a_path_that_stays_inside_is_the_applications(site: Site, alice: Visitor, path: str) -> None:
    assert kind(site.request("GET", path, as_sent_by(alice), directly=True)[1]) != "the application's"
    status, content = site.request("GET", path, as_sent_by(alice))
    assert (status, content["path"], identity(content)["X-User-ID"]) == (200, path, ["alice"])
    assert site.request("GET", path, [])[0] == 401


@pytest.mark.parametrize("path", [path for _, path, where in PATHS if where == "verify"])
def test_a_path_of_verify_is_nowhere(site: Site, alice: Visitor, path: str) -> None:
    assert site.request("GET", path, as_sent_by(alice))[0] == 404


def kind(content: Any) -> str:
    """What an answer is, without what differs from one to the next."""
    if isinstance(content, dict):
        return "the application's" if "headers" in content else str(content.get("code") or sorted(content))
    return str(content[:100])
