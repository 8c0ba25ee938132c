"""The question that a request puts to the policy, and each way in which a request fails to put one."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.errors import AccessDenied
from bff.pdp.model import ResourceAction
from bff.routes import AuthzMapping
from bff.routes.jsonpath import Selector
from bff.settings import AuthzMap

JSON = "application/json"


def ask(
    id_from: str | None = None,
    props: dict[str, str] | None = None,
    *,
    params: dict[str, str] | None = None,
    query: str = "",
    body: bytes | None = None,
    content_type: str = JSON,
    encoding: str = "",
) -> ResourceAction:
    mapping = AuthzMapping(AuthzMap("orders", "write", id_from, tuple((props or {}).items())))
    return mapping.asked(params or {}, query, body, content_type, encoding)


def denied(*args: Any, **values: Any) -> str:
    with pytest.raises(AccessDenied) as refused:
        ask(*args, **values)
    assert "hidden" not in refused.value.detail, "nothing of the request is quoted"
    assert refused.value.detail
    return refused.value.code


@pytest.mark.parametrize(
    ("id_from", "request_", "expected"),
    [
        (None, {}, "*"),
        ("$.path.id", {"params": {"id": "7"}}, "7"),
        ("$['path']['id']", {"params": {"id": "a b"}}, "a b"),
        ("$.path['*']", {"params": {"*": "a/b"}}, "a/b"),
        ("$.query.id", {"query": "x=1&id=7"}, "7"),
        ("$.query.id", {"query": "%69d=%e2%82%ac+1"}, "€ 1"),
        ("$.query.ids[1]", {"query": "ids=1&ids=2"}, "2"),
        ("$.body.order.id", {"body": b'{"order": {"id": "7"}}'}, "7"),
        ("$.body.order.id", {"body": b'{"order": {"id": 7}}', "content_type": "application/problem+json"}, "7"),
        ("$.body.id", {"body": b'{"id": -9007199254740991}'}, "-9007199254740991"),
        ("$.body[0].id", {"body": b'[{"id": "7"}]'}, "7"),
        ("$.body[-1]", {"body": b'["6", "7"]', "content_type": 'Application/JSON; charset="UTF-8"'}, "7"),
        ("$.body", {"body": b'"7"', "encoding": "identity"}, "7"),
        ("$.body.id", {"body": b'{"id": "\\ud83d\\ude00"}'}, "😀"),
    ],
)
def test_the_id(id_from: str | None, request_: dict[str, Any], expected: str) -> None:
    assert ask(id_from, **request_) == ResourceAction("orders", "write", expected)


@pytest.mark.parametrize(
    ("props", "request_", "expected"),
    [
        ({"a": "$.query.region"}, {"query": "region=eu"}, {"a": "eu"}),
        ({"a": "$.query.region | string[]"}, {"query": "region=eu&region=us"}, {"a": ["eu", "us"]}),
        ({"a": "$.query.region?"}, {"query": ""}, {}),
        ({"a": "$.query.region?", "b": "$.path.x"}, {"params": {"x": "1"}}, {"b": "1"}),
        ({"a": "$.body.n | number[]"}, {"body": b'{"n": [1, 2.5, -3]}'}, {"a": [1, 2.5, -3]}),
        ({"a": "$.body.n"}, {"body": b'{"n": 7, "a": 1.5}'}, {"a": 7}),
        ({"a": "$.body.lines[*].amount"}, {"body": b'{"lines": [{"amount": 1}, {"amount": 2}]}'}, {"a": [1, 2]}),
        ({"a": "$.body.lines[*].amount?"}, {"body": b'{"lines": []}'}, {}),
        ({"a": "$.body..amount"}, {"body": b'{"lines": [{"amount": 1}], "amount": 3}'}, {"a": [3, 1]}),
        (
            {"mine": "$.body.lines[?@.owner == $.path.user].id"},
            {"params": {"user": "u"}, "body": b'{"lines": [{"owner": "u", "id": 1}, {"owner": "v", "id": 2}]}'},
            {"mine": [1]},
        ),
    ],
)
def test_the_properties(props: dict[str, str], request_: dict[str, Any], expected: dict[str, Any]) -> None:
    assert json.loads(ask(None, props, **request_).properties) == expected


@pytest.mark.parametrize(
    ("code", "body", "headers"),
    [
        ("body_missing", None, {}),
        ("body_missing", b"", {}),
        ("body_encoded", b'{"id": "hidden"}', {"encoding": "gzip"}),
        ("body_encoded", b'{"id": "hidden"}', {"encoding": "identity, br"}),
        ("body_not_json", b'{"id": "hidden"}', {"content_type": ""}),
        ("body_not_json", b'{"id": "hidden"}', {"content_type": "text/plain"}),
        ("body_not_json", b'{"id": "hidden"}', {"content_type": "application/jsonp"}),
        ("body_not_json", b'{"id": "hidden"}', {"content_type": "text/plain; a=application/json"}),
        ("body_not_json", b'{"id": "hidden"}', {"content_type": "+json"}),
        ("body_not_json", b'{"id": "hidden"}', {"content_type": "application/json; charset=utf-16"}),
        ("body_not_json", b'{"id": "hidden"}', {"content_type": "application/json; charset=latin-1"}),
        ("body_not_json", b"\xef\xbb\xbf" + b'{"id": "hidden"}', {}),
        ("body_not_json", '{"id": "hidden"}'.encode("utf-16"), {}),
        ("body_not_json", b'{"id": "\xff"}', {}),
        ("body_not_json", b'{"id": "\\ud800"}', {}),
        ("body_not_json", b'{"id": "\\uDC00\\ud800"}', {}),
        ("body_not_json", b"{'id': 'hidden'}", {}),
        ("body_not_json", b'{"id": "hidden"} {}', {}),
        ("body_not_json", b'{"id": "hidden",}', {}),
        ("body_not_json", b'{"id": NaN}', {}),
        ("body_not_json", b'{"id": -Infinity}', {}),
        ("body_not_json", b"[" * 100_000, {}),
        ("body_not_json", b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}),
        ("body_not_json", b'{"id": ' + b"9" * 5000 + b"}", {}),
        ("body_ambiguous", b'{"id": "hidden", "id": "7"}', {}),
        ("body_ambiguous", b'{"id": "7", "\\u0069d": "hidden"}', {}),
        ("body_ambiguous", b'{"id": "7", "deep": [{"x": {"a": 1, "a": 1}}]}', {}),
        ("id_missing", b"{}", {}),
        ("id_missing", b'["id"]', {}),
        ("id_missing", b"7", {}),
        ("id_missing", b"null", {}),
        ("id_invalid", b'{"id": null}', {}),
        ("id_invalid", b'{"id": true}', {}),
        ("id_invalid", b'{"id": 7.0}', {}),
        ("id_invalid", b'{"id": 1e2}', {}),
        ("id_invalid", b'{"id": 9007199254740993}', {}),
        ("id_invalid", b'{"id": ["7"]}', {}),
        ("id_invalid", b'{"id": {"id": "7"}}', {}),
        ("id_invalid", b'{"id": ""}', {}),
        ("id_invalid", b'{"id": "*"}', {}),
        ("id_invalid", b'{"id": "a\\u0000hidden"}', {}),
        ("id_invalid", b'{"id": "a\\nhidden"}', {}),
        ("id_invalid", b'{"id": "' + b"x" * 1025 + b'"}', {}),
    ],
)
def test_a_body_that_is_not_what_the_mapping_expects(code: str, body: bytes | None, headers: dict[str, str]) -> None:
    assert denied("$.body.id", body=body, **headers) == code


@pytest.mark.parametrize(
    ("code", "query"),
    [
        ("id_missing", ""),
        ("id_missing", "ID=7"),
        ("id_missing", "id[]=7"),
        ("id_invalid", "id"),
        ("id_invalid", "id=*"),
        ("id_invalid", "id=%00"),
        ("query_ambiguous", "id=7&id=hidden"),
        ("query_ambiguous", "id=7&%69d=7"),
        ("query_ambiguous", "id=7;id=hidden"),
        ("query_ambiguous", "id=%ff"),
        ("query_ambiguous", "id=%c0%ae"),
        ("query_ambiguous", "id=%zz"),
        ("query_ambiguous", "id=7&x=%"),
        ("query_ambiguous", "id=\xe9"),
    ],
)
def test_a_query_that_is_not_what_the_mapping_expects(code: str, query: str) -> None:
    assert denied("$.query.id", query=query) == code


@pytest.mark.parametrize(
    ("code", "props", "body"),
    [
        ("property_missing", {"a": "$.body.a"}, b"{}"),
        ("property_missing", {"a": "$.body.lines[*].a"}, b'{"lines": []}'),
        ("property_invalid", {"a": "$.body.a"}, b'{"a": 1e400}'),
        ("property_invalid", {"a": "$.body.a?"}, b'{"a": [-1e400]}'),
        ("body_not_json", {"a": "$.body..a"}, b'{"x":' * 200 + b"1" + b"}" * 200),
        ("body_missing", {"a": "$.path.x?", "b": "$.body.a?"}, None),
    ],
)
def test_properties_that_cannot_be_had(code: str, props: dict[str, str], body: bytes | None) -> None:
    assert denied(None, props, body=body) == code


def test_a_route_without_a_mapping_denies() -> None:
    mapping = AuthzMapping(None)
    assert not mapping.needs_body
    with pytest.raises(AccessDenied) as refused:
        mapping.asked({}, "", None, "", "")
    assert refused.value.code == "no_mapping"


@pytest.mark.parametrize(
    ("id_from", "props", "expected"),
    [
        ("$.path.id", {}, False),
        ("$.body.id", {}, True),
        ("$.path.id", {"a": "$.body.a?"}, True),
        ("$.path.id", {"a": "$.query.l[?@ == $.body.x]"}, True),
        ("$.path.body", {"body": "$.query.body"}, False),
    ],
)
def test_the_body_is_needed_only_where_something_looks_into_it(
    id_from: str, props: dict[str, str], expected: bool
) -> None:
    assert AuthzMapping(AuthzMap("a", "b", id_from, tuple(props.items()))).needs_body is expected


def test_what_nothing_looks_at_need_not_be_right() -> None:
    assert ask("$.path.id", params={"id": "7"}, query="id=%ff;", body=b"{", content_type="text/plain").id == "7"


@pytest.mark.parametrize(
    "text",
    ["", "path.id", "$", "$..id", "$[*]", "$['path', 'query'].id", "$.paths.id", "$.path[", "$.body.a | $.body.b",
     " $.path.id", "$.path.id ", "$.body[?@.a == $.other]", "$.body[?nope(@)]", "$.body~", "$.body.a[9007199254740993]",
     "$.body" + "[?@" * 3000],
)  # fmt: skip
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(ValueError, match=r"RFC 9535|must begin with"):
        Selector(text)


@pytest.mark.parametrize(
    ("text", "singular"),
    [("$.body.a[0]", True), ("$.body.a[*]", False), ("$.body..a", False), ("$.body['a','b']", False),
     ("$.body[0:1]", False)],
)  # fmt: skip
def test_what_can_select_one_value_only(text: str, singular: bool) -> None:
    assert Selector(text).singular is singular


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "a", "*"]), inner, max_size=3),
    max_leaves=10,
)


@given(DOCUMENTS, st.sampled_from(["$.body.id", "$.body.a.id", "$.body['*'].a", "$.body[0].id"]))
def test_following_a_chain_by_hand_is_what_the_library_does(body: Any, text: str) -> None:
    selector, document = Selector(text), {"body": body}
    one, every = selector.one(document), selector.all(document)
    assert [one] == every or not every
    if not every:
        assert one not in ([], {}, None)  # MISSING


@given(st.binary(max_size=60) | DOCUMENTS.map(lambda document: json.dumps(document).encode()), st.text(max_size=20))
def test_whatever_comes_is_a_question_or_a_denial(body: bytes, query: str) -> None:
    for id_from in ("$.body.id", "$.query.id", "$.body.a[0]"):
        with contextlib.suppress(AccessDenied):
            asked = ask(id_from, {"all": "$.body..a?", "q": "$.query.a?"}, body=body, query=query)
            assert 0 < len(asked.id) <= 1024
            assert asked.id != "*"
            asked.id.encode()
            json.loads(asked.properties)
