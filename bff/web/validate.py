"""Token validation endpoint: a service sends an access token of any provider and gets its claims in one form."""

from flask import Blueprint, Response, jsonify

from bff.web.bearer import presented_token
from bff.web.policy import policy

blueprint = Blueprint("validate", __name__)


@blueprint.get("/auth/tokens/validate")
@policy(session=False, csrf=False)
def validate() -> Response:
    """Returns the claims of the request's Bearer token, in one form for all providers."""
    return jsonify(presented_token()._asdict())
