"""A5: the answer of a service, or of the application, commands a proxy.

To answer with another location of its own, and the user's token in it; or slowly, or from a file.
"""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page

from tests.attacks.ground import PROFILE, Site
from tests.attacks.test_verify_from_outside import secrets
from tests.e2e.protected import PROXIES
from tests.peers import raw

pytestmark = pytest.mark.e2e
proxies = pytest.mark.parametrize("proxy", PROXIES)
sources = pytest.mark.parametrize("source", ["/reports", "/public/x", "/api/steer/x"])

VERIFY = "/bff-verify"
ORDERS: dict[str, dict[str, str]] = {
    "the internal location": {"X-Accel-Redirect": VERIFY},
    "in small letters": {"x-accel-redirect": VERIFY},
    "a named location": {"X-Accel-Redirect": "@login"},
    "an open one": {"X-Accel-Redirect": "/public/other"},
    "verify itself": {"X-Accel-Redirect": f"/auth/verify{PROFILE}"},
    "slowly": {"X-Accel-Limit-Rate": "1"},
    "another charset": {"X-Accel-Charset": "koi8-r"},
    "buffered, and kept": {"X-Accel-Buffering": "yes", "X-Accel-Expires": "3600"},
    "a file": {"X-Sendfile": "/etc/passwd", "X-LIGHTTPD-send-file": "/etc/passwd", "X-Sendfile2": "/etc/passwd 0-"},
    "another address": {"X-Reproxy-URL": "http://127.0.0.1:1/", "X-Rewrite-URL": VERIFY, "X-Original-URL": VERIFY},
    "unhealthy": {"X-Envoy-Immediate-Health-Check-Fail": "true", "X-Envoy-Degraded": "true"},
    "overloaded": {"X-Envoy-Overloaded": "true", "X-Envoy-RateLimited": "true"},
    "fields to take away": {"X-Envoy-Auth-Headers-To-Remove": "x-user-id", "X-Envoy-Retry-On": "5xx"},
}
"""By which servers are commanded."""
FROM_A_SERVICE = {
    "Authorization": "Bearer x",
    "X-User-ID": "mallory",
    "NEL": "{}",
    "Report-To": "{}",
    "Access-Control-Allow-Origin": "*",
    "X-Envoy-Overloaded": "true",
    "X-Accel-Redirect": VERIFY,
}
FETCH = """async (targets) => {
  const found = []
  for (const target of targets) {
    const answer = await fetch(target, {signal: AbortSignal.timeout(10000)})
    found.push([answer.status, [...answer.headers.keys()], await answer.text()])
  }
  return found
}"""


def target(source: str, order: dict[str, str]) -> str:
    return f"{source}?{urlencode(order)}"


def ask(site: Site, proxy: str, path: str) -> raw.Answer:
    port = site.ports[proxy]
    return raw.ask(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{site.session}\r\n".encode())


@proxies
@sources
def test_the_answer_is_the_one_that_was_given(site: Site, proxy: str, source: str) -> None:
    for name, order in ORDERS.items():
        answer = ask(site, proxy, target(source, order))
        assert (answer.status, answer.complete) == (200, True), name
        assert json.loads(answer.body)["path"].startswith(source.replace("/api", "")), name
        assert {known.lower(): value for known, value in answer.fields.items()}["content-type"] == "application/json"
        assert not secrets(answer.fields), name


@proxies
def test_nothing_of_this_leaves_a_proxied_service(site: Site, proxy: str) -> None:
    answer = ask(site, proxy, target("/api/steer/x", FROM_A_SERVICE))
    assert answer.status == 200
    assert not {name.lower() for name in FROM_A_SERVICE} & {name.lower() for name in answer.fields}


@proxies
@pytest.mark.parametrize("source", ["/reports", "/api/steer/x"])
def test_a_page_gets_no_token_by_it(site: Site, page: Page, proxy: str, source: str) -> None:
    page.goto(f"http://127.0.0.1:{site.ports[proxy]}/reports")
    addresses = [target(source, order) for order in ORDERS.values()]
    found: list[Any] = page.evaluate(FETCH, addresses)
    assert [status for status, _, _ in found] == [200] * len(addresses)
    for (_, names, text), address in zip(found, addresses, strict=True):
        assert not secrets(dict.fromkeys(names, "")), address
        assert json.loads(text)["path"].startswith(source.replace("/api", "")), address
