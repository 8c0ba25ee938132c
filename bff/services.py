"""Wiring: builds all services once from the settings; each worker starts them, and closes them when it stops."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from bff.bearer.tokens import BearerTokens
from bff.bulkhead import Bulkhead
from bff.crypto import Keyring
from bff.errors import StoreUnavailable
from bff.events.audit import Audit
from bff.events.wiring import EventServices, build_events
from bff.health import Health
from bff.http import Adapter, DisconnectMonitor, HttpClient, HttpUpstream
from bff.kv import KeyValue
from bff.lib.background import Background
from bff.login.flow import LoginFlow
from bff.login.logout import EndSessionTickets
from bff.login.provider_logout import ProviderLogout
from bff.login.return_url import ReturnUrls
from bff.login.transaction import LoginTransactions
from bff.observability.labels import Pseudonyms
from bff.oidc.dpop import Dpop
from bff.oidc.provider import Provider
from bff.oidc.token_endpoint import TokenEndpoint
from bff.oidc.token_response import TokenResponseParser
from bff.pdp.credential import ClientCredentialsBearer
from bff.pdp.decision_cache import DecisionCache
from bff.pdp.enforcement import PolicyEnforcementPoint
from bff.pdp.subjects import Subjects
from bff.pdp.wiring import build_policy
from bff.proxy.forward import Forwarder
from bff.proxy.wiring import MakeUpstream, build_forwarder
from bff.ratelimit import RateLimiter
from bff.rotation import Rotation
from bff.server import draining
from bff.sessions.authenticator import SessionAuthenticator
from bff.sessions.cache import SessionCache
from bff.sessions.csrf import Csrf
from bff.sessions.directory import Directory
from bff.sessions.records import SessionRecords
from bff.sessions.resets import Resets
from bff.sessions.shared_grant import SharedGrants
from bff.sessions.store import SessionStore
from bff.sessions.token_store import TokenStore
from bff.settings import RateLimit, Settings
from bff.tokens.wiring import TokenServices, build_tokens

log = logging.getLogger(__name__)

PLACE_TIMEOUT = 1.0
"""Seconds that a request waits, with its thread, for a place in the bulkhead of a provider or the PDP."""
IDP_TIMEOUT = 5.0
"""Total seconds of a call to a provider: long for a machine, short for a user at a login."""

SETTLED_WITHIN = 600.0
"""Seconds within which an ended session is swept and its tokens are revoked."""


@dataclass(frozen=True)
class Services:
    settings: Settings
    clock: Callable[[], float]
    kv: KeyValue
    rotation: Rotation
    providers: Mapping[str, Provider]
    http: tuple[HttpClient, ...]
    records: SessionRecords
    store: SessionStore
    directory: Directory
    grants: SharedGrants
    token_store: TokenStore
    cache: SessionCache
    authenticator: SessionAuthenticator
    csrf: Csrf
    login: LoginFlow
    end_session: EndSessionTickets
    tokens: TokenServices
    background: Background
    bearers: BearerTokens
    provider_logout: ProviderLogout
    subjects: Subjects
    decisions: DecisionCache
    enforcement: PolicyEnforcementPoint
    proxy: Forwarder
    disconnects: DisconnectMonitor
    return_urls: ReturnUrls
    limits: RateLimiter
    events: EventServices
    audit: Audit
    health: Health

    def start(self) -> None:
        """Opens connections and starts threads; call it in the process that serves requests, after any fork."""
        try:
            self.kv.start()
        except StoreUnavailable:  # bad store file: answer 503 meanwhile, because a worker that exits ends gunicorn too
            log.error("store_not_started")
        self.rotation.start()
        self.cache.start()
        self.decisions.start()

    def close(self) -> None:
        self.background.close()
        self.disconnects.close()
        self.proxy.close()
        self.decisions.close()
        self.cache.close()
        for client in self.http:
            client.close()
        self.events.close()
        self.kv.close()


def build(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    kv: KeyValue | None = None,
    transport: Adapter | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
    later: Callable[[Callable[[], None]], None] | None = None,
    upstream: MakeUpstream | None = None,
) -> Services:
    """Builds all services; makes no connection and no thread.

    transport: carries outbound HTTP, the network if None. monotonic: measures outbound calls and breakers' pauses.
    wait: pauses before a retry of an outbound call. later: runs background work, in threads if None. upstream: makes
    the transport of proxied requests to a service, the network if None.
    """
    kv = kv or open_store(settings, clock)
    keys = Keyring(settings.secrets)
    events, background = build_events(settings, kv, keys, clock, monotonic, wait), Background()
    audit = events.audit
    later = later or background
    clients = [
        HttpClient(
            f"idp_{provider.id}",
            timeout=IDP_TIMEOUT,
            whole=True,
            certificate=provider.certificate,
            adapter=transport,
            clock=monotonic,
            wait=wait,
            later=later,
            bulkhead=_share(settings, f"idp_{provider.id}"),
        )
        for provider in settings.providers
    ]
    providers = {
        config.id: Provider(config, client, clock, monotonic=monotonic, later=later)
        for config, client in zip(settings.providers, clients, strict=True)
    }
    disconnects = DisconnectMonitor()
    upstream = upstream or partial(HttpUpstream, clock=monotonic, wait=wait)
    token_store = TokenStore(kv, keys, clock, login_timeout=settings.login_timeout)
    records = SessionRecords(kv, keys)
    directory = Directory(kv, records, clock)
    grants = SharedGrants(kv, records, directory, clock, login_timeout=settings.login_timeout)
    store = SessionStore(kv, records, settings.sessions, clock, token_store, audit)
    cache = SessionCache(store, kv, settings.sessions, clock, monotonic)
    authenticator = SessionAuthenticator(
        cache, store, audit, settings.sessions, settings.cookies.name, clock, monotonic
    )
    dpop = Dpop(clock)
    endpoint = TokenEndpoint(dpop, TokenResponseParser(settings.token_refresh_threshold, clock))
    return_urls = ReturnUrls(settings.base_url, settings.allowed_redirect_origins)
    pseudonyms = Pseudonyms(settings.metrics.user_label, settings.metrics.user_buckets, keys.mac("metrics-bucket"))
    tokens = build_tokens(
        settings,
        kv,
        keys,
        store,
        token_store,
        grants,
        cache,
        authenticator,
        providers,
        endpoint,
        audit,
        pseudonyms.of,
        clock,
        wait,
        later,
    )
    limits = RateLimiter(_limits(settings), kv, keys.mac("rate-limit"), pseudonyms.of, monotonic)
    pdp_http = HttpClient(
        "pdp",
        timeout=settings.pdp.timeout,
        whole=True,
        ca_file=settings.pdp.ca_file,
        adapter=None if settings.embedded_provider else transport,  # that transport reaches the embedded provider only
        clock=monotonic,
        wait=wait,
        later=later,
        bulkhead=_share(settings, "pdp"),
    )
    policy = build_policy(
        settings,
        kv,
        audit,
        pdp_http,
        lambda service: ClientCredentialsBearer(tokens.own, service, dpop, later, clock, monotonic),
        monotonic,
    )
    return Services(
        settings=settings,
        clock=clock,
        kv=kv,
        rotation=Rotation(kv, keys, longest_life(settings), clock, monotonic),
        providers=providers,
        http=(*clients, pdp_http),
        records=records,
        store=store,
        directory=directory,
        grants=grants,
        token_store=token_store,
        cache=cache,
        authenticator=authenticator,
        csrf=Csrf(keys.mac("csrf"), {settings.base_url, *settings.cors_allow_origins}),
        end_session=EndSessionTickets(kv, keys),
        login=LoginFlow(
            providers,
            LoginTransactions(kv, keys, clock, life=settings.login_timeout),
            endpoint,
            return_urls,
            settings.redirect_uris,
            grants,
            clock,
        ),
        tokens=tokens,
        background=background,
        bearers=BearerTokens(
            providers, settings.provider_of_opaque_tokens, settings.base_url, limits, clock, monotonic
        ),
        provider_logout=ProviderLogout(providers, store, authenticator, kv, audit, clock),
        subjects=policy.subjects,
        decisions=policy.decisions,
        enforcement=policy.enforcement,
        proxy=build_forwarder(settings, upstream, disconnects, tokens.service, dpop, monotonic),
        disconnects=disconnects,
        return_urls=return_urls,
        limits=limits,
        events=events,
        audit=audit,
        health=_health(
            settings, kv, Resets(kv, store, [cache.forget, limits.forget]), providers, policy.check, monotonic
        ),
    )


def longest_life(settings: Settings) -> float:
    """Returns the seconds after which no sealed record or signature is needed.

    Sessions, their CSRF tokens, and their tokens until revocation; or the record of a login that finished too late.
    """
    return max(settings.sessions.lifetime + settings.login_timeout + SETTLED_WITHIN, 2.0 * settings.login_timeout)


def _share(settings: Settings, name: str) -> Bulkhead:
    """Returns a bulkhead of half a worker's concurrency, so that one slow provider or PDP cannot occupy all of it."""
    return Bulkhead(name, max(1, settings.concurrency // 2), PLACE_TIMEOUT)


def open_store(settings: Settings, clock: Callable[[], float]) -> KeyValue:
    """Returns Redis if REDIS_URL is set, else the embedded store. Local imports, so that neither needs the other."""
    if settings.store.redis_url:
        from bff.kv.redis import RedisStore

        namespace = f"{settings.store.prefix}:"
        return RedisStore(settings.store.redis_url, timeout=settings.store.timeout, namespace=namespace)
    from bff.kv.sqlite import SqliteStore

    return SqliteStore(settings.store.path, clock)


def _limits(settings: Settings) -> list[RateLimit]:
    """Returns the limits of our own endpoints and of routes; the prefix keeps their names apart."""
    of_routes = [replace(route.rate_limit, name=f"route:{route.id}") for route in settings.routes if route.rate_limit]
    return [*settings.rate_limits, *of_routes]


def _health(
    settings: Settings,
    kv: KeyValue,
    resets: Resets,
    providers: Mapping[str, Provider],
    pdp: Callable[[], None] | None,
    monotonic: Callable[[], float],
) -> Health:
    store = "redis" if settings.store.redis_url else "store"

    def check() -> None:
        resets.check()
        kv.ping()

    checks = {store: check}
    for alias, provider in providers.items():
        checks["idp" if len(providers) == 1 else f"idp_{alias}"] = provider.check
    if pdp is not None:
        checks["pdp"] = pdp
    if settings.events.kafka.servers:
        from bff.events.broker import Brokers  # imports Kafka's library

        checks["kafka"] = Brokers(settings.events.kafka).check
    wanted = {"store": [store], "idp": [name for name in checks if name.startswith("idp")], "pdp": ["pdp"]}
    readiness = frozenset(name for check in settings.readiness_checks for name in wanted[check])
    return Health(checks, readiness, monotonic, optional=frozenset({"pdp", "kafka"}), draining=draining.begun)
