"""Answers that are the same for everybody, and of which browsers and caches in between may keep a copy for an hour."""

from flask import request
from werkzeug.wrappers import Response

_LIFE = 3600


def cacheable(content: bytes, mimetype: str) -> Response:
    """The content, or 304 for whoever has it already."""
    response = Response(content, mimetype=mimetype)
    response.cache_control.public, response.cache_control.max_age = True, _LIFE
    response.add_etag()
    return response.make_conditional(request)
