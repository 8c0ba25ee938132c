"""From any provider's claims to a user, whatever they look like."""

from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.oidc.claims import arn, user_from_claims, user_id
from bff.sessions.model import User
from bff.settings import ClaimNames, ProviderSettings
from tests.fuzz import examples


def provider(user_id: str = "sub", **names: str) -> ProviderSettings:
    return ProviderSettings("corp", "https://idp.example", "bff", user_id=user_id, claims=ClaimNames(**names))


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, User("s", "s")),
        ({"name": "A", "email": "a@b", "roles": ["x", "y"]}, User("s", "s", "A", "a@b", ("x", "y"))),
        ({"roles": "x y"}, User("s", "s", roles=("x", "y"))),
        ({"permissions": ["a.read", 7]}, User("s", "s", permissions=("a.read",))),
        ({"roles": ["x", 7, None, ["y"], {"z": 1}]}, User("s", "s", roles=("x",))),
        ({"roles": {"x": True}}, User("s", "s")),
        ({"roles": 7}, User("s", "s")),
        ({"preferred_username": "p"}, User("s", "s", "p")),
        ({"name": "", "preferred_username": "p"}, User("s", "s", "p")),
        ({"name": 7, "preferred_username": ["p"]}, User("s", "s")),
        ({"name": None, "email": {"value": "a@b"}}, User("s", "s")),
        ({"name": "n" * 1000, "email": "e" * 1000}, User("s", "s", "n" * 256, "e" * 256)),
    ],
)
def test_the_usual_names(claims: dict[str, Any], expected: User) -> None:
    assert user_from_claims({"sub": "s", **claims}, provider()) == expected


def test_a_token_full_of_roles_is_cut() -> None:
    user = user_from_claims({"sub": "s", "roles": ["r" * 300] * 1000}, provider())
    assert len(user.roles) == 200
    assert {len(role) for role in user.roles} == {256}


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["x"]}}),
        ("https://example.com/roles", {"https://example.com/roles": ["x"]}),
        ("a.b.c.d", {"a": {"b": {"c": {"d": "x"}}}}),
        ("a.b", {"a.b": ["x"], "a": {"b": ["y"]}}),
    ],
)
def test_paths(path: str, claims: dict[str, Any]) -> None:
    assert user_from_claims({"sub": "s", **claims}, provider(roles=path)).roles == ("x",)


@pytest.mark.parametrize("claims", [{"a": None}, {"a": "text"}, {"a": ["b"]}, {"a": {"b": None}}, {"a": {"c": ["x"]}}])
def test_paths_that_lead_nowhere(claims: dict[str, Any]) -> None:
    assert user_from_claims({"sub": "s", **claims}, provider(roles="a.b")).roles == ()


def test_the_users_id() -> None:
    assert user_from_claims({"sub": "s"}, provider("arn")).id == arn("corp", "s") == "auth:account:corp:s"
    assert user_from_claims({"sub": "s"}, provider("arn")).sub == "s"


LIKE_AN_ARN = "auth:account:partner:alice"


@pytest.mark.parametrize(
    ("kind", "sub", "expected"),
    [
        ("sub", "alice", "alice"),
        ("sub", "f:4711:alice", "f:4711:alice"),
        ("sub", "100%", "100%"),
        ("sub", "Auth:account", "Auth:account"),
        ("sub", LIKE_AN_ARN, "auth%3Aaccount%3Apartner%3Aalice"),
        ("sub", "auth%3Aaccount%3Apartner%3Aalice", "auth%253Aaccount%253Apartner%253Aalice"),
        ("arn", "alice@example.com|7", "auth:account:corp:alice@example.com|7"),
        ("arn", "a:b", "auth:account:corp:a%3Ab"),
        ("arn", "älice 7%", "auth:account:corp:älice 7%"),
        ("arn", "a%3Ab", "auth:account:corp:a%253Ab"),
        ("arn", LIKE_AN_ARN, "auth:account:corp:auth%3Aaccount%3Apartner%3Aalice"),
    ],
)
def test_a_sub_names_a_user_of_its_own_provider_only(kind: str, sub: str, expected: str) -> None:
    assert user_id(provider(kind), sub) == user_from_claims({"sub": sub}, provider(kind)).id == expected
    assert unquote(arn("corp", sub).removeprefix("auth:account:corp:")) == sub


PIECES = ["auth", "account", ":", "%", "3A", "25", "%3A", "%3a", "a", "corp", "partner"]
subs = st.lists(st.sampled_from(PIECES), max_size=9)


@given(st.lists(st.tuples(st.sampled_from(["corp", "partner"]), subs.map("".join)), min_size=2, max_size=8))
@examples(500)
def test_no_two_people_share_an_id(people: list[tuple[str, str]]) -> None:
    """corp tells users by `sub`, partner by ARN, as settings_check allows; both also have ARNs."""
    kinds = {"corp": "sub", "partner": "arn"}
    ids = {user_id(replace(provider(kinds[idp]), id=idp), sub) for idp, sub in people}
    assert len(ids) == len({arn(*person) for person in people}) == len(set(people))


json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@examples(100)
@given(st.dictionaries(st.sampled_from(["name", "email", "roles", "preferred_username"]), json_value))
def test_any_claims_make_a_user(claims: dict[str, Any]) -> None:
    user = user_from_claims({"sub": "s", **claims}, provider())
    assert (user.id, user.sub) == ("s", "s")
    assert all(isinstance(text, str) and len(text) <= 256 for text in (user.name, user.email, *user.roles))
