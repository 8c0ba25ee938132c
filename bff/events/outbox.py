"""Transactional outbox with group commit: events stay in the store until they are delivered.

Durable events are stored before their response is sent, all other events soon after. Group commit: a thread with a
durable event waits for the current writer, and the next writer usually writes the events of all waiting threads. Other
events wait in memory for the next write, at most until `flush`. So the events of one session leave a worker in the
order in which they happened. Events that strangers cause are sampled, wait elsewhere, and go to a log of their own.

    thread A                      thread B                        thread C
    emit(1), writes 1
                                  emit(2), waits for A            emit(3), waits for A
    has written 1
                                  writes 2 and 3
                                                                  finds 3 written

Requests are answered even while the store is away. The events then return to memory, are counted as late, and are
written when the store is back. They are sealed, because a decision may name a thing that identifies a person.
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
"""The log of all other events, and the log of the sample. Each has room of its own, so neither crowds the other out."""
BUFFER = 10_000
"""Events that a worker keeps in memory while the store is away."""
AT_ONCE = 500
SHARE = 10
"""The store keeps one event of the sample for each SHARE events of the outbox's limit."""


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
        """Write the waiting events, and record the store's number of events. Raises StoreUnavailable and keeps the
        events."""
        with self._writing:
            self._write()
            self._write_sample()
        metrics.outbox_depth(sum(map(self._kv.log_length, LOGS)))

    def close(self) -> None:
        """Flush for the last time; events that the store does not accept now are lost."""
        try:
            self.flush()
        except StoreUnavailable:
            self._drops.dropped("stopped", len(self._waiting))
            metrics.events_sampled_out("stopped", len(self._sample))

    def read(self, entry: LogEntry) -> CloudEvent | None:
        """The event in a log entry; None when no current key opens it, or this release does not know its form."""
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
        """Its number. With no room left, a durable event replaces the oldest, and any other is dropped."""
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
            if self._tried >= number:  # another thread has written it meanwhile
                return
            try:
                self._write()
            except StoreUnavailable:
                return

    def _write(self) -> None:
        """Write all waiting events, in order. Raises StoreUnavailable and puts the unwritten events back."""
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
        """Put events back to the front, only the newest if there is not room for all. An event counts as late once."""
        self._drops.deferred(sum(event.durable for event in events))
        with self._changing:
            room = BUFFER - len(self._waiting)
            kept = events[-room:] if room else []
            self._waiting.extendleft(event._replace(durable=False) for event in reversed(kept))
        self._drops.dropped("buffer_full", len(events) - len(kept))
