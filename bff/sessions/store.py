"""Sessions in the key-value store, one transaction per change.

A session exists exactly as long as it is a member of the expiry index. Ending one removes it from there and deletes
its record in the same transaction. The worker that removed the member counts the end, so each session is counted out
once in the fleet, even when many workers try at the same moment. A request never rewrites records; the changing values
(last use, expiry) are in the indexes.

`bff/sessions/records.py` lists the keys. Beside them:

    ended:{key}        for an hour: the provider or an operator ended the session, not its user
    sessions-uncounted index: reason:reference of sessions that a process without metrics ended, at that time
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from bff.crypto import digest, random_id
from bff.errors import SessionEnded
from bff.events.audit import Audit
from bff.events.model import EventType
from bff.kv import Batch, KeyValue
from bff.kv.paging import PAGE, pages
from bff.observability import metrics
from bff.sessions.binding import Binding
from bff.sessions.model import EndReason, Session, User
from bff.sessions.records import EXPIRY_INDEX, SessionRecords, hot
from bff.sessions.token_store import INVALIDATIONS, EndedSession, TokenStore
from bff.sessions.tokens import Tokens
from bff.settings import SessionSettings

log = logging.getLogger(__name__)

# Records outlive the session's own end, so that the sweep can still name and count it.
GRACE = 86400
MOST_PER_USER = 1000
UNCOUNTED_INDEX = "sessions-uncounted"
TOLD_FOR = 3600
"""Seconds for which a browser gets SessionEnded, rather than Unauthenticated."""

_DELIBERATE = frozenset({EndReason.LOGOUT, EndReason.LOGOUT_EVERYWHERE, EndReason.REVOKED})
_NOT_THE_USERS_DOING = frozenset({EndReason.REFRESH_REJECTED, EndReason.BACKCHANNEL, EndReason.REVOKED})


class SessionStore:
    """Every method raises StoreUnavailable when the store does not answer."""

    def __init__(
        self,
        kv: KeyValue,
        records: SessionRecords,
        settings: SessionSettings,
        clock: Callable[[], float],
        tokens: TokenStore,
        audit: Audit,
    ) -> None:
        self._kv = kv
        self._audit = audit
        self._tokens = tokens
        self._records = records
        self._settings = settings
        self._clock = clock

    def create(
        self, user: User, *, idp: str, auth_time: int, sid: str, binding: Binding, tokens: Tokens, device: str = ""
    ) -> tuple[str, Session]:
        """Creates a session under a new random id. Returns (the cookie's value, the session)."""
        cookie, now = random_id(), self._clock()
        ends_at = now + self._settings.lifetime
        session = Session(
            key=digest(cookie),
            user=user,
            idp=idp,
            auth_time=auth_time,
            created_at=now,
            ends_at=ends_at,
            binding=binding,
            sid=sid,
            expires_at=self._idle_end(now, ends_at),
            device=device,
        )
        life = self._settings.lifetime + GRACE
        batch = (
            Batch()
            .set(hot(session.key), self._records.sealed(session), life)
            .index_add(EXPIRY_INDEX, session.key, session.expires_at)
        )
        self._tokens.add(batch, session.key, tokens, life)
        for name in self._records.indexes(session):
            batch.index_add(name, session.key, now, ttl=life)
        self._kv.execute(batch)
        metrics.session_created()
        self._audit.record(EventType.SESSION_CREATED, user.id, session=session.reference, idp=idp)
        return cookie, session

    def find(self, key: str) -> Session | None:
        """The session in the store, expired or not; None when there is none, or none that can be unsealed.

        Raises SessionEnded when the provider or an operator ended it lately.
        """
        batch = Batch().get(hot(key)).index_score(EXPIRY_INDEX, key).get(_ended(key))
        raw, expires_at, ended = self._kv.execute(batch)
        if ended is not None:
            raise SessionEnded
        if raw is None or expires_at is None:
            return None
        return self._records.opened(key, raw, expires_at)

    def touch(self, used: Iterable[tuple[Session, float]]) -> None:
        """Moves the last use, and with it the idle end, of several sessions at once; ended ones stay ended."""
        batch = Batch()
        for session, when in used:
            batch.index_add(EXPIRY_INDEX, session.key, self._idle_end(when, session.ends_at), only_present=True)
            for name in self._records.of_user(session.idp, session.user.sub):
                batch.index_add(name, session.key, when, only_present=True)
        if batch.operations:
            self._kv.execute(batch)

    def change_user(self, key: str, user: User) -> bool:
        """Replaces only the user in the record of a live session; False when there is nothing to change."""
        while True:
            raw, expires_at = self._kv.execute(Batch().get(hot(key)).index_score(EXPIRY_INDEX, key))
            session = None if raw is None or expires_at is None else self._records.opened(key, raw, expires_at)
            if session is None or session.user == user:
                return False
            if self._kv.compare_and_set(hot(key), raw, self._records.sealed(replace(session, user=user))):
                self._kv.publish(INVALIDATIONS, key)
                return True

    def end(self, session: Session, reason: EndReason, *, by: str = "") -> bool:
        """Ends one session everywhere; False when another worker already had. by: in its event."""
        return self._end([session], reason, by=by) == 1

    def replace(self, former: Session, new: Session) -> None:
        """Ends the former session of a browser that logged in again.

        Both sessions of one user at one provider may come from one grant, and the provider would revoke the new tokens
        with the former ones (RFC 7009 section 2.1). So the former ones are deleted, and not revoked there.
        """
        same = (former.idp, former.user.sub) == (new.idp, new.user.sub)
        self._end([former], EndReason.REPLACED, revoked=not same)

    def end_all_of(self, session: Session, reason: EndReason) -> int:
        """Ends every session of this session's user at this provider; returns how many there were.

        This one ends last, so that its client can ask again when the store fails in the midst.
        """
        ended = 0
        while others := [other for other in self.of_user(session.idp, session.user.sub) if other.key != session.key]:
            ended += self._end(others, reason)
        return ended + self._end([session], reason)

    def end_uncounted(self, session: Session, reason: EndReason, *, by: str) -> bool:
        """As `end`, for a process without scraped counters: the next sweep of the fleet counts it."""
        ended = self._end([session], reason, by=by, counted=False) == 1
        if ended:
            member = f"{reason}:{session.reference}"
            self._kv.execute(Batch().index_add(UNCOUNTED_INDEX, member, self._clock()))
        return ended

    def of_user(self, idp: str, sub: str) -> list[Session]:
        """The live sessions of a provider's user, up to one page of the index."""
        return self._indexed(self._records.of_user(idp, sub))

    def of_sid(self, idp: str, sid: str) -> list[Session]:
        """The live sessions that began in one session of the provider, likewise."""
        return self._indexed(self._records.of_sid(idp, sid))

    def active(self) -> int:
        """The number of live sessions in the whole fleet."""
        return self._kv.index_count(EXPIRY_INDEX, math.nextafter(self._clock(), math.inf), math.inf)

    def counted_in(self) -> int:
        """The number of sessions created and not counted out yet, expired ones included."""
        return self._kv.index_count(EXPIRY_INDEX, -math.inf, math.inf)

    def sweep(self, limit: int = 500) -> int:
        """Ends up to `limit` expired sessions; returns how many this call ended."""
        self._count_uncounted(limit)
        now = self._clock()
        due = self._kv.index_range(EXPIRY_INDEX, -math.inf, now, limit)
        elsewhere: set[str] = set()  # which another worker ends
        found = {session.key: session for session in self._records.many([key for key, _ in due], elsewhere)}
        ended = 0
        for key, _ in due:
            session = found.get(key)
            if key in elsewhere:
                continue
            if session is None:
                ended += self._end_unreadable(key)
            elif reason := session.expired(now):
                ended += self._end([session], reason)
        return ended

    def _end(
        self,
        sessions: Sequence[Session],
        reason: EndReason,
        *,
        by: str = "",
        counted: bool = True,
        revoked: bool = True,
    ) -> int:
        ended = 0
        for session in sessions:
            batch = (
                Batch()
                .index_remove(EXPIRY_INDEX, session.key)
                .delete(hot(session.key))
                .publish(INVALIDATIONS, session.key)
            )
            if revoked:
                self._tokens.enqueue_revocation(batch, EndedSession.of(session, deliberate=reason in _DELIBERATE))
            else:
                self._tokens.forget(batch, session.key)
            if reason in _NOT_THE_USERS_DOING:
                batch.set(_ended(session.key), reason.encode(), TOLD_FOR)
            for name in self._records.indexes(session):
                batch.index_remove(name, session.key)
            if self._kv.execute(batch)[0]:
                if counted:
                    metrics.session_destroyed(reason)
                log.info("session_ended", extra={"session": session.reference, "reason": reason})
                facts = {
                    "session": session.reference,
                    "idp": session.idp,
                    "reason": reason,
                    **({"by": by} if by else {}),
                }
                self._audit.record(EventType.SESSION_ENDED, session.user.id, **facts)
                ended += 1
        return ended

    def _count_uncounted(self, limit: int) -> None:
        for member, _ in self._kv.index_range(UNCOUNTED_INDEX, -math.inf, math.inf, limit):
            if self._kv.execute(Batch().index_remove(UNCOUNTED_INDEX, member))[0]:
                metrics.session_destroyed(member.partition(":")[0])

    def _end_unreadable(self, key: str) -> int:
        """Ends a member without a readable record: gone, or sealed with a former key. It counts as timed out."""
        batch = Batch().index_remove(EXPIRY_INDEX, key).delete(hot(key))
        self._tokens.forget(batch, key)
        if not self._kv.execute(batch)[0]:
            return 0
        metrics.session_destroyed(EndReason.ABSOLUTE_TIMEOUT)
        return 1

    def _indexed(self, names: Iterable[str]) -> list[Session]:
        found: dict[str, Session] = {}
        for name in names:
            for page in pages(self._kv, name, size=min(PAGE, MOST_PER_USER)):
                fresh = self._records.many([key for key, _ in page if key not in found])
                found.update((session.key, session) for session in fresh)
                if len(found) >= MOST_PER_USER:
                    return list(found.values())
        return list(found.values())

    def _idle_end(self, used_at: float, ends_at: float) -> float:
        return min(used_at + self._settings.idle_timeout, ends_at)


def _ended(key: str) -> str:
    return f"ended:{key}"
