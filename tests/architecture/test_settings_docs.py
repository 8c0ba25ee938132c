"""docs/configuration.md against the schemas: each setting is explained once, with its real default and real limits."""

import ast
import re
from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema, fields, validate

from bff import __version__, settings, settings_check
from bff.settings import (
    Auth,
    ClaimNames,
    PdpSettings,
    ProviderSettings,
    RouteSettings,
    ServiceSettings,
    TokenKind,
    UpstreamSettings,
    VerifyProfile,
)
from bff.settings.env_fields import (
    Address,
    FilePath,
    ListenAddress,
    Networks,
    Origins,
    Proxies,
    RateLimitList,
    Secrets,
    Words,
)
from bff.settings.environment import SERVER_VARIABLES, EnvironmentSchema
from bff.settings.idps import ClaimsSchema, ProviderSchema
from bff.settings.pdp import PdpCacheSchema, PdpConnectionSchema, PdpFileSchema, PdpSubjectSchema
from bff.settings.routes import AuthzMapSchema, RouteSchema
from bff.settings.service_schema import ServiceSchema
from bff.settings.telemetry import OtelVariablesSchema
from bff.settings.verify import ProfileSchema
from bff.settings.yaml_fields import BaseUrl, HeaderNames, Limit, Methods, PathTemplate, Size, WordList
from tests.architecture import markdown
from tests.architecture.source import ROOT

# What a reader may write, by the field's class; the first that fits.
KINDS: list[tuple[type[fields.Field[Any]], str]] = [
    (ListenAddress, "address and port, or `unix:` and a path"),
    (Address, "address and port"),
    (Networks, "networks"),
    (Proxies, "networks, and the word `unix`"),
    (Origins, "origins"),
    (Secrets, "base64 keys"),
    (RateLimitList, "limits"),
    (Words, "words"),
    (FilePath, "path"),
    (BaseUrl, "http or https URL"),
    (HeaderNames, "names of headers"),
    (Methods, "of `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`, `OPTIONS`"),
    (PathTemplate, "path with `{name}`, `*`"),
    (Size, "bytes, or `10MiB`"),
    (Limit, "such as `20/minute` or `20/minute:closed`"),
    (WordList, "words"),
    (fields.Boolean, "`true`, `false`"),
    (fields.Integer, "whole number"),
    (fields.Float, "number"),
    (fields.Dict, "a mapping of text to text"),
    (fields.String, "text"),
]
# gunicorn.conf.py's own notes in the environment, which are nobody's settings.
REQUIRED = object()
INTERNAL = {"GUNICORN_PID"}


def code(values: Any) -> str:
    return ", ".join(f"`{value}`" for value in values)


def default(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if value is REQUIRED:
        return "required"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    if isinstance(value, tuple):
        return code(str(one).removesuffix("/128") for one in value)
    return "the package's" if value == __version__ else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def allowed(field: fields.Field[Any]) -> str:
    if isinstance(field, fields.List):
        return allowed(field.inner)
    if isinstance(field, fields.Enum):
        return code(field.enum)
    kind = next(words for cls, words in KINDS if isinstance(field, cls))
    return next((said for each in field.validators if (said := limited(kind, each))), kind)


def limited(kind: str, validator: Any) -> str | None:
    """What a reader may write of this kind, None when the validator does not say."""
    match validator:
        case validate.ContainsOnly():
            return f"{kind} of {code(validator.choices)}"
        case validate.OneOf():
            return code(validator.choices)
        case validate.Length(min=int(shortest)) if shortest > 1:
            return f"{kind}, at least {shortest} characters"
        case validate.Range(min=low, max=None):
            return f"{kind}, at least {low}"
        case validate.Range(min=low, max=high):
            return f"{kind} from {low} to {high}"
        case validate.Regexp(error=text):
            return "a cookie name" if "cookie" in str(text) else "a short name"
    return None


def variables() -> dict[str, list[str]]:
    found = EnvironmentSchema().fields.values()
    return {str(field.data_key): [default(field.load_default), allowed(field)] for field in found}


def standard_variables() -> dict[str, list[str]]:
    found = OtelVariablesSchema().fields.values()
    return {str(field.data_key): [default(field.load_default), allowed(field)] for field in found}


def keys_of_idps_yaml() -> dict[str, list[str]]:
    defaults = {
        field.name: field.default for field in dataclass_fields(ProviderSettings) if field.default is not MISSING
    }
    found = {}
    for name, field in ProviderSchema().fields.items():
        if not isinstance(field, fields.Nested):
            value = "required" if field.required else default(defaults.get(name))
            found[field.data_key or name] = [value, allowed(field)]
    names = ClaimNames()
    claims: Schema = ClaimsSchema()
    return found | {
        f"claims.{name}": [default(getattr(names, name)), allowed(field)] for name, field in claims.fields.items()
    }


def keys(prefix: str, schema: Schema, *of: type, **others: Any) -> dict[str, list[str]]:
    """The keys of a section. of: the dataclasses that hold the defaults by the same names; others: defaults by other
    names, or that are written in another way than they are held."""
    held = {field.name: field.default for each in of for field in dataclass_fields(each)}
    defaults = {name: value for name, value in held.items() if value is not MISSING} | others
    return {
        prefix + (field.data_key or name): [
            default(REQUIRED if field.required else defaults[name] if defaults[name] != "" else None),
            allowed(field),
        ]
        for name, field in schema.fields.items()
        if not isinstance(field, fields.Nested)
    }


def keys_of_routes_yaml() -> dict[str, list[str]]:
    return {
        **keys("services.", ServiceSchema(), ServiceSettings, UpstreamSettings, base_url=None),
        **keys("routes.", RouteSchema(), RouteSettings, authz="none", body_limit="10MiB"),
        **keys("routes.authz_map.", AuthzMapSchema(), id_from=None, props=None),
    }


def keys_of_pdp_yaml() -> dict[str, list[str]]:
    token = dict.fromkeys(("token", "idp", "audience", "resource", "scope"))
    return {
        **keys("connection.", PdpConnectionSchema(), PdpSettings, **token),
        **keys("subject.", PdpSubjectSchema(), PdpSettings, type=PdpSettings.subject_type),
        **keys("cache.", PdpCacheSchema(), PdpSettings, size=PdpSettings.cache_size),
        **keys("", PdpFileSchema(), PdpSettings, mapping="strict"),
    }


def keys_of_verify_yaml() -> dict[str, list[str]]:
    return keys("profiles.", ProfileSchema(), VerifyProfile, unauthenticated="401", authz="none")


def keys_of_yaml() -> dict[str, list[str]]:
    return keys_of_idps_yaml() | keys_of_routes_yaml() | keys_of_pdp_yaml() | keys_of_verify_yaml()


DOCUMENTED = markdown.rows("configuration.md")


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    existing = variables().keys() | standard_variables().keys() | SERVER_VARIABLES | keys_of_yaml().keys()
    assert not existing - DOCUMENTED.keys(), f"Explain in docs/configuration.md: {sorted(existing - DOCUMENTED.keys())}"
    assert not DOCUMENTED.keys() - existing, f"No such setting: {sorted(DOCUMENTED.keys() - existing)}"


@pytest.mark.parametrize(
    ("name", "facts"),
    [*variables().items(), *standard_variables().items(), *keys_of_yaml().items()],
)
def test_defaults_and_limits_are_the_real_ones(name: str, facts: list[str]) -> None:
    expected = f"| `{name}` | {' | '.join(facts)} |"
    assert DOCUMENTED[name][1:3] == facts, f"docs/configuration.md should say: {expected} ... |"


def gunicorn_reads() -> dict[str, object]:
    """Each variable that gunicorn.conf.py reads by name, with its default when that is a plain value."""
    tree = ast.parse((ROOT / "gunicorn.conf.py").read_text())
    found: dict[str, object] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and re.fullmatch(r"_?[A-Z]+_[A-Z_]+", str(node.value)):
            found.setdefault(str(node.value), None)
        if isinstance(node, ast.Call) and len(node.args) == 2:
            name, fallback = node.args
            if isinstance(name, ast.Constant) and isinstance(fallback, ast.Constant):
                found[str(name.value)] = fallback.value
    return found


def test_gunicorns_variables_are_documented() -> None:
    read = gunicorn_reads()
    assert read.keys() - INTERNAL == SERVER_VARIABLES, "Correct SERVER_VARIABLES in bff/settings/environment.py"
    plain = {name: value for name, value in read.items() if value is not None}
    assert plain.keys() == {"WEB_THREADS", "WEB_WORKER_CLASS", "WEB_MAX_REQUESTS"}
    assert {name: DOCUMENTED[name][1] for name in plain} == {name: f"`{value}`" for name, value in plain.items()}


def test_the_sample_configuration_loads(tmp_path: Any) -> None:
    config = settings.load({"BFF_DATA_DIR": str(tmp_path)}, ROOT / "config")
    assert settings_check.problems(config) == []


def with_a_policy(folder: Path) -> None:
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text("permit(principal, action, resource);")


def uncommented(file: str, first: str) -> str:
    """The commented example in a sample file, from its first key on."""
    _, _, example = (ROOT / "config" / file).read_text().partition(f"# {first}:\n")
    assert example, f"config/{file} has an example that begins with `# {first}:`"
    lines = [line.removeprefix("#")[1:] for line in f"# {first}:\n{example}".splitlines() if line.startswith("#")]
    return "\n".join(lines)


def test_the_example_in_the_sample_routes_is_one(tmp_path: Any) -> None:
    with_a_policy(tmp_path)
    (tmp_path / "routes.yaml").write_text(uncommented("routes.yaml", "services"))
    config = settings.load({"BFF_DATA_DIR": str(tmp_path)}, tmp_path)
    assert settings_check.problems(config) == []
    assert {service.token for service in config.services} == set(TokenKind)
    assert {route.auth for route in config.routes} == set(Auth)
    assert {route.authz for route in config.routes} == {True, False}


def test_the_example_in_the_sample_pdp_is_one(tmp_path: Any) -> None:
    (tmp_path / "pdp.yaml").write_text(uncommented("pdp.yaml", "connection"))
    config = settings.load({"BFF_DATA_DIR": str(tmp_path), "PDP_INVALIDATION_TOKEN": "t" * 32}, tmp_path)
    assert settings_check.problems(config) == []
    assert config.pdp.base_url is not None
    assert config.pdp.invalidation_token is not None


def test_the_example_in_the_sample_verify_is_one(tmp_path: Any) -> None:
    with_a_policy(tmp_path)
    (tmp_path / "routes.yaml").write_text(uncommented("routes.yaml", "services"))
    (tmp_path / "verify.yaml").write_text(uncommented("verify.yaml", "profiles"))
    config = settings.load({"BFF_DATA_DIR": str(tmp_path), "VERIFY_BIND": "127.0.0.1:8001"}, tmp_path)
    assert settings_check.problems(config) == []
    assert {profile.redirect for profile in config.verify_profiles} == {True, False}


def test_the_example_in_the_sample_configuration_is_one(tmp_path: Any) -> None:
    """The commented provider in config/idps.yaml, uncommented: each of its keys exists and its values are allowed."""
    key = tmp_path / "client-key.pem"
    key.write_text("stands for a key")
    content = uncommented("idps.yaml", "providers").replace("/run/secrets/client-key.pem", str(key))
    (tmp_path / "idps.yaml").write_text(content)
    config = settings.load({"BFF_DATA_DIR": str(tmp_path)}, tmp_path)
    assert config.problems == ()
    assert [provider.id for provider in config.providers] == ["corporate"]
