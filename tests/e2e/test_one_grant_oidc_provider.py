"""oidc-provider keeps one grant for a person and a client within its single sign-on: whichever way a session ends, the
login after it keeps its tokens, whenever the former ones are revoked. tests/flows/test_one_grant.py has the races."""

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from bff.crypto import digest
from bff.sessions.records import EXPIRY_INDEX
from bff.sessions.token_store import CODE_LIFE, REVOCATION_INDEX
from tests.e2e.deployment import Deployment, running, stored_tokens
from tests.peers.bff import Visitor

pytestmark = pytest.mark.e2e

TTL = 300
IDLE, LOGIN_TIMEOUT = 200, 10
QUIET = LOGIN_TIMEOUT + CODE_LIFE + 1
"""Seconds after which the tokens of a session that no person ended are revoked."""
QUEUE, SESSIONS = f"bff:i:{REVOCATION_INDEX}", f"bff:i:{EXPIRY_INDEX}"
REVOCATION = "/token/revocation"
MANY = 1000
MOST_AGAIN = 3
STEPS = 4
PAGES = itertools.count()
End = Callable[[Deployment, Visitor], None]


@pytest.fixture(scope="module")
def deployment(folder: Path) -> Iterator[Deployment]:
    more = {"SESSION_IDLE_TIMEOUT": str(IDLE), "LOGIN_TIMEOUT": str(LOGIN_TIMEOUT), "SESSION_BINDING": "enforce"}
    with running(folder, TTL, more=more) as started:
        yield started


@pytest.fixture
def alice(deployment: Deployment) -> Iterator[Visitor]:
    """A browser of hers, and so a grant of its own. The clock is never set back, or jobs of the fleet would wait."""
    deployment.provider.heal()
    with Visitor(deployment.bff.base_url) as person:
        log_in(person)
        yield person


def log_in(person: Visitor) -> None:
    """For a page of its own: one that is asked for again and again is taken for a circle. A login that a revocation
    overtook begins again, and single sign-on answers at once."""
    page = f"/{next(PAGES)}"
    answer = person.login(login_hint="alice", return_to=page)
    for _ in range(MOST_AGAIN):
        if answer.headers["Location"].endswith(page):
            break
        answer = person.open(person.authorize(answer.headers["Location"]))
    assert person.auth_verify().status_code == 200


def refresh(person: Visitor) -> tuple[int, str]:
    headers = {"X-CSRF-Token": person.csrf_token()}
    answer = person.call("POST", "/auth/tokens/refresh", json={}, headers=headers)
    return answer.status_code, "" if answer.ok else answer.text


def ended(deployment: Deployment, key: str) -> bool:
    return deployment.store.command("ZSCORE", SESSIONS, key) is None


def time_out(deployment: Deployment, person: Visitor) -> None:
    deployment.clock.advance(IDLE + 1)
    assert person.auth_verify().status_code == 401


def be_swept(deployment: Deployment, person: Visitor) -> None:
    """Nobody asks for it any more."""
    deployment.clock.advance(IDLE + 1)
    deployment.wait(lambda: ended(deployment, digest(person.cookie())))


def log_out_without_revocation(deployment: Deployment, person: Visitor) -> None:
    key = digest(person.cookie())
    deployment.provider.fail(REVOCATION, status=503, times=MANY)
    assert person.logout().status_code == 200
    assert waits(deployment, key)


def be_refused_by_binding(deployment: Deployment, person: Visitor) -> None:
    refused = person.auth_verify(**{"User-Agent": "another browser"})
    assert (refused.status_code, refused.json()["code"]) == (401, "session_binding")


def be_logged_out_by_the_provider(deployment: Deployment, person: Visitor) -> None:
    """Back-channel, from the provider's own page."""
    hint = stored_tokens(deployment.store, person.cookie()).id_token
    query = urlencode({"id_token_hint": hint, "post_logout_redirect_uri": person.base_url})
    person.walk(f"{deployment.provider.issuer}/session/end?{query}", person.base_url, logout="yes")
    deployment.wait(lambda: person.auth_verify().status_code == 401)


def log_in_over_it(deployment: Deployment, person: Visitor) -> None:
    """Without any end before."""


AFTER_WHICH_THE_CLOCK_MAY_BE_AHEAD: list[End] = [
    time_out,
    be_swept,
    log_out_without_revocation,
    be_refused_by_binding,
    log_in_over_it,
]
ENDS = [be_logged_out_by_the_provider, *AFTER_WHICH_THE_CLOCK_MAY_BE_AHEAD]
"""A logout token is good for minutes only, so the provider's clock must agree."""


def waits(deployment: Deployment, key: str) -> bool:
    """Whether the tokens of this session wait to be revoked."""
    return any(member.decode().endswith(key) for member in deployment.store.command("ZRANGE", QUEUE, 0, -1))


def settle(deployment: Deployment, former: str) -> None:
    """The provider answers again, and the tokens of this former session had their turn."""
    deployment.provider.heal()
    deployment.clock.advance(QUIET)
    deployment.wait(lambda: not waits(deployment, former))


@pytest.mark.parametrize("end", ENDS)
def test_the_login_after_it_keeps_its_tokens(deployment: Deployment, alice: Visitor, end: End) -> None:
    former = digest(alice.cookie())
    end(deployment, alice)
    log_in(alice)
    assert refresh(alice) == (200, "")
    settle(deployment, former)
    assert refresh(alice) == (200, "")


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_ends(deployment: Deployment, alice: Visitor, seed: int) -> None:
    """With the former sessions' revocations still to come, or done, at each next end."""
    chance = random.Random(seed)
    for _ in range(STEPS):
        former = digest(alice.cookie())
        chance.choice(AFTER_WHICH_THE_CLOCK_MAY_BE_AHEAD)(deployment, alice)
        log_in(alice)
        if chance.random() < 0.5:
            settle(deployment, former)
        assert refresh(alice) == (200, "")
