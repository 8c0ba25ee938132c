"""What tests of events share: a store, an outbox upon it, a carrier that does as it is told, and the schemas."""

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from bff.crypto import Keyring, Sealer
from bff.events import catalogue
from bff.events.drops import DroppedEvents
from bff.events.envelope import CloudEvent
from bff.events.model import EVENTS, EventType
from bff.events.outbox import LOGS, Outbox
from bff.events.publisher import Outcome, Settled
from bff.events.relay import OutboxRelay
from bff.kv import KeyValue
from tests.clock import Clock

SOURCE = "https://app.example"
LIMIT = 1000
SCHEMA: Mapping[EventType, Draft202012Validator] = {
    event_type: Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    for event_type, schema in zip(EVENTS, catalogue.schemas()["oneOf"], strict=True)
}
LOGIN = {"session": "s1", "idp": "default"}
FAILURE = {"reason": "idp_error"}


def valid(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event as a consumer reads it. Raises ValidationError."""
    read: Mapping[str, Any] = json.loads(json.dumps(content))
    SCHEMA[EventType(read["type"])].validate(read)
    return read


def sealer() -> Sealer:
    return Keyring([b"k" * 32]).sealer("outbox")


def outbox(kv: KeyValue, clock: Clock, limit: int = LIMIT) -> Outbox:
    return Outbox(kv, sealer(), SOURCE, limit, clock, DroppedEvents(clock))


def kept(kv: KeyValue, box: Outbox, *logs: str) -> list[CloudEvent]:
    """Everything in the store, of each log the oldest first; whoever reads is no longer the reader."""
    entries = []
    for log in logs or LOGS:
        kv.log_open(log, "a test")
        entries += kv.log_read(log, "a test", 100_000) or []
    return [event for event in map(box.read, entries) if event is not None]


class Told:
    """bff.events.publisher.EventPublisher: keeps what was sent, and settles when a test says so.

    settles: what is said of each event at once; None for nothing yet.
    """

    def __init__(self, settles: Outcome | None = Outcome.DELIVERED) -> None:
        self.settles = settles
        self.sent: list[CloudEvent] = []
        self.again: list[bool] = []
        self.open: list[Settled] = []
        self.due: list[tuple[Settled, Outcome]] = []
        self.resets = 0
        self.closed = False

    def send(self, event: CloudEvent, settled: Settled, *, again: bool) -> None:
        self.sent.append(event)
        self.again.append(again)
        if self.settles is None:
            self.open.append(settled)
        else:
            settled(self.settles)

    def settle(self, number: int, outcome: Outcome) -> None:
        """To be told at the next poll."""
        self.due.append((self.open[number], outcome))

    def poll(self) -> None:
        due, self.due = self.due, []
        for settled, outcome in due:
            settled(outcome)

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.closed = True

    def ids(self) -> list[str]:
        return [event.content["data"].get("session") or event.content["type"] for event in self.sent]


def relay(kv: KeyValue, box: Outbox, publisher: Told, clock: Clock, max_age: float = 3600) -> OutboxRelay:
    """Time passes while it waits."""

    def wait(seconds: float) -> None:
        clock.now += seconds

    return OutboxRelay(kv, box, publisher, lambda _event: (), max_age, DroppedEvents(clock), clock, wait)
