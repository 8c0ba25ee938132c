"""Login transactions: one record in the store and one cookie in the browser per attempt.

Each attempt has its own record and cookie, so parallel tabs do not interfere.

    begun      store  login:{SHA-256 of state} = sealed verifier, nonce, return_to, provider, SHA-256 of the cookie
               cookie bff_login_{hash of state} = time and random, LOGIN_TIMEOUT; the web layer adds a prefix
    finished   cookie and address must match the record, then compare-and-set marks the record as used (of two
               simultaneous callbacks one wins), and only then may the BFF exchange the code
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from bff.crypto import Keyring, SealError, digest, equal, random_id
from bff.errors import of_login
from bff.kv import KeyValue
from bff.login.failure import fail
from bff.sealed import opened
from bff.settings.cookies import LOGIN

MOST_ATTEMPTS = 20  # each costs 95 bytes of the Cookie field, of which a server reads 8 KiB
MOST_FORGOTTEN = 4  # in one answer; each costs 150 bytes of its head, of which nginx reads 4 KiB
COOKIE_PREFIX = LOGIN
_COOKIE_NAME = re.compile(rf"{COOKIE_PREFIX}[0-9a-f]{{16}}")


@dataclass(frozen=True)
class LoginTransaction:
    """browser: SHA-256 of the cookie that binds the attempt to one browser. dpop_key: the future session's own key.
    revocations: the provider's count of them when the attempt began (bff/sessions/shared_grant.py). again: restarts
    because of a revocation. used: whether the attempt is finished and its secrets are erased."""

    idp: str
    return_to: str
    started_at: float
    browser: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    dpop_key: str | None = field(repr=False)
    revocations: int = 0
    again: int = 0
    used: bool = False

    def used_up(self) -> "LoginTransaction":
        return replace(self, browser="", nonce="", verifier="", dpop_key=None, used=True)


@dataclass(frozen=True)
class NewTransaction:
    """An attempt that is not in the store yet. state: for the provider and the browser; cookie: for the browser."""

    transaction: LoginTransaction
    state: str = field(repr=False)
    cookie: str = field(repr=False)


class LoginTransactions:
    """Every method but `begin` raises StoreUnavailable when the store does not answer."""

    def __init__(self, kv: KeyValue, keys: Keyring, clock: Callable[[], float], *, life: float) -> None:
        """life: the most seconds that a login may take."""
        self._kv = kv
        self._sealer = keys.sealer("login-attempt")
        self._clock = clock
        self._life = life
        self._kept_for = 2 * life  # so that a late callback gets state_expired instead of state_missing

    def begin(
        self, idp: str, return_to: str, dpop_key: str | None = None, *, revocations: int = 0, again: int = 0
    ) -> NewTransaction:
        now = self._clock()
        cookie = f"{int(now)}.{random_id()}"
        attempt = LoginTransaction(
            idp, return_to, now, digest(cookie), random_id(), random_id(), dpop_key, revocations, again
        )
        return NewTransaction(attempt, state=random_id(), cookie=cookie)

    def keep(self, begun: NewTransaction) -> None:
        record = _record(begun.state)
        self._kv.set(record, self._sealed(begun.transaction, record), self._kept_for)

    def consume(
        self, state: str, cookies: Callable[[str], Sequence[str]], check: Callable[[LoginTransaction], None]
    ) -> LoginTransaction:
        """Returns the attempt that state names, once. cookies: returns the browser's cookies of one name; one match
        suffices. check: raises LoginFailed when the answer does not belong to the attempt.

        Raises KeyElsewhere, LoginFailed (state_missing, state_expired, state_mismatch, state_reused); the attempt then
        stays unused.
        """
        record = _record(state)
        sealed = self._kv.get(record) if state else None
        if sealed is None:
            fail("state_missing")
        attempt = self._opened(sealed, record)
        with of_login(attempt.idp, attempt.return_to):
            self._check(attempt, cookies(cookie_name(state)))
            check(attempt)
            used = self._sealed(attempt.used_up(), record)
            if not self._kv.compare_and_set(record, sealed, used):
                fail("state_reused")
        return attempt

    def _check(self, attempt: LoginTransaction, cookies: Sequence[str]) -> None:
        if attempt.used:
            fail("state_reused")
        # Checked before the cookie: the browser has dropped that by now, and state_mismatch would be a false alarm.
        if self._clock() - attempt.started_at > self._life:
            fail("state_expired")
        if not any(equal(digest(cookie), attempt.browser) for cookie in cookies):
            fail("state_mismatch")

    def _sealed(self, attempt: LoginTransaction, record: str) -> bytes:
        return self._sealer.seal(json.dumps(asdict(attempt)).encode(), record)

    def _opened(self, sealed: bytes, record: str) -> LoginTransaction:
        try:
            return LoginTransaction(**json.loads(opened(self._sealer, sealed, record)))
        except (SealError, ValueError, TypeError):
            fail("state_missing")


def surplus_transactions(cookies: Mapping[str, str]) -> list[str]:
    """Returns the oldest attempts' cookies to delete, so that MOST_ATTEMPTS remain with a new one.

    At most MOST_FORGOTTEN; the next login deletes more.
    """
    attempts = [name for name in cookies if _COOKIE_NAME.fullmatch(name)]
    attempts.sort(key=lambda name: cookies[name].partition(".")[0].rjust(12, "0"))
    return attempts[: min(MOST_FORGOTTEN, max(0, len(attempts) - MOST_ATTEMPTS + 1))]


def cookie_name(state: str) -> str:
    return COOKIE_PREFIX + digest(state)[:16]


def _record(state: str) -> str:
    return f"login:{digest(state)}"
