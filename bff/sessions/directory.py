"""Lists of sessions for people: a user sees their own, an operator those of all users."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from bff.kv import KeyValue
from bff.kv.paging import pages
from bff.sessions.model import Session, reference_of
from bff.sessions.records import EXPIRY_INDEX, SessionRecords


class SessionSummary(NamedTuple):
    """last_seen: Unix seconds, up to a minute late."""

    session: Session
    last_seen: float


class Directory:
    """Every method raises StoreUnavailable when the store does not answer. Expired sessions are not listed, even before
    the sweep has ended them, nor are those that only another instance can open (KeyElsewhere)."""

    def __init__(self, kv: KeyValue, records: SessionRecords, clock: Callable[[], float]) -> None:
        self._kv = kv
        self._records = records
        self._clock = clock

    def of_user(self, idp: str, sub: str, limit: int) -> tuple[list[SessionSummary], bool]:
        """The latest used sessions of a provider's user, the newest first; and whether there are more."""
        found = list(islice(self.of_person(idp, sub), limit + 1))
        listed = self._listed(found[:limit])
        return sorted(listed, key=lambda each: each.session.created_at, reverse=True), len(found) > limit

    def latest(self, limit: int, idp: str | None = None) -> list[SessionSummary]:
        """Sessions of all users, or of all users of one provider; those with the latest expiry first."""
        found = (session for session in self.everything() if idp in (None, session.idp))
        return self._listed(list(islice(found, limit)))

    def everything(self) -> Iterator[Session]:
        """Yields each session of the fleet; reads a page at a time."""
        for page in pages(self._kv, EXPIRY_INDEX, low=self._clock(), descending=True):
            yield from self._alive([key for key, _ in page])

    def named(self, idp: str, sub: str, reference: str) -> Session | None:
        """The session of this user with this reference; None without one."""
        for name in self._records.of_user(idp, sub):
            if found := self._find(name, reference):
                return found
        return None

    def anywhere(self, reference: str) -> Session | None:
        """The session of any user with this reference. Reads every key, but not the records."""
        return self._find(EXPIRY_INDEX, reference)

    def of_person(self, idp: str, sub: str, *, every: bool = False) -> Iterator[Session]:
        """Yields the live sessions of a provider's user, the latest used first; reads a page at a time. every:
        raise KeyElsewhere rather than leave one out."""
        seen: set[str] = set()
        for name in self._records.of_user(idp, sub):
            for page in pages(self._kv, name, descending=True):
                fresh = [key for key, _ in page if key not in seen]
                seen.update(fresh)
                yield from self._alive(fresh, every=every)

    def _find(self, index: str, reference: str) -> Session | None:
        for page in pages(self._kv, index):
            keys = [key for key, _ in page if reference_of(key) == reference]
            if found := self._alive(keys):
                return found[0]
        return None

    def _alive(self, keys: list[str], *, every: bool = False) -> list[Session]:
        now, found = self._clock(), self._records.many(keys, None if every else set())
        return [session for session in found if session.expired(now) is None]

    def _listed(self, sessions: list[Session]) -> list[SessionSummary]:
        seen = self._records.last_seen(sessions)
        return [SessionSummary(session, seen[session.key]) for session in sessions]
