"""Whatever a token endpoint answers, reading it never fails and never yields what could not be sent on."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.oidc.token_response import ASSUMED_LIFE, TokenResponse, TokenResponseParser, printable
from bff.sessions.tokens import AccessToken
from tests.clock import Clock
from tests.fuzz import examples

NOW = Clock()
GOOD = {"access_token": "a", "token_type": "Bearer", "expires_in": 600, "refresh_token": "r", "id_token": "i.d.t"}


def read(
    content: dict[str, Any], *, threshold: float = 300, token_type: str = "Bearer", scope: str = ""
) -> TokenResponse:
    return TokenResponseParser(threshold, NOW).parse(content, token_type=token_type, scope=scope)


def token(content: dict[str, Any], **changes: Any) -> AccessToken:
    access = read(content, **changes).access
    assert access is not None
    return access


def test_an_answer_as_it_should_be() -> None:
    issued = read({**GOOD, "scope": "openid email"}, scope="openid")
    assert issued.fault is None
    assert issued.access is not None
    assert (issued.access.value, issued.access.scope) == ("a", "openid email")
    assert issued.access.expires_at == NOW() + 600
    assert (issued.refresh_token, issued.id_token) == ("r", "i.d.t")


@pytest.mark.parametrize(
    ("changes", "fault", "usable"),
    [
        ({"expires_in": None}, "expires_in_missing", True),
        ({"expires_in": -1}, "expires_in", True),
        ({"expires_in": 0}, "expires_in", True),
        ({"expires_in": "600"}, None, True),
        ({"expires_in": "600.5"}, None, True),
        ({"expires_in": "-1"}, "expires_in", True),
        ({"expires_in": "0"}, "expires_in", True),
        ({"expires_in": " 600"}, "expires_in", True),
        ({"expires_in": "6e2"}, "expires_in", True),
        ({"expires_in": "\u0666"}, "expires_in", True),
        ({"expires_in": "9" * 400}, "expires_in", True),
        ({"expires_in": True}, "expires_in", True),
        ({"expires_in": 1e300}, "expires_in", True),
        ({"expires_in": math.nan}, "expires_in", True),
        ({"expires_in": -math.inf}, "expires_in", True),
        ({"expires_in": {}}, "expires_in", True),
        ({"scope": "profile"}, "scope", True),
        ({"scope": ["openid"]}, None, True),  # no scope: as it was asked for
        ({"scope": "profile", "expires_in": -1}, "scope", True),
        ({"token_type": "mac"}, "token_type", False),
        ({"token_type": None}, "token_type", False),
        ({"token_type": "bearer"}, None, True),
        ({"access_token": None}, "access_token", False),
        ({"access_token": "a\n"}, "access_token", False),
        ({"access_token": "a\x7f"}, "access_token", False),
        ({"access_token": None, "token_type": "mac"}, "access_token", False),
    ],
)
def test_a_fault_has_a_name(changes: dict[str, Any], fault: str | None, usable: bool) -> None:
    issued = read({**GOOD, **changes}, scope="openid")
    assert issued.fault == fault
    assert (issued.access is not None) == usable
    assert (issued.refresh_token, issued.id_token) == ("r", "i.d.t")


def test_a_token_is_of_the_kind_that_was_asked_for() -> None:
    assert token({**GOOD, "token_type": "dpop"}, token_type="DPoP").token_type == "DPoP"
    assert read(GOOD, token_type="DPoP").fault == "token_type"
    assert read({**GOOD, "token_type": "DPoP"}).fault == "token_type"


@pytest.mark.parametrize("life", [None, "soon"])
def test_a_life_that_nobody_knows(life: Any) -> None:
    access = token({**GOOD, "expires_in": life})
    assert (access.expires_at, access.refresh_at) == (None, NOW() + ASSUMED_LIFE)


@pytest.mark.parametrize(
    ("life", "threshold", "ahead"), [(3600, 300, 300), (600, 300, 120), (600, 60, 60), (10, 300, 2), (0.5, 300, 0.1)]
)
def test_how_far_ahead_of_its_end_it_is_replaced(life: float, threshold: float, ahead: float) -> None:
    """The threshold, or a fifth of a short life; up to a quarter less, by chance."""
    for share in (0.75, 1.0):
        reader = TokenResponseParser(threshold, NOW, lambda low, high, share=share: share)  # type: ignore[misc]
        access = reader.parse({**GOOD, "expires_in": life}, token_type="Bearer").access
        assert access is not None
        assert access.refresh_at == pytest.approx(NOW() + life - ahead * share, abs=1e-6)


def test_not_all_at_the_same_moment() -> None:
    times = {token(GOOD).refresh_at for _ in range(20)}
    assert len(times) > 10
    assert NOW() + 480 <= min(times) <= max(times) <= NOW() + 510


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
lives = st.floats() | st.integers() | st.floats(0, 1e10) | st.integers(0, 10**9) | anything
answers = st.fixed_dictionaries(
    {},
    optional={
        "access_token": st.text(min_size=1, max_size=20) | st.just("token") | anything,
        "token_type": st.sampled_from(["Bearer", "bearer", "DPoP", "mac"]) | anything,
        "expires_in": lives,
        "scope": st.sampled_from(["openid", "openid email", ""]) | anything,
        "refresh_token": st.text(max_size=20) | anything,
        "id_token": st.text(max_size=20) | anything,
        "other": anything,
    },
)


@examples(500)
@given(content=answers, threshold=st.floats(1, 1e6), now=st.floats(0, 1e11), scope=st.sampled_from(["", "openid"]))
def test_reading_never_fails(content: dict[str, Any], threshold: float, now: float, scope: str) -> None:
    issued = TokenResponseParser(threshold, Clock(now)).parse(content, token_type="Bearer", scope=scope)
    for value in (issued.refresh_token, issued.id_token, issued.access.value if issued.access else None):
        assert value is None or (value and all(" " <= each <= "~" for each in value))
    if issued.access is None:
        assert issued.fault in ("access_token", "token_type")
        return
    access = issued.access
    assert now <= access.refresh_at < math.inf
    if access.expires_at is not None:
        assert access.refresh_at <= access.expires_at
        life = access.expires_at - now
        assert access.expires_at - access.refresh_at <= life / 5 + 1e-3
    assert set(scope.split()) <= set(access.scope.split()) or issued.fault == "scope"


@given(st.text(max_size=30) | anything)
def test_printable(value: object) -> None:
    kept = printable(value)
    assert kept is None or kept == value
    if isinstance(value, str):
        assert (kept is not None) == (value != "" and all(0x20 <= ord(each) <= 0x7E for each in value))
