"""Claims refresh: a token refresh also updates the session's user from the provider's current claims.

A revoked role is missing from the refreshed ID token (OpenID Connect Core section 12.2), or from userinfo where the
claims come from there. `claims_refresh` in idps.yaml chooses the source; `auto` takes that of the login's claims:

- The refreshed ID token, where it has any of the mapped claims: one that is missing beside others was revoked.
- Userinfo, where the ID token has none of them or never had all of them. Some providers leave all claims out of a
  refreshed ID token, and their absence means nothing.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from bff.errors import ProviderUnavailable
from bff.events.audit import Audit
from bff.events.model import EventType
from bff.oidc.claims import has_claim, user_from_claims
from bff.oidc.jwt import parse
from bff.oidc.provider import Provider
from bff.oidc.userinfo import UserInfo
from bff.sessions.model import Session, User
from bff.sessions.tokens import Tokens
from bff.settings import ClaimNames

log = logging.getLogger(__name__)

Claims = Mapping[str, Any]


class ClaimsRefresh:
    def __init__(self, userinfo: UserInfo, change: Callable[[Session, User], bool], audit: Audit) -> None:
        """change: puts another user into a session, in every worker; False when there was nothing to change."""
        self._userinfo = userinfo
        self._change = change
        self._audit = audit

    def user(self, session: Session, provider: Provider, before: Tokens, after: Tokens) -> User | None:
        """The user by the provider's current claims; None without a change. before, after: the session's tokens, with
        verified ID tokens."""
        claims = self._claims(session, provider, before, after)
        return None if claims is None else user_from_claims({**claims, "sub": session.user.sub}, provider.config)

    def apply(self, session: Session, user: User) -> None:
        """Changes the session in every worker. Raises StoreUnavailable."""
        former = session.user
        if not self._change(session, user):
            return
        words = (("roles", former.roles, user.roles), ("permissions", former.permissions, user.permissions))
        changed = {name: now for name, then, now in words if set(then) != set(now)}
        if changed:
            self._audit.record(EventType.CLAIMS_CHANGED, user.id, session=session.reference, **changed)

    def _claims(self, session: Session, provider: Provider, before: Tokens, after: Tokens) -> Claims | None:
        """All current claims of the user; None without new ones."""
        mode = provider.config.claims_refresh
        if mode == "off":
            return None
        fresh = after.id_token if after.id_token != before.id_token else None
        said, known = _payload(fresh), _payload(before.id_token)
        if mode == "id_token" or (mode == "auto" and _tells_all(said, known, session.user, provider.config.claims)):
            return said or None
        if mode == "auto" and not _from_userinfo(known, session.user, provider.config.claims) and fresh is None:
            return None
        more = self._ask(session, provider, after)
        if more is None:
            return {**known, **said} if said else None
        return {**more, **said}

    def _ask(self, session: Session, provider: Provider, tokens: Tokens) -> Claims | None:
        try:
            return self._userinfo.claims(provider, session.user.sub, tokens.access, tokens.dpop_key)
        except ProviderUnavailable:
            return None


def _payload(id_token: str | None) -> Claims:
    return parse(id_token).claims if id_token else {}


def _mapped(names: ClaimNames) -> tuple[str, ...]:
    return names.name, names.email, names.roles, names.permissions


def _tells_all(said: Claims, known: Claims, user: User, names: ClaimNames) -> bool:
    """Whether the refreshed ID token alone has all claims that the login used."""
    return any(has_claim(said, path) for path in _mapped(names)) and not _from_userinfo(known, user, names)


def _from_userinfo(known: Claims, user: User, names: ClaimNames) -> bool:
    """Whether the session has a value from userinfo: its former ID token lacks it."""
    values = (user.name, user.email, user.roles, user.permissions)
    return any(value and not has_claim(known, path) for path, value in zip(_mapped(names), values, strict=True))
