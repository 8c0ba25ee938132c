"""Collects all mistakes of the routes at once: conflicts between routes, and values that schemas alone cannot check."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from bff.routes.jsonpath import Selector
from bff.routes.overlaps import overlaps
from bff.routes.property import Property
from bff.routes.route import Route, compiled
from bff.routes.trie import Endpoint, TrieNode, build, endpoints
from bff.settings import AuthzMap, RouteSettings
from bff.settings.template import parse

Problem = tuple[int, str]
"""A line of routes.yaml, and a sentence."""

OWN_PATHS = frozenset({"/api/auth/session", "/api/v1/metrics"})
"""Paths below /api/ that the BFF answers itself."""
_WITHOUT_BODY = ("GET", "HEAD")


def problems(routes: Sequence[RouteSettings], *, strict: bool = True, typed: bool = False) -> list[Problem]:
    """Every mistake, in the order of lines. strict: whether a route that asks the policy needs an authz_map. typed:
    whether a property from a body needs a type."""
    found = [
        (route.line, f"route {route.id}: {sentence}")
        for route in routes
        for sentence in _alone(route, strict=strict, typed=typed)
    ]
    root = build([route for settings in routes for route in _by_path(settings)])
    return sorted([*found, *_repeated(routes), *_conflicts(root), *_overlapping(root)])


def _by_path(settings: RouteSettings) -> Iterator[Route]:
    """The route reduced to its path, so that a mistake elsewhere in it hides no conflict."""
    with contextlib.suppress(ValueError):  # the path is invalid, which the settings report
        yield compiled(dataclasses.replace(settings, authz=False, upstream_path=None))


def _alone(route: RouteSettings, *, strict: bool, typed: bool) -> Iterator[str]:
    if route.path in OWN_PATHS:
        yield f"path: the BFF answers {route.path} itself, so no request would get here."
    if route.authz and route.authz_map is None and strict:
        yield "authz: pdp needs an authz_map that says what to ask (mapping: deny in pdp.yaml denies instead)."
    if route.authz_map is not None:
        yield from _mapping(route, route.authz_map, typed=typed)


def _mapping(route: RouteSettings, settings: AuthzMap, *, typed: bool) -> Iterator[str]:
    if settings.id_from is not None:
        yield from (f"authz_map.id_from: {line}" for line in _id(route, settings.id_from))
    for name, text in settings.props:
        yield from (f"authz_map.props.{name}: {line}" for line in _property(route, name, text, typed=typed))


def _id(route: RouteSettings, text: str) -> Iterator[str]:
    if text.endswith("?"):
        yield "an id cannot be left out; only props end with a question mark."
        return
    try:
        selector = Selector(text)
    except ValueError as err:
        yield str(err)
        return
    if not selector.singular:
        yield "could select several values, and an id is one."
    yield from _reachable(route, selector)


def _property(route: RouteSettings, name: str, text: str, *, typed: bool) -> Iterator[str]:
    try:
        compiled = Property(name, text)
    except ValueError as err:
        yield str(err)
        return
    yield from _reachable(route, compiled.selector)
    if typed and compiled.type is None and "body" in compiled.selector.parts:
        yield "needs a type, such as | number: a policy decision point at an address may take a text for a number."


def _reachable(route: RouteSettings, selector: Selector) -> Iterator[str]:
    """Yields a sentence for a property that can never have a value."""
    if "body" in selector.parts and (bodiless := [each for each in route.methods if each in _WITHOUT_BODY]):
        yield f"looks into the body, and {' and '.join(bodiless)} has none."
    names, chain = parse(route.path).names, selector.chain
    if chain is None or chain[0] == "body":
        return
    if len(chain) == 1:
        yield f"selects all of the {chain[0]}; name one value in it."
    if chain[0] == "path" and len(chain) > 1 and chain[1] not in names:
        known = f"there is {', '.join(names)}" if names else "there are none"
        yield f"the path has no name {chain[1]!r}; {known}."
    elif len(chain) > 2:
        yield f"a value in the {chain[0]} is text and holds nothing further."


def _repeated(routes: Sequence[RouteSettings]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for route in routes:
        if route.id in first:
            yield route.line, f"route {route.id}: the id is taken by the route in line {first[route.id]}."
        first.setdefault(route.id, route.line)


def _conflicts(root: TrieNode) -> Iterator[Problem]:
    """Pairs of routes with the same path and method."""
    for endpoint in endpoints(root):
        taken: dict[str, Route] = {}
        for route in endpoint.routes:
            for method in route.settings.methods:
                if method in taken:
                    other = taken[method].settings
                    yield (
                        route.settings.line,
                        f"route {route.settings.id}: {method} {route.settings.path} is what route {other.id} in line"
                        f" {other.line} takes ({other.path}).",
                    )
                taken.setdefault(method, route)


def _overlapping(root: TrieNode) -> Iterator[Problem]:
    for first, second, path in overlaps(list(endpoints(root))):
        yield _overlap(first, second, path)


def _overlap(first: Endpoint, second: Endpoint, path: Iterable[str]) -> Problem:
    one, other = sorted((first.routes[0].settings, second.routes[0].settings), key=lambda route: route.line)
    example = "/".join("1" if segment in ("{}", "*") else segment for segment in path)
    return (
        other.line,
        f"route {other.id}: {other.path} and {one.path} of route {one.id} in line {one.line} both take {example}, and"
        " neither is more specific. Change one, or declare a third route for what both take.",
    )
