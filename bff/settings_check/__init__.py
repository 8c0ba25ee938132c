"""Validation: every mistake in the settings at once, before gunicorn binds a port.

`python -m bff.settings_check` prints them and exits with 78 (EX_CONFIG of sysexits.h), or prints the effective settings
with their secrets masked.
"""

import dataclasses
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bff import routes, settings
from bff.keys import signing
from bff.kv import redis_url
from bff.pdp import cedar
from bff.settings import ProviderSettings, Settings, TokenKind, cookies, cross_checks, exposure
from bff.settings.cookies import is_loopback, is_loopback_host

EX_CONFIG = 78
MASK = "********"
_SECRETS = frozenset(
    {
        "secrets",
        "client_secret",
        "client_key",
        "redis_url",
        "token",
        "bearer",
        "invalidation_token",
        "sasl_password",
    }
)
_CHECKS = ("store", "idp", "pdp")
_ABROAD = (
    "reaches beyond this machine, but ENVIRONMENT is development, as it is unless set, where any client may log in as"
    " any user. Set ENVIRONMENT to production, or to staging for http."
)
# OpenSSL's reasons for a key of another certificate; the last is for a key of another kind.
_STRANGERS = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


class InvalidSettings(Exception):
    """problems: one sentence each, with the setting's name and a correct form."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def problems(config: Settings) -> list[str]:
    """Every mistake: those of single values first, then contradictions between values."""
    return [
        *config.problems,
        *_general(config),
        *cookies.problems(config),
        *exposure.problems(config),
        *_providers(config),
        *cross_checks.problems(config),
        *_routes(config),
        *_policies(config),
        *_development(config),
        *_proxies(config),
        *_production(config),
    ]


def require_valid(config: Settings) -> None:
    """Raises InvalidSettings."""
    found = problems(config)
    if found:
        raise InvalidSettings(found)


def _general(config: Settings) -> Iterator[str]:
    if not config.secrets and not any(line.startswith("BFF_SECRETS") for line in config.problems):
        yield "BFF_SECRETS: is required outside development: one or two base64 keys of 32 random bytes, newest first."
    if len(config.secrets) > 2:
        yield "BFF_SECRETS: at most two keys, the newest first."
    if config.store.redis_url:
        yield from _redis(config.store.redis_url)
    if config.sessions.idle_timeout > config.sessions.lifetime:
        yield "SESSION_IDLE_TIMEOUT: is longer than SESSION_LIFETIME, so it would never be reached."
    for name in config.readiness_checks:
        if name not in _CHECKS:
            yield f"READINESS_CHECKS: {name!r} is not a check; there are {', '.join(_CHECKS)}."
    if "pdp" in config.readiness_checks and config.pdp.base_url is None:
        yield "READINESS_CHECKS: pdp needs a policy decision point at an address; there is only the embedded one."


def _redis(url: str) -> Iterator[str]:
    try:
        redis_url.parse(url)
    except ValueError as err:  # its message does not quote the URL
        yield f"REDIS_URL: {err}."


def _providers(config: Settings) -> Iterator[str]:
    if not config.providers and not any("idps.yaml" in line for line in config.problems):
        yield "OIDC_ISSUER: is required outside development, unless config/idps.yaml declares a provider."
    file = config.config_dir / "idps.yaml"
    for provider in config.providers:
        where = f"{file}:{provider.line}: providers.{provider.id}: " if provider.line else ""
        yield from (where + line for line in _provider(provider, config))
    if sum(provider.user_id == "sub" for provider in config.providers) > 1:
        yield (
            f"{file}: with several providers the same `sub` may be two people;"
            " set user_id: arn for all of them but one."
        )

    declared = [provider.id for provider in config.providers if provider.opaque_tokens]
    if len(declared) > 1:
        yield (
            f"{file}: opaque_tokens: only one provider may be shown opaque tokens, since each learns all of them;"
            f" there are {', '.join(declared)}."
        )


def _provider(provider: ProviderSettings, config: Settings) -> Iterator[str]:
    if not _is_issuer(provider.issuer):
        yield f"OIDC_ISSUER: {provider.issuer!r} is not an https URL without query or fragment."
    elif urlsplit(provider.issuer).scheme == "http" and not (config.development or is_loopback(provider.issuer)):
        yield "OIDC_ISSUER: must be https."
    if not provider.client_id:
        yield "AUTH_CLIENT_ID: is required with OIDC_ISSUER."
    if provider.auth_method.startswith("client_secret") and not provider.client_secret:
        yield f"AUTH_CLIENT_SECRET: is required for TOKEN_AUTH_METHOD {provider.auth_method}."
    if provider.auth_method == "private_key_jwt":
        if not provider.client_key:
            yield "AUTH_CLIENT_KEY: a private key (JWK or PEM) or a JWK Set is required for private_key_jwt."
        elif not signing.is_signing_keys(provider.client_key):
            yield "AUTH_CLIENT_KEY: is no private key (EC, RSA or Ed25519) as JWK or PEM, nor a JWK Set of such keys."
    if provider.mutual_tls or provider.client_certificate or provider.client_certificate_key:
        yield from _certificate(provider)
    if "openid" not in provider.scopes.split():
        yield "OIDC_SCOPES: must contain openid."


def _routes(config: Settings) -> Iterator[str]:
    file = config.config_dir / "routes.yaml"
    for line, sentence in routes.problems(
        config.routes, strict=config.pdp.strict, typed=config.pdp.base_url is not None
    ):
        yield f"{file}:{line}: {sentence}"


def _policies(config: Settings) -> list[str]:
    if config.pdp.base_url is not None:
        return []
    asked = any(route.authz for route in config.routes) or any(one.resource for one in config.verify_profiles)
    return cedar.problems(config.pdp.policies, needed=asked)


def _certificate(provider: ProviderSettings) -> Iterator[str]:
    found = [
        *_file("AUTH_CLIENT_CERTIFICATE", provider.client_certificate),
        *_file("AUTH_CLIENT_CERTIFICATE_KEY", provider.client_certificate_key),
    ]
    yield from found
    if found or provider.certificate is None:
        return
    try:
        # An empty password, because OpenSSL would prompt on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(*provider.certificate, password="")
    except ssl.SSLError as err:
        if err.reason in _STRANGERS:
            yield "AUTH_CLIENT_CERTIFICATE_KEY: is not the key of AUTH_CLIENT_CERTIFICATE."
        else:
            yield "AUTH_CLIENT_CERTIFICATE: is no PEM certificate with its private key in AUTH_CLIENT_CERTIFICATE_KEY."


def _file(name: str, path: Path | None) -> Iterator[str]:
    if path is None:
        yield f"{name}: a PEM file is required for client authentication by TLS."
        return
    try:
        path.read_bytes()
    except OSError as err:
        yield f"{name}: {str(path)!r} cannot be read ({type(err).__name__})."


def _is_issuer(text: str) -> bool:
    """Whether it is a URL without query and fragment (OpenID Connect Core section 2)."""
    try:
        parts = urlsplit(text)
        return bool(parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment))
    except ValueError:
        return False


def _proxies(config: Settings) -> Iterator[str]:
    """A problem if TRUSTED_PROXIES is left at its default, which is right on one machine alone. A wrong value breaks
    nothing visible at first."""
    wrong = any(line.startswith("TRUSTED_PROXIES") for line in config.problems)
    if not (config.development or config.trusted_proxies_given or wrong):
        yield (
            "TRUSTED_PROXIES: is required outside development: the networks of your reverse proxies, such as"
            " 10.0.0.0/8; 127.0.0.0/8 for one on this machine."
        )


def _production(config: Settings) -> Iterator[str]:
    if config.environment != settings.PRODUCTION:
        return
    if not config.store.redis_url:
        yield "REDIS_URL: is required in production; the embedded store serves one machine only."
    if not config.cookies.secure:
        yield "BFF_COOKIE_SECURE: must be true in production."
    if not config.base_url.startswith("https:"):
        yield "BFF_BASE_URL: is required in production and must be https."


def _development(config: Settings) -> Iterator[str]:
    if not config.development:
        return
    if not is_loopback(config.base_url):
        yield f"BFF_BASE_URL: {_ABROAD}"
    for name, bind in (("METRICS_BIND", config.metrics.bind), ("VERIFY_BIND", config.verify_bind)):
        if isinstance(bind, tuple) and not is_loopback_host(bind[0]):
            yield f"{name}: {_ABROAD}"


def listener_problems(config: Settings, addresses: Iterable[object]) -> list[str]:
    """Problems of the addresses that the server listens on.

    addresses: as gunicorn and sockets have them, a tuple that begins with a host, or a value that only this machine can
    reach.
    """
    if not config.development:
        return []
    hosts = [address[0] for address in addresses if isinstance(address, tuple)]
    return [f"bind: {host!r} {_ABROAD}" for host in hosts if not is_loopback_host(host)]


def masked(value: Any, name: str = "") -> Any:
    """The settings as plain data, with every secret masked."""
    if name in _SECRETS and value and not isinstance(value, TokenKind):  # a kind of token is no secret
        return MASK
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: masked(getattr(value, field.name), field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | frozenset):
        return [masked(item) for item in value]
    return value


def report(found: list[str]) -> str:
    return "\n".join([f"{len(found)} problem(s) in the settings:", *(f"  - {line}" for line in found)])
