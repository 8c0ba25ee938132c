"""Allow list: only the span attributes that are listed here leave the process.

Instrumentation libraries record paths, queries, addresses, header fields, and messages of exceptions, and may record
more in their next version. A deny list could never be complete. The filter runs in the exporting thread.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status
from opentelemetry.util.types import AttributeValue

_SHOWN = frozenset({
    # HTTP, by the semantic conventions
    "error.type", "http.request.method", "http.response.status_code", "http.route", "network.protocol.version",
    "url.scheme",
    # Redis: commands with a question mark for each argument
    "db.namespace", "db.operation.batch.size", "db.operation.name", "db.query.text", "db.system.name",
    "db.redis.args_length", "db.redis.pipeline_length",
})  # fmt: skip
# For incoming requests they hold the client's Host, so only calls show them.
_SHOWN_OF_CALLS = frozenset({"server.address", "server.port", "url.full"})
_OURS = "bff."


def filtered(span: ReadableSpan) -> ReadableSpan:
    """The span without events, links, the text of its status, and unlisted attributes."""
    context = span.get_span_context()
    return ReadableSpan(
        name=span.name,
        context=_bare(context) if context else None,
        parent=span.parent,
        resource=span.resource,
        attributes=_attributes(span.kind, span.attributes or {}),
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _bare(context: SpanContext) -> SpanContext:
    """Drop tracestate: callers may put any text into it."""
    if not context.trace_state:
        return context
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)


def _attributes(kind: SpanKind, given: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    found = {}
    for name, value in given.items():
        if name in _SHOWN or name.startswith(_OURS):
            found[name] = value
        elif kind is SpanKind.CLIENT and name in _SHOWN_OF_CALLS:
            found[name] = _without_query(str(value)) if name == "url.full" else value
    return found


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
