"""docs/events.md and its schemas against the declared events, and the declared events against what the code tells."""

import ast
import json

import pytest

from bff.events import catalogue
from bff.events.model import EVENTS, OF_SECURITY, SEVERITY, EventType, SecurityEvent
from tests.architecture import source

RUN = "Run: python -m bff.events.catalogue docs/events.md"


def test_the_document_holds_the_catalogue() -> None:
    text = (source.ROOT / "docs/events.md").read_text()
    assert catalogue.with_table(text) == text, RUN


def test_the_schemas_are_those_of_the_model() -> None:
    assert json.loads((source.ROOT / "docs/events.schema.json").read_text()) == catalogue.schemas(), RUN


def test_every_event_is_declared_and_every_security_event_has_its_type() -> None:
    assert set(EVENTS) == set(EventType)
    assert set(OF_SECURITY) == set(SEVERITY) == set(SecurityEvent)


def test_every_event_is_told_somewhere() -> None:
    """A name that nothing tells is a promise that nobody keeps."""
    told = {
        node.attr
        for path, text in source.files().items()
        if not path.startswith("bff/events/")
        for node in ast.walk(source.parse(text))
        if isinstance(node, ast.Attribute)
    } | {"AUTHZ_DECISION"}
    assert not {event.name for event in EventType} - told


@pytest.mark.parametrize("event", EventType)
def test_nothing_else_is_private_or_optional_by_accident(event: EventType) -> None:
    marked = {name for name, field in EVENTS[event].fields.items() if field.private or not field.required}
    expected = {
        EventType.AUTHZ_DECISION: {"id", "reason"},
        EventType.CLAIMS_CHANGED: {"roles", "permissions"},
        EventType.SESSION_ENDED: {"by"},
    }
    assert marked == expected.get(event, set())
