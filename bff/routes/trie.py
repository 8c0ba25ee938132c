"""Trie of the routes by the segments of their paths: a walk costs one step for each segment, not for each route.

Precedence is the order of the search: a literal segment before `{name}`, that before `*`, from left to right.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from bff.routes.path import PLAIN, PLAIN_REST
from bff.routes.route import Route
from bff.settings.template import REST, name_of


class Endpoint:
    """The routes of one path. methods: the route of each method. take: selects the values among the pieces of a
    request's path, None where there are none. cuts: how often the path is split at a slash for that, the first one
    included; -1 for every slash. plain: matches values that need no decoding."""

    __slots__ = ("cuts", "methods", "plain", "routes", "take")

    def __init__(self, segments: Sequence[str]) -> None:
        self.routes: list[Route] = []
        self.methods: dict[str, Route] = {}
        rest = segments[-1] == REST
        self.cuts = len(segments) - 1 if rest else -1
        self.plain: Callable[[str], Any] = PLAIN_REST if rest else PLAIN
        self.take = _taker(tuple(number for number, each in enumerate(segments) if name_of(each) is not None))

    def add(self, route: Route) -> None:
        """Adds a route. Of two routes for the same method the first keeps it; `bff.routes.problems` reports both."""
        self.routes.append(route)
        for method in route.settings.methods:
            self.methods.setdefault(method, route)

    def imply_head(self) -> None:
        """Lets the route of GET answer HEAD (RFC 9110 section 9.3.2), unless another route does."""
        if "GET" in self.methods:
            self.methods.setdefault("HEAD", self.methods["GET"])


@cache
def _taker(positions: tuple[int, ...]) -> Callable[[list[str]], Sequence[str]] | None:
    """One function for all endpoints with the same positions, to stay in the processor's cache. itemgetter returns a
    bare item for one position, but a sequence for one slice."""
    if len(positions) == 1:
        return itemgetter(slice(positions[0], positions[0] + 1))
    return itemgetter(*positions) if positions else None


class TrieNode(dict[str, "TrieNode"]):
    """The continuations of one beginning of a path: literal segments as keys, value for any one segment, rest for any
    number of them."""

    __slots__ = ("end", "rest", "value")

    def __init__(self) -> None:
        super().__init__()
        self.value: TrieNode | None = None
        self.rest: Endpoint | None = None
        self.end: Endpoint | None = None

    def child(self, segment: str) -> "TrieNode":
        """The node for this segment of a template, created when missing."""
        if name_of(segment) is None:
            return self.setdefault(segment, TrieNode())
        self.value = TrieNode() if self.value is None else self.value
        return self.value


def build(routes: Sequence[Route]) -> TrieNode:
    root = TrieNode()
    for route in routes:
        insert(root, route)
    for endpoint in endpoints(root):
        endpoint.imply_head()
    return root


def insert(root: TrieNode, route: Route) -> None:
    segments, node = ("", *route.template.segments), root
    for segment in segments[:-1]:
        node = node.child(segment)
    if segments[-1] == REST:
        node.rest = node.rest or Endpoint(segments)
        node.rest.add(route)
        return
    node = node.child(segments[-1])
    node.end = node.end or Endpoint(segments)
    node.end.add(route)


def search(node: TrieNode, segments: Sequence[str], position: int = 0) -> Endpoint | None:
    """The most specific endpoint for these segments, from this position on; a value is never empty."""
    if position == len(segments):
        return node.end
    segment, found = segments[position], None
    if segment in node:
        found = search(node[segment], segments, position + 1)
    if found is None and node.value is not None and segment:
        found = search(node.value, segments, position + 1)
    return found or node.rest


def endpoints(node: TrieNode) -> Iterator[Endpoint]:
    """In order of precedence."""
    if node.end is not None:
        yield node.end
    for segment in sorted(node):
        yield from endpoints(node[segment])
    if node.value is not None:
        yield from endpoints(node.value)
    if node.rest is not None:
        yield node.rest
