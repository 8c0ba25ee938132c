"""Envelope: an event as CloudEvents 1.0 in structured JSON, with every value checked against its declaration.

Values come from requests, policies and providers, so JSON, UTF-8 or the declaration may not allow them. Such a value is
replaced by a mark and counted, and the event is sent without it.
"""

import json
import math
import random
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bff.events.model import EVENTS, LONGEST, MARK, Data, EventType, Topic
from bff.observability import metrics

SPECVERSION = "1.0"
JSON_TYPE = "application/json"


class CloudEvent(NamedTuple):
    """key: events of one topic with the same key stay in order; empty for no order. content: a CloudEvent."""

    topic: Topic
    key: str
    content: dict[str, Any]

    def __repr__(self) -> str:
        return f"Event({self.content.get('type')})"

    def to_bytes(self) -> bytes:
        return json.dumps([self.topic, self.key, self.content], separators=(",", ":")).encode()

    @property
    def body(self) -> bytes:
        """The message that a consumer reads: structured mode of CloudEvents (section 3.2 of its JSON format)."""
        return json.dumps(self.content, separators=(",", ":"), ensure_ascii=False).encode()


def from_bytes(raw: bytes) -> CloudEvent:
    """Raises ValueError or TypeError for bytes that are no event."""
    topic, key, content = json.loads(raw)
    return CloudEvent(Topic(topic), str(key), dict(content))


def enveloped(
    event_type: EventType, data: Data, *, source: str, now: float, correlation_id: str, traceparent: str | None
) -> CloudEvent:
    """source: BFF_BASE_URL. now: Unix seconds. traceparent: W3C Trace Context, None outside a trace."""
    facts = sayable(event_type, data)
    subject = str(facts.get("session") or facts.get("user") or "")
    content = {
        "specversion": SPECVERSION,
        "id": f"{random.getrandbits(128):032x}",
        "source": source,
        "type": event_type.value,
        "time": timestamp(now),
        "datacontenttype": JSON_TYPE,
        "data": facts,
    }
    more = {"subject": subject, "correlationid": correlation_id, "traceparent": traceparent}
    content |= {name: value for name, value in more.items() if value}
    return CloudEvent(EVENTS[event_type].topic, subject, content)


def timestamp(now: float) -> str:
    """RFC 3339, in UTC with milliseconds."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parsed(time: str) -> float:
    """The Unix seconds of such a timestamp."""
    return datetime.fromisoformat(time).timestamp()


def sayable(event_type: EventType, data: Data) -> dict[str, Any]:
    """The declared fields of the event, each encodable as JSON. A missing or unencodable value is replaced by the
    mark."""
    fields = EVENTS[event_type].fields
    facts = {}
    for name, field in fields.items():
        if name in data:
            facts[name] = _sayable(data[name], field.type)
        elif field.required:
            facts[name] = _marked("missing")
    for _ in data.keys() - fields.keys():
        metrics.event_fault("undeclared")
    return facts


def _sayable(value: object, wanted: str) -> Any:
    if wanted == "string" and isinstance(value, str):
        return _text(value)
    if wanted == "boolean" and isinstance(value, bool):
        return value
    if wanted == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        return value if _finite(value) else _marked("unserialisable")
    if wanted == "array" and isinstance(value, list | tuple):
        return [_sayable(each, "string") for each in value[:LONGEST]]
    return _marked("unserialisable")


def _finite(value: float) -> bool:
    """Whether the number is finite and, if an integer, exact in every JSON reader."""
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**53


def _text(value: str) -> str:
    if len(value) > LONGEST:
        metrics.event_fault("too_long")
        value = value[:LONGEST]
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return _marked("unserialisable")
    return value


def _marked(fault: str) -> str:
    metrics.event_fault(fault)
    return MARK
