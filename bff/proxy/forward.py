"""Forwards a request to a service with its token, and retries once with a new token after a 401.

A service may refuse a token before its expiry: the provider revoked it, or changed its keys. Then the BFF gets a new
token, once for all requests that meet the refusal at the same moment (single flight), and repeats the request if its
body was kept. If the service refuses the new token as well, its refusals stand for a while, or each would cost a
refresh.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from bff.bulkhead import Bulkhead, Place
from bff.crypto import digest
from bff.errors import BFFError, InsufficientScope, NotRefreshable, TokenRefused, TokenUnavailable
from bff.http import Upstream, UpstreamRequest, UpstreamResponse, head
from bff.lib.ttl_cache import TTLCache
from bff.observability import traces
from bff.oidc.dpop import Dpop
from bff.proxy.challenges import refuses_token
from bff.proxy.headers import RequestHeaders, within_trace
from bff.proxy.response_headers import Headers, ResponseHeaders
from bff.sessions.model import Session
from bff.settings import Auth, TokenKind, UpstreamSettings
from bff.tokens.service import TokenService
from bff.tokens.source import BoundToken

BELIEVED_FOR = 30.0
"""Seconds for which a service that refused a brand-new token gets no further one."""

_MOST_BELIEVED = 10_000


@dataclass(frozen=True)
class OnBehalfOf:
    """The caller of a request. arn: of the user, empty without one. bearer: the token of the request."""

    session: Session | None = None
    arn: str = field(default="", repr=False)
    bearer: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class UpstreamService:
    """One service, ready to be called. request_headers, response_headers: the allow-lists of both directions.
    bulkhead: limits its concurrent calls, from before a request's body is read until its answer is closed."""

    settings: UpstreamSettings
    upstream: Upstream
    request_headers: RequestHeaders
    response_headers: ResponseHeaders
    bulkhead: Bulkhead

    @property
    def id(self) -> str:
        return self.settings.service

    def url(self, request: UpstreamRequest) -> str:
        return self.settings.base_url + request.target

    def described(self, method: str) -> dict[str, str]:
        """The attributes of a call in a trace."""
        address = urlsplit(self.settings.base_url).hostname or ""
        return {"http.request.method": method, "server.address": address, "bff.service": self.id}


class PlaceHoldingResponse:
    """An answer that holds its call's place in the bulkhead until it is closed."""

    def __init__(self, answer: UpstreamResponse, place: Place) -> None:
        self.status, self.reason, self.headers = answer.status, answer.reason, answer.headers
        self._answer = answer
        self._place = place

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        try:
            self._answer.close()
        finally:
            self._place.leave()


class Forwarder:
    def __init__(
        self, services: Iterable[UpstreamService], token_service: TokenService, dpop: Dpop, clock: Callable[[], float]
    ) -> None:
        self._services = {service.id: service for service in services}
        self._token_service = token_service
        self._dpop = dpop
        self._clock = clock
        self._believed: TTLCache[bool] = TTLCache(_MOST_BELIEVED)

    def headers(self, service: str, environ: Mapping[str, Any], client_address: str) -> dict[str, str]:
        """The header fields for the service. environ: the request's WSGI environment (PEP 3333)."""
        return self._services[service].request_headers.of(environ, client_address)

    def answered(self, service: str, answer: UpstreamResponse, auth: Auth) -> Headers:
        """The answer's header fields for the client. auth: of the route."""
        own_token = auth is Auth.BEARER and self._token_service.kind(service) is TokenKind.USER
        return self._services[service].response_headers.of(answer.headers, auth, own_token=own_token)

    def timeout(self, service: str) -> float:
        """The service's timeout in seconds."""
        return self._services[service].settings.timeout

    def bulkhead(self, service: str) -> Bulkhead:
        return self._services[service].bulkhead

    def send(self, service: str, request: UpstreamRequest, caller: OnBehalfOf, client: Any = None) -> UpstreamResponse:
        """The service's answer, which the caller must close. request: without credentials. client: see Upstream.send.

        Raises what `TokenService.ensure_token` and `Upstream.send` raise.
        """
        to = self._services[service]
        if caller.bearer is not None and self._token_service.kind(service) is TokenKind.USER:
            return _sent(to, _with(request, {"Authorization": f"Bearer {caller.bearer}"}), client)
        usable = self._token(service, caller)
        answer = self._attempt(to, request, usable, client)
        if usable is None or answer.status != HTTPStatus.UNAUTHORIZED or not request.replayable:
            return answer
        if self._dpop.wants_another(to.url(request), head(answer)):
            answer.close()
            answer = self._attempt(to, request, usable, client)
        if answer.status != HTTPStatus.UNAUTHORIZED or not refuses_token(answer.headers):
            return answer
        return self._with_another(to, request, caller, usable, answer, client)

    def close(self) -> None:
        for service in self._services.values():
            service.upstream.close()

    def _with_another(
        self,
        to: UpstreamService,
        request: UpstreamRequest,
        caller: OnBehalfOf,
        usable: BoundToken,
        answer: UpstreamResponse,
        client: Any,
    ) -> UpstreamResponse:
        """The answer to the same request with a new token, or this answer when there is none."""
        pair = self._pair(caller, to)
        if self._believed.get(pair, self._clock()):
            return answer
        try:
            another = self._token(to.id, caller, refused=usable)
        except (NotRefreshable, TokenUnavailable, TokenRefused, InsufficientScope):
            return answer
        except BFFError:
            answer.close()
            raise
        answer.close()
        answer = self._attempt(to, request, another, client)
        if answer.status == HTTPStatus.UNAUTHORIZED and refuses_token(answer.headers):
            self._believed.put(pair, True, self._clock() + BELIEVED_FOR)
        return answer

    def _pair(self, caller: OnBehalfOf, to: UpstreamService) -> bytes:
        """The key of a token's owner and a service. The BFF's own token is the same for every session."""
        shared = caller.session is None or self._token_service.kind(to.id) is TokenKind.CLIENT_CREDENTIALS
        return digest(f"{'' if shared or caller.session is None else caller.session.key}.{to.id}").encode()

    def _token(self, service: str, caller: OnBehalfOf, refused: BoundToken | None = None) -> BoundToken | None:
        former = refused.token if refused else None
        if caller.session is None:
            return self._token_service.own_token(service, former)
        if former is None:
            return self._token_service.ensure_token(caller.session, service)
        return self._token_service.renew(caller.session, service, former)

    def _attempt(
        self, to: UpstreamService, request: UpstreamRequest, usable: BoundToken | None, client: Any
    ) -> UpstreamResponse:
        if usable is not None:
            proof = self._dpop.authorization(usable.token, usable.key, request.method, to.url(request))
            request = _with(request, proof)
        return _sent(to, request, client)


def _sent(to: UpstreamService, request: UpstreamRequest, client: Any) -> UpstreamResponse:
    """Sends the request in a span that ends when the answer begins. The service gets this span's id, not the
    caller's."""
    with traces.span(f"{request.method} {to.id}", to.described(request.method), traces.CLIENT) as span:
        answer = to.upstream.send(replace(request, headers=within_trace(request.headers, traces.outgoing())), client)
        traces.answered(span, answer.status)
    return answer


def _with(request: UpstreamRequest, headers: Mapping[str, str]) -> UpstreamRequest:
    return replace(request, headers={**request.headers, **headers})
