"""Schema of config/idps.yaml: the OpenID Providers, and this BFF's registration at each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, fields, validate, validates

from bff.settings.env_fields import FilePath
from bff.settings.files import Files
from bff.settings.model import (
    AUTH_METHODS,
    CLAIMS_REFRESH,
    OPTIONAL,
    REQUIRED,
    SIGNING_ALGORITHMS,
    ClaimNames,
    ProviderSettings,
)
from bff.settings.yaml_fields import ALIAS
from bff.settings.yaml_file import StrictSchema, YamlFile

FILE = "idps.yaml"
OWN_PARAMETERS = frozenset({
    "response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
    "dpop_jkt", "request", "request_uri", "client_secret", "client_assertion", "client_assertion_type",
})  # fmt: skip
"""Parameters of authorization requests and pushed ones that protect the login, or have a setting of their own."""


class ClaimsSchema(StrictSchema):
    name = fields.String()
    email = fields.String()
    roles = fields.String()
    permissions = fields.String()


class ProviderSchema(StrictSchema):
    issuer = fields.String(required=True)
    client_id = fields.String(required=True)
    client_secret = fields.String()
    client_key = fields.String()
    client_key_file = fields.String()
    client_certificate = FilePath()
    client_certificate_key = FilePath()
    auth_method = fields.String(data_key="token_auth_method", validate=validate.OneOf(AUTH_METHODS))
    scopes = fields.String()
    par = fields.String(validate=validate.OneOf(["auto", "always", "never"]))
    dpop = fields.Boolean()
    user_id = fields.String(validate=validate.OneOf(["sub", "arn"]))
    claims = fields.Nested(ClaimsSchema)
    claims_refresh = fields.String(validate=validate.OneOf(CLAIMS_REFRESH))
    audiences = fields.List(fields.String())
    opaque_tokens = fields.Boolean()
    introspection_aud = fields.String(validate=validate.OneOf([REQUIRED, OPTIONAL]))
    id_token_algorithms = fields.List(
        fields.String(validate=validate.OneOf(SIGNING_ALGORITHMS)), data_key="id_token_signing_algs"
    )
    authorization_parameters = fields.Dict(keys=fields.String(), values=fields.String())

    @validates("authorization_parameters")
    def _are_free(self, value: Mapping[str, str], **_: Any) -> None:
        wrong = {name: ["is for the login itself to set."] for name in value if name in OWN_PARAMETERS}
        if wrong:
            raise ValidationError(wrong)


class IdpsFileSchema(StrictSchema):
    """The first provider is the one for `/auth/login` without `idp=`."""

    providers = fields.Dict(keys=fields.String(validate=ALIAS))


def providers(folder: Path, environ: Mapping[str, str], files: Files) -> tuple[tuple[ProviderSettings, ...], list[str]]:
    """The providers that the file declares, and a sentence for each mistake in it."""
    file = YamlFile(folder / FILE, environ, files)
    file.check(IdpsFileSchema(), file.content)
    found = [_provider(file, alias, content, files) for alias, content in file.section("providers").items()]
    return tuple(provider for provider in found if provider is not None), file.problems


def _provider(file: YamlFile, alias: Any, content: Any, files: Files) -> ProviderSettings | None:
    at = ("providers", alias)
    values = file.check(ProviderSchema(), content, at)
    if values is None:
        return None
    if key_file := values.pop("client_key_file", None):
        try:
            values["client_key"] = files.text(Path(key_file))
        except (OSError, ValueError) as err:
            file.say((*at, "client_key_file"), f"cannot be read ({type(err).__name__}).")
            return None
    return ProviderSettings(id=alias, line=file.line(at), **_frozen(values))


def _frozen(values: dict[str, Any]) -> dict[str, Any]:
    if "claims" in values:
        values["claims"] = ClaimNames(**values["claims"])
    for name in ("audiences", "id_token_algorithms"):
        if name in values:
            values[name] = tuple(values[name])
    values["authorization_parameters"] = tuple(values.get("authorization_parameters", {}).items())
    return values
