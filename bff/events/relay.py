"""Outbox relay: one worker of the fleet at a time sends events from the outbox to a carrier, in order, at least once.

The worker that holds the lease opens the log and reads it from its oldest entry. An entry leaves the log when the
carrier has acknowledged it, not before. A killed worker loses no event: the next one sends again, under the same ids,
even events that may have arrived. A worker that was suspended and resumes reads nothing more, because the log belongs
to the worker that opened it last.

When the carrier fails, all events from the oldest entry on are sent again, because later ones must not stay before the
one that failed.

An entry that no key of this worker opens belongs to an instance, or a rotation, that has the key. It is skipped and
stays. From time to time the lease is handed on, so that a worker with the key has its turn (bff/events/sealed_out.py).
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
"""Longest time of one turn in seconds, and of the last wait for events in flight."""
PAUSE = 0.02
WINDOW = 500
"""Most entries in flight at once."""
BATCH = 100
TRIM_EVERY = 60.0

_Name = tuple[str, str]
"""An entry's name: its log, and its id there."""
Derive = Callable[[CloudEvent], Sequence[CloudEvent]]
"""Returns further events to send with an event."""


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
        """max_age: seconds after which an undelivered event is dropped."""
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
        """One turn: deliver events for a limited time, as fast as the carrier accepts them. Does nothing without the
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
        """Wait a moment for the events in flight, and release the lease to another worker."""
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
        self._broken = True  # until the store has opened the logs
        for log_name in LOGS:
            self._kv.log_open(log_name, self._reader)
        self._broken = False

    def _resign(self) -> None:
        """Stop leading: another worker delivers now, or the store has lost all data."""
        self._leading = False
        self._failed.clear()
        self._forget()
        self._publisher.reset()

    def _forget(self) -> None:
        """Discard the state of all events in flight; their outcomes are ignored from now on."""
        self._sealed_out.begin()
        self._under_way: dict[_Name, int] = {}
        self._delivered: list[_Name] = []
        self._broken = False
        self._idle = False

    def _step(self) -> bool:
        """Whether there are more entries, or events in flight."""
        self._settle()
        if self._broken:
            log.warning("event_delivery_failed", extra={"events": len(self._under_way)})
            self._failed |= self._under_way.keys()
            self._open()
            return False  # pauses until the next turn
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
        """Entries with their logs; those of the sample when there are no others. None when another worker reads now."""
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
            self._broken = True  # the store may have handed out entries in a lost answer
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
            if under_way is self._under_way:  # else it was discarded meanwhile
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
