"""API description, /openapi.json (OpenAPI 3.1), from openapi.yaml beside this file.

This module adds the deployment's own values, and the headers that all answers share, so that the source stays short.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from flask import Blueprint
from werkzeug.wrappers import Response

from bff.settings import Settings
from bff.web import cacheable
from bff.web.policy import policy

SOURCE = Path(__file__).parent / "openapi.yaml"
_CORRELATION = {"X-Correlation-ID": {"$ref": "#/components/headers/X-Correlation-ID"}}


def blueprint(settings: Settings) -> Blueprint:
    routes = Blueprint("openapi", __name__)

    @cache
    def content() -> bytes:
        """Built at the first request, because parsing the YAML takes a tenth of a second."""
        return json.dumps(document(settings)).encode()

    @routes.get("/openapi.json")
    @policy(session=False, csrf=False)
    def described() -> Response:
        return cacheable.cacheable(content(), "application/json")

    return routes


def document(settings: Settings) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(SOURCE.read_text())
    content["info"]["version"] = settings.version
    content["servers"] = [{"url": settings.base_url}]
    content["components"]["securitySchemes"]["session"]["name"] = settings.cookies.name
    if settings.metrics.bind is not None:
        del content["paths"]["/metrics"]  # METRICS_BIND serves it at another port
    for response in content["components"]["responses"].values():
        _add_correlation(response)
    for path in content["paths"].values():
        for method in path.keys() - {"parameters"}:
            for response in path[method]["responses"].values():
                _add_correlation(response)
    return content


def _add_correlation(response: dict[str, Any]) -> None:
    if "$ref" not in response:
        response["headers"] = {**response.get("headers", {}), **_CORRELATION}
