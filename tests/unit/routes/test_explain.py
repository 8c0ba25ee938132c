"""`python -m bff.routes`: what becomes of a request, why not, and which routes there are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bff.routes.__main__ import main
from bff.settings_check import EX_CONFIG
from tests.architecture.source import ROOT

TEXT = """
services:
  orders: {base_url: "https://orders.example/v1", scope: orders:read}
  open: {base_url: "https://open.example", token: none, timeout: 5}
  own: {base_url: "https://own.example", token: client_credentials}
routes:
  - {id: list, path: /api/orders, service: orders}
  - id: change
    path: /api/orders/{id}
    service: orders
    methods: [PUT, DELETE]
    authz: pdp
    authz_map:
      resource: orders
      action: write
      id_from: $.path.id
      props: {amount: $.body.amount}
    rate_limit: 20/minute
    scopes: orders:write
  - {id: callers, path: "/api/callers/*", service: orders, auth: bearer, preserve_path: true, streaming: true}
  - {id: open, path: "/api/open/{id}", service: open, auth: none, methods: [GET, POST], timeout: 2.5}
  - {id: own, path: /api/own, service: own}
  - {id: unmapped, path: /api/unmapped, service: own, authz: pdp}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "routes.yaml").write_text(TEXT)
    (tmp_path / "pdp.yaml").write_text("{mapping: deny, subject: {type: person}}")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.cedar").write_text("permit(principal, action, resource);")
    return tmp_path


def run(folder: Path, *arguments: str) -> int:
    return main(["--config", str(folder), *arguments], {"BFF_DATA_DIR": str(folder / "data")})


def test_everything_about_a_request(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "PUT", "/api/orders/a%20b?x=1", "--body", '{"amount": 7}') == 0
    said = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert {what: how.strip() for what, how in said.items() if what != "policy"} == {
        "route": f"change ({folder}/routes.yaml:8), /api/orders/{{id}}",
        "service": "orders",
        "upstream": "PUT https://orders.example/v1/orders/a%20b?x=1",
        "auth": "session",
        "token": "the session's own access token",
        "csrf": "X-CSRF-Token is needed",
        "scopes": "orders:write",
        "timeout": "30 s",
        "body limit": "10485760 bytes",
        "rate limit": "20/minute:open",
    }
    assert json.loads(said["policy"]) == {
        "subject": {"type": "person", "id": "<the session's user>"},
        "action": {"name": "write"},
        "resource": {"type": "orders", "id": "a b", "properties": {"amount": 7}},
    }


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["GET", "/api/orders"], ["csrf:       not needed", "policy:     not asked"]),
        (
            ["GET", "/api/callers/a/b"],
            [
                "upstream:   GET https://orders.example/v1/api/callers/a/b",
                "token:      the caller's own access token",
                "timeout:    30 s, streaming",
            ],
        ),
        (["POST", "/api/open/7"], ["token:      none", "csrf:       not needed", "timeout:    2.5 s"]),
        (["GET", "/api/own"], ["token:      the BFF's own access token"]),
    ],
)
def test_a_request_in_parts(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], lines: list[str]
) -> None:
    assert run(folder, *arguments) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line not in said] == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["GET", "/api/nowhere"], "404 not_found: "),
        (["PATCH", "/api/orders/7"], "405 method_not_allowed: The method is not allowed at this address (Allow: "),
        (["GET", "/api/orders/.."], "400 bad_path: The path holds a dot segment."),
        (["GET", "/api/orders?a b"], "400 bad_path: The query holds"),
        (["PUT", "/api/orders/7"], "403 body_missing: "),
        (["PUT", "/api/orders/7", "--body", "{}"], "403 property_missing: "),
        (["PUT", "/api/orders/7", "--body", "{"], "403 body_not_json: "),
        (["GET", "/api/unmapped"], "403 no_mapping: "),
    ],
)  # fmt: skip
def test_a_request_that_does_not_pass(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert run(folder, *arguments) == 1
    assert capsys.readouterr().err.startswith(reason)


def test_the_routes_in_order_of_precedence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    assert capsys.readouterr().out.splitlines() == [
        "GET         /api/callers/*    callers   orders  bearer   -",
        "GET,POST    /api/open/{id}    open      open    none     -",
        "GET         /api/orders       list      orders  session  -",
        "PUT,DELETE  /api/orders/{id}  change    orders  session  write orders",
        "GET         /api/own          own       own     session  -",
        "GET         /api/unmapped     unmapped  own     session  denied",
    ]


def test_no_routes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    assert capsys.readouterr().out == ""


def test_a_configuration_that_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "routes.yaml").write_text("rotues: []\nservices: 5")
    assert run(folder, "GET", "/api/orders") == EX_CONFIG
    assert "routes.yaml:1: rotues: There is no such key." in capsys.readouterr().err


def test_a_method_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(folder, "GET")
    assert "a METHOD needs a PATH" in capsys.readouterr().err


def test_the_command(folder: Path) -> None:
    command = [sys.executable, "-m", "bff.routes", "--config", str(folder), "GET", "/api/orders"]
    environ = {"BFF_DATA_DIR": str(folder / "data")}
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("route:      list (")
