"""Schema of config/pdp.yaml: the source of policy decisions, and how long they are cached.

A key of the file takes precedence over its variable.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from bff.settings.env_fields import FilePath
from bff.settings.files import Files
from bff.settings.model import PDP, OnError, PdpSettings, PolicyFiles, ServiceSettings, TokenKind
from bff.settings.yaml_fields import SECONDS, BaseUrl, absolute_url
from bff.settings.yaml_file import StrictSchema, YamlFile

FILE = "pdp.yaml"
POLICIES = "policies"
_TOKEN_KEYS = ("idp", "audience", "resource", "scope")
_FROM_ZERO = validate.Range(min=0)


class PdpConnectionSchema(StrictSchema):
    base_url = BaseUrl()
    timeout = fields.Float(validate=SECONDS)
    ca_file = FilePath()
    bearer = fields.String(validate=validate.Length(min=1))
    token = fields.String(validate=validate.OneOf([TokenKind.CLIENT_CREDENTIALS.value]))
    idp = fields.String()
    audience = fields.String()
    resource = fields.String(validate=absolute_url)
    scope = fields.String()

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _one_token(self, _: Any, original: Any, **__: Any) -> None:
        given = original.keys() if isinstance(original, dict) else set()
        wrong = {
            name: ["goes with token: client_credentials only."]
            for name in _TOKEN_KEYS
            if name in given and "token" not in given
        }
        if {"bearer", "token"} <= given:
            wrong["bearer"] = ["is another token than the one that token asks for; keep one of them."]
        if wrong:
            raise ValidationError(wrong)


_OTHER_TYPES = ["client", "role", "Action"]
"""Types of a client acting for itself, and two of the embedded policies' own. A user of such a type could pass for
one of them."""


class PdpSubjectSchema(StrictSchema):
    type = fields.String(
        validate=[
            validate.Length(min=1),
            validate.NoneOf(_OTHER_TYPES, error="is the type of another kind of subject; name one for users alone."),
        ]
    )
    roles_property = fields.String(validate=validate.Length(min=1))


class PdpCacheSchema(StrictSchema):
    allow_ttl = fields.Float(validate=_FROM_ZERO)
    deny_ttl = fields.Float(validate=_FROM_ZERO)
    size = fields.Integer(validate=_FROM_ZERO)


class PdpFileSchema(StrictSchema):
    connection = fields.Nested(PdpConnectionSchema)
    subject = fields.Nested(PdpSubjectSchema)
    cache = fields.Nested(PdpCacheSchema)
    on_error = fields.Enum(OnError, by_value=True)
    mapping = fields.String(validate=validate.OneOf(["strict", "deny"]))
    invalidation_token = fields.String(validate=validate.Length(min=32))


def pdp(
    folder: Path, environ: Mapping[str, str], files: Files, variables: Mapping[str, Any]
) -> tuple[PdpSettings, list[str]]:
    """The settings, and a sentence for each mistake in the file. variables: values of the PDP_* variables, by field."""
    file = YamlFile(folder / FILE, environ, files)
    content = file.check(PdpFileSchema(), file.content) or {}
    connection = content.get("connection", {})
    base_url = connection.get("base_url", variables["pdp_base_url"])
    if base_url is None:
        for name in ("ca_file", "bearer", "token"):
            if name in connection:
                file.say(("connection", name), "needs a base_url; the embedded policies need no connection.")
    subject, cache = content.get("subject", {}), content.get("cache", {})
    return PdpSettings(
        base_url=base_url,
        timeout=connection.get("timeout", variables["pdp_timeout"]),
        ca_file=connection.get("ca_file"),
        bearer=connection.get("bearer"),
        service=_service(connection, file.line(("connection", "token"))),
        subject_type=subject.get("type", PdpSettings.subject_type),
        roles_property=subject.get("roles_property", PdpSettings.roles_property),
        allow_ttl=cache.get("allow_ttl", variables["pdp_cache_allow_ttl"]),
        deny_ttl=cache.get("deny_ttl", variables["pdp_cache_deny_ttl"]),
        cache_size=cache.get("size", PdpSettings.cache_size),
        on_error=content.get("on_error", PdpSettings.on_error),
        strict=content.get("mapping", "strict") == "strict",
        invalidation_token=content.get("invalidation_token"),
        policies=policy_files(folder / POLICIES, files) if base_url is None else PolicyFiles(folder / POLICIES),
    ), file.problems


def policy_files(folder: Path, files: Files) -> PolicyFiles:
    """The `*.cedar` files of a folder, with their current texts."""
    try:
        paths = [folder / name for name in files.names(folder) if name.endswith(".cedar")]
        return PolicyFiles(folder, tuple((path, files.text(path)) for path in paths))
    except (OSError, ValueError) as err:
        return PolicyFiles(folder, fault=type(err).__name__)


def _service(connection: Mapping[str, Any], line: int) -> ServiceSettings | None:
    """The PDP as a service for which tokens are requested; None without one."""
    if "token" not in connection:
        return None
    wanted = {name: connection[name] for name in _TOKEN_KEYS if name in connection}
    return ServiceSettings(PDP, TokenKind.CLIENT_CREDENTIALS, line=line, **wanted)
