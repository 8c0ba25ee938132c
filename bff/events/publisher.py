"""What takes events out of the outbox to those who want them: a broker (kafka.py), or the log (written.py)."""

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from bff.events.envelope import CloudEvent


class Outcome(Enum):
    DELIVERED = auto()
    FAILED = auto()
    """It may or may not have arrived, and is to be sent again together with all that came after it."""
    REFUSED = auto()
    """It will never be taken as it is."""


Settled = Callable[[Outcome], None]


class EventPublisher(Protocol):
    """No method waits, but `close`, and none raises. Made and used in one process, by one thread at a time."""

    def send(self, event: CloudEvent, settled: Settled, *, again: bool) -> None:
        """Take an event; those with one key arrive in the order in which they were sent. settled: called once, now or
        in a later `poll`. again: whether it was sent before and failed."""

    def poll(self) -> None:
        """Call `settled` for what has come to its end."""

    def reset(self) -> None:
        """Give up what is under way, without a word about it, and begin anew."""

    def close(self) -> None:
        """The same for good."""
