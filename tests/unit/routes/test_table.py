"""Which route a path takes, in whatever way the client spells it, and what is then sent to the service."""

import re
from collections.abc import Sequence
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bff.errors import AmbiguousTarget, BFFError, MethodNotAllowed, NoSuchRoute
from bff.routes import RouteTable, check_query
from bff.routes.problems import problems
from tests.unit.routes.support import route, table

ROUTES = (
    "/api/orders", "/api/orders/{id}", "/api/orders/search", "/api/orders/{id}/lines/{line}", "/api/orders/search/new",
    "/api/reports/*", "/api/reports/{year}/*", "/api/reports/2024", "/api/slash/", "/api/bücher/{isbn}",
    "/api/with space", "/api/a:b", "/api/v1/{version}/status",
)  # fmt: skip
TABLE = table(*ROUTES)


@pytest.mark.parametrize(
    ("path", "expected", "params"),
    [
        ("/api/orders", "/api/orders", {}),
        ("/api/orders/7", "/api/orders/{id}", {"id": "7"}),
        ("/api/orders/search", "/api/orders/search", {}),
        ("/api/orders/search/new", "/api/orders/search/new", {}),
        ("/api/orders/search/lines/2", "/api/orders/{id}/lines/{line}", {"id": "search", "line": "2"}),
        ("/api/orders/7/lines/2", "/api/orders/{id}/lines/{line}", {"id": "7", "line": "2"}),
        ("/api/orders/.hidden", "/api/orders/{id}", {"id": ".hidden"}),
        ("/api/orders/...", "/api/orders/{id}", {"id": "..."}),
        ("/api/orders/a.b", "/api/orders/{id}", {"id": "a.b"}),
        ("/api/orders/urn:x:7", "/api/orders/{id}", {"id": "urn:x:7"}),
        ("/api/orders/a|b^[c]", "/api/orders/{id}", {"id": "a|b^[c]"}),
        ("/api/orders/a%20b", "/api/orders/{id}", {"id": "a b"}),
        ("/api/orders/%e2%82%ac", "/api/orders/{id}", {"id": "€"}),
        ("/api/orders/%41", "/api/orders/{id}", {"id": "A"}),
        ("/api/orders/100%25", "/api/orders/{id}", {"id": "100%"}),
        ("/api/orders/%2541", "/api/orders/{id}", {"id": "%41"}),
        ("/api/orders/a+b", "/api/orders/{id}", {"id": "a+b"}),
        ("/api/orders/%7Bid%7D", "/api/orders/{id}", {"id": "{id}"}),
        ("/api/%6frders/7", "/api/orders/{id}", {"id": "7"}),
        ("/%61pi/orders", "/api/orders", {}),
        ("/api/orders/%73earch", "/api/orders/search", {}),
        ("/api/reports/", "/api/reports/*", {"*": ""}),
        ("/api/reports/a", "/api/reports/*", {"*": "a"}),
        ("/api/reports/2024", "/api/reports/2024", {}),
        ("/api/reports/2025/a/b", "/api/reports/{year}/*", {"year": "2025", "*": "a/b"}),
        ("/api/reports/2024/a%20b/", "/api/reports/{year}/*", {"year": "2024", "*": "a b/"}),
        ("/api/slash/", "/api/slash/", {}),
        ("/api/b%C3%BCcher/3", "/api/bücher/{isbn}", {"isbn": "3"}),
        ("/api/with%20space", "/api/with space", {}),
        ("/api/a:b", "/api/a:b", {}),
        ("/api/a%3Ab", "/api/a:b", {}),
    ],
)
def test_a_path_takes_the_most_specific_route(path: str, expected: str, params: dict[str, str]) -> None:
    match = TABLE.match("GET", path)
    assert (match.route.settings.path, match.params()) == (expected, params)
    assert "".join(unquote_to_bytes(value).decode() for value in match.values) == "".join(params.values())
    assert match.path == path


@pytest.mark.parametrize(
    "path",
    [
        "/api", "/api/", "/", "/api/Orders", "/api/orders/", "/api/orders/7/", "/api/orders/7/lines", "/api/reports",
        "/api/slash", "/api/slash/x", "/api/orders%20", "/orders", "/api/v1/2",
    ],
)  # fmt: skip
def test_a_path_that_no_route_has(path: str) -> None:
    with pytest.raises(NoSuchRoute):
        TABLE.match("GET", path)


HOSTILE = {
    "dot segments": [".", "..", "%2e", "%2E%2e", ".%2e", "a/../b", "a/./b", "a/..", "..%2f", "%2e%2e%2fb"],
    "empty segments": ["/a", "a//b", "//", "a//"],
    "encoded separators": ["a%2fb", "a%2Fb", "a%5cb", "a%5Cb", "%2f", "a%3bb", "a%3B"],
    "raw separators": ["a;b", ";", "a;jsessionid=1", "a\\b", "..\\b"],
    "control characters": ["%00", "a%00", "a%0a", "a%0d%0aX:1", "%1f", "%7f", "%c2%80", "%c2%9f", "a\x00", "a\n"],
    "bad triplets": ["%", "a%", "%2", "%zz", "%%41", "%u002e", "%-1", "% 41", "%\u0661\u0661"],
    "bytes that are not UTF-8": ["%ff", "%c0%ae%c0%ae", "%c0%af", "%e0%80%af", "%f0%80%80%af", "%c3", "%80",
                                 "%ed%a0%80", "%f4%90%80%80", "%fe%ff", "%c3%28"],
    "encoded twice": ["%252e%252e", "%252e", "%252f", "%255c", "%253b", "%2500", "%2525", "a%25%32%65", "%25%35c"],
    "raw characters that must be encoded": ["a b", 'a"b', "a<b", "a>b", "a`b", "a{b}", "\xe9", "\xc0\xae", "a#b", "a?b",
                                            "\u20ac", "a\tb"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("why", "segment"), [(why, segment) for why, segments in HOSTILE.items() for segment in segments]
)
@pytest.mark.parametrize("start", ["/api/orders/", "/api/reports/", "/api/nowhere/", "/api/orders/7/lines/"])
def test_a_path_that_two_servers_could_read_differently_is_refused(why: str, segment: str, start: str) -> None:
    with pytest.raises(AmbiguousTarget) as refused:
        TABLE.match("GET", start + segment)
    assert (refused.value.status, refused.value.code) == (400, "bad_path")
    assert segment not in refused.value.detail or len(segment) < 3, "nothing is quoted"


@pytest.mark.parametrize(
    "path", ["", "*", "api/orders", "http://app.example.com/api/orders", "//api/orders", "//evil/api/orders",
             "/api//orders", "/api/./orders", "/../api/orders", "/api/orders/.", "/api/orders/%2e", "\\api\\orders"],
)  # fmt: skip
def test_other_forms_of_a_target_are_refused(path: str) -> None:
    with pytest.raises(AmbiguousTarget):
        TABLE.match("GET", path)


@pytest.mark.parametrize("path", ["/api/b\xfccher/3", "/api/b\xc3\xbccher/3", "/api/with space"])
def test_a_path_is_not_compared_with_what_must_be_encoded(path: str) -> None:
    """A byte is one character here, so a literal segment could otherwise be met by bytes that mean another text."""
    with pytest.raises(AmbiguousTarget):
        TABLE.match("GET", path)


def test_methods_are_those_of_the_most_specific_path() -> None:
    table = RouteTable(
        [
            route("/api/{x}", "any", methods="GET POST DELETE"),
            route("/api/a", "read", methods="GET"),
            route("/api/a", "write", methods="PUT PATCH"),
            route("/api/b", "head", methods="HEAD"),
            route("/api/b", "get", methods="GET"),
        ]
    )
    assert table.match("PUT", "/api/a").route.settings.id == "write"
    assert table.match("HEAD", "/api/a").route.settings.id == "read", "GET implies it"
    assert table.match("HEAD", "/api/b").route.settings.id == "head", "unless it is declared"
    assert table.match("DELETE", "/api/c").route.settings.id == "any"
    for path in ("/api/a", "/api/%61"):
        with pytest.raises(MethodNotAllowed) as refused:
            table.match("DELETE", path)
        assert refused.value.headers == (("Allow", "GET, HEAD, PATCH, PUT"),)
    with pytest.raises(MethodNotAllowed):
        table.match("get", "/api/a")


def test_names_belong_to_the_route_and_not_to_the_path() -> None:
    table = RouteTable([route("/api/{a}", "one", methods="GET"), route("/api/{b}", "two", methods="POST")])
    assert table.match("GET", "/api/7").params() == {"a": "7"}
    assert table.match("POST", "/api/7").params() == {"b": "7"}


@pytest.mark.parametrize(
    ("path", "values", "request_path", "target"),
    [
        ("/api/orders", {}, "/api/orders", "/orders"),
        ("/api/orders", {}, "/%61pi/%6frders", "/%6frders"),
        ("/api/orders", {"preserve_path": True}, "/%61pi/orders", "/%61pi/orders"),
        ("/api/{id}/*", {}, "/api/%41/b%20c/", "/%41/b%20c/"),
        ("/api/{id}", {"upstream_path": "/v1/things/{id}"}, "/api/a%3ab", "/v1/things/a%3ab"),
        ("/api/{a}/{b}/*", {"upstream_path": "/{b}/{a}/*"}, "/api/1/2/3/4", "/2/1/3/4"),
        ("/api/{a}/{b}", {"upstream_path": "/only/{b}"}, "/api/1/2", "/only/2"),
        ("/api/{a}", {"upstream_path": "/ü x/{a}/100"}, "/api/1", "/%C3%BC%20x/1/100"),
        ("/api/a", {"upstream_path": "/"}, "/api/a", "/"),
        ("/api/*", {"upstream_path": "/files/*"}, "/api/", "/files/"),
        ("/api/{a}", {"upstream_path": "/x/{a}"}, "/api/%25s", "/x/%25s"),
    ],
)
def test_what_is_sent_to_the_service(path: str, values: dict[str, object], request_path: str, target: str) -> None:
    assert table(path, **values).match("GET", request_path).target() == target


def test_a_match_shows_no_value() -> None:
    assert repr(TABLE.match("GET", "/api/orders/4711")) == "Match(/api/orders/{id})"


def test_listing_is_in_the_order_of_precedence() -> None:
    listed = [each.settings.path for each in table("/api/*", "/api/{x}", "/api/b", "/api/a/{y}", "/api/a")]
    assert listed == ["/api/a", "/api/a/{y}", "/api/b", "/api/{x}", "/api/*"]


@pytest.mark.parametrize("query", ["a=b", "", "a=%zz&b=[1]|^`{}", "a=b?c/d;e"])
def test_a_query_passes(query: str) -> None:
    assert not is_refused(query)


@pytest.mark.parametrize("query", ["a b", "a=\xe9", "a=b#c", "a\n", "a=\x00", "\x7f", "a=€"])
def test_a_query_with_raw_characters_is_refused(query: str) -> None:
    assert is_refused(query)


def is_refused(query: str) -> bool:
    try:
        check_query(query)
    except AmbiguousTarget:
        return True
    return False


# What a client may send: any byte, with a liking for those that matter.
TELLING = st.sampled_from(
    [
        "/",
        "/",
        "a",
        "b",
        ".",
        "..",
        "%",
        "%2e",
        "%2E",
        "%2f",
        "%252e",
        "%c3%a9",
        "%c0%ae",
        "%61",
        ";",
        "//",
        "é",
        "%00",
        "x",
    ]
)
PATHS = st.one_of(
    st.lists(TELLING, max_size=12).map(lambda parts: "/api/" + "".join(parts)),
    st.binary(max_size=40).map(lambda raw: "/api/" + raw.decode("latin-1")),
    st.binary(max_size=30).map(lambda raw: "/api/x/" + quote(raw, safe="")),
    st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")),
)
EVERYTHING = RouteTable(
    [route("/api/{x}/*", preserve_path=True), route("/api/{x}", preserve_path=True), route("/api/")]
)


@given(PATHS)
def test_whatever_is_sent_is_understood_in_one_way_or_refused(path: str) -> None:
    try:
        match = EVERYTHING.match("GET", path)
    except BFFError:
        return
    assert match.path == path
    if match.route.settings.preserve_path:
        assert match.target() == path, "byte for byte"
    for name, value in match.params().items():
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\\;]", value)
        segments = value.split("/") if name == "*" else [value]
        assert not {".", ".."} & set(segments)
        assert "" not in segments[:-1], "neither first nor between"
        again = EVERYTHING.match("GET", "/api/y/" + quote(value)) if name == "*" else None
        assert again is None or again.params()["*"] == value
        assert unquote_to_bytes(quote(value)).decode() == value
        assert name == "*" or "/" not in value


# Tables, against a matcher that compares every route with the path.
SEGMENT = st.sampled_from(["a", "b", "c", "é", "{x}"])
TEMPLATES = st.lists(
    st.tuples(st.lists(SEGMENT, min_size=1, max_size=4), st.booleans()).map(lambda made: _template(*made)),
    min_size=1,
    max_size=12,
    unique_by=lambda path: re.sub(r"\{\w+\}", "{}", path),
)
REQUESTS = st.lists(st.sampled_from(["a", "b", "c", "%C3%A9", "%61", "d", "d-1", ""]), min_size=1, max_size=6)


def _template(segments: Sequence[str], rest: bool) -> str:
    named = [segment.replace("x", f"x{number}") for number, segment in enumerate(segments)]
    return "/api/" + "/".join([*named, "*"] if rest else named)


def _naive(paths: Sequence[str], request: str) -> str | None:
    """The most specific path by comparing segment by segment."""
    asked = [unquote_to_bytes(segment).decode() for segment in request.split("/")]
    best: tuple[list[int], str] | None = None
    for path in paths:
        rank = _rank(path.split("/"), asked)
        if rank is not None and (best is None or rank < best[0]):
            best = rank, path
    return best[1] if best else None


def _rank(template: list[str], asked: list[str]) -> list[int] | None:
    """0 for a literal, 1 for a value, 2 for the rest; None when the path does not fit."""
    rank: list[int] = []
    for position, segment in enumerate(template):
        if segment == "*":
            return [*rank, 2] if len(asked) > position else None
        if position >= len(asked):
            return None
        if segment.startswith("{") and asked[position]:
            rank.append(1)
        elif segment == asked[position]:
            rank.append(0)
        else:
            return None
    return rank if len(asked) == len(template) else None


@given(TEMPLATES, REQUESTS)
def test_the_walk_agrees_with_comparing_every_route(paths: list[str], segments: list[str]) -> None:
    assume("" not in segments[:-1])
    request = "/api/" + "/".join(segments)
    expected = _naive(paths, request)
    if expected is None:
        with pytest.raises(NoSuchRoute):
            table(*paths).match("GET", request)
    else:
        assert table(*paths).match("GET", request).route.settings.path == expected


@given(TEMPLATES, REQUESTS)
def test_without_conflicts_what_matches_is_more_specific_than_all_else_that_fits(
    paths: list[str], segments: list[str]
) -> None:
    assume("" not in segments[:-1])
    assume(not problems([route(path) for path in paths]))
    asked = [unquote_to_bytes(each).decode() for each in ["", "api", *segments]]
    ranks = [rank for path in paths if (rank := _rank(path.split("/"), asked)) is not None]
    if ranks:
        best = min(ranks)
        assert all(_no_worse(best, other) for other in ranks)


def _no_worse(one: list[int], other: list[int]) -> bool:
    """In every segment; beyond its `*` a path says nothing more specific."""
    length = max(len(one), len(other))
    padded = [[*rank, *[2] * (length - len(rank))] for rank in (one, other)]
    return all(mine <= theirs for mine, theirs in zip(*padded, strict=True))
