"""Strict parser of browser reports: one event or a batch, accepted or refused as a whole, and reduced to counts.

Any client may send a report, so all of it counts as hostile input. The BFF keeps only declared names and five numbers.
A report with a secret or personal data anywhere in it is refused as a whole. The application that sent it has a bug,
and its developers must notice. The answer gives the path of the offending value and quotes nothing.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from bff.beacon import sensitive
from bff.errors import ReportRefused, ReportUnreadable
from bff.observability.labels import WEB_VITALS

LONGEST = 16 * 1024
MOST_EVENTS = 50
WEB_VITAL = "web_vital"

_DEEPEST = 16  # the schema needs three levels; deeper errors can still be named by path
_LONGEST_TEXT = 1024
_SAYS = {"secret": "looks like a secret", "personal_data": "looks like personal data"}
_SHOWABLE = re.compile(r"[A-Za-z][A-Za-z_-]{0,31}")
_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class BeaconEvent:
    """name: as the browser sent it. vital, value: the web vital and its value, in seconds; CLS has no unit."""

    name: str
    vital: str | None = None
    value: float = 0.0


class _Number(fields.Float):
    """A JSON number. marshmallow's own field also accepts text and booleans."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        return super()._deserialize(value, attr, data, **kwargs)


class _Scalar(fields.Field[Any]):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str | int | float) or (isinstance(value, str) and len(value) > _LONGEST_TEXT):
            raise ValidationError(f"Must be a number, true, false or a text of at most {_LONGEST_TEXT} characters.")
        return value


class _ReportSchema(Schema):
    """path and attributes are for developers that read the request in the browser; the BFF checks and drops them."""

    class Meta:
        unknown = RAISE

    event = fields.String(required=True, validate=validate.Length(min=1, max=64))
    name = fields.String(validate=validate.OneOf(WEB_VITALS))
    value = _Number(validate=validate.Range(min=0, max=60))
    path = fields.String(validate=validate.Length(max=_LONGEST_TEXT))
    attributes = fields.Dict(
        keys=fields.String(validate=validate.Length(min=1, max=64)),
        values=_Scalar(allow_none=True),
        validate=validate.Length(max=20),
    )

    @validates_schema
    def _vital_is_whole(self, data: Mapping[str, Any], **_: Any) -> None:
        for field in ("name", "value"):
            if (field in data) != (data.get("event") == WEB_VITAL):
                raise ValidationError(f"A {WEB_VITAL} has it, and no other event.", field)


_REPORTS = _ReportSchema(many=True)


def read(body: bytes) -> list[BeaconEvent]:
    """The events of one report. Raises ReportUnreadable, or ReportRefused (secret, personal_data, schema)."""
    report = _parsed(body)
    _refuse_sensitive(report)
    batch = report if isinstance(report, list) else [report]
    if not 1 <= len(batch) <= MOST_EVENTS:
        raise ReportRefused(f"A report has from 1 to {MOST_EVENTS} events.", code="schema")
    try:
        loaded = _REPORTS.load(batch)
    except ValidationError as err:
        path, message = _first(err.messages_dict)
        raise ReportRefused(f"{_shown(path if batch is report else path[1:])}: {message}", code="schema") from err
    return [BeaconEvent(each["event"], each.get("name"), each.get("value", 0.0)) for each in loaded]


def _parsed(body: bytes) -> Any:
    """Parses RFC 8259 JSON, without Python's extensions and without duplicate names.

    Parsers differ about which of two equal names wins.
    """
    try:
        return json.loads(
            body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite_float
        )
    except (ValueError, RecursionError) as err:
        raise ReportUnreadable("The body is not strict JSON in UTF-8.") from err


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name occurs twice")
    return content


def _no_constant(_: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _refuse_sensitive(report: Any) -> None:
    """Searches only the first _LONGEST_TEXT characters of a text; the schema refuses a longer text anyway."""
    for path, content in _walk(report):
        name = path[-1][:_LONGEST_TEXT] if path and isinstance(path[-1], str) else ""
        texts = sensitive.kind_of_text(name), sensitive.kind_of_text(content[:_LONGEST_TEXT])
        kinds = {sensitive.kind_of_name(name), *texts}
        for kind, says in _SAYS.items():
            if kind in kinds:
                raise ReportRefused(f"{_shown(path)} {says}. Nothing of the report was taken.", code=kind)


def _walk(content: Any, path: _Path = ()) -> Iterator[tuple[_Path, str]]:
    """Every value in the document as text, with its path; containers are empty text. Raises ReportUnreadable."""
    if len(path) > _DEEPEST:
        raise ReportUnreadable("The body is nested too deeply.")
    if isinstance(content, dict | list):
        yield path, ""
        members = content.items() if isinstance(content, dict) else enumerate(content)
        for key, member in members:
            yield from _walk(member, (*path, key))
    else:
        yield path, content if isinstance(content, str) else json.dumps(content)


def _shown(path: _Path) -> str:
    """Returns a path such as [0].attributes.item, with a star for a name that could itself be sensitive."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{_shown_name(part)}" for part in path]
    return "".join(parts).lstrip(".") or "The report"


def _shown_name(name: str) -> str:
    return name if _SHOWABLE.fullmatch(name) and not sensitive.kind_of_text(name) else "*"


def _first(messages: Mapping[Any, Any]) -> tuple[_Path, str]:
    """Returns the path and text of the first message in marshmallow's tree."""
    path: list[str | int] = []
    found: Any = messages
    while isinstance(found, Mapping):
        key, found = next(iter(found.items()))
        if key != "_schema":
            path.append(key)
    return tuple(path), str(found[0])
