"""Metrics endpoint, GET /metrics for Prometheus: guarded by address and token."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Blueprint, request
from werkzeug.wrappers import Response

from bff.crypto import equal
from bff.errors import BFFError, Forbidden, Unauthenticated
from bff.settings import MetricsSettings
from bff.web import problem
from bff.web.client_address import ClientAddressResolver
from bff.web.policy import policy

WsgiApp = Callable[..., Iterable[bytes]]


class MetricsAccess:
    """WSGI middleware in front of the metrics page, for the public port and for the process of METRICS_BIND."""

    def __init__(self, page: WsgiApp, settings: MetricsSettings, clients: ClientAddressResolver) -> None:
        self._page = page
        self._settings = settings
        self._clients = clients

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            self._check(environ)
        except BFFError as err:
            return problem.respond(err, environ, start_response)
        return self._page(environ, start_response)

    def _check(self, environ: dict[str, Any]) -> None:
        """Raises Forbidden for a refused address, Unauthenticated for a bad or missing token (RFC 6750)."""
        if not self._clients.knows_client(environ):
            raise Forbidden("This request came through a proxy that TRUSTED_PROXIES does not name.")
        if not self._clients.within(self._clients.of(environ).address, self._settings.allowed):
            raise Forbidden("Metrics are not for this address.")
        token = self._settings.token
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if token and not (scheme.lower() == "bearer" and equal(given.strip(), token)):
            raise Unauthenticated("Metrics need a token.", headers=[("WWW-Authenticate", "Bearer")])


def blueprint(page: WsgiApp) -> Blueprint:
    """page: a WSGI callable that writes the exposition."""
    metrics = Blueprint("metrics", __name__)

    @metrics.get("/metrics")
    @policy(session=False, csrf=False)
    def scrape() -> Response:
        return Response.from_app(page, request.environ)

    return metrics
