"""Reverse proxy: `/api/**` by the routes of `config/routes.yaml`.

The proxy uses the request target as the client sent it. Routes, policy and service see the same bytes (ADR 12). The
view checks a request in order of cost. It reads a body or asks the policy only after the cheaper checks have passed.
"""

from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, current_app, g, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from bff.bulkhead import Bound, Place
from bff.errors import AccessDenied, BadRequest, BFFError, BodyTooLarge, InsufficientScope
from bff.http import UpstreamRequest, UpstreamResponse
from bff.observability import traces
from bff.oidc.claims import arn
from bff.pdp.model import ResourceAction
from bff.proxy.body import SMALL, RequestBody
from bff.proxy.forward import Forwarder, OnBehalfOf, PlaceHoldingResponse
from bff.routes import AuthzMapping, Match, RouteTable, check_query
from bff.server.access_log import ROUTE
from bff.settings import Auth, RouteSettings
from bff.web import limits
from bff.web.bearer import bearer_token
from bff.web.context import client, services
from bff.web.policy import policy
from bff.web.principal import Principal, authenticate
from bff.web.profiles import header_value
from bff.web.streaming import StreamedBody

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LONGEST_ASKED = 1024 * 1024
"""Most bytes of a body that the policy sees; the worker reads it into memory."""

_WITHOUT_BODY = frozenset({204, 205, 304})


class Anything(BaseConverter):
    """Matches the rest of a path, with any characters."""

    regex = ".*?"
    part_isolating = False


def blueprint(table: RouteTable) -> Blueprint:
    routes = Blueprint("api", __name__)

    @routes.record_once
    def convert(state: BlueprintSetupState) -> None:
        state.app.url_map.converters["anything"] = Anything

    @routes.route("/api/<anything:_rest>", methods=METHODS, provide_automatic_options=False)
    @policy(session=False, csrf=False, own_body=False)
    def proxied(_rest: str) -> Response:
        """The decorator's policy opens the view, because each route in the table has an `auth` of its own."""
        _name_route(None, "/api/*")
        path, mark, query = _target().partition("?")
        match = table.match(request.method, path)
        _name_route(match.route.settings.id, match.route.settings.path)
        check_query(query)
        return _answered(match, query, match.target() + mark + query)

    return routes


def bound_for(table: RouteTable, proxy: Forwarder, method: str, target: str) -> Bound | None:
    """Returns a request's destination, None without a route. A worker asks before it gives the request a thread."""
    if not target.startswith("/api/"):
        return None
    try:
        route = table.match(method, target.partition("?")[0]).route.settings
    except BFFError:
        return None
    return Bound(proxy.bulkhead(route.service), route.id, route.path, route.streaming)


def _name_route(endpoint: str | None, path: str) -> None:
    """Names the route in metrics, access log and span, because the path itself may hold personal data."""
    g.endpoint, request.environ[ROUTE] = endpoint, path
    traces.name_request(request.method, path)


def _answered(match: Match, query: str, target: str) -> Response:
    """target: the request target for the service."""
    route, body = match.route.settings, _body(match.route.settings.body_limit)
    caller = None if route.auth is Auth.NONE else authenticate(route.auth, navigable=route.navigable)
    _limit(route, caller)
    place = _place(route.service)
    try:
        answer = _sent(match, caller, query, target, body)
    except BaseException:
        place.leave()
        raise
    return _passed_back(PlaceHoldingResponse(answer, place), route)


def _place(service: str) -> Place:
    """Returns a place in the service's bulkhead; the worker may have taken it already. Raises Busy."""
    bulkhead, take = services().proxy.bulkhead(service), getattr(_socket(), "take_place", None)
    place: Place | None = take() if take else None
    return place if place is not None and place.bulkhead is bulkhead else bulkhead.enter()


def _socket() -> Any:
    return request.environ.get("gunicorn.socket")


def _sent(
    match: Match, caller: Principal | None, query: str, target: str, body: RequestBody | None
) -> UpstreamResponse:
    route, mapping = match.route.settings, match.route.mapping
    _check_scopes(route, caller)
    content = _kept(body, needed=mapping is not None and mapping.needs_body)
    if caller is not None and mapping is not None:
        _authorize(mapping, match, caller, query, content if isinstance(content, bytes) else None)
    on_behalf = _on_behalf_of(caller)
    return services().proxy.send(
        route.service,
        UpstreamRequest(
            method=request.method,
            target=target,
            headers=_headers(route.service, on_behalf),
            timeout=route.timeout or services().proxy.timeout(route.service),
            body=content,
            length=body.length if body else None,
            streaming=route.streaming,
        ),
        on_behalf,
        _socket(),
    )


def _target() -> str:
    """Returns the request target as the client sent it (RAW_URI), else rebuilt from the path and query."""
    raw: str = request.environ.get("RAW_URI") or ""
    if raw:
        return raw
    path, query = request.environ["PATH_INFO"], request.environ.get("QUERY_STRING", "")
    return quote(path, encoding="latin-1") + (f"?{query}" if query else "")


def _body(limit: int) -> RequestBody | None:
    """Raises BodyTooLarge, BadRequest."""
    stream, announced = request.environ["wsgi.input"], request.environ.get("CONTENT_LENGTH") or ""
    if "chunked" in request.environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        return RequestBody(stream, None, limit)
    if announced and not (announced.isascii() and announced.isdigit()):
        raise BadRequest("The length of the body is no number.")
    return RequestBody(stream, int(announced), limit) if int(announced or 0) else None


def _kept(body: RequestBody | None, *, needed: bool) -> bytes | RequestBody | None:
    """Returns the body's bytes when it is small or the policy needs it, else a stream."""
    if body is None:
        return None
    if not needed:
        return body.whole() if body.length is not None and body.length <= SMALL else body
    if body.length is None or body.length > LONGEST_ASKED:
        raise BodyTooLarge(
            f"The policy is asked about this body, so it must announce its length, {LONGEST_ASKED} at most."
        )
    return body.whole()


def _limit(route: RouteSettings, caller: Principal | None) -> None:
    """Counts per session if there is one, else per address. Raises RateLimited; StoreUnavailable for a closed limit."""
    if route.rate_limit is not None:
        limits.check(f"route:{route.id}", caller.session if caller else None)


def _check_scopes(route: RouteSettings, caller: Principal | None) -> None:
    """Raises InsufficientScope, and for a session the errors of TokenService.ensure_token."""
    if not route.scopes or caller is None:
        return
    held = caller.scopes
    if caller.session is not None:
        usable = services().tokens.service.ensure_token(caller.session)
        held = tuple(usable.token.scope.split()) if usable else ()
    if not set(route.scopes) <= set(held):
        raise InsufficientScope(
            "The token is not good for this address.",
            headers=[("WWW-Authenticate", f'Bearer error="insufficient_scope", scope="{" ".join(route.scopes)}"')]
            if caller.token
            else [],
        )


def _authorize(mapping: AuthzMapping, match: Match, caller: Principal, query: str, body: bytes | None) -> None:
    """Raises AccessDenied."""
    route, enforcement = match.route.settings, services().enforcement
    about = {"correlation_id": g.correlation_id, "route": route.id, "user": caller.user}
    try:
        asked = mapping.asked(
            match.params(), query, body, request.content_type or "", request.headers.get("Content-Encoding", "")
        )
    except AccessDenied as err:
        named = route.authz_map
        nothing = ResourceAction(named.resource if named else "", named.action if named else "", "")
        raise enforcement.refused(err.code, nothing, detail=err.detail, **about) from err
    enforcement.enforce(caller.subject, asked, client_address=client().address, on_error=route.on_error, **about)


def _on_behalf_of(caller: Principal | None) -> OnBehalfOf:
    if caller is None:
        return OnBehalfOf()
    if caller.token is not None:
        return OnBehalfOf(arn=caller.token.arn, bearer=bearer_token(request.headers.get("Authorization")))
    session = caller.session
    return OnBehalfOf(session, arn(session.idp, session.user.sub)) if session else OnBehalfOf()


def _headers(service: str, on_behalf: OnBehalfOf) -> dict[str, str]:
    headers = services().proxy.headers(service, request.environ, client().address)
    headers["X-Correlation-ID"] = g.correlation_id
    if on_behalf.arn:
        headers["X-Original-User"] = header_value(on_behalf.arn)
    return headers


def _passed_back(answer: UpstreamResponse, route: RouteSettings) -> Response:
    g.own_answer = False
    headers = services().proxy.answered(route.service, answer, route.auth)
    response = current_app.response_class(status=answer.status, headers=headers)
    if not any(name.lower() == "content-type" for name, _ in headers):
        del response.headers["Content-Type"]
    if request.method == "HEAD" or answer.status in _WITHOUT_BODY:
        response.automatically_set_content_length = False  # for HEAD it is the length of the GET's body, or unknown
        answer.close()
    else:
        response.response = StreamedBody(answer, request.environ)
        response.direct_passthrough = True
    return response
