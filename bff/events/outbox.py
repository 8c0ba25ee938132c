"""Events are kept in the store until they are delivered: durable ones before anybody is answered, others soon after.

All threads of a worker write together. Who has a durable event waits for the one that is writing; when that has ended,
most often somebody else wrote both. What is not durable waits in memory for the next write, at most until `flush`, so
that the events of one session leave a worker in the order in which they happened. What strangers cause is sampled,
waits elsewhere, and goes to a log of its own.

    thread A                      thread B                        thread C
    emit(1), writes 1
                                  emit(2), waits for A            emit(3), waits for A
    has written 1
                                  writes 2 and 3
                                                                  finds 3 written

A store that is away costs nobody their answer: the events go back into memory, are counted as late, and are written
when it returns. They are sealed, because a decision may name a thing that says something about a person.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from bff.crypto import Sealer, SealError
from bff.errors import StoreUnavailable
from bff.events.drops import DroppedEvents
from bff.events.envelope import CloudEvent, enveloped, from_bytes
from bff.events.model import EVENTS, Data, Durability, EventType
from bff.events.sample import Sample
from bff.kv import KeyValue, LogEntry
from bff.observability import logs, metrics, traces

LOG, SAMPLED = "events", "events-sampled"
LOGS = (LOG, SAMPLED)
"""What counts, and what strangers cause; each with room of its own, so neither crowds the other out."""
BUFFER = 10_000
"""Events that a worker keeps in memory while the store is away."""
AT_ONCE = 500
SHARE = 10
"""The sample of what strangers cause has room for one in so many of the events that the outbox has room for."""


class _Waiting(NamedTuple):
    sealed: bytes
    durable: bool


class Outbox:
    """bff.events.model.EventSink in front of a log of the store."""

    def __init__(
        self, kv: KeyValue, sealer: Sealer, source: str, limit: int, clock: Callable[[], float], drops: DroppedEvents
    ) -> None:
        """source: BFF_BASE_URL. limit: events that the store keeps at most, without the sample."""
        self._kv = kv
        self._sealer = sealer
        self._source = source
        self._limit = limit
        self._clock = clock
        self._drops = drops
        self._waiting: deque[_Waiting] = deque()
        self._changing = threading.Lock()
        self._writing = threading.Lock()
        self._emitted = 0
        self._tried = 0
        self._sample = Sample(clock)

    def emit(self, event_type: EventType, data: Data) -> None:
        kept = EVENTS[event_type].durability(data)
        if kept is Durability.SAMPLED:
            if self._sample.takes(event_type):
                self._sample.add(self._sealed(event_type, data))
            return
        durable = kept is Durability.DURABLE
        number = self._remember(_Waiting(self._sealed(event_type, data), durable))
        if durable and number:
            self._write_until(number)

    def flush(self) -> None:
        """Write what waits, and tell how much is kept in the store. Raises StoreUnavailable; what waits is kept."""
        with self._writing:
            self._write()
            self._write_sample()
        metrics.outbox_depth(sum(map(self._kv.log_length, LOGS)))

    def close(self) -> None:
        """The last flush; what the store does not take now is lost."""
        try:
            self.flush()
        except StoreUnavailable:
            self._drops.dropped("stopped", len(self._waiting))
            metrics.events_sampled_out("stopped", len(self._sample))

    def read(self, entry: LogEntry) -> CloudEvent | None:
        """What is in an entry of the log; None when no current key opens it, or this release knows no such event."""
        try:
            return from_bytes(self._sealer.open(entry.value, LOG))
        except (SealError, ValueError, TypeError):
            return None

    def _sealed(self, event_type: EventType, data: Data) -> bytes:
        event = enveloped(
            event_type,
            data,
            source=self._source,
            now=self._clock(),
            correlation_id=logs.correlation_id.get(),
            traceparent=traces.outgoing().get("traceparent"),
        )
        return self._sealer.seal(event.to_bytes(), LOG)

    def _remember(self, event: _Waiting) -> int:
        """Its number; with no room left a durable one takes the place of the oldest, and another is lost itself."""
        with self._changing:
            if len(self._waiting) >= BUFFER:
                self._drops.dropped("buffer_full")
                if not event.durable:
                    return 0
                self._waiting.popleft()
            self._waiting.append(event)
            self._emitted += 1
            return self._emitted

    def _write_until(self, number: int) -> None:
        with self._writing:
            if self._tried >= number:  # somebody else has, while this thread waited
                return
            try:
                self._write()
            except StoreUnavailable:
                return

    def _write(self) -> None:
        """Write all that waits, in order. Raises StoreUnavailable; what could not be written waits again."""
        with self._changing:
            events, self._waiting = list(self._waiting), deque()
            upto = self._emitted
        try:
            while events:
                appended = self._kv.log_append(LOG, [event.sealed for event in events[:AT_ONCE]], self._limit)
                del events[:AT_ONCE]
                self._drops.dropped("outbox_full", appended.dropped)
        except StoreUnavailable:
            self._put_back(events)
            raise
        finally:
            self._tried = upto

    def _write_sample(self) -> None:
        while events := self._sample.taken(AT_ONCE):
            try:
                appended = self._kv.log_append(SAMPLED, events, max(1, self._limit // SHARE))
            except StoreUnavailable:
                self._sample.put_back(events)
                raise
            metrics.events_sampled_out("full", appended.dropped)

    def _put_back(self, events: list[_Waiting]) -> None:
        """To the front, the newest of them if there is not room for all. An event is late once."""
        self._drops.deferred(sum(event.durable for event in events))
        with self._changing:
            room = BUFFER - len(self._waiting)
            kept = events[-room:] if room else []
            self._waiting.extendleft(event._replace(durable=False) for event in reversed(kept))
        self._drops.dropped("buffer_full", len(events) - len(kept))
