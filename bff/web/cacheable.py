"""Conditional GET: public answers, equal for all clients, that browsers and shared caches may keep for an hour."""

from flask import request
from werkzeug.wrappers import Response

_LIFE = 3600


def cacheable(content: bytes, mimetype: str) -> Response:
    """Returns the content, or 304 for a client with a current copy."""
    response = Response(content, mimetype=mimetype)
    response.cache_control.public, response.cache_control.max_age = True, _LIFE
    response.add_etag()
    return response.make_conditional(request)
