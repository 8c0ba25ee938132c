"""Back-channel and front-channel logout endpoints: a provider reports the end of its session by a call or an iframe."""

import contextlib
from urllib.parse import urlsplit

from flask import Blueprint, Response, make_response, request
from werkzeug.datastructures import MultiDict

from bff.errors import InvalidRequest, StoreUnavailable
from bff.oidc.jwt import MAX_TOKEN
from bff.web import context
from bff.web.context import services
from bff.web.policy import policy

blueprint = Blueprint("provider_logout", __name__)

LONGEST = 2 * MAX_TOKEN
"""Most bytes of a form with a logout token."""
FORM = "application/x-www-form-urlencoded"
_PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Logged out</title></html>'


@blueprint.post("/auth/backchannel-logout")
@policy(session=False, csrf=False, limit="backchannel_logout")
def back_channel() -> Response:
    """OpenID Connect Back-Channel Logout 1.0 section 2.5: the logout token is the credential."""
    if request.mimetype != FORM:
        raise InvalidRequest(f"The content type must be {FORM}.")
    request.max_content_length = LONGEST
    services().provider_logout.back_channel(_once(request.form, "logout_token"))
    return make_response()


@blueprint.get("/auth/frontchannel-logout")
@policy(session=False, csrf=False, cross_site=True, limit="frontchannel_logout")
def front_channel() -> Response:
    """OpenID Connect Front-Channel Logout 1.0 section 2, in an iframe, to which browsers hardly ever send cookies.

    So iss and sid must name the session; only the provider and the user know a sid. The answer clears our cookies only
    if they belong to a session that ended here, because any page may send any browser to this address.
    """
    issuer, sid = _once(request.args, "iss"), _once(request.args, "sid")
    current = None
    with contextlib.suppress(StoreUnavailable):
        current = context.present_session()
    ended = services().provider_logout.front_channel(issuer, sid)
    response = make_response(_PAGE)
    if current is not None and current.key in {session.key for session in ended}:
        context.forget_session(response)
    parts = urlsplit(issuer)
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; form-action 'none'; frame-ancestors {parts.scheme}://{parts.netloc}; base-uri 'none'"
    )
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"  # else a page with COEP blocks the iframe
    return response


def _once(given: MultiDict[str, str], name: str) -> str:
    """Returns a required parameter. Raises InvalidRequest, also for a repeated one (RFC 6749 section 3.1)."""
    if any(len(values) > 1 for _, values in given.lists()):
        raise InvalidRequest("The request repeats a parameter.")
    if not given.get(name):
        raise InvalidRequest(f"The request must hold {name}.")
    return given[name]
