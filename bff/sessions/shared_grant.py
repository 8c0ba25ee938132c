"""Mutual exclusion by flags (Dekker): a login notices a revocation that may have ended its new tokens.

Many providers keep one grant for a user and a client, and a revocation ends all of it (RFC 7009 section 2.1): the
tokens of a later login of the same user, and even a code that is being exchanged. So each side first shows itself and
then looks for the other:

    revocation                              login
                                            0. reads the number of revocations at this provider
    1. puts up a flag for the user          1. creates the session
    2. looks for another session            2. looks for the flag, and for a revocation for the user since step 0
    3. counts it, and revokes, only if      3. begins again if it finds one
       there is none
    4. counts it, and takes the flag down

The later of the two steps 2 sees the other side's step 1. The provider's single sign-on answers a login that begins
again at once. A revocation may also have ended a code that the provider refuses, while the user is not known yet: then
any revocation at this provider since step 0 is a reason to begin again. Revocations are counted, not timed, since the
clocks of two instances may differ. Each counts once before and once after it is made, so that a concurrent login sees
it.

    revoking:{user index}  index: each attempt at a revocation, at the time when it began. A logout and the background
                           job may try the same one at once, so each attempt has a flag of its own
    revoked:{user index}   number of the latest revocation for this user
    revocations:{idp}      number of beginnings and ends of revocations at this provider
"""

import math
from collections.abc import Callable

from bff.crypto import random_id
from bff.kv import Batch, KeyValue
from bff.sessions.directory import Directory
from bff.sessions.model import Session
from bff.sessions.records import SessionRecords
from bff.sessions.token_store import EndedSession

CLOCKS_APART = 60.0
"""Seconds that the clocks of two instances may differ by."""
LONGEST_CALL = 30.0
"""Seconds after which a revocation counts as over, even if its worker was killed in the middle."""


class SharedGrants:
    """Every method raises StoreUnavailable when the store does not answer."""

    def __init__(
        self,
        kv: KeyValue,
        records: SessionRecords,
        directory: Directory,
        clock: Callable[[], float],
        *,
        login_timeout: float,
    ) -> None:
        """login_timeout: seconds that a login may take."""
        self._kv = kv
        self._records = records
        self._directory = directory
        self._clock = clock
        self._life = login_timeout + LONGEST_CALL + CLOCKS_APART

    def begin_revocation(self, ended: EndedSession) -> str | None:
        """The name of this attempt, for `finish_revocation`, which must follow; None when these tokens must not be
        revoked.

        A user's own logout revokes tokens in spite of older sessions, but never of a newer one. Any other end must not
        put a live session at risk.
        """
        attempt, batch, now = random_id(), Batch(), self._clock()
        for name in self._of_person("revoking", ended.idp, ended.sub):
            batch.index_add(name, attempt, now, ttl=self._life)
        self._kv.execute(batch)
        since = ended.created_at if ended.deliberate else -math.inf
        live = self._directory.of_person(ended.idp, ended.sub, every=True)
        if any(session.key != ended.key and session.created_at >= since for session in live):
            self._kv.execute(self._flag_down(ended, attempt))
            return None
        self._count(ended.idp)
        return attempt

    def finish_revocation(self, ended: EndedSession, attempt: str) -> None:
        """Ends the revocation after the provider's answer, good or bad."""
        number = str(self._count(ended.idp)).encode()
        batch = self._flag_down(ended, attempt)
        for name in self._of_person("revoked", ended.idp, ended.sub):
            batch.set(name, number, self._life)
        self._kv.execute(batch)

    def revocations(self, idp: str) -> int:
        """A number that grows with each beginning and end of a revocation; a login reads it when it begins."""
        return int(self._kv.get(_counter(idp)) or 0)

    def overtook(self, session: Session, remembered: int) -> bool:
        """Whether a revocation may have ended the tokens of this new session. remembered: the number at its login."""
        under_way = self._of_person("revoking", session.idp, session.user.sub)
        oldest = self._clock() - LONGEST_CALL - CLOCKS_APART
        if any(self._kv.index_count(name, oldest, math.inf) for name in under_way):
            return True
        last = (self._kv.get(name) for name in self._of_person("revoked", session.idp, session.user.sub))
        return any(number is not None and int(number) > remembered for number in last)

    def _flag_down(self, ended: EndedSession, attempt: str) -> Batch:
        batch = Batch()
        for name in self._of_person("revoking", ended.idp, ended.sub):
            batch.index_remove(name, attempt)
        return batch

    def _count(self, idp: str) -> int:
        name = _counter(idp)
        while True:
            known = self._kv.get(name)
            number = int(known or 0) + 1
            value = str(number).encode()
            counted = (
                self._kv.set_if_absent(name, value) if known is None else self._kv.compare_and_set(name, known, value)
            )
            if counted:
                return number

    def _of_person(self, kind: str, idp: str, sub: str) -> list[str]:
        """The names under every current key, as a rotation of keys may be under way."""
        return [f"{kind}:{name}" for name in self._records.of_user(idp, sub)]


def _counter(idp: str) -> str:
    return f"revocations:{idp}"
