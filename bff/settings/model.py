"""Value objects: the settings as all other packages see them, frozen, with secrets kept out of every repr."""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

Network = IPv4Network | IPv6Network
Bind = tuple[str, int] | str
"""An address to listen on: (host, port), or the path of a socket file."""

X_FORWARDED_FOR, FORWARDED = "x-forwarded-for", "forwarded"
FORWARDED_HEADERS = (X_FORWARDED_FOR, FORWARDED)

DEVELOPMENT = "development"
PRODUCTION = "production"
ENVIRONMENTS = (DEVELOPMENT, "staging", PRODUCTION)

MTLS_METHODS = ("tls_client_auth", "self_signed_tls_client_auth")
AUTH_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", *MTLS_METHODS)
REQUIRED, OPTIONAL = "required", "optional"
PUBLIC_EVENTS = ("page_view", "spa_error", "api_error", "login_click", "logout_click", "web_vital")
SIGNING_ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip


STORE_PREFIX = "bff"


@dataclass(frozen=True)
class StoreSettings:
    """redis_url: None for the embedded SQLite store at `path`. timeout: seconds of one call. prefix: of all keys of
    this instance in Redis."""

    redis_url: str | None = field(repr=False)
    path: Path
    timeout: float
    prefix: str = STORE_PREFIX


@dataclass(frozen=True)
class CookieSettings:
    """name: the session cookie's. csrf_name: the cookie from which a page reads its CSRF token. flow_prefix: the
    prefix of the names of cookies of pending logins and logouts."""

    name: str
    domain: str | None
    samesite: str
    secure: bool
    csrf_name: str
    flow_prefix: str = ""

    @property
    def flow_path(self) -> str:
        """A `__Host-` cookie must have the path / (RFC 6265bis)."""
        return "/" if self.flow_prefix else "/auth"


@dataclass(frozen=True)
class SessionSettings:
    """Times in seconds. binding: enforce, observe or off. bound_to: both, address or agent. cache_size 0 or
    cache_ttl 0 turns the cache off. outage_grace: how long cached sessions stay valid while the store is away."""

    lifetime: int
    idle_timeout: int
    binding: str
    bound_to: str
    cache_ttl: float
    cache_size: int
    outage_grace: float = 10.0


@dataclass(frozen=True)
class MetricsSettings:
    """bind: (host, port) of a separate process, None for the public port. allowed: networks that may read the page.
    token: the Bearer token that a scraper must send, None for none. user_label: bucket, off or raw. public_events:
    names of browsers' events that are counted by name."""

    bind: tuple[str, int] | None
    allowed: tuple[Network, ...]
    token: str | None = field(default=None, repr=False)
    user_label: str = "bucket"
    user_buckets: int = 1024
    public_events: tuple[str, ...] = PUBLIC_EVENTS


KAFKA_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True)
class KafkaSettings:
    """servers: host:port of brokers; empty for the log instead. topic_prefix: the part of topics' names before the
    dot. protocol: one of KAFKA_PROTOCOLS. ca_file: PEM file of the brokers' authorities, None for the machine's own.
    mechanism, username, sasl_password: for the two protocols with sasl (RFC 4422)."""

    servers: tuple[str, ...] = ()
    topic_prefix: str = "bff"
    protocol: str = "plaintext"
    ca_file: Path | None = None
    mechanism: str = "SCRAM-SHA-512"
    username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class EventSettings:
    """outbox_limit: most events that wait in the store. outbox_max_age: most seconds that one waits."""

    kafka: KafkaSettings = KafkaSettings()
    outbox_limit: int = 100_000
    outbox_max_age: float = 604_800.0


PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True)
class RateLimit:
    """The most requests of one client in any window as long as `per`, one of PERIODS. closed: whether all are
    refused while the store is away and cannot count them."""

    name: str
    amount: int
    per: str
    closed: bool = False

    def __str__(self) -> str:
        return f"{self.name}={self.amount}/{self.per}:{'closed' if self.closed else 'open'}"

    @property
    def seconds(self) -> int:
        return PERIODS[self.per]


RATE_LIMITS = (
    RateLimit("login", 300, "minute", closed=True),
    RateLimit("callback", 300, "minute"),
    RateLimit("backchannel_logout", 6000, "minute"),
    RateLimit("frontchannel_logout", 300, "minute"),
    RateLimit("end_session", 300, "minute"),
    RateLimit("token_refresh", 60, "minute"),
    RateLimit("token_exchange", 300, "minute"),
    RateLimit("evaluation", 1200, "minute"),
    RateLimit("bearer_token", 60, "minute"),
    RateLimit("beacon", 600, "minute"),
)
"""The limits of our own endpoints, wide enough for an office behind one address at nine in the morning."""


@dataclass(frozen=True)
class ClaimNames:
    """The claims in which a provider keeps a user's facts; a dot descends into an object."""

    name: str = "name"
    email: str = "email"
    roles: str = "roles"
    permissions: str = "permissions"


CLAIMS_REFRESH = ("auto", "id_token", "userinfo", "off")


@dataclass(frozen=True)
class ProviderSettings:
    """One OpenID Provider and this BFF's registration there.

    id: the alias used in URLs and ARNs. user_id: `sub`, or `arn` for `auth:account:{id}:{sub}`, which stays unique
    among several providers. par: auto (when the provider offers it), always or never (RFC 9126). dpop: whether tokens
    are bound to a key of the session (RFC 9449). client_certificate, client_certificate_key: PEM files, for a server
    that requests them. claims_refresh: one of CLAIMS_REFRESH. audiences: those that an access token for this BFF may
    name; empty for BFF_BASE_URL. opaque_tokens: whether this one provider receives opaque Bearer tokens; None for yes
    if it is the only provider. introspection_aud: whether its response must name the token's audience (RFC 7662). line:
    of idps.yaml.
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
    claims_refresh: str = "auto"
    audiences: tuple[str, ...] = ()
    opaque_tokens: bool | None = None
    introspection_aud: str = REQUIRED
    id_token_algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
    authorization_parameters: tuple[tuple[str, str], ...] = ()
    line: int = field(default=0, compare=False, repr=False)

    @property
    def mutual_tls(self) -> bool:
        """Whether a certificate authenticates this BFF (RFC 8705 section 2)."""
        return self.auth_method in MTLS_METHODS

    @property
    def certificate(self) -> tuple[Path, Path] | None:
        """The certificate's file and its private key's, or None."""
        if self.client_certificate is None or self.client_certificate_key is None:
            return None
        return self.client_certificate, self.client_certificate_key


USER_TOKEN = "user"  # noqa: S105 - the name of the session's own token where services are named


class TokenKind(StrEnum):
    """The token that a service accepts: the session's own; that one exchanged (RFC 8693); the BFF's own; or none."""

    USER = "user"
    EXCHANGE = "exchange"
    CLIENT_CREDENTIALS = "client_credentials"
    NONE = "none"


@dataclass(frozen=True)
class ServiceSettings:
    """One service behind the BFF, and the token that it accepts.

    idp: the provider of client_credentials, None for the default one. audience (RFC 8693) and resource (RFC 8707) name
    the service to the provider. scope: that the token must have. line: of routes.yaml.
    """

    id: str
    token: TokenKind = TokenKind.USER
    idp: str | None = None
    audience: str | None = None
    resource: str | None = None
    scope: str = ""
    line: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True)
class UpstreamSettings:
    """The address of a service, and the rules for calls to it.

    base_url: without a trailing slash. timeout: seconds to connect, and again between two reads of its answer. ca_file:
    PEM file of its authorities, None for the machine's own. request_headers: lower-case names that it gets besides
    those that every service gets. response_headers: lower-case names that pass to the client besides those that pass
    from every service. max_concurrent: concurrent calls in one worker, None for half of the requests that a worker
    answers at a time. line: of routes.yaml.
    """

    service: str
    base_url: str
    timeout: float = 30.0
    ca_file: Path | None = None
    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    max_concurrent: int | None = None
    line: int = field(default=0, compare=False, repr=False)


class Auth(StrEnum):
    """The credential that a route requires: a session, a Bearer token (RFC 6750), or none."""

    SESSION = "session"
    BEARER = "bearer"
    NONE = "none"


class OnError(StrEnum):
    """The outcome of a request when there is no policy decision."""

    DENY = "deny"
    ALLOW = "allow"


@dataclass(frozen=True)
class AuthzMap:
    """The evaluation request of a route to the policy decision point (AuthZEN 1.0 section 5).

    id_from and the values of props are JSONPath (RFC 9535) into `{"path": {...}, "query": {...}, "body": ...}`.
    id_from: None for a question about the resource type as a whole.
    """

    resource: str
    action: str
    id_from: str | None = None
    props: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class RouteSettings:
    """One line of the API: the requests that it covers, their service, and the credential that it requires.

    path: literal segments, `{name}` for one segment, `*` at the end for the rest. upstream_path: the same with the
    names of path; None for path itself, without /api unless preserve_path. authz: whether the policy decides; without
    an authz_map it then denies. on_error: None for the value in PdpSettings. timeout: seconds, None for the service's.
    streaming: an answer that has begun may pause for longer. navigable: links of other sites may lead here. body_limit:
    bytes. scopes: that the caller's token must have. line: of routes.yaml.
    """

    id: str
    path: str
    service: str
    methods: tuple[str, ...] = ("GET",)
    auth: Auth = Auth.SESSION
    authz: bool = False
    authz_map: AuthzMap | None = None
    on_error: OnError | None = None
    upstream_path: str | None = None
    preserve_path: bool = False
    streaming: bool = False
    navigable: bool = False
    timeout: float | None = None
    body_limit: int = 10 * 1024 * 1024
    rate_limit: RateLimit | None = None
    scopes: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True)
class PolicyFiles:
    """texts: of each `*.cedar` file in the folder, in the order of names. fault: the reason why they could not be
    read."""

    folder: Path
    texts: tuple[tuple[Path, str], ...] = field(default=(), repr=False)
    fault: str = ""


@dataclass(frozen=True)
class PdpSettings:
    """The policy decision point: an AuthZEN 1.0 service at base_url, or, if that is None, Cedar in this process with
    the policies of a folder.

    timeout: seconds of a whole decision. bearer: a token to send; service: describes the one to obtain instead (client
    credentials). roles_property: the subject's property that holds the user's roles. allow_ttl, deny_ttl: seconds for
    which a decision is cached; cache_size: cached decisions in each worker. strict: whether a protected route without
    an authz_map is a mistake, rather than denied. invalidation_token: the PDP's credential when it reports that its
    policies changed.
    """

    base_url: str | None = None
    timeout: float = 2.0
    ca_file: Path | None = None
    bearer: str | None = field(default=None, repr=False)
    service: ServiceSettings | None = None
    subject_type: str = "user"
    roles_property: str = "roles"
    allow_ttl: float = 60.0
    deny_ttl: float = 10.0
    cache_size: int = 10_000
    on_error: OnError = OnError.DENY
    strict: bool = True
    invalidation_token: str | None = field(default=None, repr=False)
    policies: PolicyFiles = PolicyFiles(Path("config/policies"))


PDP = "pdp"
"""The name of the policy decision point where services are named."""
CALLBACK_PATH = "/auth/callback"
IDENTITY_HEADERS = ("X-User-ID", "X-Session-ID", "X-Auth-Time", "X-User-Email", "X-User-Name", "X-User-Roles")


@dataclass(frozen=True)
class VerifyProfile:
    """The behaviour of verify at `/auth/verify@{id}`.

    redirect: whether a person without a session is redirected to log in. resource: the resource type for the policy,
    None for no policy; the original request's method is the action, its path the id. service: its token goes into
    `Authorization`. headers: the identity headers of an answer. line: of verify.yaml.
    """

    id: str
    redirect: bool = False
    resource: str | None = None
    on_error: OnError | None = None
    service: str | None = None
    headers: tuple[str, ...] = IDENTITY_HEADERS[:3]
    line: int = field(default=0, compare=False, repr=False)

    @property
    def plain(self) -> bool:
        """Whether its answer depends on the session alone, and reveals nothing that a browser must not see."""
        return self.resource is None and self.service is None


SAMPLERS = (
    "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
    "parentbased_traceidratio",
)  # fmt: skip


@dataclass(frozen=True)
class Signal:
    """The target of traces or metrics: an OTLP endpoint, with the path if it has one, and grpc or http/protobuf."""

    endpoint: str
    protocol: str


@dataclass(frozen=True)
class TelemetrySettings:
    """OpenTelemetry: the target of each signal, None for no export. Times in seconds.

    timeout: of one export. sampler: one of SAMPLERS; sampler_ratio: of those with a ratio. traces_per_second: most new
    or continued traces in each worker. spans_delay: time between batches; spans_queue: most spans that wait;
    spans_batch: most spans in one export. metrics_delta: whether to report only the change since the last export.
    """

    traces: Signal | None = None
    metrics: Signal | None = None
    timeout: float = 10.0
    sampler: str = "parentbased_always_on"
    sampler_ratio: float = 1.0
    traces_per_second: float = 100.0
    spans_delay: float = 5.0
    spans_queue: int = 2048
    spans_batch: int = 512
    metrics_interval: float = 60.0
    metrics_delta: bool = False

    @property
    def exports(self) -> bool:
        return self.traces is not None or self.metrics is not None


@dataclass(frozen=True)
class Settings:
    """Everything an operator decides. `problems` holds a sentence for each unreadable value; see bff.settings_check.

    verify_bind: the listener for the proxies' auth checks, None for the public one. trusted_proxies_given: whether
    TRUSTED_PROXIES was set, rather than left at its default. login_timeout, token_refresh_threshold: seconds; hsts:
    seconds, 0 for none. drain_delay: seconds from the announcement of a stop to the stop. concurrency: requests that
    one worker answers at a time; greenlets: whether it does so without threads.
    """

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
    upstreams: tuple[UpstreamSettings, ...]
    routes: tuple[RouteSettings, ...]
    pdp: PdpSettings
    verify_profiles: tuple[VerifyProfile, ...]
    login_timeout: int
    token_refresh_threshold: int
    trusted_proxies: tuple[Network, ...]
    trust_unix_sockets: bool
    forwarded_header: str
    allowed_redirect_origins: frozenset[str]
    cors_allow_origins: frozenset[str]
    hsts: int
    readiness_checks: tuple[str, ...]
    rate_limits: tuple[RateLimit, ...]
    metrics: MetricsSettings
    telemetry: TelemetrySettings
    events: EventSettings
    embedded_provider: bool
    verify_bind: Bind | None = None
    trusted_proxies_given: bool = True
    drain_delay: float = 0.0
    concurrency: int = 8
    greenlets: bool = False
    config_dir: Path = Path("config")
    problems: tuple[str, ...] = ()

    @property
    def development(self) -> bool:
        return self.environment == DEVELOPMENT

    @property
    def redirect_uris(self) -> dict[str, str]:
        """The URI to which each provider, by its alias, redirects the browser, and which to register there.

        Each of several providers has a URI of its own. It then identifies the sender of an answer even if the provider
        sends no `iss` (RFC 9700 section 4.4.2.2).
        """
        callback = self.base_url + CALLBACK_PATH
        if len(self.providers) == 1:
            return {self.providers[0].id: callback}
        return {provider.id: f"{callback}/{provider.id}" for provider in self.providers}

    @property
    def provider_of_opaque_tokens(self) -> str | None:
        """The alias of the only provider that receives opaque Bearer tokens (no JWTs), or None. It is the declared
        one, or a single provider unless declared otherwise. Any other provider would learn tokens that are not its
        own."""
        alone = len(self.providers) == 1
        chosen = [each.id for each in self.providers if each.opaque_tokens or (alone and each.opaque_tokens is None)]
        return chosen[0] if chosen else None
