"""The parts of the token workflow, put together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bff.crypto import Keyring
from bff.events.audit import Audit
from bff.kv import KeyValue
from bff.oidc.provider import Provider
from bff.oidc.token_endpoint import TokenEndpoint
from bff.oidc.userinfo import UserInfo
from bff.sessions.cache import SessionCache
from bff.sessions.gate import Gate
from bff.sessions.shared_grant import SharedGrants
from bff.sessions.store import SessionStore
from bff.sessions.token_store import TokenStore
from bff.settings import Settings
from bff.tokens.claims_refresh import ClaimsRefresh
from bff.tokens.client_credentials import OwnTokens
from bff.tokens.exchange import ExchangedTokens
from bff.tokens.keeper import TokenKeeper
from bff.tokens.notes import Notes
from bff.tokens.refresh import Refresher
from bff.tokens.revocation import Revocations
from bff.tokens.single_flight import SingleFlight
from bff.tokens.source import Issuer
from bff.tokens.sweep import RefreshSweep
from bff.tokens.unsaved import Unsaved
from bff.tokens.user import UserTokens


@dataclass(frozen=True)
class TokenWorkflow:
    """keeper: for requests. own: the BFF's own tokens, for services that no request names. unsaved, sweep and
    revocations have work in the background."""

    keeper: TokenKeeper
    own: OwnTokens
    refresher: Refresher
    unsaved: Unsaved
    sweep: RefreshSweep
    revocations: Revocations


def token_workflow(
    settings: Settings,
    kv: KeyValue,
    keys: Keyring,
    sessions: SessionStore,
    tokens: TokenStore,
    grants: SharedGrants,
    cache: SessionCache,
    gate: Gate,
    providers: Mapping[str, Provider],
    endpoint: TokenEndpoint,
    audit: Audit,
    pseudonym: Callable[[str], str],
    clock: Callable[[], float],
    wait: Callable[[float], None],
    later: Callable[[Callable[[], None]], None],
) -> TokenWorkflow:
    """pseudonym: what stands for a user in a metric's label. wait: seconds, until somebody else's work is looked at
    again. later: does some work while the caller goes on."""
    flight, revocations = SingleFlight(kv, wait=wait), Revocations(tokens, grants, providers)
    unsaved = Unsaved(tokens, revocations)
    claims = ClaimsRefresh(UserInfo(endpoint.dpop), gate.change_user, audit)
    refresher = Refresher(
        Notes(kv), tokens, unsaved, gate, providers, endpoint, flight, claims, audit, pseudonym, clock, wait
    )
    users = UserTokens(tokens, cache, refresher, later, clock)
    issuer = Issuer(endpoint, flight, clock, pseudonym)
    exchanged = ExchangedTokens(users, tokens, providers, issuer, later, clock)
    own = OwnTokens(kv, keys, providers, issuer, later, clock)
    return TokenWorkflow(
        TokenKeeper(settings.services, users, exchanged, own, clock),
        own,
        refresher,
        unsaved,
        RefreshSweep(sessions, tokens, refresher, settings.sessions, clock),
        revocations,
    )
