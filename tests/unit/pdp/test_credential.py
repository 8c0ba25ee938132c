"""The token that a policy decision point is shown, when it has to be fetched first."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from bff.errors import TokenUnavailable
from bff.http import Response
from bff.lib.background import Background
from bff.oidc import dpop
from bff.oidc.dpop import Dpop
from bff.pdp.credential import RENEWED_AFTER, ClientCredentialsBearer
from bff.pdp.model import NoDecision
from bff.sessions.tokens import AccessToken
from bff.settings import ServiceSettings, TokenKind
from bff.tokens.client_credentials import ClientCredentialsTokens
from bff.tokens.source import BoundToken
from tests.clock import Clock

URL = "https://pdp.example/access/v1/evaluation"
SERVICE = ServiceSettings("pdp", TokenKind.CLIENT_CREDENTIALS)
REFUSED = Response(401, {}, b"")


class Tokens:
    """As ClientCredentialsTokens: it issues a new one each time, which is fresh for a minute and lives for two."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.issued = 0
        self.failing = False
        self.key: str | None = None
        self.go = threading.Event()
        self.go.set()

    def ensure(self, session: None, service: ServiceSettings, refused: AccessToken | None = None) -> BoundToken:
        assert self.go.wait(5)
        if self.failing:
            raise TokenUnavailable
        self.issued += 1
        now = self._clock()
        kind = "DPoP" if self.key else "Bearer"
        return BoundToken(AccessToken(f"t{self.issued}", now + 60, now + 120, token_type=kind), self.key)

    renew = ensure


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return Tokens(clock)


def credential(
    tokens: Tokens, clock: Clock, later: Callable[[Callable[[], None]], None] = lambda work: work()
) -> ClientCredentialsBearer:
    return ClientCredentialsBearer(cast(ClientCredentialsTokens, tokens), SERVICE, Dpop(clock), later, clock, clock)


def shown(headers: Any) -> str:
    return str(headers["Authorization"])


def test_a_token_is_fetched_once_and_ahead_of_its_end(tokens: Tokens, clock: Clock) -> None:
    jobs: list[Callable[[], None]] = []
    own = credential(tokens, clock)
    assert [shown(own.headers(URL, 1)) for _ in range(3)] == ["Bearer t1"] * 3
    own._later = jobs.append
    clock.now += 61
    assert shown(own.headers(URL, 1)) == "Bearer t1", "it lives, so nobody waits"
    assert shown(own.headers(URL, 1)) == "Bearer t1"
    assert len(jobs) == 1
    jobs[0]()
    assert shown(own.headers(URL, 1)) == "Bearer t2"


def test_a_provider_that_is_away_while_a_token_lives(tokens: Tokens, clock: Clock) -> None:
    own = credential(tokens, clock)
    own.headers(URL, 1)
    tokens.failing = True
    clock.now += 119
    assert shown(own.headers(URL, 1)) == "Bearer t1"
    clock.now += 1
    with pytest.raises(NoDecision, match="token"):
        own.headers(URL, 1)


def test_nobody_waits_longer_than_they_may_and_one_fetch_is_for_all(tokens: Tokens, clock: Clock) -> None:
    background = Background()
    own = credential(tokens, clock, background)
    tokens.go.clear()
    with pytest.raises(NoDecision, match="token"):
        own.headers(URL, 0.05)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(own.headers, URL, 5) for _ in range(4)]
        tokens.go.set()
        assert {shown(each.result(5)) for each in waiting} == {"Bearer t1"}
    assert tokens.issued == 1
    background.close()


def test_a_refused_token_is_renewed_but_not_again_and_again(tokens: Tokens, clock: Clock) -> None:
    own = credential(tokens, clock)
    own.headers(URL, 1)
    assert shown(own.others(URL, REFUSED, 1)) == "Bearer t2"
    for _ in range(5):
        assert shown(own.others(URL, REFUSED, 1)) == "Bearer t2"
    assert tokens.issued == 2
    clock.now += RENEWED_AFTER
    assert shown(own.others(URL, REFUSED, 1)) == "Bearer t3"


@pytest.mark.parametrize("back", [0, 30, 3600])
def test_a_clock_that_is_set_back_puts_off_no_renewal(tokens: Tokens, clock: Clock, back: float) -> None:
    passed = Clock(50.0)
    own = ClientCredentialsBearer(
        cast(ClientCredentialsTokens, tokens), SERVICE, Dpop(clock), lambda work: work(), clock, passed
    )
    own.headers(URL, 1)
    assert shown(own.others(URL, REFUSED, 1)) == "Bearer t2"
    clock.now -= back
    passed.now += RENEWED_AFTER
    assert shown(own.others(URL, REFUSED, 1)) == "Bearer t3"


def test_a_renewal_that_fails(tokens: Tokens, clock: Clock) -> None:
    own = credential(tokens, clock)
    own.headers(URL, 1)
    tokens.failing = True
    with pytest.raises(NoDecision, match="token"):
        own.others(URL, REFUSED, 1)


def test_a_token_that_is_bound_to_a_key(tokens: Tokens, clock: Clock) -> None:
    """With a proof for each request, and a nonce where the PDP wants one: then the token itself is good."""
    tokens.key = dpop.new_key()
    own = credential(tokens, clock)
    first, second = (own.headers(URL, 1) for _ in range(2))
    assert shown(first) == "DPoP t1"
    assert first["DPoP"] != second["DPoP"]
    challenge = {"DPoP-Nonce": "n1", "WWW-Authenticate": 'DPoP error="use_dpop_nonce"'}
    again = own.others(URL, Response(401, challenge, b""), 1)
    assert shown(again) == "DPoP t1"
    assert tokens.issued == 1
