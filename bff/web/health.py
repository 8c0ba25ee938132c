"""Health endpoints for operators, load balancers and orchestrators. They answer from memory; checks run in the
background."""

from flask import Blueprint, Response, jsonify

from bff.health import Health
from bff.web.context import services, tasks
from bff.web.policy import policy

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
@blueprint.get("/auth/health")
@policy(session=False, csrf=False)
def health() -> tuple[Response, int]:
    service = services()
    up = "degraded" if service.health.degraded() else "up"
    status, code = _told(service.health, up if service.health.healthy() else "down")
    content = jsonify(
        status=status,
        checks=service.health.report(),
        tasks=tasks().report(),
        secrets=service.rotation.report(),
        version=service.settings.version,
    )
    return content, code


@blueprint.get("/health/live")
@policy(session=False, csrf=False)
def live() -> Response:
    """Answers 200 while the process runs; touches no dependency."""
    return jsonify(status="up")


@blueprint.get("/health/ready")
@policy(session=False, csrf=False)
def ready() -> tuple[Response, int]:
    known = services().health
    status, code = _told(known, "up" if known.ready() else "down")
    return jsonify(status=status), code


def _told(known: Health, status: str) -> tuple[str, int]:
    """Returns (status, HTTP status). `down` takes precedence over `draining`: it is the more urgent fact."""
    if status == "down":
        return status, 503
    return ("draining", 503) if known.draining() else (status, 200)
