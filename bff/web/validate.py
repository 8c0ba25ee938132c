"""Is this token good, and whose is it? Asked by services that do not want to know every provider's ways."""

from flask import Blueprint, Response, jsonify

from bff.web.bearer import presented_token
from bff.web.policy import policy

blueprint = Blueprint("validate", __name__)


@blueprint.get("/auth/tokens/validate")
@policy(session=False, csrf=False)
def validate() -> Response:
    """The claims of the Bearer token that the request carries, in one form for all providers."""
    return jsonify(presented_token()._asdict())
