"""Health for people, load balancers and orchestrators. Answers come from memory: checks run in the background."""

from flask import Blueprint, Response, jsonify

from bff.web.context import services, tasks
from bff.web.policy import policy

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
@blueprint.get("/auth/health")
@policy(session=False, csrf=False)
def health() -> tuple[Response, int]:
    service = services()
    healthy = service.health.healthy()
    up = "degraded" if service.health.degraded() else "up"
    content = jsonify(
        status=up if healthy else "down",
        checks=service.health.report(),
        tasks=tasks().report(),
        version=service.settings.version,
    )
    return content, 200 if healthy else 503


@blueprint.get("/health/live")
@policy(session=False, csrf=False)
def live() -> Response:
    """200 while the process can answer; touches nothing."""
    return jsonify(status="up")


@blueprint.get("/health/ready")
@policy(session=False, csrf=False)
def ready() -> tuple[Response, int]:
    is_ready = services().health.ready()
    return jsonify(status="up" if is_ready else "down"), 200 if is_ready else 503
