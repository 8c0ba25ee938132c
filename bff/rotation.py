"""Key rotation of a fleet: each worker reports which secrets of BFF_SECRETS it has, and seals with one that all have.

    secrets               index: each list of secrets that a live worker has, by fingerprint, and the time of report
    secrets:{list}        for LIFE: the ids of the keys that these secrets seal with, by fingerprint
    secret-wrote:{secret} when a worker last sealed with it

So a secret that only one pod has yet seals nothing. A pod that lost the store may still seal with it. The other pods
then find the key's id in the fleet's lists, and treat the record as another instance's: `elsewhere`. Workers with the
same secrets share one entry, so a fleet costs as much as one worker. The store measures the entry's life, so clocks
need not agree.
"""

import json
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from bff.crypto import Keyring, key_id
from bff.errors import StoreUnavailable
from bff.events.outbox import LOGS
from bff.kv import Batch, KeyValue
from bff.kv.paging import PAGE, pages
from bff.sessions.records import EXPIRY_INDEX, hot

log = logging.getLogger(__name__)

PERIOD = 5.0
"""Seconds between two reports of a worker."""
LIFE = 20.0
"""Seconds without a report after which a worker counts as gone."""
CLOCKS_APART = 60.0
INDEX = "secrets"
DRAINED = "secrets-outbox-drained"
_ASKED_AGAIN_AFTER = 1.0
_KEPT = 30 * 86400.0
_MOST_LISTS = 16
LOOKED_AT = 20_000

Lists = dict[tuple[str, ...], frozenset[str]]
"""By fingerprints, in the order of BFF_SECRETS: the ids of the keys that seal with them."""


@dataclass(frozen=True)
class Use:
    """One secret. here: its place in this instance's BFF_SECRETS, from 1 on; None if it is missing there. everywhere:
    whether every live instance has it. droppable_in: seconds until no record needs it; None while it seals, or while
    events that it sealed wait."""

    key: str
    here: int | None
    everywhere: bool
    seals: bool
    droppable_in: float | None


class Rotation:
    def __init__(
        self,
        kv: KeyValue,
        keys: Keyring,
        longest_life: float,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """longest_life: the most seconds for which a sealed record or a signature is needed, except events. clock: Unix
        seconds. monotonic: seconds that only go forward."""
        self._kv = kv
        self._keys = keys
        self._own = tuple(keys.fingerprints)
        self._longest_life = longest_life + CLOCKS_APART
        self._clock = clock
        self._monotonic = monotonic
        self._lists: Lists = {}
        self._wrote: dict[str, float] = {}
        self._drained = 0.0
        self._everywhere_since: dict[str, float] = {}
        self._first = True
        self._asked_at = -math.inf
        self._asking = threading.Lock()
        keys.shared.elsewhere = self.elsewhere

    def start(self) -> None:
        """Reports once before this worker seals anything, if the store answers."""
        try:
            self.beat()
        except StoreUnavailable:
            log.warning("secrets_without_store")

    def beat(self) -> None:
        """Reports this worker's secrets, reads the fleet's, and chooses one that all have. Raises StoreUnavailable."""
        own, now = ",".join(self._own), self._clock()
        ids = json.dumps(dict(zip(self._own, self._keys.key_ids, strict=True))).encode()
        seals = self._own[self._keys.shared.writer]
        batch = Batch().set(_list(own), ids, LIFE).index_add(INDEX, own, now)
        if not self._first:
            batch.set(_wrote(seals), str(now).encode(), _KEPT)
        if not sum(map(self._kv.log_length, LOGS)):
            batch.set(DRAINED, str(now).encode(), _KEPT)
        self._kv.execute(batch)
        self._read()
        self._note()
        self._choose()
        self._first = False

    def elsewhere(self, key_id: str | None) -> bool:
        """Whether a live instance has the key with this id; with None, whether any has a secret that this one lacks."""
        if not self._knows(key_id) and self._monotonic() - self._asked_at >= _ASKED_AGAIN_AFTER:
            try:
                self._read()
            except StoreUnavailable:
                return True  # in doubt: a False would discard the record
        return self._knows(key_id)

    def uses(self) -> list[Use]:
        """Returns each secret of the fleet, this instance's first."""
        known = dict.fromkeys([*self._own, *(key for each in self._lists for key in each)])
        sealing = self._sealing()
        return [
            Use(
                key,
                self._own.index(key) + 1 if key in self._own else None,
                self._everywhere(key),
                key in sealing,
                self._droppable_in(key, sealing),
            )
            for key in known
        ]

    def look(self) -> None:
        """Reads which secrets the fleet uses, without a report of its own. Raises StoreUnavailable."""
        self._read()

    def follow(self) -> None:
        """Chooses the secret that the fleet seals with, without a report of its own. Raises StoreUnavailable."""
        self._read()
        self._choose()

    def report(self) -> dict[str, object]:
        """Returns the step and each secret by its fingerprint, for the operator."""
        secrets = [
            {
                "key": use.key,
                "place": use.here,
                "everywhere": use.everywhere,
                "seals": use.seals,
                "droppable_in_seconds": None if use.droppable_in is None else round(use.droppable_in),
            }
            for use in self.uses()
        ]
        return {"step": self.step(), "keys": secrets}

    def step(self) -> str:
        """Returns the rotation's step, which determines the operator's next action (docs/security.md)."""
        uses = self.uses()
        if len(self._lists) > 1:
            return "rolling"
        if len(uses) < 2:
            return "settled"
        last = uses[-1]
        if last.seals or last.key not in self._wrote:
            return "added"
        return "droppable" if last.droppable_in == 0 else "waiting"

    def _knows(self, key_id: str | None) -> bool:
        if key_id is None:
            return any(key not in self._own for each in self._lists for key in each)
        return any(key_id in ids for ids in self._lists.values())

    def _read(self) -> None:
        with self._asking:
            self._asked_at = self._monotonic()
            names = [name for name, _ in self._kv.index_range(INDEX, -math.inf, math.inf, _MOST_LISTS, descending=True)]
            lists = {name: raw for name, raw in zip(names, self._get(map(_list, names)), strict=True) if raw}
            self._forget([name for name in names if name not in lists])
            self._lists = {tuple(name.split(",")): _ids(raw) for name, raw in lists.items()}
            secrets = list(dict.fromkeys([*self._own, *(key for each in self._lists for key in each)]))
            *wrote, drained = self._get([*map(_wrote, secrets), DRAINED])
            self._wrote = {key: float(raw) for key, raw in zip(secrets, wrote, strict=True) if raw}
            self._drained = float(drained or 0)

    def _get(self, keys: Iterable[str]) -> list[bytes | None]:
        batch = Batch()
        for key in keys:
            batch.get(key)
        return self._kv.execute(batch) if batch.operations else []

    def _forget(self, names: list[str]) -> None:
        batch = Batch()
        for name in names:
            batch.index_remove(INDEX, name)
        if names:
            self._kv.execute(batch)

    def _choose(self) -> None:
        """Takes the first secret that every live instance has."""
        for place, key in enumerate(self._own):
            if self._everywhere(key) and (self._first or self._may_take(place)):
                self._take(place)
                return

    def _may_take(self, place: int) -> bool:
        """Whether the secret at this place may seal now.

        An earlier place must have been everywhere for LIFE seconds, unless an instance lacks the present secret.
        """
        writer = self._keys.shared.writer
        waited = self._monotonic() - self._everywhere_since.get(self._own[place], math.inf) >= LIFE
        return place >= writer or waited or not self._everywhere(self._own[writer])

    def _everywhere(self, key: str) -> bool:
        return all(key in each for each in self._lists)

    def _note(self) -> None:
        """Records since when every live instance has each of our secrets."""
        now = self._monotonic()
        there = [key for key in self._own if self._everywhere(key)]
        self._everywhere_since = {key: self._everywhere_since.get(key, now) for key in there}

    def _take(self, place: int) -> None:
        if place != self._keys.shared.writer:
            log.info("secret_seals", extra={"key": self._own[place]})
        self._keys.shared.writer = place

    def _sealing(self) -> set[str]:
        """Secrets that some live worker seals with."""
        recent = self._clock() - LIFE
        lately = {key for key, when in self._wrote.items() if when >= recent}
        return lately | {self._own[self._keys.shared.writer]}

    def _droppable_in(self, key: str, sealing: set[str]) -> float | None:
        wrote = self._wrote.get(key)
        if key in sealing:
            return None
        if wrote is None:
            return 0.0
        left = wrote + self._longest_life - self._clock()
        return None if left <= 0 and self._drained <= wrote else max(0.0, left)


def sealed_sessions(kv: KeyValue, keys: Keyring, now: float) -> dict[str, int]:
    """Counts the live sessions that each secret sealed, among the LOOKED_AT with the latest expiry.

    Raises StoreUnavailable.
    """
    names = {key_id: name for name, key_id in zip(keys.fingerprints, keys.sealer("session-hot").key_ids, strict=True)}
    found: Counter[str] = Counter()
    for page in islice(pages(kv, EXPIRY_INDEX, low=now, descending=True), LOOKED_AT // PAGE):
        batch = Batch()
        for key, _ in page:
            batch.get(hot(key))
        found.update(names.get(key_id(raw), "another") for raw in kv.execute(batch) if raw)
    return dict(found)


def _ids(raw: bytes) -> frozenset[str]:
    try:
        return frozenset(key_id for ids in json.loads(raw).values() for key_id in ids)
    except (ValueError, AttributeError, TypeError):
        return frozenset()


def _list(own: str) -> str:
    return f"secrets:{own}"


def _wrote(key: str) -> str:
    return f"secret-wrote:{key}"
