"""Events in the log: whole, but for what may speak of a person or a thing, and not redacted away."""

import json
import logging

import pytest

from bff.crypto import Keyring
from bff.events.audit import Audit
from bff.events.envelope import enveloped
from bff.events.log_publisher import LogPublisher
from bff.events.model import EVENTS, Data, EventType
from bff.events.publisher import Outcome
from bff.observability import logs
from tests.unit.events.support import SOURCE


class Sink:
    def emit(self, event_type: str, data: Data) -> None:
        return


def test_an_event_that_another_release_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    event = enveloped(EventType.LOGOUT, {"session": "s"}, source=SOURCE, now=0, correlation_id="", traceparent=None)
    event.content["type"] = "auth.something.new"
    outcomes: list[Outcome] = []
    LogPublisher().send(event, outcomes.append, again=False)
    assert outcomes == [Outcome.DELIVERED]
    assert caplog.records[-1].__dict__["cloudevent"] == {**event.content, "data": {}}


@pytest.mark.parametrize("event_type", EventType)
def test_what_is_private_stays_out_and_all_else_is_there(
    event_type: EventType, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    user = Audit(Sink(), Keyring([b"k" * 32]).mac("audit-user")).pseudonym("alice")
    kinds = {"string": "text", "boolean": True, "number": 1, "array": ["text"]}
    fields = EVENTS[event_type].fields
    data = {name: kinds[field.type] for name, field in fields.items()}
    data |= {"user": user} if "user" in fields else {}
    data |= {name: "nobody's business" for name, field in fields.items() if field.private and field.type == "string"}
    event = enveloped(event_type, data, source=SOURCE, now=1.8e9, correlation_id="c" * 32, traceparent=None)
    outcomes: list[Outcome] = []
    LogPublisher().send(event, outcomes.append, again=False)
    assert outcomes == [Outcome.DELIVERED]
    line = json.loads(logs.Formatter().format(caplog.records[-1]))
    told = {name: value for name, value in data.items() if not fields[name].private}
    assert (line["logger"], line["event"], line["level"]) == ("bff.events", "event", "INFO")
    assert line["cloudevent"] == {**event.content, "data": told}
