"""YAML files in the configuration folder: `${VAR}` and `${VAR:-default}` are expanded, then a schema checks them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from bff.settings.environment import FilePath
from bff.settings.model import (
    AUTH_METHODS,
    SIGNING_ALGORITHMS,
    USER_TOKEN,
    ClaimNames,
    ProviderSettings,
    ServiceSettings,
    TokenKind,
)

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_ALIAS = validate.Regexp(r"[a-z0-9][a-z0-9_-]{0,31}$", error="must be a short lower-case name such as corporate.")


_RESOURCE = re.compile(r"https?://[^\s/?#]+[^\s#]*")  # RFC 8707 section 2
_ONLY_WITH = {
    "idp": (TokenKind.CLIENT_CREDENTIALS,),
    "audience": (TokenKind.EXCHANGE, TokenKind.CLIENT_CREDENTIALS),
    "resource": (TokenKind.EXCHANGE, TokenKind.CLIENT_CREDENTIALS),
    "scope": (TokenKind.USER, TokenKind.EXCHANGE, TokenKind.CLIENT_CREDENTIALS),
}


class Claims(Schema):
    name = fields.String()
    email = fields.String()
    roles = fields.String()
    permissions = fields.String()


class Provider(Schema):
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
    claims = fields.Nested(Claims)
    audiences = fields.List(fields.String())
    id_token_algorithms = fields.List(
        fields.String(validate=validate.OneOf(SIGNING_ALGORITHMS)), data_key="id_token_signing_algs"
    )
    authorization_parameters = fields.Dict(keys=fields.String(), values=fields.String())


class Idps(Schema):
    """config/idps.yaml. The first provider is the one that `/auth/login` uses without `idp=`."""

    providers = fields.Dict(keys=fields.String(validate=_ALIAS), values=fields.Nested(Provider), load_default=dict)


def _absolute_url(text: str) -> None:
    if not _RESOURCE.fullmatch(text):
        raise ValidationError("must be an absolute URL without a fragment, such as https://orders.example.com.")


class Service(Schema):
    error_messages = {  # noqa: RUF012 - marshmallow's own name
        "unknown": "There is no such key; there are token, idp, audience, resource, scope.",
        "type": "must be a mapping.",
    }
    token = fields.Enum(TokenKind, by_value=True)
    idp = fields.String()
    audience = fields.String()
    resource = fields.String(validate=_absolute_url)
    scope = fields.String()

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _fits_its_token(self, data: Mapping[str, Any], original: Any, **_: Any) -> None:
        """Also when something else is wrong, so judged by what was written."""
        given = original.keys() if isinstance(original, dict) else set()
        if "token" in given and "token" not in data:
            return  # no such kind, as its own field says
        kind = data.get("token", TokenKind.USER)
        wrong = {
            name: [f"goes with token: {' or '.join(kinds)}, not with {kind}."]
            for name, kinds in _ONLY_WITH.items()
            if name in given and kind not in kinds
        }
        if kind is TokenKind.EXCHANGE and not given & {"audience", "resource"}:
            wrong["token"] = ["needs an audience or a resource, to tell the provider for whom the token is."]
        if wrong:
            raise ValidationError(wrong)


class Routes(Schema):
    """config/routes.yaml."""

    services = fields.Dict(
        keys=fields.String(validate=[_ALIAS, validate.NoneOf([USER_TOKEN], error="names the session's own token.")]),
        values=fields.Nested(Service),
        load_default=dict,
    )


def services(folder: Path, environ: Mapping[str, str]) -> tuple[tuple[ServiceSettings, ...], list[str]]:
    """The services that routes.yaml declares, and a sentence for each mistake in it."""
    content, problems = load(folder / "routes.yaml", Routes(), environ)
    return tuple(ServiceSettings(id=name, **values) for name, values in content.get("services", {}).items()), problems


def providers(folder: Path, environ: Mapping[str, str]) -> tuple[tuple[ProviderSettings, ...], list[str]]:
    """The providers that idps.yaml declares, and a sentence for each mistake in it."""
    path = folder / "idps.yaml"
    content, problems = load(path, Idps(), environ)
    found = []
    for alias, values in content.get("providers", {}).items():
        try:
            found.append(_provider(alias, values))
        except (OSError, UnicodeDecodeError) as err:
            problems.append(f"{path}: providers.{alias}.client_key_file cannot be read ({type(err).__name__}).")
    return tuple(found), problems


def _provider(alias: str, values: dict[str, Any]) -> ProviderSettings:
    values = dict(values)
    if key_file := values.pop("client_key_file", None):
        values["client_key"] = Path(key_file).read_text()
    if "claims" in values:
        values["claims"] = ClaimNames(**values["claims"])
    for name in ("audiences", "id_token_algorithms"):
        if name in values:
            values[name] = tuple(values[name])
    values["authorization_parameters"] = tuple(values.get("authorization_parameters", {}).items())
    return ProviderSettings(id=alias, **values)


def load(path: Path, schema: Schema, environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The checked content of one file ({} when absent or wrong), and a sentence for each mistake."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError) as err:
        return {}, [f"{path}: cannot be read ({type(err).__name__})."]
    try:
        raw = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError) as err:  # ValueError: a date such as 2026-02-30
        return {}, [f"{path}: is not YAML: {_position(err)}"]
    if not isinstance(raw, dict):
        return {}, [f"{path}: must be a mapping."]
    problems: list[str] = []
    content = _expand(raw, environ, f"{path}", problems)
    try:
        return dict(schema.load(content)), problems
    except ValidationError as err:
        return {}, problems + [f"{path}: {line}" for line in _lines(err.normalized_messages())]


def _position(err: Exception) -> str:
    mark = getattr(err, "problem_mark", None)
    return f"line {mark.line + 1}, column {mark.column + 1}." if mark else "it cannot be parsed."


def _expand(node: Any, environ: Mapping[str, str], where: str, problems: list[str]) -> Any:
    if isinstance(node, dict):
        return {key: _expand(value, environ, f"{where}: {key}", problems) for key, value in node.items()}
    if isinstance(node, list):
        return [_expand(value, environ, where, problems) for value in node]
    if not isinstance(node, str):
        return node

    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        if environ.get(name):
            return environ[name]
        if default is None:
            problems.append(f"{where}: the environment variable {name} is not set.")
        return default or ""

    return _VARIABLE.sub(value, node)


def _lines(messages: Mapping[Any, Any], path: str = "") -> list[str]:
    """marshmallow's tree of messages as `path.to.field: what is wrong`."""
    lines = []
    for key, value in messages.items():
        here = path if key in ("value", "key", "_schema") else f"{path}.{key}".lstrip(".")
        if isinstance(value, Mapping):
            lines += _lines(value, here)
        else:
            lines.append(f"{here}: {' '.join(map(str, value))}")
    return lines
