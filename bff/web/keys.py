"""JWK Set endpoint (RFC 7517): the BFF's public keys, for providers that fetch them instead of an upload."""

from flask import Blueprint, Response, jsonify

from bff.web.context import services
from bff.web.policy import policy

MAX_AGE = 300
"""Seconds that a cached copy may serve; far fewer than a new key waits before it signs."""

blueprint = Blueprint("keys", __name__)


@blueprint.get("/.well-known/jwks.json")
@policy(session=False, csrf=False)
def published() -> Response:
    keys: list[dict[str, str]] = []
    for provider in services().providers.values():
        keys += [key for key in provider.public_keys() if key not in keys]
    response = jsonify(keys=keys)
    response.mimetype = "application/jwk-set+json"
    response.headers["Cache-Control"] = f"public, max-age={MAX_AGE}"
    return response
