"""/static/bff.js: the module with which a browser application talks to the BFF. It is read once, and so small that
browsers and caches in between may ask again every hour."""

from pathlib import Path

from flask import Blueprint, request
from werkzeug.wrappers import Response

from bff.web.policy import policy

MODULE = Path(__file__).parent / "static" / "bff.js"
_LIFE = 3600


def blueprint() -> Blueprint:
    routes = Blueprint("static_files", __name__)
    content = MODULE.read_bytes()

    @routes.get("/static/bff.js")
    @policy(session=False, csrf=False)
    def module() -> Response:
        response = Response(content, mimetype="text/javascript")
        response.cache_control.public, response.cache_control.max_age = True, _LIFE
        response.add_etag()
        return response.make_conditional(request)

    return routes
