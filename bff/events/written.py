"""Events as lines of the JSON log, under the logger `bff.events`: audit without a broker.

A log is read by more people than an audit topic is, so fields that may speak of a person or a thing stay out of it.
"""

import logging

from bff.events.carrier import Outcome, Settled
from bff.events.envelope import Event
from bff.events.model import EVENTS, EventType

log = logging.getLogger("bff.events")


class Written:
    """bff.events.carrier.Carrier; whatever was logged is delivered."""

    def send(self, event: Event, settled: Settled, *, again: bool) -> None:
        fields = EVENTS[EventType(event.content["type"])].fields
        facts = {name: value for name, value in event.content["data"].items() if not fields[name].private}
        log.info("event", extra={"cloudevent": {**event.content, "data": facts}})
        settled(Outcome.DELIVERED)

    def poll(self) -> None:
        return

    def reset(self) -> None:
        return

    def close(self) -> None:
        return
