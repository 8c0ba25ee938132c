"""Spans in OTLP's words (opentelemetry/proto/trace/v1/trace.proto), for a fraction of what the SDK takes.

The SDK makes a message for every part of every span. Nearly all of ours have the same few attributes, so what was
written once is kept, and a span is put together of bytes. Values, resources and scopes are for the SDK to write.
"""

import functools
import struct
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, StatusCode
from opentelemetry.util.types import AttributeValue

# Each field's tag, with its length where that is always the same, and its value.
_IDS = struct.Struct(">2s QQ 2s Q")  # trace_id (1) as two halves, span_id (2)
_PARENT = struct.Struct(">2s Q")  # parent_span_id (4)
_TIMES = struct.Struct("<s B s Q s Q 2s I")  # kind (6), start_time_unix_nano (7), end_time_unix_nano (8), flags (16)
_NAME, _ATTRIBUTE, _SPAN_OF_SCOPE = b"\x2a", b"\x4a", b"\x12"
_STATUS = {StatusCode.UNSET: b"\x7a\x00", StatusCode.OK: b"\x7a\x02\x18\x01", StatusCode.ERROR: b"\x7a\x02\x18\x02"}
_HALF = (1 << 64) - 1
_REMOTE_IS_KNOWN, _REMOTE = 0x100, 0x200
_NOBODY = SpanContext(1, 1, is_remote=False)


def request(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """spans: `shown`, that is without tracestate, events, links and a description of their status."""
    scopes: dict[tuple[int, int], tuple[ReadableSpan, list[bytes]]] = {}
    for span in spans:
        _, encoded = scopes.setdefault((id(span.resource), id(span.instrumentation_scope)), (span, []))
        encoded.append(_delimited(_SPAN_OF_SCOPE, _span(span)))
    made = ExportTraceServiceRequest()
    for first, encoded in scopes.values():
        (resource,) = encode_spans([first]).resource_spans
        (scope,) = resource.scope_spans
        del scope.spans[:]
        scope.MergeFromString(b"".join(encoded))
        made.resource_spans.append(resource)
    return made


def _span(span: ReadableSpan) -> bytes:
    own, parent = span.get_span_context() or _NOBODY, span.parent
    flags = _REMOTE_IS_KNOWN | _REMOTE if parent and parent.is_remote else _REMOTE_IS_KNOWN
    kind, start, end = span.kind.value + 1, span.start_time or 0, span.end_time or 0
    return b"".join(
        (
            _IDS.pack(b"\x0a\x10", own.trace_id >> 64, own.trace_id & _HALF, b"\x12\x08", own.span_id),
            _PARENT.pack(b"\x22\x08", parent.span_id) if parent else b"",
            _name(span.name),
            _TIMES.pack(b"\x30", kind, b"\x39", start, b"\x41", end, b"\x85\x01", flags),
            *[_attribute(name, value) for name, value in (span.attributes or {}).items()],
            _STATUS[span.status.status_code],
        )
    )


@functools.lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    return _delimited(_NAME, name.encode())


@functools.lru_cache(maxsize=1024, typed=True)
def _attribute(name: str, value: AttributeValue) -> bytes:
    (resource,) = encode_spans([ReadableSpan("", _NOBODY, attributes={name: value})]).resource_spans
    return b"".join(
        _delimited(_ATTRIBUTE, each.SerializeToString()) for each in resource.scope_spans[0].spans[0].attributes
    )


def _delimited(tag: bytes, content: bytes) -> bytes:
    """A field whose length comes before it, seven bits in a byte, the lowest first."""
    length, written = len(content), bytearray(tag)
    while length > 0x7F:
        written.append(length & 0x7F | 0x80)
        length >>= 7
    written.append(length)
    return bytes(written) + content
