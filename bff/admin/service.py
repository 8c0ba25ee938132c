"""Use cases of operators, with plain data as results: references, pseudonyms and numbers; user names on demand only."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from bff.events.model import SecurityEvent
from bff.events.outbox import LOGS
from bff.services import Services
from bff.sessions.model import EndReason, Session
from bff.sessions.store import UNCOUNTED_INDEX
from bff.sessions.token_store import REVOCATION_INDEX

Row = dict[str, Any]


class SessionAdmin:
    """Every method raises StoreUnavailable; sessions that ended before that stay ended."""

    def __init__(self, services: Services, *, show_users: bool = False) -> None:
        """show_users: adds the users' `sub` to the pseudonyms of the events."""
        self._services = services
        self._show_users = show_users

    def sessions(self, user: str | None, idp: str | None, limit: int) -> list[Row]:
        """One row for each session: of a user by the provider's `sub`, the newest first; else by the latest expiry."""
        directory = self._services.directory
        if user is None:
            listed = directory.latest(limit, idp)
        else:
            found = [each for alias in self._aliases(idp) for each in directory.of_user(alias, user, limit)[0]]
            listed = sorted(found, key=lambda each: each.session.created_at, reverse=True)[:limit]
        return [self._row(each.session, each.last_seen) for each in listed]

    def revoke_user(self, user: str, idp: str | None) -> list[Row]:
        """Ends all sessions of a user, also those that begin meanwhile."""
        return [row for alias in self._aliases(idp) for row in self._revoke_all(alias, user)]

    def revoke_session(self, reference: str) -> list[Row]:
        """Ends one session. Returns its row, or none."""
        session = self._services.directory.anywhere(reference)
        return self._revoke([session] if session else [])

    def stats(self) -> Row:
        """Numbers of the whole fleet. Reads each session once, a page at a time."""
        kv, idps, users, seen = self._services.kv, Counter[str](), set[int](), 0
        alive = self._services.store.active()
        for session in self._services.directory.everything():
            seen += 1
            idps[session.idp] += 1
            users.add(hash((session.idp, session.user.sub)))
        return {
            "store": repr(kv),
            "sessions": alive,
            "users": len(users),
            "idps": dict(sorted(idps.items())),
            "unreadable": max(0, alive - seen),
            "outbox": sum(map(kv.log_length, LOGS)),
            "revocations": kv.index_count(REVOCATION_INDEX, -math.inf, math.inf),
            "uncounted": kv.index_count(UNCOUNTED_INDEX, -math.inf, math.inf),
        }

    def _aliases(self, idp: str | None) -> list[str]:
        """The providers' aliases to look at. A given one need not be configured any more."""
        return [idp] if idp else list(self._services.providers)

    def _revoke_all(self, idp: str, user: str) -> Iterator[Row]:
        store, clock = self._services.store, self._services.clock
        while alive := [each for each in store.of_user(idp, user) if each.expired(clock()) is None]:
            yield from self._revoke(alive)

    def _revoke(self, sessions: list[Session]) -> list[Row]:
        """Ends sessions. The transaction queues their tokens, and a running server revokes these."""
        ended = []
        last_seen = self._services.records.last_seen(sessions)
        for session in sessions:
            if self._services.store.end_uncounted(session, EndReason.REVOKED, by="operator"):
                self._services.audit.security(SecurityEvent.SESSION_REVOKED, session=session.reference, by="operator")
                ended.append(self._row(session, last_seen[session.key]))
        return ended

    def _row(self, session: Session, last_seen: float) -> Row:
        row: Row = {
            "id": session.reference,
            "user": self._services.audit.pseudonym(session.user.id),
            "idp": session.idp,
            "device": session.device,
            "network": session.binding.network,
            "since": int(session.created_at),
            "last_seen": int(last_seen),
            "expires_at": int(session.expires_at),
        }
        return row | {"sub": session.user.sub} if self._show_users else row
