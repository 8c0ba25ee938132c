"""Whose an answer is (RFC 9111): everybody's only where the service said so in so many words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.proxy.caching import UNSAID, directives, for_one_user
from bff.settings import Auth


def cached(*fields: tuple[str, str], auth: Auth = Auth.SESSION) -> dict[str, str]:
    found = for_one_user(list(fields), auth)
    assert len({name.lower() for name, _ in found}) == len(found), "one field of each name"
    return dict(found)


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        ("max-age=60", "private, max-age=60"),
        ("MAX-AGE=60", "private, MAX-AGE=60"),
        ("s-maxage=60", "private"),
        ("max-age=60, s-maxage=600", "private, max-age=60"),
        ("must-revalidate, max-age=0", "private, must-revalidate, max-age=0"),
        ("proxy-revalidate, max-age=5", "private, max-age=5"),
        ("no-store", "private, no-store"),
        ("no-cache", "private, no-cache"),
        ('no-cache="a, b"', 'private, no-cache="a, b"'),
        ("private", "private"),
        ("private, max-age=60", "private, max-age=60"),
        ('private="Set-Cookie", max-age=60', "private, max-age=60"),
        ("public, private", "private"),
        ("public, no-store", "private, no-store"),
        ("PRIVATE, public", "private"),
        ('ext="public", max-age=60', 'private, ext="public", max-age=60'),
        ("x-public, max-age=60", "private, x-public, max-age=60"),
        ("immutable, stale-while-revalidate=5", "private, immutable, stale-while-revalidate=5"),
        (", max-age=60 ,,", "private, max-age=60"),
        ("", UNSAID),
        (",", UNSAID),
        ("max-age=60; public", UNSAID),
        ('max-age="60', UNSAID),
        ("max-age=60 public", UNSAID),
    ],
)
def test_for_one_user(said: str, passed: str) -> None:
    assert cached(("Cache-Control", said)) == {"Cache-Control": passed, "Vary": "Cookie"}


@pytest.mark.parametrize("said", ["public", "public, max-age=60", "max-age=60, PUBLIC", "s-maxage=60,public"])
def test_public_in_so_many_words(said: str) -> None:
    fields = [("cache-control", said), ("Expires", "0"), ("Vary", "Accept")]
    assert for_one_user(fields, Auth.SESSION) == fields


def test_several_fields_are_one() -> None:
    fields = [("Cache-Control", "max-age=60"), ("cache-control", "public")]
    assert for_one_user(fields, Auth.SESSION) == fields
    assert cached(fields[0], ("cache-control", "no-transform"))["Cache-Control"] == "private, max-age=60, no-transform"


@pytest.mark.parametrize(
    "fields",
    [
        [], [("Expires", "Thu, 01 Dec 2094 16:00:00 GMT")], [("Age", "5")], [("Pragma", "no-cache")],
        [("Last-Modified", "Thu, 01 Dec 1994 16:00:00 GMT")],
    ],
)  # fmt: skip
def test_silence_is_no_permission(fields: list[tuple[str, str]]) -> None:
    """Not even for what a cache may guess (section 4.2.2), or for one that goes by Expires alone."""
    found = cached(*fields)
    assert found["Cache-Control"] == UNSAID
    assert "Expires" not in found


@pytest.mark.parametrize(
    ("auth", "said", "varies"),
    [
        (Auth.SESSION, None, "Cookie"),
        (Auth.BEARER, None, "Authorization"),
        (Auth.SESSION, "Accept", "Accept, Cookie"),
        (Auth.SESSION, "accept, COOKIE", "accept, COOKIE"),
        (Auth.SESSION, "*", "*"),
        (Auth.SESSION, "", "Cookie"),
        (Auth.BEARER, "Cookie", "Cookie, Authorization"),
    ],
)
def test_what_it_varies_with(auth: Auth, said: str | None, varies: str) -> None:
    fields = [] if said is None else [("Vary", said)]
    assert cached(*fields, auth=auth)["Vary"] == varies


@given(st.text('abpulicrvt=", -60\\', max_size=40))
def test_whatever_was_said_it_is_private_or_public_in_so_many_words(text: str) -> None:
    found = dict(for_one_user([("Cache-Control", text)], Auth.SESSION))["Cache-Control"]
    read = directives(found)
    assert read is not None
    assert read.keys() & {"private", "public"}
    assert "public" not in read or "public" in text
