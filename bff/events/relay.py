"""Brings events from the outbox to a carrier: in order, at least once, by one worker of the fleet at a time.

Whoever holds the lease opens the log and reads it from its oldest entry. An entry leaves the log when the carrier says
that it was delivered, not before: a worker that is killed loses nothing, and the next one sends again what may have
arrived already, under the same ids. A worker that stood still and comes back reads nothing more, because the log
belongs to whoever opened it last.

When the carrier fails, everything from the oldest entry on is sent again: what came after the one that failed must not
stay before it.

What no key of this worker opens belongs to an instance, or a rotation, that has the key. It is passed over and stays,
and now and then the lease is handed on, so that a worker that can open it has its turn (bff/events/sealed_out.py).
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from bff.crypto import random_id
from bff.errors import StoreUnavailable
from bff.events.drops import DroppedEvents
from bff.events.envelope import CloudEvent
from bff.events.outbox import LOG, LOGS, SAMPLED, Outbox
from bff.events.publisher import EventPublisher, Outcome
from bff.events.sealed_out import SealedOut
from bff.kv import KeyValue, LogEntry
from bff.kv.lock import Lock
from bff.observability import metrics

log = logging.getLogger(__name__)

LEASE = 5.0
TURN = 2.0
"""Seconds that one turn lasts at most, and a last one that waits for what is under way."""
PAUSE = 0.02
WINDOW = 500
"""Entries under way at once."""
BATCH = 100
TRIM_EVERY = 60.0

_Name = tuple[str, str]
"""Of an entry: its log, and its id there."""
Derive = Callable[[CloudEvent], Sequence[CloudEvent]]
"""What else is to be sent with an event."""


class OutboxRelay:
    def __init__(
        self,
        kv: KeyValue,
        outbox: Outbox,
        publisher: EventPublisher,
        derive: Derive,
        max_age: float,
        drops: DroppedEvents,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """max_age: seconds after which an event that could not be delivered is given up."""
        self._kv = kv
        self._outbox = outbox
        self._publisher = publisher
        self._derive = derive
        self._max_age = max_age
        self._drops = drops
        self._monotonic = monotonic
        self._wait = wait
        self._reader = random_id()
        self._lease = Lock(kv, "event-delivery", LEASE)
        self._turn = threading.Lock()
        self._leading = False
        self._trimmed_at = -TRIM_EVERY
        self._failed: set[_Name] = set()
        self._sealed_out = SealedOut(monotonic)
        self._forget()

    def run(self) -> None:
        """One turn: deliver what there is, as far as the carrier takes it in a while. Nothing happens without the
        lease. Raises StoreUnavailable."""
        with self._turn:
            if not self._leads():
                return
            self._trim()
            end = self._monotonic() + TURN
            while self._step() and self._monotonic() < end:
                if self._idle:
                    self._wait(PAUSE)
            if self._leading and not self._under_way and self._sealed_out.due():
                self._sealed_out.rest()
                self._lease.release()
                self._resign()

    def close(self) -> None:
        """Wait a moment for what is under way, and let somebody else go on."""
        end = self._monotonic() + TURN
        try:
            while self._leading and self._under_way and not self._broken and self._monotonic() < end:
                self._settle()
                self._wait(PAUSE)
            self._settle()
            if self._leading:
                self._lease.release()
        except StoreUnavailable:
            log.warning("event_delivery_without_store")
        self._leading = False
        self._publisher.close()

    def _leads(self) -> bool:
        if self._leading and self._lease.renew():
            return True
        if self._leading:
            self._resign()
        if self._sealed_out.rests() or not self._lease.acquire():
            return False
        self._sealed_out.elected()
        self._open()
        self._leading = True
        return True

    def _open(self) -> None:
        self._forget()
        self._publisher.reset()
        self._broken = True  # until the store has agreed
        for log_name in LOGS:
            self._kv.log_open(log_name, self._reader)
        self._broken = False

    def _resign(self) -> None:
        """Somebody else delivers now, or the store has lost everything."""
        self._leading = False
        self._failed.clear()
        self._forget()
        self._publisher.reset()

    def _forget(self) -> None:
        """From now on nobody listens to what is under way."""
        self._sealed_out.begin()
        self._under_way: dict[_Name, int] = {}
        self._delivered: list[_Name] = []
        self._broken = False
        self._idle = False

    def _step(self) -> bool:
        """Whether there is more to do, or to wait for."""
        self._settle()
        if self._broken:
            log.warning("event_delivery_failed", extra={"events": len(self._under_way)})
            self._failed |= self._under_way.keys()
            self._open()
            return False  # a moment's rest, until the next turn
        if self._sealed_out.due():
            self._idle = True
            return bool(self._under_way)
        entries = self._taken()
        if entries is None:
            self._resign()
            return False
        for log_name, entry in entries:
            self._send((log_name, entry.id), entry)
        self._idle = not entries
        if self._idle:
            self._sealed_out.counted()
        return bool(entries or self._under_way)

    def _taken(self) -> list[tuple[str, LogEntry]] | None:
        """With their logs; what strangers caused when there is nothing else. None when another worker reads now."""
        room = min(BATCH, WINDOW - len(self._under_way))
        try:
            for log_name in LOGS if room > 0 else ():
                entries = self._kv.log_read(log_name, self._reader, room)
                if entries is None:
                    return None
                if entries:
                    return [(log_name, entry) for entry in entries]
            return []
        except StoreUnavailable:
            self._broken = True  # entries may have been taken on an answer that never came
            raise

    def _settle(self) -> None:
        self._publisher.poll()
        for log_name in LOGS if self._delivered else ():
            if ids := [entry_id for named, entry_id in self._delivered if named == log_name]:
                self._kv.log_acknowledge(log_name, ids)
        self._failed.difference_update(self._delivered)
        self._delivered = []

    def _send(self, name: _Name, entry: LogEntry) -> None:
        event = self._outbox.read(entry)
        if event is None:
            self._sealed_out.add(name)
            return
        events, under_way = [event, *self._derive(event)], self._under_way
        under_way[name] = len(events)

        def settled(outcome: Outcome) -> None:
            if under_way is self._under_way:  # else it was given up meanwhile
                self._settled(name, outcome)

        for each in events:
            self._publisher.send(each, settled, again=name in self._failed)

    def _settled(self, name: _Name, outcome: Outcome) -> None:
        if outcome is Outcome.FAILED:
            self._broken = True
            return
        if outcome is Outcome.REFUSED:
            self._drops.dropped("refused")
        self._under_way[name] -= 1
        if not self._under_way[name]:
            del self._under_way[name]
            self._delivered.append(name)

    def _trim(self) -> None:
        now = self._monotonic()
        if now - self._trimmed_at >= TRIM_EVERY:
            self._trimmed_at = now
            self._drops.dropped("too_old", self._kv.log_trim(LOG, self._max_age))
            metrics.events_sampled_out("too_old", self._kv.log_trim(SAMPLED, self._max_age))
