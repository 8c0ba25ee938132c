"""Strategy: delivers events from the outbox, to a broker (kafka.py) or to the log (log_publisher.py)."""

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from bff.events.envelope import CloudEvent


class Outcome(Enum):
    DELIVERED = auto()
    FAILED = auto()
    """The event may have arrived; it must be sent again together with all later ones."""
    REFUSED = auto()
    """The carrier will never accept this event."""


Settled = Callable[[Outcome], None]


class EventPublisher(Protocol):
    """No method waits except `close`, and none raises. Made and used in one process, by one thread at a time."""

    def send(self, event: CloudEvent, settled: Settled, *, again: bool) -> None:
        """Send an event; events with the same key arrive in the order in which they were sent. settled: called once,
        now or in a later `poll`. again: whether it was sent before and failed."""

    def poll(self) -> None:
        """Call `settled` for the events that have reached their outcome."""

    def reset(self) -> None:
        """Discard the events in flight without calling `settled`, and start anew."""

    def close(self) -> None:
        """Discard the events in flight for good."""
