"""Wiring of token management."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bff.crypto import Keyring
from bff.events.audit import Audit
from bff.kv import KeyValue
from bff.oidc.provider import Provider
from bff.oidc.token_endpoint import TokenEndpoint
from bff.oidc.userinfo import UserInfo
from bff.sessions.authenticator import SessionAuthenticator
from bff.sessions.cache import SessionCache
from bff.sessions.shared_grant import SharedGrants
from bff.sessions.store import SessionStore
from bff.sessions.token_store import TokenStore
from bff.settings import Settings
from bff.tokens.claims_refresh import ClaimsRefresh
from bff.tokens.client_credentials import ClientCredentialsTokens
from bff.tokens.distributed_single_flight import DistributedSingleFlight
from bff.tokens.exchange import ExchangedTokens
from bff.tokens.pending_writes import PendingTokenWrites
from bff.tokens.refresh import Refresher
from bff.tokens.refresh_status import RefreshStatus
from bff.tokens.revocation import Revocations
from bff.tokens.service import TokenService
from bff.tokens.source import TokenRequester
from bff.tokens.sweep import RefreshSweep
from bff.tokens.user import UserTokens


@dataclass(frozen=True)
class TokenServices:
    """service: for requests. own: the BFF's own tokens, for calls without a request. pending_writes, sweep and
    revocations have background jobs."""

    service: TokenService
    own: ClientCredentialsTokens
    refresher: Refresher
    pending_writes: PendingTokenWrites
    sweep: RefreshSweep
    revocations: Revocations


def build_tokens(
    settings: Settings,
    kv: KeyValue,
    keys: Keyring,
    sessions: SessionStore,
    tokens: TokenStore,
    grants: SharedGrants,
    cache: SessionCache,
    authenticator: SessionAuthenticator,
    providers: Mapping[str, Provider],
    endpoint: TokenEndpoint,
    audit: Audit,
    pseudonym: Callable[[str], str],
    clock: Callable[[], float],
    wait: Callable[[float], None],
    later: Callable[[Callable[[], None]], None],
) -> TokenServices:
    """pseudonym: maps a user to a metric's label. wait: sleeps so many seconds between two looks at another worker's
    result. later: runs work in the background."""
    flight, revocations = DistributedSingleFlight(kv, wait=wait), Revocations(tokens, grants, providers)
    pending_writes = PendingTokenWrites(tokens, revocations)
    claims = ClaimsRefresh(UserInfo(endpoint.dpop), authenticator.change_user, audit)
    refresher = Refresher(
        RefreshStatus(kv),
        tokens,
        pending_writes,
        authenticator,
        providers,
        endpoint,
        flight,
        claims,
        audit,
        pseudonym,
        clock,
        wait,
    )
    users = UserTokens(tokens, cache, refresher, later, clock)
    requester = TokenRequester(endpoint, flight, clock, pseudonym)
    exchanged = ExchangedTokens(users, tokens, providers, requester, later, clock)
    own = ClientCredentialsTokens(kv, keys, providers, requester, later, clock)
    return TokenServices(
        TokenService(settings.services, users, exchanged, own, clock),
        own,
        refresher,
        pending_writes,
        RefreshSweep(sessions, tokens, refresher, settings.sessions, clock),
        revocations,
    )
