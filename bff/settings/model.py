"""The settings as everybody else sees them: frozen values, secrets kept out of every repr."""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

Network = IPv4Network | IPv6Network

DEVELOPMENT = "development"
PRODUCTION = "production"
ENVIRONMENTS = (DEVELOPMENT, "staging", PRODUCTION)

MTLS_METHODS = ("tls_client_auth", "self_signed_tls_client_auth")
AUTH_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", *MTLS_METHODS)
PUBLIC_EVENTS = ("page_view", "spa_error", "api_error", "login_click", "logout_click", "web_vital")
SIGNING_ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip


@dataclass(frozen=True)
class StoreSettings:
    """redis_url is None for the embedded SQLite store at `path`. timeout: seconds a call may take."""

    redis_url: str | None = field(repr=False)
    path: Path
    timeout: float


@dataclass(frozen=True)
class CookieSettings:
    name: str
    domain: str | None
    samesite: str
    secure: bool


@dataclass(frozen=True)
class SessionSettings:
    """Times in seconds. binding: enforce, observe or off. cache_size 0 or cache_ttl 0 turns the cache off."""

    lifetime: int
    idle_timeout: int
    binding: str
    cache_ttl: float
    cache_size: int


@dataclass(frozen=True)
class MetricsSettings:
    """bind: (host, port) of a process of their own, None for the public port. allowed: who may read them. token: what a
    scraper must send as Bearer token, None for nothing. user_label: bucket, off or raw. public_events: names of events
    from browsers that are counted by name."""

    bind: tuple[str, int] | None
    allowed: tuple[Network, ...]
    token: str | None = field(default=None, repr=False)
    user_label: str = "bucket"
    user_buckets: int = 1024
    public_events: tuple[str, ...] = PUBLIC_EVENTS


@dataclass(frozen=True)
class RateLimit:
    """How often one client may, in any stretch of time as long as `per`."""

    name: str
    amount: int
    per: str

    def __str__(self) -> str:
        return f"{self.name}={self.amount}/{self.per}"


RATE_LIMITS = (RateLimit("beacon", 120, "minute"),)


@dataclass(frozen=True)
class ClaimNames:
    """Where a provider keeps what the BFF wants to know; a dot descends into an object."""

    name: str = "name"
    email: str = "email"
    roles: str = "roles"
    permissions: str = "permissions"


@dataclass(frozen=True)
class ProviderSettings:
    """One OpenID Provider and this BFF's registration there.

    id: the alias used in URLs and ARNs. user_id: `sub`, or `arn` for `auth:account:{id}:{sub}`, which stays unique
    among several providers. par: auto (when the provider offers it), always or never (RFC 9126). dpop: whether tokens
    are bound to a key of the session (RFC 9449). client_certificate, client_certificate_key: PEM files, shown to a
    server that asks for them. audiences: what an access token may name to be for us; none for BFF_BASE_URL.
    """

    id: str
    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    client_key: str | None = field(default=None, repr=False)
    client_certificate: Path | None = None
    client_certificate_key: Path | None = None
    auth_method: str = "client_secret_basic"
    scopes: str = "openid profile email"
    par: str = "auto"
    dpop: bool = False
    user_id: str = "sub"
    claims: ClaimNames = ClaimNames()
    audiences: tuple[str, ...] = ()
    id_token_algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
    authorization_parameters: tuple[tuple[str, str], ...] = ()

    @property
    def mutual_tls(self) -> bool:
        """Whether a certificate proves who this BFF is (RFC 8705 section 2)."""
        return self.auth_method in MTLS_METHODS

    @property
    def certificate(self) -> tuple[Path, Path] | None:
        """The certificate's file and its private key's, or None."""
        if self.client_certificate is None or self.client_certificate_key is None:
            return None
        return self.client_certificate, self.client_certificate_key


USER_TOKEN = "user"  # noqa: S105 - the name of the session's own token where services are named


class TokenKind(StrEnum):
    """Which token opens a service: the session's own; that one exchanged (RFC 8693); the BFF's own, or none."""

    USER = "user"
    EXCHANGE = "exchange"
    CLIENT_CREDENTIALS = "client_credentials"
    NONE = "none"


@dataclass(frozen=True)
class ServiceSettings:
    """One service behind the BFF, and which token opens it.

    idp: whose client_credentials, None for the default provider. audience (RFC 8693) and resource (RFC 8707) name the
    service to the provider. scope: what the token must be good for.
    """

    id: str
    token: TokenKind = TokenKind.USER
    idp: str | None = None
    audience: str | None = None
    resource: str | None = None
    scope: str = ""


@dataclass(frozen=True)
class Settings:
    """Everything an operator decides. `problems` holds what could not be read; see bff.settings_check."""

    environment: str
    version: str
    base_url: str
    port: int
    log_level: str
    secrets: tuple[bytes, ...] = field(repr=False)
    store: StoreSettings
    cookies: CookieSettings
    sessions: SessionSettings
    providers: tuple[ProviderSettings, ...]
    services: tuple[ServiceSettings, ...]
    token_refresh_threshold: int
    trusted_proxies: tuple[Network, ...]
    allowed_redirect_origins: frozenset[str]
    cors_allow_origins: frozenset[str]
    readiness_checks: tuple[str, ...]
    rate_limits: tuple[RateLimit, ...]
    metrics: MetricsSettings
    embedded_provider: bool
    generated_secrets: bool
    problems: tuple[str, ...] = ()

    @property
    def development(self) -> bool:
        return self.environment == DEVELOPMENT
