"""Strict parsers of query and body, which refuse content that two readers could read differently.

The policy and the service must see the same request, though each parses it on its own. A body with a repeated key, or a
query that is not UTF-8, means one thing to one parser and another thing to the next (RFC 8259 sections 4 and 8, RFC
7493), so no policy can decide about it.
"""

import json
import math
import re
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from bff.errors import AccessDenied

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
MOST_PARTS = 50_000
"""Commas and brackets of a body: each may stand for a value, which costs a hundred times as much as its bytes."""
_PARTS = b",", b"[", b"{"
_LONGEST_NUMBER = 64  # characters
_TRIPLET = re.compile(r"%(?![0-9A-Fa-f]{2})")


def json_body(body: bytes | None, content_type: str, content_encoding: str) -> Any:
    """Raises AccessDenied: body_missing, body_encoded, body_not_json, body_ambiguous."""
    if not body:
        raise AccessDenied("The decision needs a body.", code="body_missing")
    if content_encoding.strip().lower() not in ("", "identity"):
        raise AccessDenied("The decision needs a body that is not compressed.", code="body_encoded")
    if not _is_json(content_type):
        _not_json()
    if sum(map(body.count, _PARTS)) > MOST_PARTS:
        raise AccessDenied("The body has more parts than are read for a decision.", code="body_not_json")
    try:
        text = body.decode()
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_fraction)
        if _SURROGATE.search(text):  # half of a surrogate pair cannot be sent as UTF-8
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as err:
        _not_json(err)
    return document


def parameters(query: str) -> dict[str, Any]:
    """Each parameter's text, or a list of them when it is repeated. Raises AccessDenied: query_ambiguous."""
    if ";" in query or not query.isascii():  # some services read a semicolon as a separator
        raise AccessDenied("The query holds a character that is not encoded.", code="query_ambiguous")
    found: dict[str, list[str]] = {}
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            found.setdefault(_text(name), []).append(_text(value))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _text(raw: str) -> str:
    """Decodes application/x-www-form-urlencoded, strictly."""
    if "%" not in raw and "+" not in raw:
        return raw
    try:
        if _TRIPLET.search(raw):
            raise ValueError("a percent sign without two digits")
        return unquote_to_bytes(raw.replace("+", " ")).decode()
    except ValueError as err:
        raise AccessDenied("The query is not UTF-8, percent-encoded.", code="query_ambiguous") from err


def _is_json(content_type: str) -> bool:
    """application/json or any +json (RFC 6839), with no charset or UTF-8."""
    media_type, *rest = [part.strip().lower() for part in content_type.split(";")]
    charsets = [part.partition("=")[2].strip('"') for part in rest if part.startswith("charset")]
    kind, _, subtype = media_type.partition("/")
    named = media_type == "application/json" or (bool(kind) and len(subtype) > 5 and subtype.endswith("+json"))
    return named and all(charset in ("utf-8", "utf8") for charset in charsets)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise AccessDenied("The body names a key twice.", code="body_ambiguous")
    return found


class Rounded(float):
    """A number with more digits than a float holds, so that an exact reader sees another one."""


def _fraction(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        return number
    exact = len(text) <= _LONGEST_NUMBER and Decimal(text) == Decimal(repr(number))
    return number if exact else Rounded(number)


def _constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


def _not_json(err: Exception | None = None) -> NoReturn:
    raise AccessDenied("The decision needs a body that is JSON, in UTF-8.", code="body_not_json") from err
