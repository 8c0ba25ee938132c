"""Cross-field validation: mistakes that only the combination of settings and files shows."""

import ssl
from collections.abc import Iterator
from pathlib import Path

from bff.settings.model import KafkaSettings, ServiceSettings, Settings, TokenKind, VerifyProfile
from bff.settings.yaml_file import no_such

_NOT_FOR_BROWSERS = (
    "with a service or authz: pdp, it answers proxies alone; set VERIFY_BIND to an address that only they reach,"
    " such as 127.0.0.1:8001."
)
_BOUND = "is opened by tokens that are bound to a key (DPoP), which a proxy could not prove to hold."


def problems(config: Settings) -> Iterator[str]:
    for service in config.services:
        where = _at(config, "routes.yaml", service.line, f"services.{service.id}.idp")
        yield from (where + line for line in _idp(config, service))
    for upstream in config.upstreams:
        where = _at(config, "routes.yaml", upstream.line, f"services.{upstream.service}.ca_file")
        yield from (where + line for line in _authorities(upstream.ca_file))
    if config.pdp.service is not None:
        where = _at(config, "pdp.yaml", config.pdp.service.line, "connection.idp")
        yield from (where + line for line in _idp(config, config.pdp.service))
    where = f"{config.config_dir / 'pdp.yaml'}: connection.ca_file: "
    yield from (where + line for line in _authorities(config.pdp.ca_file))
    yield from _kafka(config.events.kafka)
    yield from _verify_bind(config)
    for profile in config.verify_profiles:
        if config.verify_bind is None and not profile.plain:
            yield _at(config, "verify.yaml", profile.line, f"profiles.{profile.id}") + _NOT_FOR_BROWSERS
        where = _at(config, "verify.yaml", profile.line, f"profiles.{profile.id}.service")
        yield from (where + line for line in _bound(config, profile))


def _at(config: Settings, file: str, line: int, key: str) -> str:
    return f"{config.config_dir / file}:{line}: {key}: "


def _kafka(kafka: KafkaSettings) -> Iterator[str]:
    sasl, tls = kafka.protocol.startswith("sasl_"), kafka.protocol.endswith("ssl")
    for name, value in (("USERNAME", kafka.username), ("PASSWORD", kafka.sasl_password)):
        if sasl and not value:
            yield f"KAFKA_SASL_{name}: is required for KAFKA_SECURITY_PROTOCOL {kafka.protocol}."
        if value and not sasl:
            yield f"KAFKA_SASL_{name}: is not used with KAFKA_SECURITY_PROTOCOL {kafka.protocol}; sasl_ssl would."
    if kafka.ca_file is not None and not tls:
        yield f"KAFKA_CA_FILE: is not used with KAFKA_SECURITY_PROTOCOL {kafka.protocol}; ssl or sasl_ssl would."
    yield from (f"KAFKA_CA_FILE: {line}" for line in _authorities(kafka.ca_file))


def _verify_bind(config: Settings) -> Iterator[str]:
    bind = config.verify_bind
    if isinstance(bind, str) and not Path(bind).parent.is_dir():
        yield f"VERIFY_BIND: there is no folder {str(Path(bind).parent)!r} for the socket file."
    if isinstance(bind, str) and Path(bind).exists() and not Path(bind).is_socket():
        yield f"VERIFY_BIND: {bind!r} is there already, and no socket."
    if isinstance(bind, str) and not config.trust_unix_sockets:
        yield "VERIFY_BIND: is a socket file; add unix to TRUSTED_PROXIES, else the BFF trusts no proxy on it."
    if isinstance(bind, tuple) and bind[1] == config.port:
        yield "VERIFY_BIND: has the port of the public listener (PORT); it needs one of its own."
    if isinstance(bind, tuple) and config.metrics.bind is not None and bind[1] == config.metrics.bind[1]:
        yield "VERIFY_BIND: has the port of METRICS_BIND; it needs one of its own."


def _idp(config: Settings, service: ServiceSettings) -> Iterator[str]:
    aliases = [provider.id for provider in config.providers]
    if service.idp is not None and service.idp not in aliases:
        yield no_such("provider", service.idp, aliases)


def _authorities(path: Path | None) -> Iterator[str]:
    if path is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        yield f"{str(path)!r} holds no certificate in PEM."
    except OSError as err:
        yield f"{str(path)!r} cannot be read ({type(err).__name__})."


def _bound(config: Settings, profile: VerifyProfile) -> Iterator[str]:
    """A session's tokens come from any provider that its user chose; the BFF's own come from one."""
    services = {service.id: service for service in config.services}
    service = services.get(profile.service or "")
    if service is None:
        return
    providers = config.providers
    if service.token is TokenKind.CLIENT_CREDENTIALS:
        own = [provider for provider in providers if provider.id == service.idp]
        providers = tuple(own) if service.idp else providers[:1]
    if any(provider.dpop for provider in providers):
        yield _BOUND
