"""The ledger of the soak: what the script did to each session, and whether that explains how the session ended.

A cause is written down before it is brought about, since its answer may be lost. A fault of the fleet explains only
what it can cost: a killed worker what that worker had not written yet, a failover what was not replicated yet.
"""

import math
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from tests.peers.single_sign_on import SingleSignOn

Act = Literal["logout", "backchannel", "login"]
Fault = Literal["kill", "failover"]

UNWRITTEN = 1.5
"""Seconds for which a worker may hold the use of a session, or a token just refreshed, and Redis a write that its
replica does not have."""
USES = 8
REASONS: dict[str, Act] = {"logout": "logout", "backchannel": "backchannel", "replaced": "login"}
"""Of `session.ended`, and the script's act that it must come from."""


@dataclass
class Life:
    """A session. Times are Unix seconds. acts: when it was about to be ended. uses: the latest that were answered.
    asked_at: the latest request, whatever became of it."""

    reference: str
    person: str
    provider: str
    sid: str
    began_at: float
    acts: dict[Act, float] = field(default_factory=dict)
    uses: deque[float] = field(default_factory=lambda: deque(maxlen=USES))
    asked_at: float = 0


@dataclass
class Period:
    fault: Fault
    began: float
    ended: float = math.inf

    def near(self, at: float) -> bool:
        """Whether what was written then may have been lost."""
        return self.began - UNWRITTEN <= at <= self.ended + UNWRITTEN


class Ledger:
    def __init__(self, providers: dict[str, SingleSignOn], idle_timeout: float) -> None:
        self.providers = providers
        self.counts: Counter[str] = Counter()
        self.unexplained: list[str] = []
        self.lives: dict[str, Life] = {}
        self._idle = 0.9 * idle_timeout - UNWRITTEN  # a use within a tenth of it after the last one is not recorded
        self._of: dict[tuple[str, str], list[Life]] = defaultdict(list)
        self._faults: list[Period] = []
        self._lock = threading.Lock()

    @contextmanager
    def fault(self, kind: Fault) -> Iterator[None]:
        """While it is brought about, until the fleet has recovered."""
        self.count(kind)
        period = Period(kind, time.time())
        self._faults.append(period)
        try:
            yield
        finally:
            period.ended = time.time()

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def wrong(self, what: str) -> None:
        with self._lock:
            self.unexplained.append(what)

    def began(self, life: Life) -> None:
        with self._lock:
            self.lives[life.reference] = life
            self._of[life.person, life.provider].append(life)
            self.counts["sessions"] += 1

    def of(self, person: str, provider: str) -> list[Life]:
        with self._lock:
            return list(self._of[person, provider])

    def ended(self, life: Life, now: float) -> None:
        """A request was refused although the script thought that this session might live."""
        cause = self.cause(life, now)
        if not cause:
            self.wrong(f"refused: {self.told(life, now)}")
        self.count(f"end seen by a user: {cause or 'unexplained'}")

    def reported(self, reference: str, reason: str, now: float) -> None:
        """An event says that a session ended for a reason at a time."""
        life = self.lives.get(reference)
        self.count(f"event: {reason}")
        if life is None:  # the answer to its login was lost, so nobody can miss it
            self.count("ends of sessions that nobody had")
        elif not self._justified(life, reason, now):
            self.wrong(f"event {reason}: {self.told(life, now)}")

    def cause(self, life: Life, now: float) -> str:
        """Of an end that a user met; empty where nothing explains it."""
        for act in life.acts:
            return act
        if self._idled(life, now):
            return "idle"
        if self.near(life.began_at, "failover"):
            return "failover"
        return self._grant_ended(life)

    def near(self, at: float, *kinds: Fault) -> bool:
        """Whether something written then may have been lost by such a fault."""
        return any(period.fault in kinds and period.near(at) for period in self._faults)

    def told(self, life: Life, now: float) -> str:
        ends = [(end.reason, round(end.at - now, 1)) for end in self.providers[life.provider].ends(life.person)]
        uses = [round(use - now, 1) for use in life.uses]
        faults = [
            (each.fault, round(each.began - now, 1), round(each.ended - now, 1))
            for each in self._faults[-4:]
            if each.ended < math.inf
        ]
        acts = {act: round(at - now, 1) for act, at in life.acts.items()}
        return (
            f"{life.reference} of {life.person} at {life.provider} from {life.began_at - now:.1f}, acts {acts}, "
            f"uses {uses}, grant {ends}, faults {faults}"
        )

    def _justified(self, life: Life, reason: str, now: float) -> bool:
        if reason == "idle_timeout":
            return self._idled(life, now)
        if reason == "refresh_rejected":
            cause = self._grant_ended(life)
            self.count(f"event: refresh_rejected, {cause}")
            return bool(cause)
        return reason in REASONS and REASONS[reason] in life.acts

    def _idled(self, life: Life, now: float) -> bool:
        """A use counts once no fault can have lost it."""
        sure = [use for use in (life.began_at, *life.uses) if use <= now and not self.near(use, "kill", "failover")]
        return now - max(sure, default=life.began_at) >= self._idle

    def _grant_ended(self, life: Life) -> str:
        """By the script: an administrator did, a person logged out of a session that is as young, or a token was used
        twice because a fault had taken the one in its place."""
        for end in self.providers[life.provider].ends(life.person):
            if end.at < life.began_at:
                continue
            if end.reason == "administrator":
                return "lost grant"
            if end.reason == "reuse" and self.near(end.replaced_at, "kill", "failover"):
                return "lost token"
            if end.reason == "client" and self._logged_out_beside(life, end.at):
                return "logout beside"
        return ""

    def _logged_out_beside(self, life: Life, at: float) -> bool:
        return any(
            other.began_at >= life.began_at and other.acts.get("logout", at + 1) <= at
            for other in self.of(life.person, life.provider)
        )
