"""Token endpoints: a browser application lists, refreshes and exchanges its session's tokens, without their values."""

from dataclasses import asdict

from flask import Blueprint, Response, g, jsonify, request
from marshmallow import RAISE, Schema, ValidationError, fields

from bff.errors import BadRequest
from bff.settings import USER_TOKEN, TokenKind
from bff.web.context import services
from bff.web.policy import policy

blueprint = Blueprint("tokens", __name__)


class RefreshRequestSchema(Schema):
    class Meta:
        unknown = RAISE

    service = fields.String(load_default=USER_TOKEN)


class ExchangeRequestSchema(Schema):
    class Meta:
        unknown = RAISE

    service = fields.String(required=True)


@blueprint.get("/auth/tokens")
def listed() -> Response:
    return jsonify([asdict(each) for each in services().tokens.service.listed(g.session)])


@blueprint.post("/auth/tokens/refresh")
@policy(limit="token_refresh")
def refresh() -> Response:
    """Refreshes a token, even if it is still fresh; by default the session's own."""
    services().tokens.service.renew(g.session, _service(RefreshRequestSchema()))
    return listed()


@blueprint.post("/auth/tokens/exchange")
@policy(limit="token_exchange")
def exchange() -> Response:
    """Ensures that the session has a token for a service with tokens of its own."""
    token_service, service = services().tokens.service, _service(ExchangeRequestSchema())
    if token_service.kind(service) not in (TokenKind.EXCHANGE, TokenKind.CLIENT_CREDENTIALS):
        raise BadRequest("This service takes no token of its own.", code="not_exchangeable")
    token_service.ensure_token(g.session, service)
    return listed()


def _service(schema: Schema) -> str:
    try:
        wanted = schema.load(request.get_json() if request.get_data() else {})
    except (ValidationError, RecursionError) as err:
        raise BadRequest("The body may hold `service`, a name from the configuration, and nothing else.") from err
    return str(wanted["service"])
