"""The composition root: settings and services in, a WSGI application out.

Building makes no connection and no thread, so it may happen in a gunicorn master; `start` is called in each worker.
"""

from flask import Flask

from bff import services as service_layer
from bff import settings as settings_layer
from bff.http import WsgiApp, WsgiTransport
from bff.observability.exposition import metrics_app
from bff.services import Services
from bff.settings import Settings
from bff.settings_check import require_valid
from bff.tasks import Job, Tasks
from bff.web import auth, beacon, health, javascript, keys, metrics, pdp, pipeline, provider_logout, tokens, validate
from bff.web.client import Clients
from bff.web.verify import Verify

MAX_BODY = 1024 * 1024
_HEALTH_PERIODS = {"idp": 30.0, "pdp": 5.0}
"""Seconds between two health checks, by how their names begin; a second for others."""


def create_app(settings: Settings | None = None, services: Services | None = None) -> Flask:
    """The BFF as a Flask app. Raises InvalidSettings with every problem at once."""
    settings = settings or (services.settings if services else settings_layer.load())
    require_valid(settings)
    own_origin: dict[str, WsgiApp] = {}
    if services is None:
        transport = WsgiTransport(own_origin) if settings.embedded_provider else None
        services = service_layer.build(settings, transport=transport)
    clients = Clients(settings.trusted_proxies)

    app = Flask("bff", static_folder=None, template_folder="web/templates")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.extensions["bff"] = services
    app.extensions["bff_clients"] = clients
    app.extensions["bff_tasks"] = Tasks(_jobs(services), services.kv)
    pipeline.install(app)
    always = (auth, health, keys, pdp, provider_logout, tokens, validate)
    for blueprint in (module.blueprint for module in always):
        app.register_blueprint(blueprint)
    app.register_blueprint(beacon.blueprint(settings.metrics.public_events))
    app.register_blueprint(javascript.blueprint())
    if settings.metrics.bind is None:
        page = metrics_app(services.store.active, settings.version, services.clock)
        app.register_blueprint(metrics.blueprint(metrics.Guarded(page, settings.metrics, clients)))
    if settings.development:
        _register_development_parts(app, services)
    login_url = settings.base_url + "/auth/login"
    app.wsgi_app = Verify(  # type: ignore[method-assign]  # as Flask documents for WSGI middleware
        app.wsgi_app, services.gate, clients, services.return_urls, login_url
    )
    own_origin[settings.base_url] = app.wsgi_app
    return app


def start(app: Flask) -> None:
    """Make connections and threads, in the process that serves."""
    app.extensions["bff"].start()
    app.extensions["bff_tasks"].start()


def stop(app: Flask) -> None:
    """Finish what runs in the background and close every connection."""
    app.extensions["bff_tasks"].stop()
    app.extensions["bff"].close()


def _jobs(services: Services) -> list[Job]:
    jobs = [
        Job("session_touch", 1.0, services.gate.flush),
        Job("session_sweep", 30.0, services.store.sweep, fleet=True),
        Job("token_save", 1.0, services.tokens.unsaved.write),
        Job("token_refresh", 5.0, services.tokens.sweep.run, fleet=True),
        Job("token_revocation", 1.0, services.tokens.revocations.revoke_due, fleet=True),
    ]
    for name in services.health.names:
        period = next((seconds for start, seconds in _HEALTH_PERIODS.items() if name.startswith(start)), 1.0)
        jobs.append(Job(f"health_{name}", period, lambda name=name: services.health.refresh(name)))  # type: ignore[misc]
    return jobs


def _register_development_parts(app: Flask, services: Services) -> None:
    from bff import dev

    settings = services.settings
    embedded = settings.providers[0] if settings.embedded_provider else None
    dev.register(app, services.kv, embedded, settings.base_url, services.clock)
