"""docs/configuration.md against the schemas: each setting is explained once, with its real default and real limits."""

import ast
import re
from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from typing import Any

import pytest
from marshmallow import Schema, fields, validate

from bff import __version__, settings, settings_check
from bff.settings import ClaimNames, ProviderSettings, ServiceSettings, TokenKind
from bff.settings.environment import (
    SERVER_VARIABLES,
    Address,
    Environment,
    FilePath,
    Networks,
    Origins,
    RateLimits,
    Secrets,
    Words,
)
from bff.settings.idps import Claims, Provider
from bff.settings.routes import Service
from tests.architecture import markdown
from tests.architecture.source import ROOT

# What a reader may write, by the field's class; the first that fits.
KINDS: list[tuple[type[fields.Field[Any]], str]] = [
    (Address, "address and port"),
    (Networks, "networks"),
    (Origins, "origins"),
    (Secrets, "base64 keys"),
    (RateLimits, "limits"),
    (Words, "words"),
    (FilePath, "path"),
    (fields.Boolean, "`true`, `false`"),
    (fields.Integer, "whole number"),
    (fields.Float, "number"),
    (fields.Dict, "a mapping of text to text"),
    (fields.String, "text"),
]
# gunicorn.conf.py's own notes in the environment, which are nobody's settings.
INTERNAL = {"_BFF_MASTER_PID", "GUNICORN_PID"}


def code(values: Any) -> str:
    return ", ".join(f"`{value}`" for value in values)


def default(value: Any) -> str:
    if value is None or value == ():
        return "none"
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
    for validator in field.validators:
        match validator:
            case validate.OneOf():
                return code(validator.choices)
            case validate.Range(min=low, max=None):
                return f"{kind}, at least {low}"
            case validate.Range(min=low, max=high):
                return f"{kind} from {low} to {high}"
            case validate.Regexp():
                return "a cookie name"
    return kind


def variables() -> dict[str, list[str]]:
    found = Environment().fields.values()
    return {str(field.data_key): [default(field.load_default), allowed(field)] for field in found}


def keys_of_idps_yaml() -> dict[str, list[str]]:
    defaults = {
        field.name: field.default for field in dataclass_fields(ProviderSettings) if field.default is not MISSING
    }
    found = {}
    for name, field in Provider().fields.items():
        if not isinstance(field, fields.Nested):
            value = "required" if field.required else default(defaults.get(name))
            found[field.data_key or name] = [value, allowed(field)]
    names = ClaimNames()
    claims: Schema = Claims()
    return found | {
        f"claims.{name}": [default(getattr(names, name)), allowed(field)] for name, field in claims.fields.items()
    }


def keys_of_routes_yaml() -> dict[str, list[str]]:
    defaults = {field.name: field.default for field in dataclass_fields(ServiceSettings)}
    return {
        f"services.{name}": [default(defaults[name] or None), allowed(field)]
        for name, field in Service().fields.items()
    }


DOCUMENTED = markdown.rows("configuration.md")


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    existing = variables().keys() | SERVER_VARIABLES | keys_of_idps_yaml().keys() | keys_of_routes_yaml().keys()
    assert not existing - DOCUMENTED.keys(), f"Explain in docs/configuration.md: {sorted(existing - DOCUMENTED.keys())}"
    assert not DOCUMENTED.keys() - existing, f"No such setting: {sorted(DOCUMENTED.keys() - existing)}"


@pytest.mark.parametrize(
    ("name", "facts"),
    [*variables().items(), *keys_of_idps_yaml().items(), *keys_of_routes_yaml().items()],
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


def test_the_example_in_the_sample_routes_is_one(tmp_path: Any) -> None:
    text = (ROOT / "config/routes.yaml").read_text()
    _, _, example = text.partition("# services:\n")
    lines = [line[2:] for line in ("# services:\n" + example).splitlines() if line.startswith("# ")]
    (tmp_path / "routes.yaml").write_text("\n".join(lines))
    config = settings.load({"BFF_DATA_DIR": str(tmp_path)}, tmp_path)
    assert settings_check.problems(config) == []
    assert {service.token for service in config.services} == set(TokenKind)


def test_the_example_in_the_sample_configuration_is_one(tmp_path: Any) -> None:
    """The commented provider in config/idps.yaml, uncommented: each of its keys exists and its values are allowed."""
    text = (ROOT / "config/idps.yaml").read_text()
    _, _, example = text.partition("# providers:\n")
    lines = [line[2:] for line in ("# providers:\n" + example).splitlines() if line.startswith("# ")]
    key = tmp_path / "client-key.pem"
    key.write_text("stands for a key")
    content = "\n".join(lines).replace("/run/secrets/client-key.pem", str(key))
    (tmp_path / "idps.yaml").write_text(content)
    config = settings.load({"BFF_DATA_DIR": str(tmp_path)}, tmp_path)
    assert config.problems == ()
    assert [provider.id for provider in config.providers] == ["corporate"]
