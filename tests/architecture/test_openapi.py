"""openapi.yaml describes what there is, all of it and nothing else."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask import Flask
from marshmallow import Schema

from bff import settings
from bff.app import create_app, stop
from bff.beacon import reports
from bff.observability.labels import WEB_VITALS
from bff.pdp.model import Semantic
from bff.sessions import csrf
from bff.settings import Settings
from bff.web import auth, pdp, tokens
from bff.web.forward_auth import ENVOY, FORWARDED, NGINX
from bff.web.openapi import document
from bff.web.policy import Policy, policy_of
from tests.architecture.source import ROOT

METHODS = frozenset({"get", "head", "post", "put", "patch", "delete", "options"})
ASKED_BY_PROXIES = frozenset(
    f"GET {path}{profile}{'/{}' if path == ENVOY else ''}"
    for path in (*FORWARDED, NGINX, ENVOY)
    for profile in ("", "@{}")
)
BODIES: dict[str, Schema] = {
    "/auth/logout": auth.LogoutRequestSchema(),
    "/auth/tokens/refresh": tokens.RefreshRequestSchema(),
    "/auth/tokens/exchange": tokens.ExchangeRequestSchema(),
    "/access/v1/evaluation": pdp.EvaluationSchema(),
    "/access/v1/evaluations": pdp.EvaluationsSchema(),
    "/access/v1/invalidate": pdp.ChangeSchema(),
}


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("described")
    return settings.load({"BFF_DATA_DIR": str(folder), "BFF_COOKIE_NAME": "shop"}, ROOT / "config")


@pytest.fixture(scope="module")
def app(configured: Settings) -> Iterator[Flask]:
    app = create_app(configured)
    yield app
    stop(app)


@pytest.fixture(scope="module")
def described(configured: Settings) -> dict[str, Any]:
    return document(configured)


def operations(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {unnamed(path)}": item[method]
        for path, item in described["paths"].items()
        for method in METHODS & item.keys()
    }


def unnamed(path: str) -> str:
    """/auth/sessions/{reference} is /auth/sessions/{}, as is Flask's /auth/sessions/<reference>."""
    return re.sub(r"\{[^}]*\}|<[^>]*>", "{}", path)


def policies(app: Flask) -> dict[str, Policy]:
    """Of the endpoints that are there in production too. A preflight, and a HEAD for each GET, need no description."""
    return {
        f"{method} {unnamed(rule.rule)}": policy_of(app.view_functions[rule.endpoint])
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - (set() if rule.rule.startswith("/api/<") else {"HEAD", "OPTIONS"})
        if rule.rule != "/" and not rule.rule.startswith("/dev/")
    }


def resolved(described: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in found:
        _, *names = found["$ref"].split("/")
        found = described
        for name in names:
            found = found[name]
    return found


def test_it_is_openapi(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(described).validate()


def test_no_text_fell_apart_at_a_comma(described: dict[str, Any]) -> None:
    """YAML makes of {description: one, two} a key `two` without a value, where a schema may have any key."""
    waiting: list[Any] = [described]
    while waiting:
        found = waiting.pop()
        assert found is not None
        waiting += found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()


def test_every_endpoint_is_there_and_no_other(app: Flask, described: dict[str, Any]) -> None:
    assert operations(described).keys() == policies(app).keys() | ASKED_BY_PROXIES


def test_it_demands_what_the_policy_demands(app: Flask, described: dict[str, Any]) -> None:
    of = operations(described)
    for name, policy in policies(app).items():
        wanted = {"session", "csrf"} if policy.csrf and not name.startswith("GET") else {"session"}
        assert (of[name].get("security") == [{each: [] for each in wanted}]) == policy.session, name
        assert not policy.session or "401" in of[name]["responses"], name


def test_every_limit_has_its_429(app: Flask, described: dict[str, Any]) -> None:
    of = operations(described)
    limited = {name for name, policy in policies(app).items() if policy.limit}
    assert limited
    assert {name for name in limited if "429" not in of[name]["responses"]} == set()


@pytest.mark.parametrize("path", BODIES)
def test_a_body_has_the_members_that_are_read(described: dict[str, Any], path: str) -> None:
    content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    schema = resolved(described, content["schema"])
    assert schema["properties"].keys() == BODIES[path].fields.keys()


def test_its_numbers_and_words_are_those_of_the_code(described: dict[str, Any]) -> None:
    schemas, options = described["components"]["schemas"], "evaluations_semantic"
    assert schemas["Questions"]["properties"]["evaluations"]["maxItems"] == pdp.MOST
    assert schemas["Questions"]["properties"]["options"]["properties"][options]["enum"] == [*Semantic]
    assert schemas["Event"]["properties"]["name"]["enum"] == [*WEB_VITALS]
    report = described["paths"]["/api/v1/metrics"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert report["oneOf"][1]["maxItems"] == reports.MOST_EVENTS
    assert described["components"]["securitySchemes"]["csrf"]["name"] == csrf.HEADER


def test_what_a_deployment_knows_is_filled_in(configured: Settings, described: dict[str, Any]) -> None:
    assert described["info"]["version"] == configured.version
    assert described["servers"] == [{"url": configured.base_url}]
    assert described["components"]["securitySchemes"]["session"]["name"] == "shop"


def test_every_answer_carries_the_correlation_id(described: dict[str, Any]) -> None:
    for name, operation in operations(described).items():
        for status, answer in operation["responses"].items():
            assert "X-Correlation-ID" in resolved(described, answer)["headers"], f"{name} {status}"


def test_a_copy_is_served_until_there_is_another(app: Flask, described: dict[str, Any]) -> None:
    client = app.test_client()
    answer = client.get("/openapi.json")
    assert answer.json == described
    assert client.get("/openapi.json", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_metrics_at_a_port_of_their_own_are_not_described(configured: Settings) -> None:
    elsewhere = replace(configured, metrics=replace(configured.metrics, bind=("127.0.0.1", 9100)))
    assert "/metrics" not in document(elsewhere)["paths"]
