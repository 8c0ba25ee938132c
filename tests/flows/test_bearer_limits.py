"""What Bearer tokens may cost: because of one address a provider is asked only so often, and about a bad token once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse
from werkzeug.wrappers import Response

from tests.clock import Clock
from tests.flows.api import ApiSites
from tests.flows.counters import Counters
from tests.flows.internet import BFF, Site, SiteFactory
from tests.flows.issued import access_token
from tests.flows.provider import reply

LIMITED = "bff_rate_limit_hits_total"


def unknown_kid(bff: Site, number: int) -> str:
    return access_token(bff.idp, {"kid": f"invented-{number}"})


def maybe_an_id_token(bff: Site, number: int) -> str:
    """Whose provider must be asked; it says no."""
    return access_token(bff.idp, {"typ": "JWT"}, aud=["service", BFF], jti=str(number))


COSTLY: dict[str, Callable[[Site, int], str]] = {
    "opaque": lambda _bff, number: f"invented-{number}",
    "a JWT of an unknown key": unknown_kid,
    "a JWT that may be an ID token": maybe_an_id_token,
}
ASKING: dict[str, tuple[str, Any]] = {
    "/auth/tokens/validate": ("GET", None),
    "/access/v1/evaluation": ("POST", {"action": {"name": "read"}, "resource": {"type": "orders", "id": "7"}}),
    "/access/v1/evaluations": ("POST", {"evaluations": []}),
    "/api/machines": ("GET", None),
}
MACHINES = """
services: {orders: {base_url: https://orders.example, token: user}}
routes: [{id: machines, path: /api/machines, service: orders, auth: bearer}]
"""


def ask(bff: Site, path: str, token: str, address: str = "192.0.2.1") -> TestResponse:
    method, body = ASKING[path]
    return Client(bff.app.wsgi_app, use_cookies=False).open(
        path,
        base_url=BFF,
        method=method,
        json=body,
        headers={"Authorization": f"Bearer {token}"},
        environ_base={"REMOTE_ADDR": address},
        environ_overrides={"RAW_URI": path},
    )


@pytest.fixture
def machines(new_site: SiteFactory, tmp_path: Path) -> Site:
    return ApiSites(new_site, tmp_path)(MACHINES, RATE_LIMITS="bearer_token=3/minute")


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize("make", COSTLY.values(), ids=COSTLY)
def test_an_address_makes_so_many_questions_and_no_more(
    machines: Site, counters: Counters, clock: Clock, path: str, make: Callable[[Site, int], str]
) -> None:
    answers = []
    for number in range(8):
        answers.append(ask(machines, path, make(machines, number)))
        clock.now += 1  # the last key set is not too young to be asked for again
    assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 5
    assert answers[-1].headers["Retry-After"]
    assert '"bearer_token";r=0' in answers[-1].headers["RateLimit"]
    assert machines.idp.count("introspect") + machines.idp.count("jwks") <= 3 + 1
    assert counters.gained(LIMITED) == {"bearer_token": 5}
    assert ask(machines, path, make(machines, 9), "192.0.2.2").status_code == 401, "another address has its own"


def test_the_limit_counts_before_the_question_is_put(machines: Site) -> None:
    """However many ask at once: of eight that wait for the provider, five never got there."""
    inside: list[int] = []

    def slow() -> Response:
        inside.append(len(inside))
        if len(inside) == 1:
            for number in range(1, 8):
                ask(machines, "/auth/tokens/validate", f"invented-{number}")
        return reply({"active": False})

    machines.idp.break_endpoint("introspect", slow)
    ask(machines, "/auth/tokens/validate", "invented-0")
    assert len(inside) == 3


def test_the_same_bad_token_is_asked_about_once(machines: Site, counters: Counters) -> None:
    for make in COSTLY.values():
        token = make(machines, 0)
        assert {ask(machines, "/auth/tokens/validate", token).status_code for _ in range(9)} == {401}
    assert machines.idp.count("introspect") == 2
    assert machines.idp.count("jwks") <= 2
    assert counters.gained(LIMITED) == {}


def test_good_tokens_use_nothing_up(machines: Site) -> None:
    """A service that shows the tokens of many users has one address."""
    for number in range(20):
        machines.idp.introspected[f"good-{number}"] = {"active": True, "sub": "alice", "aud": BFF}
        assert ask(machines, "/auth/tokens/validate", f"good-{number}").status_code == 200
    answers = [ask(machines, "/auth/tokens/validate", f"bad-{number}").status_code for number in range(5)]
    assert answers == [401] * 3 + [429] * 2
    assert ask(machines, "/auth/tokens/validate", "good-0").status_code == 200, "known, so nobody need be asked"


def test_what_costs_no_question_is_not_limited(machines: Site) -> None:
    for number in range(8):
        forged = access_token(machines.idp, iss="https://evil.example", jti=str(number))
        assert ask(machines, "/auth/tokens/validate", forged).status_code == 401
        assert ask(machines, "/auth/tokens/validate", access_token(machines.idp, jti=str(number))).status_code == 200


def test_by_default_strangers_make_a_question_a_second(bff: Site) -> None:
    answers = [ask(bff, "/auth/tokens/validate", f"invented-{number}").status_code for number in range(400)]
    assert bff.idp.count("introspect") == answers.count(401) == 60
    assert answers.count(429) == 340
