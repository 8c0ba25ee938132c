"""Dry run of a request: its route, its token and its question to the policy, without sending anything."""

import json
from collections.abc import Iterator

from bff.pdp.model import Evaluation
from bff.routes.path import check_query
from bff.routes.route import Route
from bff.routes.table import Match, RouteTable
from bff.sessions.csrf import SAFE_METHODS
from bff.settings import Auth, RouteSettings, ServiceSettings, Settings, TokenKind, UpstreamSettings

WHOSE = {Auth.SESSION: "<the session's user>", Auth.BEARER: "<the token's user>"}
_TOKENS = {
    TokenKind.USER: "the session's own access token",
    TokenKind.EXCHANGE: "the session's access token, exchanged for this service",
    TokenKind.CLIENT_CREDENTIALS: "the BFF's own access token",
    TokenKind.NONE: "none",
}


def request(config: Settings, method: str, target: str, body: bytes | None = None) -> Iterator[tuple[str, str]]:
    """Yields (heading, fact) of one request. target: path and query, as a client sends them. body: JSON.

    Raises BFFError, after the facts that are known until then."""
    path, _, query = target.partition("?")
    check_query(query)
    match = RouteTable(config.routes).match(method, path)
    settings = match.route.settings
    service, upstream = _service(config, settings)
    yield "route", f"{settings.id} ({config.config_dir / 'routes.yaml'}:{settings.line}), {settings.path}"
    yield "service", settings.service
    yield "upstream", f"{method} {upstream.base_url}{match.target()}" + (f"?{query}" if query else "")
    yield "auth", settings.auth
    yield "token", _token(settings, service)
    yield "csrf", "X-CSRF-Token is needed" if _needs_csrf(settings, method) else "not needed"
    if settings.navigable:
        yield "navigable", "links of other sites may lead here"
    yield from _limits(settings, upstream)
    if types := list(_types(match.route)):
        yield "types", ", ".join(types)
    yield "policy", _question(config, match, query, body)


def listing(config: Settings) -> Iterator[str]:
    """A line for each route, the most specific first."""
    routes = list(RouteTable(config.routes))
    rows = [_row(route) for route in routes]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(route: Route) -> tuple[str, ...]:
    settings = route.settings
    mapped = settings.authz_map
    asks = f"{mapped.action} {mapped.resource}" if mapped else "denied" if settings.authz else "-"
    return ",".join(settings.methods), settings.path, settings.id, settings.service, settings.auth, asks


def _service(config: Settings, route: RouteSettings) -> tuple[ServiceSettings, UpstreamSettings]:
    services = {service.id: service for service in config.services}
    upstreams = {upstream.service: upstream for upstream in config.upstreams}
    return services[route.service], upstreams[route.service]


def _token(route: RouteSettings, service: ServiceSettings) -> str:
    if service.token is TokenKind.USER and route.auth is Auth.BEARER:
        return "the caller's own access token"
    return _TOKENS[service.token]


def _needs_csrf(route: RouteSettings, method: str) -> bool:
    return route.auth is Auth.SESSION and method not in SAFE_METHODS


def _limits(route: RouteSettings, upstream: UpstreamSettings) -> Iterator[tuple[str, str]]:
    if route.scopes:
        yield "scopes", " ".join(route.scopes)
    yield "timeout", f"{route.timeout or upstream.timeout:g} s" + (", streaming" if route.streaming else "")
    yield "body limit", f"{route.body_limit} bytes"
    if route.rate_limit:
        yield "rate limit", str(route.rate_limit).partition("=")[2]


def _types(route: Route) -> Iterator[str]:
    """The declared types of the properties in the question."""
    for each in route.mapping.properties if route.mapping else ():
        if each.type is not None:
            yield f"{each.name} is a {each.type}" + (", or missing" if each.optional else "")


def _question(config: Settings, match: Match, query: str, body: bytes | None) -> str:
    """The question as AuthZEN sends it, without the facts of a real request. Raises AccessDenied."""
    mapping = match.route.mapping
    if mapping is None:
        return "not asked"
    asked = mapping.asked(match.params(), query, body, "application/json" if body else "", "")
    subject = config.pdp.subject_type, WHOSE[match.route.settings.auth], "{}"
    return json.dumps(Evaluation(*subject, asked.action, asked.resource, asked.id, asked.properties).document())
