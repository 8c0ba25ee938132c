"""Static asset /static/bff.js: the module with which a browser application calls the BFF.

A worker reads it once and inserts the name of the CSRF cookie. The module is small, so browsers and shared caches may
revalidate it every hour (cacheable.py).
"""

import re
from pathlib import Path

from flask import Blueprint
from werkzeug.wrappers import Response

from bff.settings.cookies import CSRF
from bff.web import cacheable
from bff.web.policy import policy

MODULE = Path(__file__).parent / "static" / "bff.js"
_COOKIE = f"; ){CSRF}="


def blueprint(csrf_cookie: str) -> Blueprint:
    """csrf_cookie: a cookie name. It has no slash (RFC 6265), which would end the regular expression around it."""
    routes = Blueprint("static_files", __name__)
    content = MODULE.read_text().replace(_COOKIE, f"; ){re.escape(csrf_cookie)}=").encode()

    @routes.get("/static/bff.js")
    @policy(session=False, csrf=False)
    def module() -> Response:
        return cacheable.cacheable(content, "text/javascript")

    return routes
