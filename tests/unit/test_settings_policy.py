"""config/pdp.yaml and config/verify.yaml: who decides, and how verify answers; every mistake with its line."""

import base64
import hashlib
from pathlib import Path

import pytest

from bff import settings, settings_check
from bff.settings import OnError, PdpSettings, PolicyFiles, ServiceSettings, Settings, TokenKind, VerifyProfile
from bff.settings_check import MASK, masked

KEY = base64.b64encode(hashlib.sha256(b"k").digest()).decode()
SERVICES = """
services:
  orders: {}
  billing: {token: exchange, audience: billing}
  own: {token: client_credentials, idp: plain}
  first: {token: client_credentials}
  open: {token: none}
"""
IDPS = """
providers:
  bound: {issuer: "https://a.example", client_id: a, client_secret: a, dpop: true, user_id: arn}
  plain: {issuer: "https://b.example", client_id: b, client_secret: b, user_id: arn}
"""


def load(folder: Path, **environ: str) -> Settings:
    return settings.load({"BFF_DATA_DIR": str(folder / "data"), "BFF_SECRETS": KEY, **environ}, folder)


def pdp(folder: Path, text: str, **environ: str) -> PdpSettings:
    (folder / "pdp.yaml").write_text(text)
    config = load(folder, **environ)
    assert settings_check.problems(config) == []
    return config.pdp


def wrong(folder: Path, file: str, text: str) -> list[str]:
    """What is said, from the line number on."""
    (folder / file).write_text(text)
    found = settings_check.problems(load(folder, VERIFY_BIND="127.0.0.1:8001"))
    assert all(line.startswith(f"{folder / file}:") for line in found), found
    return [line.removeprefix(f"{folder / file}:") for line in found]


def test_without_a_file_policies_are_embedded(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert (config.pdp, config.verify_profiles) == (PdpSettings(policies=PolicyFiles(tmp_path / "policies")), ())


def test_everything_about_the_pdp(tmp_path: Path) -> None:
    text = """
connection:
  base_url: https://pdp.example/access/
  timeout: 0.5
  token: client_credentials
  idp: embedded
  audience: pdp
  resource: https://pdp.example
  scope: decide
subject: {type: person, roles_property: cerbos.roles}
cache: {allow_ttl: 30, deny_ttl: 0, size: 100}
on_error: allow
mapping: deny
invalidation_token: ${TOKEN}
"""
    assert pdp(tmp_path, text, TOKEN="t" * 32) == PdpSettings(
        base_url="https://pdp.example/access",
        timeout=0.5,
        service=ServiceSettings(
            "pdp", TokenKind.CLIENT_CREDENTIALS, "embedded", "pdp", "https://pdp.example", "decide"
        ),
        subject_type="person",
        roles_property="cerbos.roles",
        allow_ttl=30,
        deny_ttl=0,
        cache_size=100,
        on_error=OnError.ALLOW,
        strict=False,
        invalidation_token="t" * 32,
        policies=PolicyFiles(tmp_path / "policies"),
    )


def test_a_key_of_the_file_wins_over_its_variable(tmp_path: Path) -> None:
    variables = {
        "PDP_BASE_URL": "http://variable/", "PDP_TIMEOUT": "1", "PDP_CACHE_ALLOW_TTL": "2", "PDP_CACHE_DENY_TTL": "3",
    }  # fmt: skip
    found = pdp(tmp_path, "connection: {bearer: b}", **variables)
    assert (found.base_url, found.timeout, found.allow_ttl, found.deny_ttl) == ("http://variable", 1, 2, 3)
    found = pdp(tmp_path, "{connection: {base_url: 'http://file', timeout: 4}, cache: {allow_ttl: 5}}", **variables)
    assert (found.base_url, found.timeout, found.allow_ttl, found.deny_ttl) == ("http://file", 4, 5, 3)


@pytest.mark.parametrize(("name", "value"), [("PDP_BASE_URL", "pdp"), ("PDP_BASE_URL", "embedded"),
                                             ("PDP_TIMEOUT", "0"), ("PDP_CACHE_ALLOW_TTL", "-1"),
                                             ("PDP_CACHE_DENY_TTL", "nan")])  # fmt: skip
def test_a_variable_that_is_wrong(tmp_path: Path, name: str, value: str) -> None:
    (problem,) = load(tmp_path, **{name: value}).problems
    assert problem.startswith(f"{name}: ")
    assert load(tmp_path, **{name: value}).pdp == load(tmp_path).pdp


URL = "base_url: 'https://pdp.example'"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conection: {}", "1: conection: There is no such key. Did you mean connection?"),
        ("connection: {base_url: pdp}", "1: connection.base_url: must be an http or https URL"),
        ("connection: {base_url: embedded}", "1: connection.base_url: must be an http or https URL"),
        ("connection: {URL, timeout: 0}", "1: connection.timeout: Must be greater than or equal to 0.01"),
        ("connection: {URL, token: user}", "1: connection.token: Must be one of: client_credentials."),
        ("connection: {URL, audience: a}", "1: connection.audience: goes with token: client_credentials only."),
        ("connection: {URL, token: client_credentials, bearer: b}", "1: connection.bearer: is another token than"),
        ("connection: {URL, token: client_credentials, idp: nobody}", "1: connection.idp: There is no such"),
        ("connection: {URL, ca_file: /nonexistent}", " connection.ca_file: '/nonexistent' cannot be read"),
        ("\nconnection:\n  bearer: b", "3: connection.bearer: needs a base_url"),
        ("connection: {token: client_credentials}", "1: connection.token: needs a base_url"),
        ("connection: 5", "1: connection: must be a mapping."),
        ("subject: {typ: a}", "1: subject.typ: There is no such key. Did you mean type?"),
        ("subject: {type: role}", "1: subject.type: is the type of another kind of subject; name one for users alone."),
        ("cache: {allow_ttl: -1}", "1: cache.allow_ttl: Must be greater than or equal to 0."),
        ("on_error: ignore", "1: on_error: Must be one of: deny, allow."),
        ("mapping: lax", "1: mapping: Must be one of: strict, deny."),
        ("invalidation_token: short", "1: invalidation_token: Shorter than minimum length 32."),
        ("subject: {type: a}\nsubject: {type: b}", "2: subject: The key stands twice, in line 1, too."),
    ],
)  # fmt: skip
def test_a_mistake_about_the_pdp(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = wrong(tmp_path, "pdp.yaml", text.replace("URL", URL))
    assert problem.startswith(expected)


def test_secrets_of_the_pdp_are_masked_and_a_kind_of_token_is_none(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(SERVICES.replace(", idp: plain", ""))
    found = pdp(tmp_path, f"{{connection: {{{URL}, bearer: hidden-bearer}}, invalidation_token: {'hidden' * 6}}}")
    shown = masked(load(tmp_path))
    assert (shown["pdp"]["bearer"], shown["pdp"]["invalidation_token"]) == (MASK, MASK)
    assert "hidden" not in str(shown)
    assert "hidden" not in repr(found)
    assert shown["services"][1]["token"] == "exchange"


def test_profiles(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.cedar").write_text("permit(principal, action, resource);")
    (tmp_path / "routes.yaml").write_text(SERVICES.replace(", idp: plain", ""))
    (tmp_path / "verify.yaml").write_text(
        """
profiles:
  plain: {}
  pages:
    unauthenticated: redirect
    authz: pdp
    resource: page
    on_error: allow
    service: billing
    headers: [X-User-ID, X-User-Roles]
  silent: {unauthenticated: 401, authz: none, headers: []}
"""
    )
    config = load(tmp_path, VERIFY_BIND="127.0.0.1:8001")
    assert settings_check.problems(config) == []
    assert config.verify_profiles == (
        VerifyProfile("plain"),
        VerifyProfile("pages", True, "page", OnError.ALLOW, "billing", ("X-User-ID", "X-User-Roles")),
        VerifyProfile("silent", headers=()),
    )


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("{unauthenticated: 403}", "unauthenticated: Not a valid string."),
        ("{unauthenticated: login}", "unauthenticated: Must be one of: 401, redirect."),
        ("{authz: pdp}", "authz: pdp needs a resource to ask about."),
        ("{resource: page}", "resource: goes with authz: pdp only."),
        ("{authz: none, on_error: deny}", "on_error: goes with authz: pdp only."),
        ("{headers: [X-User-Id]}", "headers: must be of X-User-ID, X-Session-ID, X-Auth-Time, X-User-Email,"),
        ("{service: ordres}", "service: There is no such service. Did you mean orders? There are orders, billing,"),
        ("{service: open}", "service: has no token that could go into Authorization (token: none)."),
        ("{servce: orders}", "servce: There is no such key. Did you mean service?"),
        ("5", "must be a mapping."),
    ],
)
def test_a_mistake_in_a_profile(tmp_path: Path, profile: str, expected: str) -> None:
    (tmp_path / "routes.yaml").write_text(SERVICES.replace(", idp: plain", ""))
    (problem,) = wrong(tmp_path, "verify.yaml", f"profiles:\n  a: {profile}")
    assert problem.startswith(f"2: profiles.a{'' if profile == '5' else '.'}")
    assert expected in problem


@pytest.mark.parametrize(
    ("profile", "asks_proxies_alone"),
    [
        ("{}", False),
        ("{unauthenticated: redirect, headers: [X-User-Email]}", False),
        ("{service: orders}", True),
        ("{service: billing}", True),
        ("{authz: pdp, resource: page}", True),
    ],
)
@pytest.mark.parametrize("environment", ["development", "staging"])
def test_what_no_browser_may_ask_needs_a_listener_of_its_own(
    tmp_path: Path, profile: str, asks_proxies_alone: bool, environment: str
) -> None:
    (tmp_path / "routes.yaml").write_text(SERVICES.replace(", idp: plain", ""))
    (tmp_path / "verify.yaml").write_text(f"profiles:\n  a: {profile}")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.cedar").write_text("permit(principal, action, resource);")

    def found(**environ: str) -> list[str]:
        return [line for line in settings_check.problems(load(tmp_path, **environ)) if "VERIFY_BIND" in line]

    given = {"ENVIRONMENT": environment, "TRUSTED_PROXIES": "127.0.0.1,unix"}
    expected = f"{tmp_path}/verify.yaml:2: profiles.a: with a service or authz: pdp, it answers proxies alone;"
    assert [line.startswith(expected) for line in found(**given)] == [True] * asks_proxies_alone
    assert found(**given, VERIFY_BIND="127.0.0.1:8001") == found(**given, VERIFY_BIND=f"unix:{tmp_path}/verify") == []


@pytest.mark.parametrize("name", ["A", "a b", "''", "5"])
def test_the_name_of_a_profile(tmp_path: Path, name: str) -> None:
    assert wrong(tmp_path, "verify.yaml", f"profiles: {{{name}: {{}}}}")


@pytest.mark.parametrize("service", ["orders", "billing", "first"])
def test_a_token_that_is_bound_to_a_key_cannot_be_handed_to_a_proxy(tmp_path: Path, service: str) -> None:
    (tmp_path / "routes.yaml").write_text(SERVICES)
    (tmp_path / "idps.yaml").write_text(IDPS)
    assert wrong(tmp_path, "verify.yaml", f"profiles: {{a: {{service: {service}}}, b: {{service: own}}}}") == [
        "1: profiles.a.service: is opened by tokens that are bound to a key (DPoP),"
        " which a proxy could not prove to hold."
    ]
