"""The collector's process: `python -m tests.peers.otlp GRPC_PORT HTTP_PORT`. Both receive; HTTP answers tests, too."""

import json
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
ERROR = 2


class Kept:
    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.speaking = threading.Event()
        self.speaking.set()

    def forget(self) -> None:
        self.traces.clear()
        self.metrics.clear()

    def text(self) -> str:
        return "\n".join(MessageToJson(message) for message in (*self.traces, *self.metrics))


KEPT = Kept()


class Traces(TraceServiceServicer):
    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802 - gRPC's name
        KEPT.traces.append(request)
        KEPT.speaking.wait()
        return ExportTraceServiceResponse()


class Metrics(MetricsServiceServicer):
    def Export(self, request: Any, context: Any) -> ExportMetricsServiceResponse:  # noqa: N802
        KEPT.metrics.append(request)
        KEPT.speaking.wait()
        return ExportMetricsServiceResponse()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/v1/traces":
            KEPT.traces.append(ExportTraceServiceRequest.FromString(body))
        elif self.path == "/v1/metrics":
            KEPT.metrics.append(ExportMetricsServiceRequest.FromString(body))
        elif self.path == "/_test/silent":
            return self._answer(b"", after=KEPT.speaking.clear)
        elif self.path == "/_test/speak":
            KEPT.speaking.set()
        else:
            KEPT.forget()
        KEPT.speaking.wait()
        return self._answer(b"")

    def do_GET(self) -> None:
        if self.path == "/_test/text":
            self._answer(KEPT.text().encode())
        else:
            found = spans(KEPT.traces) if self.path == "/_test/spans" else points(KEPT.metrics)
            self._answer(json.dumps(list(found)).encode())

    def _answer(self, body: bytes, after: Any = None) -> None:
        if after is not None:
            after()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Keep the test's output quiet."""


def attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: plain(pair.value) for pair in pairs}


def plain(value: Any) -> Any:
    """Texts and numbers as they are, what is made of several as text."""
    found = getattr(value, value.WhichOneof("value"))
    return found if isinstance(found, str | int | float) else str(found)


def spans(requests: Iterable[ExportTraceServiceRequest]) -> Iterator[dict[str, Any]]:
    for sent in (each for request in list(requests) for each in request.resource_spans):
        for scope in sent.scope_spans:
            for span in scope.spans:
                yield {
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "name": span.name,
                    "kind": KINDS[span.kind],
                    "attributes": attributes(span.attributes),
                    "resource": attributes(sent.resource.attributes),
                    "scope": scope.scope.name,
                    "error": span.status.code == ERROR,
                    "events": len(span.events),
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                }


def points(requests: Iterable[ExportMetricsServiceRequest]) -> Iterator[dict[str, Any]]:
    for sent in (each for request in list(requests) for each in request.resource_metrics):
        instance = attributes(sent.resource.attributes)["service.instance.id"]
        for metric in (each for scope in sent.scope_metrics for each in scope.metrics):
            data = getattr(metric, metric.WhichOneof("data"))
            for point in data.data_points:
                histogram = metric.HasField("histogram")
                yield {
                    "metric": metric.name,
                    "instance": instance,
                    "attributes": attributes(point.attributes),
                    "value": point.count if histogram else point.as_int or point.as_double,
                    "sum": point.sum if histogram else 0,
                    "buckets": list(point.bucket_counts) if histogram else [],
                    "delta": data.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA,
                }


def main(grpc_port: str, http_port: str) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(8))
    add_TraceServiceServicer_to_server(Traces(), server)
    add_MetricsServiceServicer_to_server(Metrics(), server)
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    server.start()
    ThreadingHTTPServer(("127.0.0.1", int(http_port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
