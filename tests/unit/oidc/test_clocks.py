"""What a worker holds for itself ages by a clock that only goes forward: one that is set back makes nothing last."""

import json
from typing import cast

import pytest
from joserfc.jwk import RSAKey

from bff.bearer.tokens import ACTIVE_LIFE, JWT_LIFE, BearerTokens
from bff.dev.in_process import WsgiTransport
from bff.errors import InvalidToken
from bff.http import HttpClient
from bff.oidc.id_token import validate_id_token
from bff.oidc.jwt import TokenInvalid
from bff.oidc.key_questions import MOST
from bff.oidc.provider import KEYS_LIFE, METADATA_LIFE, Provider
from bff.ratelimit import RateLimiter
from bff.settings.model import ProviderSettings
from tests.clock import Clock
from tests.flows.internet import BFF
from tests.flows.issued import access_token
from tests.flows.provider import OpenIdProvider
from tests.flows.registration import SECRET
from tests.flows.tokens import compact

ISSUER = "https://idp.example"
FIRST, SECOND = RSAKey.generate_key(2048, {"kid": "1"}), RSAKey.generate_key(2048, {"kid": "2"})


class Machine:
    """A worker's two clocks, and a provider that has the right time all along."""

    def __init__(self) -> None:
        self.wall, self.monotonic, self.true = Clock(), Clock(50.0), Clock()
        self.idp = OpenIdProvider(ISSUER, FIRST, self.true)
        config = ProviderSettings("x", ISSUER, "bff", client_secret=SECRET)
        http = HttpClient("idp", timeout=5, whole=True, adapter=WsgiTransport({ISSUER: self.idp}), clock=self.monotonic)
        self.provider = Provider(config, http, self.wall, monotonic=self.monotonic)

    def passes(self, seconds: float) -> None:
        for clock in (self.wall, self.monotonic, self.true):
            clock.now += seconds

    def log_in(self, kid: str = "") -> None:
        now = int(self.wall())
        header = {"alg": "RS256", "kid": kid or self.idp.keys[-1].kid}
        claims = {"iss": ISSUER, "aud": "bff", "sub": "s", "nonce": "n", "iat": now, "exp": now + 60}
        token = compact(header, json.dumps(claims).encode(), self.idp.keys[-1])
        validate_id_token(token, self.provider, nonce="n", access_token="a", clock=self.wall)


@pytest.fixture
def machine() -> Machine:
    return Machine()


class Unlimited:
    def by_address(self, *_: object) -> None: ...

    def give_back(self, *_: object) -> None: ...


@pytest.fixture
def bearers(machine: Machine) -> BearerTokens:
    limits = cast(RateLimiter, Unlimited())
    return BearerTokens({"x": machine.provider}, "x", BFF, limits, machine.wall, machine.monotonic)


BACK = pytest.mark.parametrize("back", [0, 30, 3600, 86400 * 365])


@BACK
def test_a_rotated_key_is_found_after_the_clock_was_set_back(machine: Machine, back: float) -> None:
    machine.log_in()
    with pytest.raises(TokenInvalid, match="unknown_key"):
        machine.log_in("nobody")
    machine.wall.now -= back
    machine.idp.keys = [SECOND]
    machine.passes(10)
    machine.log_in()


@BACK
def test_copies_age_although_the_clock_was_set_back(machine: Machine, back: float) -> None:
    machine.log_in()
    machine.wall.now -= back
    machine.passes(max(METADATA_LIFE, KEYS_LIFE))
    machine.log_in()
    assert (machine.idp.count("discovery"), machine.idp.count("jwks")) == (2, 2)


@BACK
def test_a_clock_set_forward_makes_nothing_old(machine: Machine, back: float) -> None:
    machine.log_in()
    machine.wall.now += back
    machine.log_in()
    assert (machine.idp.count("discovery"), machine.idp.count("jwks")) == (1, 1)


@BACK
def test_an_accepted_jwt_is_believed_no_longer(machine: Machine, bearers: BearerTokens, back: float) -> None:
    machine.wall.now += back  # it was ahead when the token was seen
    bearers.validate(access_token(machine.idp, exp=machine.true() + 2 * back + 1000), "")
    (seen,) = bearers._verified._entries
    machine.wall.now -= back
    machine.passes(JWT_LIFE)
    assert bearers._verified.get(seen, machine.monotonic()) is None


@BACK
def test_an_active_opaque_token_is_believed_no_longer(machine: Machine, bearers: BearerTokens, back: float) -> None:
    machine.idp.introspected["opaque"] = {"active": True, "sub": "s", "aud": BFF}
    bearers.validate("opaque", "")
    machine.wall.now -= back
    machine.passes(ACTIVE_LIFE)
    bearers.validate("opaque", "")
    assert machine.idp.count("introspect") == 2


def test_a_remembered_token_ends_when_the_clock_says_so(machine: Machine, bearers: BearerTokens) -> None:
    token = access_token(machine.idp, exp=machine.true() + 100)
    bearers.validate(token, "")
    machine.wall.now += 161  # and nothing passed
    with pytest.raises(InvalidToken):
        bearers.validate(token, "")


def test_an_unknown_key_is_remembered_for_one_state_of_the_keys(machine: Machine, bearers: BearerTokens) -> None:
    """The fetch for which forged tokens left no budget is made for another; then the true one is looked at anew."""
    machine.log_in()
    for number in range(MOST):
        with pytest.raises(InvalidToken):
            bearers.validate(access_token(machine.idp, {"kid": f"forged-{number}"}), "")
    machine.idp.keys = [SECOND]
    true = access_token(machine.idp)
    with pytest.raises(InvalidToken):
        bearers.validate(true, "")
    machine.log_in()
    assert bearers.validate(true, "").sub == "alice"
