"""Every proxy gives every kind of request the same answer, whoever sends it and whatever it claims to be.

Each request carries claims of an identity in every spelling, of which the application must see none, and lies about
what is asked for and by whom.
"""

from typing import NamedTuple
from urllib.parse import quote

import pytest

from tests.e2e.claims import LIAR, identity
from tests.e2e.protected import PROXIES, Kind, Stack, stack
from tests.peers import process

pytestmark = pytest.mark.e2e
__all__ = ["stack"]

NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
FETCH = {"Accept": "application/json", "Sec-Fetch-Mode": "cors"}
KINDS = {
    "navigation": Kind("GET", NAVIGATION),
    "form": Kind("POST", NAVIGATION),
    "fetch": Kind("GET", FETCH),
    "unsafe": Kind("DELETE", FETCH),
}


class Outcome(NamedTuple):
    """The statuses by kind, and the one word that says why."""

    navigation: int
    form: int
    fetch: int
    unsafe: int
    reason: str | None


TABLE = {
    "anonymous": Outcome(302, 303, 401, 401, "unauthenticated"),
    "unknown": Outcome(302, 303, 401, 401, "unauthenticated"),
    "valid": Outcome(200, 200, 200, 200, None),
    "expired": Outcome(302, 303, 401, 401, "expired"),
    "wrong binding": Outcome(302, 303, 401, 401, "session_binding"),
    "denied": Outcome(403, 403, 403, 403, "deny"),
    "store down": Outcome(503, 503, 503, 503, "store_unavailable"),
}
UP = [name for name in TABLE if name != "store down"]


def check(stack: Stack, proxy: str, outcome: str, kind: str, cookie: str | None) -> None:
    path = "/archive?page=2" if outcome == "denied" else "/reports?page=2&x=%7e"
    answer = stack.send(proxy, KINDS[kind], path, cookie)
    status, reason = getattr(TABLE[outcome], kind), TABLE[outcome].reason
    if outcome == "store down" and proxy == "envoy":
        reason = "undecided"  # it drops whatever comes with a 503
    assert (answer.status, answer.headers["X-Denied-Reason"]) == (status, reason), answer.body
    assert LIAR.encode() not in answer.body
    assert answer.headers["Set-Cookie"] is None
    back = f"{stack.login}?return_to={quote(f'http://127.0.0.1:{stack.ports[proxy]}{path}', safe='')}"
    assert answer.headers["Location"] == (back if status in (302, 303) else None)
    if status == 200:
        assert identity(answer.content)["X-User-ID"] == ["alice"]
        assert (answer.content["method"], answer.content["path"]) == (KINDS[kind].method, path)
    elif kind in ("fetch", "unsafe"):
        assert (answer.headers["Content-Type"], answer.content["code"]) == ("application/problem+json", reason)
        assert answer.content["status"] == status
        assert ("/auth/login" in answer.content.get("login_url", "")) is (status == 401)
    if status == 503:
        assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outcome", UP)
@pytest.mark.parametrize("proxy", PROXIES)
def test_an_answer(stack: Stack, proxy: str, outcome: str, kind: str) -> None:
    check(stack, proxy, outcome, kind, stack.cookie(outcome))


@pytest.fixture(scope="module")
def without_store(stack: Stack) -> list[str]:
    """Sessions that the store had and that no worker has seen, one for each question; the store is gone."""
    cookies = [stack.cookie("valid") for _ in range(len(PROXIES) * len(KINDS))]
    stack.store.kill()
    return [cookie for cookie in cookies if cookie]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("proxy", PROXIES)
def test_an_answer_without_the_store(stack: Stack, without_store: list[str], proxy: str, kind: str) -> None:
    check(stack, proxy, "store down", kind, without_store.pop())


@pytest.fixture(scope="module")
def without_bff(stack: Stack) -> None:
    process.stop(stack.service.process)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.usefixtures("without_bff")
def test_nobody_passes_without_the_bff(stack: Stack, proxy: str, kind: str) -> None:
    answer = stack.send(proxy, KINDS[kind], "/reports", "A" * 43)
    assert answer.status in (500, 502, 503)
    assert LIAR.encode() not in answer.body
