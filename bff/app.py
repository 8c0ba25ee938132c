"""Composition root: builds a WSGI application from settings and services.

Building makes no connection and no thread, so a gunicorn master may do it. Each worker calls `start`.
"""

from functools import partial
from typing import Any

from flask import Flask

from bff import rotation
from bff import services as service_layer
from bff import settings as settings_layer
from bff.http import DisconnectMonitor, HttpUpstream, Upstream
from bff.observability.exposition import metrics_app
from bff.routes import RouteTable
from bff.server.arrival import LONGEST_BODY
from bff.services import Services
from bff.settings import Settings, UpstreamSettings
from bff.settings_check import require_valid
from bff.tasks import Job, Tasks
from bff.web import (
    api,
    auth,
    beacon,
    health,
    javascript,
    keys,
    metrics,
    openapi,
    pdp,
    pipeline,
    provider_logout,
    sessions,
    tokens,
    validate,
)
from bff.web.client_address import ClientAddressResolver
from bff.web.listener import VerifyListener
from bff.web.profiles import DEFAULT, Profile
from bff.web.trace_trust import TraceTrust
from bff.web.verify import Verify

_HEALTH_PERIODS = {"idp": 30.0, "pdp": 5.0, "kafka": 10.0}
"""Seconds between two health checks, by the start of the check's name; 1 for the store."""

PROVIDER_PERIOD = 60.0
"""Seconds between a worker's checks whether its copies of a provider's metadata and keys are due for renewal."""


def create_app(settings: Settings | None = None, services: Services | None = None) -> Flask:
    """Returns the BFF as a Flask app. Raises InvalidSettings with every problem at once."""
    settings = settings or (services.settings if services else settings_layer.load())
    require_valid(settings)
    app = Flask("bff", static_folder=None, template_folder="web/templates")
    app.url_map.merge_slashes = False  # merging would redirect to the host that the request names
    if services is None:
        services = _in_development(settings, app) if settings.development else service_layer.build(settings)
    clients = ClientAddressResolver.of_settings(settings)
    app.config["MAX_CONTENT_LENGTH"] = LONGEST_BODY
    app.extensions["bff"] = services
    app.extensions["bff_clients"] = clients
    app.extensions["bff_tasks"] = Tasks(_jobs(services), services.kv, services.clock)
    if settings.telemetry.exports:
        from bff.observability.telemetry import Telemetry  # here, so that other workers do not load the SDK

        app.extensions["bff_telemetry"] = Telemetry(settings)
        app.extensions["bff_telemetry"].instrument(app)
    pipeline.install(app)
    always = (auth, health, keys, pdp, provider_logout, sessions, tokens, validate)
    for blueprint in (module.blueprint for module in always):
        app.register_blueprint(blueprint)
    app.register_blueprint(beacon.blueprint(settings.metrics.public_events))
    app.register_blueprint(javascript.blueprint(services.settings.cookies.csrf_name))
    app.register_blueprint(openapi.blueprint(settings))
    table = RouteTable(settings.routes)
    app.register_blueprint(api.blueprint(table))
    app.extensions["bff_bound_for"] = partial(api.bound_for, table, services.proxy)
    if settings.metrics.bind is None:
        page = metrics_app(services.store.active, settings.version, services.clock)
        app.register_blueprint(metrics.blueprint(metrics.MetricsAccess(page, settings.metrics, clients)))
    if settings.development:
        _register_development_parts(app, services)
    login_url = settings.base_url + "/auth/login"
    callers = TraceTrust(clients) if settings.telemetry.traces else None
    verify = Verify(
        app.wsgi_app,
        services.authenticator,
        clients,
        services.return_urls,
        login_url,
        _profiles(services),
        callers,
        None if settings.verify_bind is None else VerifyListener(settings.verify_bind),
    )
    app.wsgi_app = verify  # type: ignore[method-assign]  # as Flask documents for WSGI middleware
    app.extensions["bff_verify"] = verify
    return app


def start(app: Flask) -> None:
    """Opens connections and starts threads; call it in the process that serves requests."""
    if "bff_telemetry" in app.extensions:
        app.extensions["bff_telemetry"].start()
    app.extensions["bff"].start()
    app.extensions["bff_tasks"].start()


def stop(app: Flask) -> None:
    """Finishes background work and closes every connection."""
    app.extensions["bff_tasks"].stop()
    app.extensions["bff"].close()
    if "bff_telemetry" in app.extensions:
        app.extensions["bff_telemetry"].stop()


def _profiles(services: Services) -> list[Profile]:
    return [
        Profile(each, services.enforcement, services.subjects, services.tokens.service)
        for each in (DEFAULT, *services.settings.verify_profiles)
    ]


def _jobs(services: Services) -> list[Job]:
    jobs = [
        Job("session_touch", 1.0, services.authenticator.flush, at_stop=True),
        Job("session_sweep", 30.0, services.store.sweep, fleet=True),
        Job("token_save", 1.0, services.tokens.pending_writes.write, at_stop=True),
        Job("token_refresh", 5.0, services.tokens.sweep.run, fleet=True, stepwise=True),
        Job("token_revocation", 1.0, services.tokens.revocations.revoke_due, fleet=True, stepwise=True),
        Job("secrets", rotation.PERIOD, services.rotation.beat),
        Job("event_flush", 1.0, services.events.outbox.flush, at_stop=True),
        Job("event_delivery", 1.0, services.events.relay.run, at_stop=True),
    ]
    for alias, provider in services.providers.items():
        jobs.append(Job(f"provider_{alias}", PROVIDER_PERIOD, provider.renew))
    for name in services.health.names:
        period = next((seconds for start, seconds in _HEALTH_PERIODS.items() if name.startswith(start)), 1.0)
        jobs.append(Job(f"health_{name}", period, partial(services.health.refresh, name)))
    return jobs


def _in_development(settings: Settings, app: Flask) -> Services:
    """Calls the embedded provider and the sample API in process, so that one worker with one thread suffices."""
    from bff.dev.in_process import WsgiTransport, WsgiUpstream

    def own(environ: Any, start_response: Any) -> Any:
        return app.wsgi_app(environ, start_response)

    def upstream(config: UpstreamSettings, disconnects: DisconnectMonitor) -> Upstream:
        ours = config.base_url.startswith(settings.base_url + "/")
        return WsgiUpstream(config, own) if ours else HttpUpstream(config, disconnects)

    transport = WsgiTransport({settings.base_url: own}) if settings.embedded_provider else None
    return service_layer.build(settings, transport=transport, upstream=upstream)


def _register_development_parts(app: Flask, services: Services) -> None:
    from bff import dev

    settings = services.settings
    embedded = settings.providers[0] if settings.embedded_provider else None
    dev.register(app, services.kv, embedded, settings.base_url, services.clock, settings.allowed_redirect_origins)
