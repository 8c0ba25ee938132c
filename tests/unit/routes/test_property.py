"""What a policy is told has the type that its mapping declares, or the request is denied before anybody is asked."""

import json

import pytest

from bff.errors import AccessDenied
from bff.routes.jsonpath import MISSING
from bff.routes.property import TYPES, Property
from tests.unit.routes.test_mapping import ask, denied

# JSON as a client writes it, and the types that it is.
VALUES: dict[str, set[str]] = {
    '"60"': {"", "string"},
    '""': {"", "string"},
    '"line\\nline\\ttab"': {"", "string"},
    "60": {"", "integer", "number"},
    "-9007199254740991": {"", "integer", "number"},
    "60.0": {"number"},
    "1.5": {"number"},
    "0.30000000000000004": {"number"},
    "6e1": {"number"},
    "true": {"", "boolean"},
    "false": {"", "boolean"},
    "null": set(),
    "9007199254740992": set(),
    "9223372036854775808": set(),
    "1e300": set(),
    "1e400": set(),
    "60.0000000000000001": set(),
    "0." + "3" * 100: set(),
    '"nul\\u0000"': set(),
    '"\\u001b[2J"': set(),
    '"\\u0085"': set(),
    "{}": set(),
    '{"__entity": {"type": "user", "id": "alice"}}': set(),
    "[]": {each + "[]" for each in TYPES},
    '["a", "b"]': {"string[]"},
    "[1, 2]": {"integer[]", "number[]"},
    "[1, 2.5]": {"number[]"},
    "[true]": {"boolean[]"},
    '[1, "2"]': set(),
    "[null]": set(),
    "[[1]]": set(),
}
KINDS = ["", *TYPES, *[each + "[]" for each in TYPES]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", VALUES)
def test_only_what_is_of_the_type_is_told(value: str, kind: str) -> None:
    body = f'{{"a": {value}}}'.encode()
    for text in ("$.body.a", "$.body.a?"):
        props = {"a": f"{text} | {kind}" if kind else text}
        if kind in VALUES[value]:
            assert json.loads(ask(None, props, body=body).properties) == {"a": json.loads(value)}
        else:
            assert denied(None, props, body=body) == "property_invalid"


@pytest.mark.parametrize(
    ("text", "path", "kind", "optional"),
    [
        ("$.body.a", "$.body.a", None, False),
        ("$.body.a?", "$.body.a", None, True),
        ("$.body.a|number", "$.body.a", "number", False),
        ("$.body.a?  |  string[] ", "$.body.a", "string[]", True),
        ("$.body['a | number']", "$.body['a | number']", None, False),
        ("$.body['a|number']|boolean", "$.body['a|number']", "boolean", False),
        ("$.body[?@.a || @.b] | string[]", "$.body[?@.a || @.b]", "string[]", False),
    ],
)
def test_how_it_is_written(text: str, path: str, kind: str | None, optional: bool) -> None:
    declared = Property("a", text)
    assert (declared.type, declared.optional) == (kind, optional)
    assert str(declared.selector._query) == str(Property("a", path).selector._query)


@pytest.mark.parametrize(
    "text", ["$.body.a | ", "$.body.a || number", "$.body.a | number?", "$.body.a | number | string"]
)
def test_what_is_no_way_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="JSONPath"):
        Property("a", text)


def test_what_may_be_missing_is_not_told() -> None:
    assert Property("a", "$.query.a? | integer").value({"query": {}}) is MISSING
    with pytest.raises(AccessDenied, match="lacks"):
        Property("a", "$.query.a | integer").value({"query": {}})


@pytest.mark.parametrize("query", ["n=60", "n=60&n=70", "n"])
def test_a_query_is_text(query: str) -> None:
    assert denied(None, {"n": "$.query.n | number"}, query=query) == "property_invalid"


def test_a_parameter_that_stands_twice_is_no_text() -> None:
    assert denied(None, {"n": "$.query.n"}, query="n=a&n=hidden") == "property_invalid"
