"""Schema of config/verify.yaml: verify profiles at `/auth/verify@NAME`, for applications that need another answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from bff.settings.files import Files
from bff.settings.model import IDENTITY_HEADERS, OnError, ServiceSettings, TokenKind, VerifyProfile
from bff.settings.yaml_fields import ALIAS, WordList
from bff.settings.yaml_file import StrictSchema, YamlFile, no_such

FILE = "verify.yaml"
REDIRECT = "redirect"


class ProfileSchema(StrictSchema):
    unauthenticated = fields.String(validate=validate.OneOf(["401", REDIRECT]))
    authz = fields.String(validate=validate.OneOf(["none", "pdp"]))
    resource = fields.String(validate=validate.Length(min=1))
    on_error = fields.Enum(OnError, by_value=True)
    service = fields.String()
    headers = WordList(validate=validate.ContainsOnly(IDENTITY_HEADERS, error="must be of {choices}; found {input}."))

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _asks_with_a_resource(self, data: Mapping[str, Any], original: Any, **_: Any) -> None:
        given = original.keys() if isinstance(original, dict) else set()
        if "authz" in given and "authz" not in data:
            return  # its own field reports the unknown value
        asks = data.get("authz") == "pdp"
        wrong = {
            name: ["goes with authz: pdp only."] for name in ("resource", "on_error") if name in given and not asks
        }
        if asks and "resource" not in given:
            wrong["authz"] = ["pdp needs a resource to ask about."]
        if wrong:
            raise ValidationError(wrong)


class VerifyFileSchema(StrictSchema):
    profiles = fields.Dict(keys=fields.String(validate=ALIAS))


def profiles(
    folder: Path, environ: Mapping[str, str], files: Files, services: Mapping[str, ServiceSettings]
) -> tuple[tuple[VerifyProfile, ...], list[str]]:
    """The profiles that the file declares, and a sentence for each mistake in it."""
    file = YamlFile(folder / FILE, environ, files)
    file.check(VerifyFileSchema(), file.content)
    found = []
    for name, content in file.section("profiles").items():
        at = ("profiles", name)
        values = file.check(ProfileSchema(), _with_text(content), at)
        if values is None:
            continue
        service = values.get("service")
        if service is not None and service not in services:
            file.say((*at, "service"), no_such("service", service, list(services)))
        elif service is not None and services[service].token is TokenKind.NONE:
            file.say((*at, "service"), "has no token that could go into Authorization (token: none).")
        else:
            found.append(_profile(name, values, file.line(at)))
    return tuple(found), file.problems


def _with_text(content: Any) -> Any:
    """YAML reads 401 as a number; the schema expects a word."""
    if isinstance(content, dict) and content.get("unauthenticated") == 401:
        return {**content, "unauthenticated": "401"}
    return content


def _profile(name: str, values: Mapping[str, Any], line: int) -> VerifyProfile:
    rest = {key: values[key] for key in ("resource", "on_error", "service", "headers") if key in values}
    return VerifyProfile(name, redirect=values.get("unauthenticated") == REDIRECT, line=line, **rest)
