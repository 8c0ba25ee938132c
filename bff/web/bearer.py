"""Bearer authentication: reads and validates a request's token (RFC 6750 section 2.1)."""

import re

from flask import request

from bff.bearer.access_token import BearerClaims
from bff.errors import InvalidRequest, TokenRequired
from bff.web import context

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def presented_token() -> BearerClaims:
    """Returns the claims of this request's valid Bearer token.

    Raises TokenRequired, InvalidRequest, InvalidToken, RateLimited, ProviderUnavailable, StoreUnavailable.
    """
    token = bearer_token(request.headers.get("Authorization"))
    return context.services().bearers.validate(token, context.client().address)


def bearer_token(authorization: str | None) -> str:
    """authorization: the header of that name. Raises TokenRequired without a Bearer token, InvalidRequest for a
    malformed one (RFC 6750 section 2.1)."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer":
        raise TokenRequired
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        raise InvalidRequest(
            "The Authorization header holds no Bearer token.",
            headers=[("WWW-Authenticate", 'Bearer error="invalid_request"')],
        )
    return token
