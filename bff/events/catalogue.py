"""Generated documentation: docs/events.md and its JSON Schemas (`python -m bff.events.catalogue docs/events.md`).

Both come from the declarations in `bff/events/model.py`, and a test keeps them equal.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bff.events.envelope import JSON_TYPE, SPECVERSION
from bff.events.model import EVENTS, Declaration, Durability, EventOrigin, EventType, schema

BEGIN = "<!-- written by python -m bff.events.catalogue: change the code, then run it -->"
END = "<!-- end -->"


def table() -> str:
    lines = ["| type | topic | brought about by | kept | what happened | data |", "|---|---|---|---|---|---|"]
    return "\n".join([*lines, *(_row(*each) for each in EVENTS.items())])


def _row(event_type: EventType, declared: Declaration) -> str:
    data, origin, kept = "<br>".join(_fields(declared)), str(declared.origin), str(declared.durability({}))
    if declared.nobody is not None:
        field, value = declared.nobody
        origin += f"; {EventOrigin.STRANGER} where `{field}` is {value}"
        kept += f"; {Durability.SAMPLED} where `{field}` is {value}"
    return f"| `{event_type}` | {declared.topic} | {origin} | {kept} | {declared.meaning} | {data} |"


def _fields(declared: Declaration) -> Iterator[str]:
    for name, field in declared.fields.items():
        remarks = [] if field.type == "string" else [field.type]
        remarks += ["may be missing"] * (not field.required) + ["not in the log"] * field.private
        yield f"`{name}`: {field.meaning}" + (f" ({', '.join(remarks)})" if remarks else "")


def schemas() -> dict[str, Any]:
    """One JSON Schema (2020-12) for every event: the envelope, and by its type the data."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Events of the BFF: CloudEvents 1.0 in structured mode",
        "oneOf": [_envelope(event_type) for event_type in EVENTS],
    }


def _envelope(event_type: EventType) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "properties": {
            "specversion": {"const": SPECVERSION},
            "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "source": {"type": "string", "format": "uri-reference"},
            "type": {"const": event_type.value},
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"const": JSON_TYPE},
            "subject": text,
            "correlationid": text,
            "traceparent": {"type": "string", "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
            "data": schema(event_type),
        },
        "required": ["specversion", "id", "source", "type", "time", "datacontenttype", "data"],
        "additionalProperties": False,
    }


def with_table(text: str) -> str:
    """The document with its table written anew."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


def main(path: str) -> None:
    document = Path(path)
    document.write_text(with_table(document.read_text()))
    document.with_suffix(".schema.json").write_text(json.dumps(schemas(), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
