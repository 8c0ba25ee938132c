"""The sealed record of a session's tokens, and that no secret of it is ever shown."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.errors import BFFError, TokenExpired, TokenRefused, TokenUnavailable
from bff.oidc.token_endpoint import GrantRefused, RequestFailed
from bff.oidc.token_response import TokenResponse
from bff.sessions.token_store import DueRevocation, VersionedTokens
from bff.sessions.tokens import AccessToken, Tokens, tokens_from_bytes, tokens_to_bytes
from bff.tokens.source import BoundToken
from bff.tokens.source import grant_errors_as_http as as_an_answer

ACCESS = AccessToken("secret-1", 10.0, 20.0, "openid", "DPoP")
TOKENS = Tokens(
    "default", ACCESS, "secret-2", "secret-3", '{"d": "secret-4"}', {"orders": AccessToken("secret-5", 10.0)}
)

texts, times = st.text(max_size=20), st.floats(allow_nan=False)
access_tokens = st.builds(AccessToken, texts, times, st.none() | times, texts, st.sampled_from(["Bearer", "DPoP"]))
records = st.builds(
    Tokens,
    texts,
    access_tokens,
    st.none() | texts,
    st.none() | texts,
    st.none() | texts,
    st.dictionaries(texts, access_tokens, max_size=3),
)


@given(records)
def test_a_record_is_read_as_it_was_written(tokens: Tokens) -> None:
    assert tokens_from_bytes(tokens_to_bytes(tokens)) == tokens


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"null", b'{"idp": "x"}', b'{"access": {}, "services": {}}'])
def test_something_else(raw: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        tokens_from_bytes(raw)


@pytest.mark.parametrize(
    ("now", "fresh", "live"), [(9.9, True, True), (10.0, False, True), (19.9, False, True), (20.0, False, False)]
)
def test_from_fresh_to_dead(now: float, fresh: bool, live: bool) -> None:
    assert (ACCESS.fresh(now), ACCESS.live(now)) == (fresh, live)


def test_of_unknown_life_it_is_live() -> None:
    assert AccessToken("t", 10.0).live(1e12)


@pytest.mark.parametrize(("until", "expected"), [(15.0, 15.0), (20.0, 20.0), (25.0, 20.0)])
def test_left_alone_until_its_end_at_most(until: float, expected: float) -> None:
    rested = ACCESS.left_alone(until)
    assert rested.refresh_at == expected
    assert rested.same(ACCESS)


def test_left_alone_when_nobody_knows_its_end() -> None:
    assert AccessToken("t", 10.0).left_alone(1e9).refresh_at == 1e9


def test_another_token_is_not_the_same() -> None:
    assert not ACCESS.same(None)
    assert not ACCESS.same(AccessToken("secret-6", 10.0, 20.0, "openid", "DPoP"))
    assert not ACCESS.same(AccessToken("secret-1", 10.0, 21.0, "openid", "DPoP"))


@pytest.mark.parametrize(
    "shown",
    [
        ACCESS,
        TOKENS,
        VersionedTokens(b"secret-6", TOKENS),
        BoundToken(ACCESS, "secret-4"),
        TokenResponse(ACCESS, "secret-2", "secret-3"),
        DueRevocation("secret-7", 0),
    ],
    ids=lambda each: type(each).__name__,
)
def test_no_secret_is_shown(shown: object) -> None:
    assert "secret" not in f"{shown!r} {shown} {[shown]}"


def failed() -> None:
    raise RequestFailed("timeout")


def refused() -> None:
    raise GrantRefused("echoes secret-2")


@pytest.mark.parametrize(("work", "kind"), [(failed, TokenUnavailable), (refused, TokenRefused)])
def test_no_secret_in_what_a_caller_is_told(work: Callable[[], None], kind: type[BFFError]) -> None:
    with pytest.raises(kind) as caught, as_an_answer():
        work()
    assert "secret" not in f"{caught.value!r} {caught.value} {caught.value.detail} {caught.value.headers}"


def test_other_errors_are_their_own_answer() -> None:
    with pytest.raises(TokenExpired), as_an_answer():
        raise TokenExpired
