"""Schema of a service in config/routes.yaml: the token that it accepts, and its address."""

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from bff.settings.env_fields import FilePath
from bff.settings.model import TokenKind
from bff.settings.yaml_fields import SECONDS, BaseUrl, RequestHeaderNames, ResponseHeaderNames, absolute_url
from bff.settings.yaml_file import StrictSchema

TOKEN_KEYS = ("token", "idp", "audience", "resource", "scope")
UPSTREAM_KEYS = ("timeout", "ca_file", "request_headers", "response_headers", "max_concurrent")
_ONLY_WITH = {
    "idp": (TokenKind.CLIENT_CREDENTIALS,),
    "audience": (TokenKind.EXCHANGE, TokenKind.CLIENT_CREDENTIALS),
    "resource": (TokenKind.EXCHANGE, TokenKind.CLIENT_CREDENTIALS),
    "scope": (TokenKind.USER, TokenKind.EXCHANGE, TokenKind.CLIENT_CREDENTIALS),
}


class ServiceSchema(StrictSchema):
    token = fields.Enum(TokenKind, by_value=True)
    idp = fields.String()
    audience = fields.String()
    resource = fields.String(validate=absolute_url)
    scope = fields.String()
    base_url = BaseUrl(embedded=True)
    timeout = fields.Float(validate=SECONDS)
    ca_file = FilePath()
    request_headers = RequestHeaderNames()
    response_headers = ResponseHeaderNames()
    max_concurrent = fields.Integer(validate=validate.Range(min=1))

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _fits_its_token(self, data: Mapping[str, Any], original: Any, **_: Any) -> None:
        """Checks the written keys, so that it also works when another value is wrong."""
        given = original.keys() if isinstance(original, dict) else set()
        wrong = {
            name: ["needs a base_url; a service without one is known by its token only."]
            for name in UPSTREAM_KEYS
            if name in given and "base_url" not in given
        }
        kind = data.get("token", TokenKind.USER)
        if "token" not in given or "token" in data:  # else its own field reports the unknown kind
            wrong |= {
                name: [f"goes with token: {' or '.join(kinds)}, not with {kind}."]
                for name, kinds in _ONLY_WITH.items()
                if name in given and kind not in kinds
            }
        if kind is TokenKind.EXCHANGE and not given & {"audience", "resource"}:
            wrong["token"] = ["needs an audience or a resource, which names the service to the provider."]
        if wrong:
            raise ValidationError(wrong)
