"""Routes that cannot all be meant: named at once, each with its line, and none that can."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.routes import RouteTable, problems
from bff.settings import RouteSettings
from tests.unit.routes.support import asking, route


def numbered(*routes: RouteSettings) -> list[RouteSettings]:
    """Each in a line of its own, from 1, named a, b, c ... unless it has a name."""
    return [
        replace(each, line=line, id=chr(96 + line) if each.id == each.path else each.id)
        for line, each in enumerate(routes, 1)
    ]


def found(*paths: str) -> list[tuple[int, str]]:
    return problems(numbered(*map(route, paths)))


@pytest.mark.parametrize(
    ("paths", "example"),
    [
        (["/api/a/{x}/c", "/api/{y}/b/c"], "/api/a/b/c"),
        (["/api/a/{x}", "/api/{y}/b"], "/api/a/b"),
        (["/api/a/{x}/{z}/d", "/api/{y}/{z}/c/d"], "/api/a/1/c/d"),
        (["/api/a/*", "/api/{y}/b"], "/api/a/b"),
        (["/api/a/*", "/api/{y}/b/{z}"], "/api/a/b/1"),
        (["/api/a/*", "/api/{y}/b/*"], "/api/a/b/1"),
        (["/api/a/{x}/*", "/api/{y}/b/*"], "/api/a/b/1"),
        (["/api/a/{x}/*", "/api/{y}/b/c"], "/api/a/b/c"),
        (["/api/{x}/b/c/*", "/api/a/{y}/*"], "/api/a/b/c/1"),
        (["/api/{y}/b", "/api/a/*"], "/api/a/b"),
        (["/api/a/*", "/api/{y}/"], "/api/a/"),
        (["/api/a/*", "/api/{y}/{z}"], "/api/a/1"),
    ],
)
def test_paths_of_which_neither_is_more_specific(paths: list[str], example: str) -> None:
    for order in (paths, paths[::-1]):
        ((line, sentence),) = found(*order)
        assert line == 2
        assert sentence == (
            f"route b: {order[1]} and {order[0]} of route a in line 1 both take {example},"
            " and neither is more specific. Change one, or declare a third route for what both take."
        )


@pytest.mark.parametrize(
    "paths",
    [
        ["/api/a", "/api/{x}", "/api/*"],
        ["/api/a/{x}", "/api/{y}/{z}", "/api/*", "/api/a/b"],
        ["/api/a/{x}/c", "/api/{y}/b/d"],
        ["/api/a/{x}/c", "/api/{y}/b/c", "/api/a/b/c"],
        ["/api/a/{x}", "/api/{y}/b", "/api/a/b"],
        ["/api/a/*", "/api/{y}/b", "/api/a/b"],
        ["/api/a/*", "/api/b/*", "/api/*"],
        ["/api/a/", "/api/a/{x}", "/api/a/*"],
        ["/api/a/{x}", "/api/{y}/"],
        ["/api/a/*", "/api/{x}/*", "/api/*", "/api/{x}"],
    ],
)
def test_paths_of_which_one_is_the_most_specific_for_every_request(paths: list[str]) -> None:
    assert found(*paths) == []


def test_the_same_path_and_method_twice() -> None:
    routes = numbered(
        route("/api/{x}", methods="GET POST"),
        route("/api/{y}", methods="POST DELETE"),
        route("/api/{x}", methods="PUT"),
    )
    assert problems(routes) == [(2, "route b: POST /api/{y} is what route a in line 1 takes (/api/{x}).")]


def test_an_implied_head_is_no_conflict() -> None:
    assert problems(numbered(route("/api/a", methods="GET"), route("/api/a", methods="HEAD"))) == []


def test_an_id_twice() -> None:
    routes = numbered(route("/api/a", "same"), route("/api/b", "same"), route("/api/c", "same"))
    assert problems(routes) == [
        (2, "route same: the id is taken by the route in line 1."),
        (3, "route same: the id is taken by the route in line 1."),
    ]


@pytest.mark.parametrize("path", ["/api/auth/session", "/api/v1/metrics"])
def test_a_path_that_the_bff_answers_itself(path: str) -> None:
    ((_, sentence),) = problems([route(path, "x")])
    assert sentence == f"route x: path: the BFF answers {path} itself, so no request would get here."


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (asking("/api/{id}", "$.path.ID"), "authz_map.id_from: the path has no name 'ID'; there is id."),
        (asking("/api/a", "$.path.id"), "authz_map.id_from: the path has no name 'id'; there are none."),
        (asking("/api/{id}", "$.path.id.x"), "authz_map.id_from: a value in the path is text and holds nothing"),
        (asking("/api/{id}", "$.query.a.b"), "authz_map.id_from: a value in the query is text and holds nothing"),
        (asking("/api/{id}", "$.query[*]"), "authz_map.id_from: could select several values, and an id is one."),
        (asking("/api/{id}", "$.path.id?"), "authz_map.id_from: an id cannot be left out; only props end with a"),
        (asking("/api/{id}", "$.path["), "authz_map.id_from: is not a JSONPath (RFC 9535): unexpected end of query."),
        (asking("/api/{id}", "$..id"), "authz_map.id_from: must begin with $.path, $.query or $.body"),
        (asking("/api/{id}", a="$.body["), "authz_map.props.a: is not a JSONPath (RFC 9535): unexpected end of query."),
        (asking("/api/{id}", a="$.path.x?"), "authz_map.props.a: the path has no name 'x'; there is id."),
        (asking("/api/{id}/*", a="$.path.x"), "authz_map.props.a: the path has no name 'x'; there is id, *."),
        (asking("/api/{id}", "$.body.id"), "authz_map.id_from: looks into the body, and GET has none."),
        (replace(asking("/api/a", a="$.body.x"), methods=("HEAD", "GET", "POST")), "authz_map.props.a: looks"),
        (asking("/api/{id}", a="$.path"), "authz_map.props.a: selects all of the path; name one value in it."),
        (asking("/api/{id}", "$.query"), "authz_map.id_from: selects all of the query; name one value in it."),
        (asking("/api/{id}", a="$.path.id | numbr"), "authz_map.props.a: names no type: 'numbr'; there are string,"),
        (asking("/api/{id}", a="$.query.x?|text[]"), "authz_map.props.a: names no type: 'text[]'; there are string,"),
        (asking("/api/{id}", a="$.query[*] | string"), "authz_map.props.a: could select several values, so its"),
        (asking("/api/{id}", "$.path.id | string"), "authz_map.id_from: is not a JSONPath"),
        (replace(asking("/api/{id}"), authz_map=None), "authz: pdp needs an authz_map that says what to ask"),
    ],
)  # fmt: skip
def test_a_question_that_could_never_be_put(asked: RouteSettings, sentence: str) -> None:
    ((line, said),) = problems([replace(asked, id="x", line=7)])
    assert line == 7
    assert said.startswith(f"route x: {sentence}")


@pytest.mark.parametrize(
    "asked",
    [
        asking(
            "/api/{id}", "$.path.id", a="$.query.a?", b="$.query['x y']", c="$.query.list[0]", d="$.path.id | string"
        ),
        asking("/api/*", "$.path['*']"),
        replace(asking("/api/a", "$.body.id", a="$.body.lines[*].x"), methods=("POST", "PUT", "PATCH", "DELETE")),
        asking("/api/a"),
    ],
)
def test_a_question_that_can_be_put(asked: RouteSettings) -> None:
    assert problems([asked]) == []


@pytest.mark.parametrize(
    ("path", "wrong"),
    [("$.body.n", True), ("$.body.n?", True), ("$.body.n? | number", False), ("$.query.n", False)],
)
def test_what_comes_from_a_body_needs_a_type_where_the_policy_is_elsewhere(path: str, wrong: bool) -> None:
    asked = replace(asking("/api/a", a=path), methods=("POST",), line=7)
    sentence = "route /api/a: authz_map.props.a: needs a type, such as | number: a policy decision point at an address"
    assert [(line, said.startswith(sentence)) for line, said in problems([asked], typed=True)] == [(7, True)] * wrong
    assert problems([asked]) == []


def test_routes_without_a_mapping_are_allowed_where_they_are_to_be_denied() -> None:
    assert problems([replace(asking("/api/a"), authz_map=None)], strict=False) == []


def test_everything_at_once_in_the_order_of_lines() -> None:
    routes = numbered(
        route("/api/{y}/b"),
        asking("/api/a/{x}", "$.path["),
        route("/api/a/{z}", "a"),
        route("/api/auth/session"),
    )
    lines = [line for line, _ in problems(routes)]
    assert lines == sorted(lines)
    assert [line for line in (2, 3, 4) if line not in lines] == []
    assert len(lines) == 5


SHAPES = st.lists(
    st.lists(st.sampled_from(["a", "b", "{}"]), min_size=1, max_size=4).flatmap(
        lambda parts: st.sampled_from([parts, [*parts, "*"]])
    ),
    min_size=2,
    max_size=8,
    unique_by=tuple,
)


@given(SHAPES)
def test_every_conflict_is_one_and_none_is_missed(shapes: list[list[str]]) -> None:
    paths = ["/api/" + "/".join(_named(shape)) for shape in shapes]
    said = [sentence for _, sentence in found(*paths) if "neither" in sentence]
    expected = {
        frozenset((one, other))
        for one in paths
        for other in paths
        if one < other and (meet := _meet(one, other)) is not None and meet not in {_shape(path) for path in paths}
    }
    assert {frozenset(re.findall(r"(/api\S*)(?= and /| of route)", sentence)) for sentence in said} == expected
    assert len(said) == len(expected)


def _named(shape: list[str]) -> list[str]:
    return [segment.replace("{}", f"{{x{number}}}") for number, segment in enumerate(shape)]


def _shape(path: str) -> tuple[str, ...]:
    return tuple(re.sub(r"\{\w+\}", "{}", path).split("/"))


def _meet(one: str, other: str) -> tuple[str, ...] | None:
    """The shape of what both take, when neither path is that shape; None when they have nothing in common."""
    first, second = _shape(one), _shape(other)
    length = max(len(first), len(second))
    meet = []
    for pair in zip(_padded(first, length), _padded(second, length), strict=True):
        meet.append(_narrower(*pair))
    if None in meet:
        return None
    while len(meet) > 1 and meet[-1] == meet[-2] == "*":
        meet.pop()
    return None if tuple(meet) in (first, second) else tuple(map(str, meet))


def _padded(shape: Sequence[str], length: int) -> list[str]:
    return [*shape, *["*" if shape[-1] == "*" else ""] * (length - len(shape))]


def _narrower(one: str, other: str) -> str | None:
    if one == other:
        return one
    if "" in (one, other):
        return None
    for wide, narrow in ((one, other), (other, one)):
        if wide == "*" or (wide == "{}" and narrow != "*"):
            return narrow
    return None


def test_ten_times_as_many_routes_are_ten_times_the_work() -> None:
    """Compiling them. Work is counted in calls of functions, which no busy machine changes."""
    few, many = routes_of(20), routes_of(200)
    assert calls(lambda: RouteTable(many)) < 11 * calls(lambda: RouteTable(few))


def test_comparing_them_costs_a_few_calls_for_each_pair() -> None:
    few, many = routes_of(10), routes_of(40)
    pairs = (200 * 199 - 50 * 49) / 2
    assert (calls(lambda: problems(many)) - 4 * calls(lambda: problems(few))) / pairs < 4


def routes_of(services: int) -> list[RouteSettings]:
    """Five for each service, of which none overlaps with another."""
    routes = [
        route(path.format(number=number), f"{number}-{kind}")
        for number in range(services)
        for kind, path in enumerate(
            ["/api/r{number}", "/api/r{number}/{{id}}", "/api/r{number}/{{id}}/x/{{y}}", "/api/{{t}}/s/z{number}",
             "/api/f{number}/a/*"]
        )
    ]  # fmt: skip
    assert problems(routes) == []
    return routes


def calls(work: Callable[[], object]) -> int:
    """How many calls of functions it makes, those of C included."""
    made, before = 0, sys.getprofile()

    def count(_frame: object, event: str, _what: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return made
