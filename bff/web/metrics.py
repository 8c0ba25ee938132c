"""GET /metrics for Prometheus."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, request
from werkzeug.wrappers import Response

from bff.web.policy import policy


def blueprint(page: Callable[..., Any]) -> Blueprint:
    """page: a WSGI callable that writes the exposition."""
    metrics = Blueprint("metrics", __name__)

    @metrics.get("/metrics")
    @policy(session=False, csrf=False)
    def scrape() -> Response:
        return Response.from_app(page, request.environ)

    return metrics
