"""A1: a page asks verify itself, whose answer carries the user's token; or a stranger asks whether it is there."""

from http.client import HTTPConnection
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.attacks.ground import PROFILE, Site
from tests.e2e.protected import AGENT, PROXIES
from tests.peers import raw

pytestmark = pytest.mark.e2e
proxies = pytest.mark.parametrize("proxy", PROXIES)

DIALECTS = ("/auth/verify", "/auth/forward", "/auth/verify/nginx", "/auth/verify/envoy")
PLAIN = [
    *(f"{path}{profile}" for path in DIALECTS for profile in ("", PROFILE, "@nope", "/", "?x=1")),
    f"/auth/verify/envoy{PROFILE}/reports",
    "/auth/verify-me",
]
SPELT = [
    "/%61uth/verify@svc",
    "/auth/%76erify@svc",
    "/auth/verif%79@svc",
    "/%41uth/%56erify@svc",
    "/auth/verify%40svc",
    "/auth/verify/%6eginx@svc",
    "/AUTH/verify@svc",
    "/Auth/Verify@svc",
    "/auth/FORWARD@svc",
    "//auth/verify@svc",
    "/auth//verify@svc",
    "///auth///verify@svc",
    "/auth/;/verify@svc",
    "/;/auth/verify@svc",
    "/;x/auth/verify@svc",
    "/auth;x=1/verify@svc",
    "/auth/verify;x@svc",
    "/auth/verify@svc;x",
]
TWO_WAYS = [
    "/./auth/verify@svc",
    "/auth/./verify@svc",
    "/x/../auth/verify@svc",
    "/auth/x/../verify@svc",
    "/public/../auth/verify@svc",
    "/auth/%2e/verify@svc",
    "/x/%2e%2e/auth/verify@svc",
    "/x/%2E./auth/verify@svc",
    "/auth%2fverify@svc",
    "/auth%2Fverify%2Fnginx@svc",
    "/%2fauth/verify@svc",
    "/auth%5cverify@svc",
    "/auth\\verify@svc",
    "/public/..%2fauth/verify@svc",
    "/api/../auth/verify@svc",
    "/static/bff.js/../../auth/verify@svc",
    "/auth/verify%00@svc",
    "/auth/verify%20@svc",
    "/auth/verify%09@svc",
    "/auth/verify%23@svc",
    "/auth/verify%3f@svc",
]
"""A proxy may refuse these as such (400), or clean them and answer as above."""
ELSEWHERE = [
    "/auth/%2576erify@svc",
    "/%2561uth/verify@svc",
    "/auth/..;/auth/verify@svc",
    "/public/..;/auth/verify@svc",
]
"""Neither a proxy nor the BFF reads these as a path of verify's: they are the BFF's 404, or the application's."""


def ask(site: Site, port: int, target: str, more: str = "") -> raw.Answer:
    """As alice."""
    head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{site.session}{more}Connection: close\r\n\r\n"
    return raw.ask(port, head.encode())


def secrets(fields: dict[str, str]) -> set[str]:
    """What only proxies may read."""
    return {name.lower() for name in fields} & {"authorization", "x-user-id", "x-session-id", "x-auth-time"}


def test_verify_of_this_site_does_answer_a_token(site: Site) -> None:
    address = int(site.bff.verify_address.rpartition(":")[2])
    answer = ask(site, address, f"/auth/verify{PROFILE}")
    assert (answer.status, secrets(answer.fields) >= {"authorization", "x-user-id"}) == (200, True)


@proxies
def test_the_application_behind_it_gets_the_token_nowhere_else(site: Site, proxy: str) -> None:
    assert ask(site, site.ports[proxy], "/reports").status == 200
    assert ask(site, site.ports[proxy], "/static/bff.js").status == 200


@proxies
def test_it_is_nowhere_for_whoever_asks_through_a_proxy(site: Site, proxy: str) -> None:
    """Answered by the proxy: whatever the BFF answers has a correlation id."""
    for target in PLAIN + SPELT + TWO_WAYS:
        site.application.forget()
        answer = ask(site, site.ports[proxy], target)
        assert answer.status in ({404, 400} if target in TWO_WAYS else {404}), target
        assert not secrets(answer.fields), target
        assert "x-correlation-id" not in {name.lower() for name in answer.fields}, target
        assert site.application.seen() == [], target


@proxies
@pytest.mark.parametrize("target", ELSEWHERE)
def test_nor_is_it_what_only_an_application_may_read_so(site: Site, proxy: str, target: str) -> None:
    answer = ask(site, site.ports[proxy], target)
    assert answer.status in {200, 400, 404}
    assert not secrets(answer.fields)


@pytest.mark.parametrize("target", PLAIN + SPELT + TWO_WAYS)
def test_it_is_nowhere_on_the_public_listener(site: Site, target: str) -> None:
    """What a proxy of another make might pass on."""
    forged = f"Host: {site.bff.verify_address}\r\nX-Forwarded-Host: {site.bff.verify_address}\r\n"
    for more in ("", forged.partition("\n")[2]):
        answer = ask(site, site.bff.port, target, more)
        assert answer.status in {308, 400, 404}, target
        assert not secrets(answer.fields)


ASK = """async (targets) => {
  const found = []
  for (const target of targets) {
    for (const init of [{method: 'POST'}, {headers: {'X-Forwarded-Uri': '/', 'X-Original-URL': 'http://a/'}}]) {
      const answer = await fetch(location.origin + target, init)
      found.push([target, answer.status, [...answer.headers.keys()], await answer.text()])
    }
  }
  return found
}"""


@proxies
def test_a_page_gets_no_token_and_no_answer(site: Site, page: Page, proxy: str) -> None:
    page.goto(f"http://127.0.0.1:{site.ports[proxy]}/reports")
    assert '"alice"' in page.content()
    found: list[Any] = page.evaluate(ASK, PLAIN + SPELT + TWO_WAYS + ELSEWHERE)
    for target, status, names, text in found:
        assert not secrets(dict.fromkeys(names, "")), target
        assert "Bearer" not in text or target in ELSEWHERE, target
        assert status in {400, 404} or target in ELSEWHERE, (target, status)


def test_a_direct_peer_that_is_trusted_asks_in_vain(site: Site) -> None:
    """It sits where the proxies sit, and says what they say; but it came in by the door of the public."""
    connection = HTTPConnection("127.0.0.1", site.bff.port, timeout=raw.PATIENCE)
    said = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/", "X-Forwarded-For": "127.0.0.1", "Cookie": site.cookie}
    connection.request("GET", f"/auth/forward{PROFILE}", headers=said | {"User-Agent": AGENT})
    answer = connection.getresponse()
    assert (answer.status, secrets(dict(answer.getheaders()))) == (404, set())
    connection.close()
