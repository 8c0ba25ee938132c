"""Session gate: decides whether a request belongs to a live session. Verify and every protected view use it.

Hardly ever writes within a request: a session's use is noted in memory and recorded later, in a batch (write-behind).
Only a use in the session's last moment is recorded at once, since another worker would end the session before the
next batch.
"""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from bff.crypto import digest
from bff.errors import BindingMismatch, SessionEnded, SessionExpired, StoreRefuses, StoreUnavailable, Unauthenticated
from bff.events.audit import Audit
from bff.events.model import SecurityEvent
from bff.observability import metrics
from bff.sessions.binding import Binding, binding_of, mismatch
from bff.sessions.cache import CachedSession, SessionCache, touch_interval
from bff.sessions.model import EndReason, Session, User
from bff.sessions.store import SessionStore
from bff.settings import SessionSettings

_COOKIE_VALUE = r"[A-Za-z0-9_-]{43}"  # the form of random_id(); other values cost no look-up
_MOST_CANDIDATES = 3
_RECORDED_WITHIN = 2.0
"""Seconds until the next batch is certainly written."""
_REPORTED_FOR = 3600.0
_MOST_REPORTED = 1024


class ClientFingerprint(NamedTuple):
    """The client of a request: the address from trusted proxies, and the User-Agent."""

    address: str
    user_agent: str

    def __repr__(self) -> str:
        return "ClientFingerprint(...)"


class SessionAuthenticator:
    def __init__(
        self,
        cache: SessionCache,
        store: SessionStore,
        audit: Audit,
        settings: SessionSettings,
        cookie_name: str,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """clock: Unix seconds. monotonic: seconds that only go forward."""
        self._cache = cache
        self._store = store
        self._audit = audit
        self._binding = settings.binding
        self._bound_to = settings.bound_to
        self._reported: dict[tuple[str, Binding], float] = {}
        self._touch_interval = touch_interval(settings)
        self._cookie = re.compile(rf'(?:^|;)[ \t]*{re.escape(cookie_name)}="*({_COOKIE_VALUE})"*[ \t]*(?=;|\Z)')
        self._clock = clock
        self._monotonic = monotonic
        self._validated = metrics.SESSION_VALIDATION.observe
        self._used: dict[str, tuple[Session, float]] = {}

    def authenticate(self, cookie_header: str, client: ClientFingerprint, *, touch: bool = True) -> CachedSession:
        """The session of the request's cookies.

        Raises Unauthenticated, SessionExpired, SessionEnded, BindingMismatch, StoreUnavailable.
        """
        start = time.perf_counter()
        try:
            return self._authenticated(cookie_header, client, touch)
        finally:
            self._validated(time.perf_counter() - start)

    def _authenticated(self, cookie_header: str, client: ClientFingerprint, touch: bool) -> CachedSession:
        now = self._clock()
        entry = self._find(cookie_header, now)
        session = entry.session
        if now >= session.expires_at:
            self._end_expired(session, now)
        if self._binding != "off" and (seen := binding_of(*client)) != session.binding:
            self._compare(session, seen)
        if touch and now >= entry.touch_after:
            self._note_use(entry, now)
        return entry

    def answerable_locally(self, cookie_header: str, client: ClientFingerprint) -> bool:
        """Whether `authenticate` would decide from this worker's memory, and emit no event."""
        now = self._clock()
        values = self._candidates(cookie_header)
        if not values:
            return True
        entry = self._cache.held(digest(values[0]), now)
        if entry is None or self._must_record(entry, now):
            return False
        if self._binding == "off" or (seen := binding_of(*client)) == entry.session.binding:
            return True
        return not self._differs(entry.session, seen) or self._was_reported(entry.session, seen)

    def end(self, session: Session, reason: EndReason, *, by: str = "") -> bool:
        """Ends a session: here at once, in the other workers when they get the message; False when it had ended. by: in
        its event. Raises StoreUnavailable; then this worker no longer admits the session without asking the store."""
        try:
            return self._store.end(session, reason, by=by)
        finally:
            self._cache.invalidate(session.key)

    def change_user(self, session: Session, user: User) -> bool:
        """Puts the provider's current claims of the user into a session, in every worker; False when nothing changes,
        or the session is over. Raises StoreUnavailable."""
        changed = True
        try:
            changed = self._store.change_user(session.key, user)
        finally:
            if changed:
                self._cache.invalidate(session.key)
        return changed

    def replace(self, former: Session, new: Session) -> None:
        """Ends the former session of a browser that logged in again. Raises StoreUnavailable."""
        try:
            self._store.replace(former, new)
        finally:
            self._cache.invalidate(former.key)

    def discard(self, session: Session) -> None:
        """Ends a new session with tokens that the provider may have revoked already. Raises StoreUnavailable."""
        self.replace(session, session)

    def end_all_of(self, session: Session, reason: EndReason) -> int:
        """Ends every session of this session's user at this provider; returns how many there were."""
        try:
            ended = self._store.end_all_of(session, reason)
        except StoreUnavailable:
            self.distrust(lambda other: (other.idp, other.user.sub) == (session.idp, session.user.sub))
            raise
        self._cache.invalidate(session.key)
        return ended

    def distrust(self, named: Callable[[Session], bool]) -> None:
        """After a failed end: this worker admits none of these sessions without asking the store."""
        self._cache.distrust(named)

    def flush(self) -> None:
        """Records the use of sessions since the last flush. Raises StoreUnavailable; failed notes are kept."""
        used, self._used = self._used, {}
        try:
            self._store.touch(list(used.values()))
        except Exception:
            self._used = {**used, **self._used}
            raise

    def _find(self, cookie_header: str, now: float) -> CachedSession:
        known, refusal = None, Unauthenticated()
        for value in self._candidates(cookie_header):
            try:
                entry = self._cache.lookup(digest(value), now)
            except SessionEnded as err:
                refusal = err
                continue
            if entry is not None and now < entry.session.expires_at:
                return entry
            known = known or entry
        if known is None:
            raise refusal
        return known

    def _candidates(self, cookie_header: str) -> Sequence[str]:
        """The values of our cookie that have the right form.

        A browser may hold several (left over from another BFF_COOKIE_DOMAIN, or set by a sibling host), so the first
        one that opens a session counts.
        """
        return [found[1] for found in islice(self._cookie.finditer(cookie_header), _MOST_CANDIDATES)]

    def _note_use(self, entry: CachedSession, now: float) -> None:
        at_once = self._must_record(entry, now)
        entry.touch_after = now + self._touch_interval
        use = (entry.session, now)
        if at_once:
            with suppress(StoreUnavailable):
                self._store.touch([use])
                return
        self._used[entry.session.key] = use

    def _must_record(self, entry: CachedSession, now: float) -> bool:
        """Whether the session may be over before the next batch is written."""
        return now >= entry.touch_after and entry.session.expires_at - now < _RECORDED_WITHIN

    def _end_expired(self, session: Session, now: float) -> None:
        reason = session.expired(now) or EndReason.IDLE_TIMEOUT
        with suppress(StoreRefuses):  # an expired session is refused anyway, and the sweep ends it when there is room
            self.end(session, reason)
        raise SessionExpired

    def _compare(self, session: Session, seen: Binding) -> None:
        """Raises BindingMismatch where the binding is enforced. Never ends the session."""
        differs = self._differs(session, seen)
        if differs is None:
            return
        metrics.binding_failure(differs)
        if not self._was_reported(session, seen):
            self._report(session, seen, differs)
        if self._binding == "enforce":
            raise BindingMismatch

    def _differs(self, session: Session, seen: Binding) -> str | None:
        return mismatch(session.binding, seen, self._bound_to)

    def _was_reported(self, session: Session, seen: Binding) -> bool:
        return self._monotonic() < self._reported.get((session.key, seen), float("-inf"))

    def _report(self, session: Session, seen: Binding, differs: str) -> None:
        """Emits an event for the first request of each other client only: a video has hundreds of requests."""
        while len(self._reported) >= _MOST_REPORTED:
            self._reported.pop(next(iter(self._reported)), None)
        self._reported[session.key, seen] = self._monotonic() + _REPORTED_FOR
        self._audit.security(SecurityEvent.SESSION_BINDING, session=session.reference, reason=differs)
