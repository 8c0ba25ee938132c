"""Routing table: finds the route of a request among those of config/routes.yaml (ADR 12)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bff.errors import MethodNotAllowed, NoSuchRoute
from bff.routes import path as paths
from bff.routes.route import Route, compiled, sent_as_written
from bff.routes.trie import build, endpoints, search
from bff.settings import RouteSettings


@dataclass(slots=True)
class Match:
    """values: the raw segments of the names in the route's path, in order. path: the whole path, raw."""

    route: Route
    values: Sequence[str]
    path: str

    def __repr__(self) -> str:
        return f"Match({self.route.settings.id})"  # without the path, which may name people

    def target(self) -> str:
        """The raw path to send to the service, after its own base path."""
        return self.route.target(self.path, self.values)

    def params(self) -> dict[str, str]:
        """The decoded values by name; `*` is the rest of the path."""
        if "%" in self.path:
            return dict(zip(self.route.template.names, map(paths.decoded, self.values), strict=True))
        return dict(zip(self.route.template.names, self.values, strict=True))


class RouteTable:
    def __init__(self, routes: Sequence[RouteSettings]) -> None:
        """Raises ValueError for a route with a mistake in a single value, as `bff.routes.problems` reports."""
        ready = [compiled(settings) for settings in routes]
        self._decoded = build(ready)
        as_sent = [route for route in ready if sent_as_written(route.template)]
        self._raw = build([route for route in as_sent if route.template.names])
        # A path without names is always the most specific one, so it needs no walk.
        literal = build([route for route in as_sent if not route.template.names])
        self._exact = {endpoint.routes[0].settings.path: endpoint for endpoint in endpoints(literal)}

    def __iter__(self) -> Iterator[Route]:
        """In order of precedence."""
        for endpoint in endpoints(self._decoded):
            yield from endpoint.routes

    def match(self, method: str, path: str) -> Match:
        """The route of a request. path: of the target, as the client sent it, one character for each byte.

        Most paths match as they are, in one walk without backtracking; the others are checked, decoded, and searched
        again. One function, since a call costs as much here as a segment. Raises AmbiguousTarget, NoSuchRoute,
        MethodNotAllowed."""
        endpoint = self._exact.get(path)
        values: Sequence[str] = ()
        if endpoint is None:
            segments, node = path.split("/"), self._raw
            for segment in segments:
                child = node.get(segment, node.value)
                if child is None:
                    endpoint = node.rest
                    break
                node = child
            else:
                endpoint = node.end
            if endpoint is None or endpoint.take is None:
                return self._examined(method, path)
            values = endpoint.take(segments if endpoint.cuts < 0 else path.split("/", endpoint.cuts))
            for value in values:
                if not (value.isalnum() and value.isascii()) and not endpoint.plain(value):
                    return self._examined(method, path)
        try:
            return Match(endpoint.methods[method], values, path)
        except KeyError:
            raise MethodNotAllowed(sorted(endpoint.methods)) from None

    def _examined(self, method: str, path: str) -> Match:
        endpoint = search(self._decoded, paths.segments(path))
        if endpoint is None:
            raise NoSuchRoute
        if method not in endpoint.methods:
            raise MethodNotAllowed(sorted(endpoint.methods))
        values = endpoint.take(path.split("/", endpoint.cuts)) if endpoint.take else ()
        return Match(endpoint.methods[method], values, path)
