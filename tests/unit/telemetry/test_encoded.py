"""What is exported is, word for word, what the SDK would have written of the same spans."""

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from bff.observability.otlp.encoded import request
from bff.observability.otlp.shown import shown

RESOURCE = Resource({"service.name": "bff-service", "numbers": [1, 2]})
ANOTHER = Resource({"service.name": "other"}, "url")
SCOPE, LIBRARY = InstrumentationScope("bff", ""), InstrumentationScope("requests", "1.2", "url", {"a": 1})
TEXT = st.text(max_size=200)
VALUES = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | TEXT
    | st.lists(TEXT, max_size=3).map(tuple)
    | st.lists(st.integers(0, 9), max_size=3).map(tuple)
)
CONTEXTS = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1), TraceFlags(3)]),
    st.sampled_from([TraceState(), TraceState([("who", "knows")])]),
)
SPANS = st.builds(
    ReadableSpan,
    name=TEXT,
    context=CONTEXTS,
    parent=st.none() | CONTEXTS,
    resource=st.sampled_from([RESOURCE, ANOTHER]),
    attributes=st.dictionaries(TEXT.map("bff.{}".format), VALUES, max_size=5),
    kind=st.sampled_from(SpanKind),
    status=st.sampled_from([Status(code) for code in StatusCode]),
    start_time=st.integers(0, 2**63),
    end_time=st.integers(0, 2**63),
    instrumentation_scope=st.sampled_from([SCOPE, LIBRARY]),
)


def by_scope(spans: list[ReadableSpan], written: Any) -> Mapping[str, Any]:
    """What was written of each resource and scope, however they are grouped."""
    found: dict[str, Any] = {}
    for group in written.resource_spans:
        for scope in group.scope_spans:
            described = [MessageToDict(part) for part in (group.resource, scope.scope)]
            key = str([*described, group.schema_url, scope.schema_url])
            found.setdefault(key, []).extend(scope.spans)
    assert sum(map(len, found.values())) == len(spans)
    return found


@given(st.lists(SPANS, max_size=6))
def test_it_says_the_same(spans: list[ReadableSpan]) -> None:
    bare = [shown(span) for span in spans]
    assert by_scope(bare, request(bare)) == by_scope(bare, encode_spans(bare))


@pytest.mark.parametrize("values", [(1, True, 1.0), (0, False, 0.0)])
def test_equal_values_of_different_kinds_are_different(values: tuple[Any, ...]) -> None:
    spans = [
        ReadableSpan("one", SpanContext(1, 2, is_remote=False), attributes={"bff.number": value}) for value in values
    ]
    assert by_scope(spans, request(spans)) == by_scope(spans, encode_spans(spans))
