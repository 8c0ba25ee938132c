"""/static/bff.js: the module with which a browser application talks to the BFF. It is read once, and so small that
browsers and caches in between may ask again every hour (copies.py)."""

from pathlib import Path

from flask import Blueprint
from werkzeug.wrappers import Response

from bff.web import copies
from bff.web.policy import policy

MODULE = Path(__file__).parent / "static" / "bff.js"


def blueprint() -> Blueprint:
    routes = Blueprint("static_files", __name__)
    content = MODULE.read_bytes()

    @routes.get("/static/bff.js")
    @policy(session=False, csrf=False)
    def module() -> Response:
        return copies.kept(content, "text/javascript")

    return routes
