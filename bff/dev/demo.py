"""The demo page at /: a single-page application's view of the BFF, beside the BFF's counters."""

from pathlib import Path
from urllib.parse import urlsplit

from flask import Blueprint, Response, make_response, redirect, render_template, request, send_from_directory
from werkzeug.wrappers import Response as AnyResponse

from bff.settings.cookies import is_loopback_host
from bff.web.policy import policy

ASSETS = Path(__file__).parent / "static"


def blueprint(base_url: str) -> Blueprint:
    own_host = urlsplit(base_url).hostname or ""
    routes = Blueprint("dev_demo", __name__, template_folder="templates")

    @routes.get("/")
    @policy(session=False, csrf=False)
    def page() -> AnyResponse:
        if _another_name_of_this_machine(request.host, own_host):
            return redirect(f"{base_url}/")
        response = make_response(render_template("dev/demo.html"))
        response.headers["Cache-Control"] = "no-store"
        return response

    @routes.get("/dev/static/<path:name>")
    @policy(session=False, csrf=False)
    def asset(name: str) -> Response:
        return send_from_directory(ASSETS, name)

    return routes


def _another_name_of_this_machine(host: str, own_host: str) -> bool:
    """Whether the host is another loopback name. Cookies belong to a host name, so a login that began at localhost
    fails at 127.0.0.1 or [::1]."""
    visited = urlsplit(f"//{host}").hostname or ""
    return visited != own_host and is_loopback_host(visited) and is_loopback_host(own_host)
