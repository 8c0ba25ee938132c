"""config/routes.yaml: the services behind the BFF, and every mistake in their declaration at once."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from bff import settings, settings_check
from bff.app import create_app
from bff.settings import ServiceSettings, Settings, TokenKind
from bff.settings_check import InvalidSettings

KEY = base64.b64encode(hashlib.sha256(b"k").digest()).decode()
KINDS = "user, exchange, client_credentials, none"
KEYS = "There is no such key. Did you mean token? There are token, idp, audience, resource, scope, base_url, timeout,"
RESOURCE = "must be an absolute URL without a fragment, such as https://orders.example.com."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def load(folder: Path, text: str, **environ: str) -> Settings:
    (folder / "routes.yaml").write_text(text)
    return settings.load({"BFF_DATA_DIR": str(folder / "data"), "BFF_SECRETS": KEY, **environ}, folder)


def problems(folder: Path, text: str, **environ: str) -> list[str]:
    """Without the file's name and the line, which each of them begins with."""
    found = settings_check.problems(load(folder, text, **environ))
    name = re.compile(re.escape(f"{folder / 'routes.yaml'}:") + r"(?:\d+:)? ")
    assert all(name.match(line) for line in found), found
    return [name.sub("", line, count=1) for line in found]


def test_services_of_every_kind(folder: Path) -> None:
    config = load(
        folder,
        """
        services:
          orders: {scope: "orders:read orders:write"}
          billing: {token: exchange, resource: "https://billing.example:8443/v1?tenant=a", scope: "${SCOPE}"}
          reports: {token: client_credentials, idp: embedded, audience: reports}
          static: {token: none}
        """,
        SCOPE="billing:read",
    )
    assert settings_check.problems(config) == []
    assert config.services == (
        ServiceSettings("orders", scope="orders:read orders:write"),
        ServiceSettings(
            "billing",
            TokenKind.EXCHANGE,
            resource="https://billing.example:8443/v1?tenant=a",
            scope="billing:read",
        ),
        ServiceSettings("reports", TokenKind.CLIENT_CREDENTIALS, idp="embedded", audience="reports"),
        ServiceSettings("static", TokenKind.NONE),
    )


def test_the_sample_api_is_a_service_in_development_only(folder: Path) -> None:
    text = "services: {orders: {base_url: embedded}}"
    here = load(folder, text, BFF_BASE_URL="http://127.0.0.1:9000")
    assert [upstream.base_url for upstream in here.upstreams] == ["http://127.0.0.1:9000/dev/api"]
    elsewhere = {
        "ENVIRONMENT": "staging",
        "OIDC_ISSUER": "https://login.example.com",
        "AUTH_CLIENT_ID": "bff",
        "TRUSTED_PROXIES": "127.0.0.1",
    }
    assert problems(folder, text, AUTH_CLIENT_SECRET="of a test", **elsewhere) == [
        "services.orders.base_url: embedded is the sample API, which there is in development only; name your service's"
        " own address, or point BFF_CONFIG_DIR to a folder of your own. Found 'embedded'."
    ]


@pytest.mark.parametrize("text", ["", "services: {}", "{}", "# services:\n"])
def test_no_services(folder: Path, text: str) -> None:
    assert load(folder, text).services == ()
    assert problems(folder, text) == []


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("{tokn: user}", f"services.a.tokn: {KEYS}"),
        ("{token: magic}", f"services.a.token: Must be one of: {KINDS}."),
        ("{token: [user]}", f"services.a.token: Must be one of: {KINDS}."),
        ("{token: user, audience: b}", "services.a.audience: goes with token: exchange or client_credentials, not"),
        ("{audience: b}", "services.a.audience: goes with token: exchange or client_credentials, not with user."),
        ("{token: none, scope: b}", "services.a.scope: goes with token: user or exchange or client_credentials, not"),
        ("{token: exchange, audience: b, idp: c}", "services.a.idp: goes with token: client_credentials, not with"),
        ("{token: exchange}", "services.a.token: needs an audience or a resource, which names the service"),
        ("{token: exchange, audience: 5}", "services.a.audience: Not a valid string."),
        ("{scope: [b, c]}", "services.a.scope: Not a valid string."),
        ("5", "services.a: must be a mapping."),
        ("[token]", "services.a: must be a mapping."),
    ],
)
def test_one_mistake_is_one_sentence(folder: Path, service: str, expected: str) -> None:
    (problem,) = problems(folder, f"services: {{a: {service}}}")
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    "resource",
    ["orders", "/orders", "orders.example.com", "https://", "https://a b", "https://a.example/#part", "ftp://a"],
)
def test_a_resource_is_an_absolute_url(folder: Path, resource: str) -> None:
    (problem,) = problems(folder, f"services: {{a: {{token: exchange, resource: '{resource}'}}}}")
    assert problem == f"services.a.resource: {RESOURCE} Found {resource!r}."


def test_a_provider_that_nobody_declared(folder: Path) -> None:
    (problem,) = problems(folder, "services: {a: {token: client_credentials, idp: corprate}}")
    assert problem == "services.a.idp: There is no such provider. There is embedded."


def test_every_mistake_at_once(folder: Path) -> None:
    found = problems(
        folder,
        """
        services:
          user: {token: user}
          Big Name: {}
          one: {token: exchange, surplus: 1}
          two: {audience: b, resource: nowhere, scop: c}
          three: {token: magic, audience: b}
          four: {scope: "${NOT_SET}"}
        surplus: 1
        """,
    )
    assert sorted(line.partition(": ")[0] for line in found) == [
        "services.Big Name",
        "services.four.scope",
        "services.one.surplus",
        "services.one.token",
        "services.three.token",
        "services.two.audience",
        "services.two.resource",
        "services.two.scop",
        "services.user",
        "surplus",
    ]
    (two,) = [line for line in found if line.startswith("services.two.resource")]
    assert RESOURCE in two
    assert "not with user" in two
    assert "services.four.scope: the environment variable NOT_SET is not set." in found
    assert any("names the session's own token." in line for line in found)


@pytest.mark.parametrize(
    "text", ["services: {a: ", "services: [a]", "services:", "- a", "services: {a: {token: none}, b"]
)
def test_a_file_of_another_shape(folder: Path, text: str) -> None:
    assert len(problems(folder, text)) == 1


def test_what_does_not_validate_starts_nothing_and_disturbs_nothing(folder: Path) -> None:
    running = load(folder, "services: {a: {token: none}}")
    app = create_app(running)
    broken = load(folder, "services: {a: {token: exchange}}")
    with pytest.raises(InvalidSettings) as refused:
        create_app(broken)
    assert "services.a.token" in str(refused.value)
    assert app.extensions["bff"].settings.services == (ServiceSettings("a", TokenKind.NONE),)
    app.extensions["bff"].close()


def test_no_secret_is_quoted(folder: Path) -> None:
    found = problems(folder, "services: {a: {token: exchange, resource: '${SECRET}'}}", SECRET="hunter2")
    assert len(found) == 1
    assert "hunter2" not in found[0]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("navigable: true", []),
        ("navigable: true, methods: [POST, HEAD]", []),
        ("navigable: false, auth: bearer", []),
        ("navigable: true, auth: bearer", ["goes with auth: session only; without a session any page may send a"]),
        ("navigable: true, auth: none", ["goes with auth: session only; without a session any page may send a"]),
        ("navigable: true, methods: [POST]", ["needs GET or HEAD among the methods; a link sends nothing else."]),
        ("navigable: often", ["Not a valid boolean."]),
    ],
)
def test_what_a_link_may_lead_to(folder: Path, more: str, expected: list[str]) -> None:
    text = "services: {a: {base_url: 'https://a.example', token: none}}\nroutes:\n  - "
    found = problems(folder, f"{text}{{id: r, path: /api/r, service: a, {more}}}")
    assert len(found) == len(expected), found
    assert all(f"routes.0.navigable: {start}" in line for line, start in zip(found, expected, strict=True))
