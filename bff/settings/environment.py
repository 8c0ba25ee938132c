"""Schema of the environment variables: name, type, default and allowed values, each declared once.

An empty variable counts as unset. `NAME_FILE` reads NAME from a file (Docker and Kubernetes secrets).
"""

import difflib
import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from bff import __version__
from bff.settings.env_fields import (
    Address,
    Events,
    FilePath,
    ListenAddress,
    Networks,
    Origins,
    Proxies,
    RateLimitList,
    Secrets,
    Servers,
    Words,
)
from bff.settings.files import Files
from bff.settings.model import (
    AUTH_METHODS,
    ENVIRONMENTS,
    FORWARDED_HEADERS,
    KAFKA_PROTOCOLS,
    PUBLIC_EVENTS,
    RATE_LIMITS,
    SASL_MECHANISMS,
    STORE_PREFIX,
    X_FORWARDED_FOR,
)
from bff.settings.yaml_fields import SECONDS, BaseUrl

_TOPIC_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,200}$")
_PREFIX = re.compile(r"[a-z0-9_-]{1,32}\Z")
_COOKIE_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")  # a token, RFC 9110 section 5.6.2


def _var(field: type[fields.Field[Any]], name: str, default: Any, **options: Any) -> Any:
    return field(data_key=name, load_default=default, **options)


LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))
PRIVATE_NETWORKS = (
    *LOOPBACK,
    *map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10")),
)
_positive = validate.Range(min=1)
_from_zero = validate.Range(min=0)


class EnvironmentSchema(Schema):
    """One line per variable; docs/configuration.md explains each, and a test keeps both equal."""

    class Meta:
        unknown = EXCLUDE

    environment = _var(fields.String, "ENVIRONMENT", "development", validate=validate.OneOf(ENVIRONMENTS))
    version = _var(fields.String, "BFF_VERSION", __version__)
    base_url = _var(fields.String, "BFF_BASE_URL", None)
    config_dir = _var(fields.String, "BFF_CONFIG_DIR", "config")
    data_dir = _var(fields.String, "BFF_DATA_DIR", ".bff")
    secrets = _var(Secrets, "BFF_SECRETS", ())
    redis_url = _var(fields.String, "REDIS_URL", None)
    redis_timeout = _var(fields.Float, "REDIS_TIMEOUT", 0.25, validate=validate.Range(min=0.01, max=10))
    store_prefix = _var(
        fields.String,
        "BFF_STORE_PREFIX",
        STORE_PREFIX,
        validate=validate.Regexp(_PREFIX, error="must be up to 32 of a-z, 0-9, _ and -, such as bff or shop-staging."),
    )
    issuer = _var(fields.String, "OIDC_ISSUER", None)
    client_id = _var(fields.String, "AUTH_CLIENT_ID", None)
    client_secret = _var(fields.String, "AUTH_CLIENT_SECRET", None)
    client_key = _var(fields.String, "AUTH_CLIENT_KEY", None)
    client_certificate = _var(FilePath, "AUTH_CLIENT_CERTIFICATE", None)
    client_certificate_key = _var(FilePath, "AUTH_CLIENT_CERTIFICATE_KEY", None)
    scopes = _var(fields.String, "OIDC_SCOPES", "openid profile email")
    auth_method = _var(fields.String, "TOKEN_AUTH_METHOD", "client_secret_basic", validate=validate.OneOf(AUTH_METHODS))
    audiences = _var(Words, "OIDC_AUDIENCES", ())
    par = _var(fields.String, "PAR_ENABLED", "auto", validate=validate.OneOf(["auto", "true", "false"]))
    dpop = _var(fields.Boolean, "DPOP_ENABLED", False)
    opaque_tokens = _var(fields.Boolean, "OPAQUE_TOKENS_ENABLED", True)
    token_refresh_threshold = _var(fields.Integer, "TOKEN_REFRESH_THRESHOLD", 300, validate=_positive)
    cookie_domain = _var(fields.String, "BFF_COOKIE_DOMAIN", None)
    cookie_name = _var(
        fields.String,
        "BFF_COOKIE_NAME",
        None,  # bff.settings.cookies
        validate=validate.Regexp(_COOKIE_NAME, error="is not a cookie name (RFC 6265)."),
    )
    csrf_cookie_name = _var(
        fields.String,
        "BFF_CSRF_COOKIE_NAME",
        "_eid_csrf_v1",  # bff.settings.cookies
        validate=validate.Regexp(_COOKIE_NAME, error="is not a cookie name (RFC 6265)."),
    )
    cookie_samesite = _var(
        fields.String, "BFF_COOKIE_SAMESITE", "Lax", validate=validate.OneOf(["Lax", "Strict", "None"])
    )
    cookie_secure = _var(fields.Boolean, "BFF_COOKIE_SECURE", None)
    session_lifetime = _var(fields.Integer, "SESSION_LIFETIME", 28800, validate=_positive)
    session_idle_timeout = _var(fields.Integer, "SESSION_IDLE_TIMEOUT", 3600, validate=_positive)
    login_timeout = _var(fields.Integer, "LOGIN_TIMEOUT", 900, validate=_positive)
    session_binding = _var(
        fields.String, "SESSION_BINDING", "observe", validate=validate.OneOf(["enforce", "observe", "off"])
    )
    session_bound_to = _var(
        fields.String, "SESSION_BINDING_TO", "both", validate=validate.OneOf(["both", "address", "agent"])
    )
    session_cache_ttl = _var(fields.Float, "SESSION_CACHE_TTL", 5.0, validate=validate.Range(min=0, max=60))
    session_cache_size = _var(fields.Integer, "SESSION_CACHE_SIZE", 20000, validate=_from_zero)
    session_outage_grace = _var(fields.Float, "SESSION_OUTAGE_GRACE", 10.0, validate=validate.Range(min=0, max=300))
    trusted_proxies = _var(Proxies, "TRUSTED_PROXIES", LOOPBACK)
    forwarded_header = _var(
        fields.String, "FORWARDED_HEADER", X_FORWARDED_FOR, validate=validate.OneOf(FORWARDED_HEADERS)
    )
    allowed_redirect_origins = _var(Origins, "BFF_ALLOWED_REDIRECT_HOSTS", ())
    cors_allow_origins = _var(Origins, "CORS_ALLOW_ORIGINS", ())
    hsts = _var(fields.Integer, "BFF_HSTS", 0, validate=_from_zero)
    verify_bind = _var(ListenAddress, "VERIFY_BIND", None)
    drain_delay = _var(fields.Float, "DRAIN_DELAY", 3.0, validate=validate.Range(min=0, max=600))
    readiness_checks = _var(Words, "READINESS_CHECKS", ("store",))
    metrics_bind = _var(Address, "METRICS_BIND", None)
    metrics_allowed = _var(Networks, "METRICS_ALLOWED_CIDRS", PRIVATE_NETWORKS)
    metrics_token = _var(fields.String, "METRICS_TOKEN", None)
    metrics_user_label = _var(
        fields.String, "METRICS_USER_LABEL", "bucket", validate=validate.OneOf(["bucket", "off", "raw"])
    )
    metrics_user_buckets = _var(fields.Integer, "METRICS_USER_BUCKETS", 1024, validate=validate.Range(min=1, max=65536))
    public_events = _var(Events, "PUBLIC_METRICS_EVENTS", PUBLIC_EVENTS)
    telemetry_enabled = _var(fields.Boolean, "TELEMETRY_ENABLED", True)
    otlp_endpoint = _var(BaseUrl, "OTLP_ENDPOINT", None)
    traces_per_second = _var(fields.Float, "TELEMETRY_TRACES_PER_SECOND", 100.0, validate=_from_zero)
    rate_limits = _var(RateLimitList, "RATE_LIMITS", RATE_LIMITS)
    kafka_servers = _var(Servers, "KAFKA_BOOTSTRAP_SERVERS", ())
    kafka_topic_prefix = _var(
        fields.String,
        "KAFKA_TOPIC_PREFIX",
        "bff",
        validate=validate.Regexp(_TOPIC_PREFIX, error="is not the beginning of a topic's name, such as bff."),
    )
    kafka_protocol = _var(
        fields.String, "KAFKA_SECURITY_PROTOCOL", "plaintext", validate=validate.OneOf(KAFKA_PROTOCOLS)
    )
    kafka_ca_file = _var(FilePath, "KAFKA_CA_FILE", None)
    kafka_mechanism = _var(
        fields.String, "KAFKA_SASL_MECHANISM", "SCRAM-SHA-512", validate=validate.OneOf(SASL_MECHANISMS)
    )
    kafka_username = _var(fields.String, "KAFKA_SASL_USERNAME", None)
    kafka_password = _var(fields.String, "KAFKA_SASL_PASSWORD", None)
    outbox_limit = _var(fields.Integer, "OUTBOX_MAX_EVENTS", 100_000, validate=validate.Range(min=100))
    outbox_max_age = _var(fields.Float, "OUTBOX_MAX_AGE", 604_800.0, validate=validate.Range(min=60))
    pdp_base_url = _var(BaseUrl, "PDP_BASE_URL", None)
    pdp_timeout = _var(fields.Float, "PDP_TIMEOUT", 2.0, validate=SECONDS)
    pdp_cache_allow_ttl = _var(fields.Float, "PDP_CACHE_ALLOW_TTL", 60.0, validate=_from_zero)
    pdp_cache_deny_ttl = _var(fields.Float, "PDP_CACHE_DENY_TTL", 10.0, validate=_from_zero)
    port = _var(fields.Integer, "PORT", 8000, validate=validate.Range(min=1, max=65535))
    log_level = _var(
        fields.String,
        "LOG_LEVEL",
        "info",
        validate=validate.OneOf(["debug", "info", "warning", "error", "critical"]),
    )


# gunicorn.conf.py reads them before there are settings, so they are not fields above.
SERVER_VARIABLES = frozenset(
    {"WEB_CONCURRENCY", "WEB_THREADS", "WEB_WORKER_CLASS", "WEB_MAX_REQUESTS", "PROMETHEUS_MULTIPROC_DIR"}
)
VARIABLES = frozenset(str(field.data_key) for field in EnvironmentSchema().fields.values())


def read(environ: Mapping[str, str], files: Files) -> tuple[dict[str, Any], list[str]]:
    """The values by field name, and one sentence for each wrong variable (its default is used)."""
    given, problems = _with_files(environ, files)
    problems += _misspelt(environ)
    schema = EnvironmentSchema()
    try:
        return schema.load(given), problems
    except ValidationError as err:
        wrong = err.normalized_messages()
        problems += [f"{name}: {' '.join(map(str, messages))}" for name, messages in wrong.items()]
        rest = {name: value for name, value in given.items() if name not in wrong}
        return schema.load(rest), problems


def _with_files(environ: Mapping[str, str], files: Files) -> tuple[dict[str, str], list[str]]:
    given = {name: environ[name].strip() for name in VARIABLES if environ.get(name, "").strip()}
    problems = []
    for name in sorted(VARIABLES):
        path = environ.get(f"{name}_FILE")
        if not path:
            continue
        if name in given:
            problems.append(f"{name}: {name}_FILE is set as well; keep one of them.")
        try:
            given[name] = files.text(Path(path)).strip()
        except (OSError, ValueError) as err:
            problems.append(f"{name}_FILE: {path!r} cannot be read ({type(err).__name__}).")
    return given, problems


def _misspelt(environ: Mapping[str, str]) -> list[str]:
    known = VARIABLES | {f"{name}_FILE" for name in VARIABLES}
    problems = []
    for name in sorted(environ):
        if (
            name.startswith(("BFF_", "SESSION_CACHE", "SESSION_LIFE", "SESSION_IDLE", "SESSION_OUTAGE"))
            and name not in known
        ):
            close = difflib.get_close_matches(name, known, n=1)
            problems.append(f"{name}: there is no such setting." + (f" Did you mean {close[0]}?" if close else ""))
    return problems
