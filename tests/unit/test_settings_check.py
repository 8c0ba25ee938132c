"""Every mistake at once, before a port is bound, and no secret in what is printed."""

import base64
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from bff import settings
from bff.app import create_app
from bff.settings import AuthzMap, Files, RouteSettings, VerifyProfile
from bff.settings.environment import VARIABLES
from bff.settings.pdp import policy_files
from bff.settings_check import EX_CONFIG, MASK, InvalidSettings, listener_problems, masked, problems, report
from tests.peers import certificates, document_runner

ROOT = Path(__file__).parents[2]
KEY, ANOTHER, THIRD = (base64.b64encode(hashlib.sha256(name).digest()).decode() for name in (b"k", b"l", b"m"))

PRODUCTION = {
    "ENVIRONMENT": "production",
    "BFF_BASE_URL": "https://app.example.com",
    "BFF_SECRETS": KEY,
    "REDIS_URL": "rediss://:hidden-redis@redis.example.com:6379/0",
    "OIDC_ISSUER": "https://login.example.com",
    "AUTH_CLIENT_ID": "bff",
    "AUTH_CLIENT_SECRET": "hidden-client",
    "TRUSTED_PROXIES": "127.0.0.0/8",
}

ABROAD = {
    "BFF_BASE_URL": "http://app.example.com",
    "TRUSTED_PROXIES": PRODUCTION["TRUSTED_PROXIES"],
    **{name: PRODUCTION[name] for name in ("BFF_SECRETS", "OIDC_ISSUER", "AUTH_CLIENT_ID", "AUTH_CLIENT_SECRET")},
}
"""For staging, without https."""

TEN_MISTAKES = {
    **PRODUCTION,
    "PORT": "http",
    "BFF_SECRETS": "short",
    "BFF_COOKIE_DOMIAN": "example.com",
    "BFF_COOKIE_SAMESITE": "Sometimes",
    "SESSION_BINDING": "maybe",
    "SESSION_IDLE_TIMEOUT": "90000",
    "REDIS_URL": "http://redis.example.com",
    "READINESS_CHECKS": "everything",
    "OIDC_SCOPES": "profile",
    "AUTH_CLIENT_SECRET": "",
}
TEN_NAMES = {
    "PORT", "BFF_SECRETS", "BFF_COOKIE_DOMIAN", "BFF_COOKIE_SAMESITE", "SESSION_BINDING", "SESSION_IDLE_TIMEOUT",
    "REDIS_URL", "READINESS_CHECKS", "OIDC_SCOPES", "AUTH_CLIENT_SECRET",
}  # fmt: skip


LOCKED = BestAvailableEncryption(b"password")


def pem(key: PrivateKeyTypes, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def found(environ: Mapping[str, str], folder: Path) -> list[str]:
    return problems(settings.load({"BFF_DATA_DIR": str(folder), **environ}, folder))


def run(
    command: Sequence[str], environ: Mapping[str, str], folder: Path, pass_fds: Sequence[int] = ()
) -> "subprocess.CompletedProcess[str]":
    """The command in the project's folder with these settings and no others."""
    own = {"BFF_DATA_DIR": str(folder), "BFF_CONFIG_DIR": str(folder / "config")}
    env = {**os.environ, **dict.fromkeys(VARIABLES, ""), **own, **environ}
    return subprocess.run(
        [sys.executable, "-m", *command],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        pass_fds=pass_fds,
    )


def test_a_good_production_has_no_problems(tmp_path: Path) -> None:
    assert found(PRODUCTION, tmp_path) == []


def test_ten_mistakes_are_ten_messages_at_once(tmp_path: Path) -> None:
    lines = found(TEN_MISTAKES, tmp_path)
    assert len(lines) == 10
    assert {line.partition(":")[0] for line in lines} == TEN_NAMES
    text = report(lines)
    assert text.startswith("10 problem(s) in the settings:\n  - ")
    assert all(line in text for line in lines)


def test_an_app_is_not_built_from_them(tmp_path: Path) -> None:
    config = settings.load({"BFF_DATA_DIR": str(tmp_path), **TEN_MISTAKES}, tmp_path)
    with pytest.raises(InvalidSettings) as caught:
        create_app(config)
    assert caught.value.problems == problems(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # of production
        ({"REDIS_URL": ""}, "REDIS_URL: is required in production"),
        ({"BFF_COOKIE_SECURE": "false"}, "BFF_COOKIE_SECURE: must be true in production."),
        (
            {"BFF_BASE_URL": "", "BFF_COOKIE_SECURE": "true"},
            "BFF_BASE_URL: is required in production and must be https.",
        ),
        ({"BFF_SECRETS": ""}, "BFF_SECRETS: is required outside development"),
        ({"OIDC_ISSUER": ""}, "OIDC_ISSUER: is required outside development"),
        # of staging
        ({"TRUSTED_PROXIES": ""}, "TRUSTED_PROXIES: is required outside development"),
        ({"ENVIRONMENT": "staging", "TRUSTED_PROXIES": ""}, "TRUSTED_PROXIES: is required outside development"),
        ({"TRUSTED_PROXIES": "everyone"}, "TRUSTED_PROXIES: 'everyone' is not a network"),
        ({"ENVIRONMENT": "staging", "BFF_SECRETS": ""}, "BFF_SECRETS: is required outside development"),
        ({"ENVIRONMENT": "staging", "OIDC_ISSUER": "http://login.example.com"}, "OIDC_ISSUER: must be https."),
        # anywhere
        ({"BFF_SECRETS": f"{KEY} {ANOTHER} {THIRD}"}, "BFF_SECRETS: at most two keys"),
        ({"REDIS_URL": "redis://host:port"}, "REDIS_URL: the host, port or database number cannot be read"),
        ({"REDIS_URL": "redis://host?timeout=1"}, "REDIS_URL: redis:// takes no option 'timeout'"),
        ({"SESSION_LIFETIME": "60"}, "SESSION_IDLE_TIMEOUT: is longer than SESSION_LIFETIME"),
        ({"BFF_COOKIE_NAME": "__Host-s", "BFF_COOKIE_DOMAIN": "example.com"}, "BFF_COOKIE_NAME: a __Host- cookie"),
        ({"BFF_COOKIE_DOMAIN": "ample.com"}, "BFF_COOKIE_DOMAIN: 'ample.com' does not contain the host"),
        ({"OIDC_ISSUER": "login.example.com"}, "OIDC_ISSUER: 'login.example.com' is not an https URL"),
        ({"OIDC_ISSUER": "https://login.example.com?a=b"}, "OIDC_ISSUER: 'https://login.example.com?a=b' is not"),
        ({"OIDC_ISSUER": "http://["}, "OIDC_ISSUER: 'http://[' is not an https URL"),
        ({"AUTH_CLIENT_ID": ""}, "AUTH_CLIENT_ID: is required with OIDC_ISSUER."),
        (
            {"TOKEN_AUTH_METHOD": "private_key_jwt"},
            "AUTH_CLIENT_KEY: a private key (JWK or PEM) or a JWK Set is required",
        ),
        (
            {"TOKEN_AUTH_METHOD": "private_key_jwt", "AUTH_CLIENT_KEY": "nonsense"},
            "AUTH_CLIENT_KEY: is no private key (EC, RSA or Ed25519) as JWK or PEM, nor a JWK Set of such keys.",
        ),
        # about events
        ({"KAFKA_BOOTSTRAP_SERVERS": "kafka"}, "KAFKA_BOOTSTRAP_SERVERS: each broker is host:port"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "a:1,b:0"}, "KAFKA_BOOTSTRAP_SERVERS: each broker is host:port"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "user:pass@a:1"}, "KAFKA_BOOTSTRAP_SERVERS: each broker is host:port, such"),
        ({"KAFKA_TOPIC_PREFIX": "a b"}, "KAFKA_TOPIC_PREFIX: is not the beginning of a topic's name, such as bff."),
        ({"OUTBOX_MAX_EVENTS": "99"}, "OUTBOX_MAX_EVENTS: Must be greater than or equal to 100."),
        ({"OUTBOX_MAX_AGE": "59"}, "OUTBOX_MAX_AGE: Must be greater than or equal to 60."),
        ({"KAFKA_SASL_USERNAME": "bff"}, "KAFKA_SASL_USERNAME: is not used with KAFKA_SECURITY_PROTOCOL plaintext"),
        (
            {"KAFKA_SECURITY_PROTOCOL": "sasl_ssl", "KAFKA_SASL_USERNAME": "bff"},
            "KAFKA_SASL_PASSWORD: is required for KAFKA_SECURITY_PROTOCOL sasl_ssl.",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "ssl", "KAFKA_CA_FILE": "/nowhere"},
            "KAFKA_CA_FILE: '/nowhere' cannot be read (FileNotFoundError).",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "ssl", "KAFKA_SASL_PASSWORD": "hidden"},
            "KAFKA_SASL_PASSWORD: is not used with KAFKA_SECURITY_PROTOCOL ssl; sasl_ssl would.",
        ),
    ],
)
def test_each_rule_is_one_message(tmp_path: Path, change: dict[str, str], message: str) -> None:
    (line,) = found({**PRODUCTION, **change}, tmp_path)
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"BFF_COOKIE_NAME": "__Secure-s"}, "BFF_COOKIE_NAME: a __Secure- cookie must be Secure"),
        ({"BFF_COOKIE_NAME": "__Host-s"}, "BFF_COOKIE_NAME: a __Host- cookie must be Secure"),
        ({"BFF_COOKIE_SAMESITE": "None"}, "BFF_COOKIE_SAMESITE: browsers drop a SameSite=None cookie"),
        (
            {"ENVIRONMENT": "staging", **ABROAD, "BFF_COOKIE_SECURE": "true"},
            "BFF_COOKIE_SECURE: a browser sends no Secure cookie to BFF_BASE_URL over http",
        ),
    ],
)
def test_each_rule_about_http_is_one_message(tmp_path: Path, change: dict[str, str], message: str) -> None:
    (line,) = found(change, tmp_path)
    assert line.startswith(message)


@pytest.mark.parametrize("environment", ["", "development"])
@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"BFF_BASE_URL": "https://app.example.com"}, "BFF_BASE_URL"),
        ({"BFF_BASE_URL": "http://192.168.1.5:8000"}, "BFF_BASE_URL"),
        ({"BFF_BASE_URL": "http://0.0.0.0:8000"}, "BFF_BASE_URL"),
        ({"BFF_BASE_URL": "http://[2001:db8::1]:8000"}, "BFF_BASE_URL"),
        ({"BFF_BASE_URL": "http://localhost.example.com"}, "BFF_BASE_URL"),
        ({"METRICS_BIND": "0.0.0.0:9100"}, "METRICS_BIND"),
        ({"METRICS_BIND": "[::]:9100"}, "METRICS_BIND"),
        ({"METRICS_BIND": "10.0.0.5:9100"}, "METRICS_BIND"),
    ],
)
def test_development_is_for_this_machine_alone(
    tmp_path: Path, environment: str, change: dict[str, str], name: str
) -> None:
    (line,) = found({"ENVIRONMENT": environment, **change}, tmp_path)
    assert line.startswith(f"{name}: ")
    assert "ENVIRONMENT is development" in line
    assert "Set ENVIRONMENT to production" in line


@pytest.mark.parametrize(
    "change",
    [
        {},
        *({"BFF_BASE_URL": f"http://{host}:8000"} for host in ("localhost", "app.localhost", "127.0.0.2", "[::1]")),
        {"METRICS_BIND": "127.0.0.1:9100"},
        {"METRICS_BIND": "[::1]:9100"},
        {"ENVIRONMENT": "staging", "METRICS_BIND": "0.0.0.0:9100", **ABROAD},
    ],
)
def test_development_on_this_machine_is_no_problem(tmp_path: Path, change: dict[str, str]) -> None:
    assert found(change, tmp_path) == []


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        (("0.0.0.0", 8000), True),
        (("::", 8000, 0, 0), True),
        (("192.0.2.1", 8000), True),
        (("bff.example.com", 8000), True),
        (("127.0.0.1", 8000), False),
        (("::1", 8000, 0, 0), False),
        (("localhost", 8000), False),
        ("/run/bff.sock", False),
        (3, False),
    ],
)
def test_a_listener_of_development_is_for_this_machine_alone(tmp_path: Path, address: object, refused: bool) -> None:
    """As gunicorn has it: a pair for an address, text for a socket file, a number for one that it inherits."""
    here = settings.load({"BFF_DATA_DIR": str(tmp_path)}, tmp_path)
    lines = listener_problems(here, [("127.0.0.1", 1), address])
    assert [line.startswith("bind: ") for line in lines] == [True] * refused
    assert listener_problems(settings.load(PRODUCTION, tmp_path), [address]) == []


BY_TLS = {**PRODUCTION, "TOKEN_AUTH_METHOD": "tls_client_auth", "AUTH_CLIENT_SECRET": ""}


def client_files(certificate: Path | None, key: Path | None) -> dict[str, str]:
    return {"AUTH_CLIENT_CERTIFICATE": str(certificate or ""), "AUTH_CLIENT_CERTIFICATE_KEY": str(key or "")}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("client"))


def test_a_certificate_with_its_key_is_no_problem(tmp_path: Path, client: certificates.Certificates) -> None:
    assert found({**BY_TLS, **client_files(client.client_certificate, client.client_key)}, tmp_path) == []


def test_a_certificate_and_its_key_are_required_for_tls_client_auth(tmp_path: Path) -> None:
    required = "a PEM file is required for client authentication by TLS."
    lines = [f"AUTH_CLIENT_CERTIFICATE: {required}", f"AUTH_CLIENT_CERTIFICATE_KEY: {required}"]
    assert found(BY_TLS, tmp_path) == lines


def test_half_a_pair_is_a_mistake_with_any_method(tmp_path: Path, client: certificates.Certificates) -> None:
    (line,) = found({**PRODUCTION, **client_files(client.client_certificate, None)}, tmp_path)
    assert line.startswith("AUTH_CLIENT_CERTIFICATE_KEY: a PEM file is required")


def test_files_of_a_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    lines = found({**BY_TLS, **client_files(missing, tmp_path)}, tmp_path)
    assert lines == [
        f"AUTH_CLIENT_CERTIFICATE: '{missing}' cannot be read (FileNotFoundError).",
        f"AUTH_CLIENT_CERTIFICATE_KEY: '{tmp_path}' cannot be read (IsADirectoryError).",
    ]


def test_a_certificate_and_a_key_that_do_not_belong_together(tmp_path: Path, client: certificates.Certificates) -> None:
    other_kind = tmp_path / "rsa.pem"
    other_kind.write_bytes(pem(rsa.generate_private_key(65537, 2048), NoEncryption()))
    for key in (client.key, other_kind):
        lines = found({**BY_TLS, **client_files(client.client_certificate, key)}, tmp_path)
        assert lines == ["AUTH_CLIENT_CERTIFICATE_KEY: is not the key of AUTH_CLIENT_CERTIFICATE."]


@pytest.mark.parametrize("content", [b"", b"nonsense", pem(ec.generate_private_key(ec.SECP256R1()), LOCKED)])
def test_what_is_no_certificate_with_a_key(tmp_path: Path, client: certificates.Certificates, content: bytes) -> None:
    """A key with a password, too, for which nobody is asked."""
    file = tmp_path / "file.pem"
    file.write_bytes(content)
    for pair in ((file, client.client_key), (client.client_certificate, file)):
        (line,) = found({**BY_TLS, **client_files(*pair)}, tmp_path)
        assert line.startswith("AUTH_CLIENT_CERTIFICATE: is no PEM certificate with its private key")


@pytest.mark.parametrize(
    "change",
    [
        {"BFF_COOKIE_NAME": "__Host-bff"},
        {"BFF_COOKIE_DOMAIN": "example.com"},
        {"BFF_SECRETS": f"{KEY},{ANOTHER}"},
        {"REDIS_URL": "redis+sentinel://one,two/main"},
        {"ENVIRONMENT": "staging", "REDIS_URL": ""},
        {"READINESS_CHECKS": "store,idp"},
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path: Path, change: dict[str, str]) -> None:
    assert found({**PRODUCTION, **change}, tmp_path) == []


def test_several_providers_name_their_users_apart(tmp_path: Path) -> None:
    text = "providers: {%s}"
    one = "%s: {issuer: 'https://%s.example.com', client_id: bff, client_secret: x, user_id: %s}"
    (tmp_path / "idps.yaml").write_text(text % ", ".join(one % (name, name, "sub") for name in "ab"))
    (line,) = found(PRODUCTION, tmp_path)
    assert line.startswith(f"{tmp_path}/idps.yaml: with several providers the same `sub` may be two people")
    (tmp_path / "idps.yaml").write_text(text % (one % ("a", "a", "sub") + ", " + one % ("b", "b", "arn")))
    assert found(PRODUCTION, tmp_path) == []


def test_one_provider_at_most_is_shown_opaque_tokens(tmp_path: Path) -> None:
    one = "{issuer: 'https://a.example.com', client_id: bff, client_secret: x, user_id: arn, opaque_tokens: %s}"
    for first, second, chosen in (("true", "false", "a"), ("false", "true", "b"), ("false", "false", None)):
        (tmp_path / "idps.yaml").write_text(f"providers: {{a: {one % first}, b: {one % second}}}")
        assert found(PRODUCTION, tmp_path) == []
        assert settings.load(PRODUCTION, tmp_path).provider_of_opaque_tokens == chosen
    (tmp_path / "idps.yaml").write_text(f"providers: {{a: {one % 'true'}, b: {one % 'true'}}}")
    (line,) = found(PRODUCTION, tmp_path)
    assert line.startswith(f"{tmp_path}/idps.yaml: opaque_tokens: only one provider may be shown opaque tokens")


def test_a_provider_of_yaml_is_named_in_its_message(tmp_path: Path) -> None:
    (tmp_path / "idps.yaml").write_text("providers: {a: {issuer: 'https://a.example.com', client_id: bff}}")
    (line,) = found(PRODUCTION, tmp_path)
    assert line.startswith(f"{tmp_path}/idps.yaml:1: providers.a: AUTH_CLIENT_SECRET: is required")


def test_no_message_quotes_a_secret(tmp_path: Path) -> None:
    secrets = {
        "BFF_SECRETS": "hidden-secret",
        "REDIS_URL": "redis://user:hidden-redis@host:port/x",
        "TOKEN_AUTH_METHOD": "private_key_jwt",
        "AUTH_CLIENT_KEY": "hidden-key",
        "AUTH_CLIENT_SECRET": "hidden-client",
    }
    lines = found({**PRODUCTION, **secrets}, tmp_path)
    assert len(lines) == 3
    assert "hidden" not in report(lines)


def test_masked_settings_keep_everything_else(tmp_path: Path) -> None:
    shown = masked(settings.load(PRODUCTION, tmp_path))
    assert shown["base_url"] == "https://app.example.com"
    assert shown["store"]["redis_url"] == shown["secrets"] == shown["providers"][0]["client_secret"] == MASK
    assert shown["providers"][0]["client_key"] is None


def test_the_policy_decision_point_s_secrets_are_masked(tmp_path: Path) -> None:
    given = settings.load(PRODUCTION, tmp_path)
    shown = masked(replace(given, pdp=replace(given.pdp, bearer="hidden", invalidation_token="hidden")))["pdp"]
    assert shown["bearer"] == shown["invalidation_token"] == MASK
    assert shown["timeout"] == given.pdp.timeout


ASKING = (
    {"routes": (RouteSettings("r", "/api/x", "orders", authz=True, authz_map=AuthzMap("things", "read")),)},
    {"verify_profiles": (VerifyProfile("v", resource="wiki"),), "verify_bind": ("127.0.0.1", 8001)},
)


def test_a_broker_s_password_is_masked(tmp_path: Path) -> None:
    sasl = {"KAFKA_SECURITY_PROTOCOL": "sasl_ssl", "KAFKA_SASL_USERNAME": "bff", "KAFKA_SASL_PASSWORD": "hidden"}
    given = settings.load({**PRODUCTION, **sasl}, tmp_path)
    assert not problems(given)
    assert masked(given)["events"]["kafka"]["sasl_password"] == MASK
    assert "hidden" not in repr(given.events)


def test_a_certificate_authority_is_of_use_over_tls_only(tmp_path: Path, client: certificates.Certificates) -> None:
    (line,) = found({**PRODUCTION, "KAFKA_CA_FILE": str(client.ca)}, tmp_path)
    assert line == "KAFKA_CA_FILE: is not used with KAFKA_SECURITY_PROTOCOL plaintext; ssl or sasl_ssl would."
    assert not found({**PRODUCTION, "KAFKA_CA_FILE": str(client.ca), "KAFKA_SECURITY_PROTOCOL": "ssl"}, tmp_path)


@pytest.mark.parametrize("asking", ASKING)
def test_policies_are_checked_where_something_asks_them(tmp_path: Path, asking: dict[str, Any]) -> None:
    given = settings.load(PRODUCTION, tmp_path)

    def read() -> settings.Settings:
        return replace(given, pdp=replace(given.pdp, policies=policy_files(tmp_path, Files())))

    assert problems(read()) == []
    (line,) = problems(replace(read(), **asking))
    assert "holds no policy" in line
    (tmp_path / "a.cedar").write_text("permit(principal, action, resource);")
    assert problems(replace(read(), **asking)) == []
    (tmp_path / "b.cedar").write_text("permit(")
    assert ["b.cedar: is not Cedar" in line for line in problems(read())] == [True]
    remote = replace(read().pdp, base_url="https://pdp.example.com")
    assert problems(replace(given, **asking, pdp=remote)) == []


def test_readiness_can_wait_for_a_pdp_only_where_it_is_a_server(tmp_path: Path) -> None:
    given = settings.load({**PRODUCTION, "READINESS_CHECKS": "store,pdp"}, tmp_path)
    (line,) = problems(given)
    assert line.startswith("READINESS_CHECKS: pdp needs")
    assert problems(replace(given, pdp=replace(given.pdp, base_url="https://pdp.example.com"))) == []


def test_the_command_prints_every_problem_and_exits_with_78(tmp_path: Path) -> None:
    done = run(["bff.settings_check"], TEN_MISTAKES, tmp_path)
    assert (done.returncode, done.stdout) == (EX_CONFIG, "")
    assert EX_CONFIG == 78
    assert done.stderr.count("\n  - ") == 10


def test_the_readmes_own_recipe_is_without_a_complaint(tmp_path: Path) -> None:
    blocks = document_runner.blocks((ROOT / "README.md").read_text())
    (recipe,) = [block.text for block in blocks if "ENVIRONMENT=production" in block.text]
    exports = [line for line in recipe.splitlines() if line.startswith("export ")]

    def checked(lines: list[str]) -> "subprocess.CompletedProcess[str]":
        script = "\n".join(["set -e", *lines, f"{sys.executable} -m bff.settings_check"])
        environ = {"PATH": os.environ["PATH"], "BFF_DATA_DIR": str(tmp_path)}
        return subprocess.run(
            ["bash", "-c", script], env=environ, cwd=ROOT, capture_output=True, text=True, check=False
        )

    done = checked(exports)
    assert (done.returncode, done.stderr) == (0, "")
    done = checked([line for line in exports if "TRUSTED_PROXIES" not in line])
    assert done.returncode == EX_CONFIG
    assert "TRUSTED_PROXIES: is required" in done.stderr


def test_the_command_prints_good_settings_with_secrets_masked(tmp_path: Path) -> None:
    done = run(["bff.settings_check"], PRODUCTION, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "base_url: https://app.example.com\n" in done.stdout
    assert f"secrets: {MASK}\n" in done.stdout
    assert "hidden" not in done.stdout
    assert KEY not in done.stdout


def test_the_command_prints_what_to_register_at_providers(tmp_path: Path) -> None:
    done = run(["bff.settings_check"], PRODUCTION, tmp_path)
    assert "redirect_uris: {'default': 'https://app.example.com/auth/callback'}\n" in done.stdout
    assert "post_logout_redirect_uri: https://app.example.com/\n" in done.stdout
    one = "{issuer: 'https://a.example.com', client_id: bff, client_secret: x, user_id: arn}"
    (tmp_path / "config").mkdir()
    (tmp_path / "config/idps.yaml").write_text(f"providers: {{a: {one}, b: {one}}}")
    done = run(["bff.settings_check"], PRODUCTION, tmp_path)
    of_each = {name: f"https://app.example.com/auth/callback/{name}" for name in "ab"}
    assert f"redirect_uris: {of_each}\n" in done.stdout


def test_gunicorn_exits_with_78_before_it_binds_the_port(tmp_path: Path) -> None:
    """The port is taken: whoever tried to bind it would complain about that instead."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environ = {"PORT": str(taken.getsockname()[1]), "SESSION_BINDING": "maybe", "BFF_SECRET": "x"}
        done = run(["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"], environ, tmp_path)
    assert done.returncode == EX_CONFIG
    assert done.stderr.count("\n  - ") == 2
    assert "in use" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", ["argument", "variable", "inherited"])
def test_gunicorn_in_development_listens_to_this_machine_alone(tmp_path: Path, how: str) -> None:
    """The addresses of the command line win over gunicorn.conf.py, so they are known only when it starts."""
    with socket.socket() as chosen:
        chosen.bind(("0.0.0.0", 0))
        port = chosen.getsockname()[1]
        command, environ = ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"], {}
        if how == "argument":
            command += ["--bind", "127.0.0.1:0", "--bind", f"0.0.0.0:{port}"]
        elif how == "variable":
            environ["GUNICORN_CMD_ARGS"] = f"--bind [::]:{port}"
        else:
            os.set_inheritable(chosen.fileno(), True)
            chosen.listen()
            command += ["--bind", f"fd://{chosen.fileno()}"]
        done = run(command, environ, tmp_path, pass_fds=[chosen.fileno()])
    assert done.returncode == EX_CONFIG, done.stderr
    assert "bind: " in done.stderr
    assert "Set ENVIRONMENT to production" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Booting worker" not in done.stderr


def test_gunicorns_own_variables_are_checked_too(tmp_path: Path) -> None:
    done = run(["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"], {"WEB_THREADS": "many"}, tmp_path)
    assert done.returncode == EX_CONFIG
    assert "WEB_THREADS: 'many' is not a whole number." in done.stderr
