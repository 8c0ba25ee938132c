"""Loader: the only reader of the environment and of YAML.

`load` never raises for a wrong value. It uses the default instead and adds a sentence to `Settings.problems`, so that
`bff.settings_check` can show every mistake at once.
"""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marshmallow import ValidationError

from bff.lib import own_files
from bff.settings import env_fields, environment, idps, pdp, routes, server, telemetry, verify
from bff.settings.cookies import cookie_settings
from bff.settings.files import Files
from bff.settings.model import (
    CALLBACK_PATH,
    DEVELOPMENT,
    FORWARDED,
    IDENTITY_HEADERS,
    PDP,
    PRODUCTION,
    REQUIRED,
    STORE_PREFIX,
    USER_TOKEN,
    X_FORWARDED_FOR,
    Auth,
    AuthzMap,
    Bind,
    ClaimNames,
    CookieSettings,
    EventSettings,
    KafkaSettings,
    MetricsSettings,
    Network,
    OnError,
    PdpSettings,
    PolicyFiles,
    ProviderSettings,
    RateLimit,
    RouteSettings,
    ServiceSettings,
    SessionSettings,
    Settings,
    Signal,
    StoreSettings,
    TelemetrySettings,
    TokenKind,
    UpstreamSettings,
    VerifyProfile,
)

__all__ = [
    "CALLBACK_PATH",
    "DEVELOPMENT",
    "FORWARDED",
    "IDENTITY_HEADERS",
    "PDP",
    "PRODUCTION",
    "REQUIRED",
    "USER_TOKEN",
    "X_FORWARDED_FOR",
    "Auth",
    "AuthzMap",
    "Bind",
    "ClaimNames",
    "CookieSettings",
    "EventSettings",
    "Files",
    "KafkaSettings",
    "MetricsSettings",
    "Network",
    "OnError",
    "PdpSettings",
    "PolicyFiles",
    "ProviderSettings",
    "RateLimit",
    "RouteSettings",
    "ServiceSettings",
    "SessionSettings",
    "Settings",
    "Signal",
    "StoreSettings",
    "TelemetrySettings",
    "TokenKind",
    "UpstreamSettings",
    "VerifyProfile",
    "load",
]  # fmt: skip

EMBEDDED_PROVIDER_PATH = "/dev/idp"
_PAR = {"auto": "auto", "true": "always", "false": "never"}


def load(
    environ: Mapping[str, str] | None = None, config_dir: Path | None = None, files: Files | None = None
) -> Settings:
    """Read the environment (os.environ by default) and every file that it names into one frozen value."""
    environ = os.environ if environ is None else environ
    files = files or Files()
    values, problems = environment.read(environ, files)
    base_url, wrong = _base_url(values)
    problems += wrong
    folder = config_dir or Path(values["config_dir"])
    development = values["environment"] == DEVELOPMENT
    providers, wrong = idps.providers(folder, environ, files)
    problems += wrong
    declared = routes.DeclaredRoutes(folder, environ, files, base_url if development else None)
    policy, wrong = pdp.pdp(folder, environ, files, values)
    problems += declared.problems + wrong
    profiles, wrong = verify.profiles(folder, environ, files, declared.services)
    problems += wrong
    exported, wrong = telemetry.telemetry(environ, values)
    problems += wrong
    embedded = development and not providers and not values["issuer"]
    keys = values["secrets"]
    if development and not keys:
        keys, wrong = _generated_secrets(Path(values["data_dir"]))
        problems += wrong
    return Settings(
        environment=values["environment"],
        version=values["version"],
        base_url=base_url,
        port=values["port"],
        log_level=values["log_level"],
        secrets=keys,
        store=_store(values),
        cookies=cookie_settings(values, base_url),
        sessions=SessionSettings(
            values["session_lifetime"],
            values["session_idle_timeout"],
            values["session_binding"],
            values["session_bound_to"],
            values["session_cache_ttl"],
            values["session_cache_size"],
            values["session_outage_grace"],
        ),
        providers=(_embedded(base_url),) if embedded else providers or _from_environment(values),
        services=tuple(declared.services.values()),
        upstreams=tuple(declared.upstreams.values()),
        routes=declared.routes,
        pdp=policy,
        verify_profiles=profiles,
        login_timeout=values["login_timeout"],
        token_refresh_threshold=values["token_refresh_threshold"],
        trusted_proxies=tuple(each for each in values["trusted_proxies"] if each != env_fields.UNIX),
        trust_unix_sockets=env_fields.UNIX in values["trusted_proxies"],
        forwarded_header=values["forwarded_header"],
        allowed_redirect_origins=frozenset(values["allowed_redirect_origins"]),
        cors_allow_origins=frozenset(values["cors_allow_origins"]),
        hsts=values["hsts"],
        readiness_checks=values["readiness_checks"],
        rate_limits=values["rate_limits"],
        metrics=MetricsSettings(
            values["metrics_bind"],
            values["metrics_allowed"],
            values["metrics_token"],
            values["metrics_user_label"],
            values["metrics_user_buckets"],
            values["public_events"],
        ),
        telemetry=exported,
        events=EventSettings(
            KafkaSettings(
                values["kafka_servers"],
                values["kafka_topic_prefix"],
                values["kafka_protocol"],
                values["kafka_ca_file"],
                values["kafka_mechanism"],
                values["kafka_username"],
                values["kafka_password"],
            ),
            values["outbox_limit"],
            values["outbox_max_age"],
        ),
        embedded_provider=embedded,
        verify_bind=values["verify_bind"],
        trusted_proxies_given=values["trusted_proxies"] is not environment.LOOPBACK,
        drain_delay=values["drain_delay"],
        concurrency=server.concurrency(environ),
        greenlets=server.greenlets(environ),
        config_dir=folder,
        problems=tuple(problems),
    )


def _store(values: Mapping[str, Any]) -> StoreSettings:
    prefix = values["store_prefix"]
    file = "store.sqlite3" if prefix == STORE_PREFIX else f"store.{prefix}.sqlite3"
    return StoreSettings(values["redis_url"], Path(values["data_dir"]) / file, values["redis_timeout"], prefix)


def _base_url(values: Mapping[str, Any]) -> tuple[str, list[str]]:
    derived = f"http://127.0.0.1:{values['port']}"
    if not values["base_url"]:
        return derived, []
    try:
        return env_fields.normal_origin(values["base_url"]), []
    except ValidationError as err:
        return derived, [f"BFF_BASE_URL: {err.messages[0]}"]


def _from_environment(values: Mapping[str, Any]) -> tuple[ProviderSettings, ...]:
    if not values["issuer"]:
        return ()
    return (
        ProviderSettings(
            id="default",
            issuer=values["issuer"],
            client_id=values["client_id"] or "",
            client_secret=values["client_secret"],
            client_key=values["client_key"],
            client_certificate=values["client_certificate"],
            client_certificate_key=values["client_certificate_key"],
            auth_method=values["auth_method"],
            scopes=values["scopes"],
            par=_PAR[values["par"]],
            dpop=values["dpop"],
            opaque_tokens=values["opaque_tokens"],
            audiences=values["audiences"],
        ),
    )


def _embedded(base_url: str) -> ProviderSettings:
    """The development provider in the BFF's own process; its client secret protects nothing."""
    return ProviderSettings(
        id="embedded",
        issuer=base_url + EMBEDDED_PROVIDER_PATH,
        client_id="bff-development",
        client_secret="not-a-secret-in-development",  # noqa: S106 - known on purpose, loaded in development only
        scopes="openid profile email roles offline_access",
    )


def _generated_secrets(folder: Path) -> tuple[tuple[bytes, ...], list[str]]:
    try:
        return (_generated_secret(folder),), []
    except OSError as err:
        reason = err if isinstance(err, own_files.NotOurs) else type(err).__name__
        return (), [f"BFF_SECRETS: none is set, and none can be kept in BFF_DATA_DIR ({reason})."]


def _generated_secret(folder: Path) -> bytes:
    """A secret of this machine, made once, so that sessions survive a restart and all workers use the same one."""
    path = folder / "secret"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.path.lexists(path):
        descriptor, draft = tempfile.mkstemp(prefix="secret.", dir=folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(env_fields.SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())  # else a crash could leave an empty file
        with contextlib.suppress(FileExistsError):  # another process was faster, and its secret counts
            os.link(draft, path)  # atomic: no process reads half a secret
        Path(draft).unlink()
    with os.fdopen(own_files.open_file(path), "rb") as file:
        return file.read()
