"""Trust boundary for traces: a request joins its caller's trace only if the caller is a trusted proxy.

A browser may send any traceparent (W3C Trace Context). So it could join its requests to another client's trace, or have
all of them recorded. A trusted proxy that traces starts a trace for each request. If the proxy does not trace, it
passes a browser's traceparent on, and the sampler bounds the cost (bff/observability/otlp/sampler.py).
"""

from collections.abc import MutableMapping
from typing import Any

from bff.observability import traces
from bff.web.client_address import ClientAddressResolver

TRACEPARENT = "HTTP_TRACEPARENT"
TRACESTATE = "HTTP_TRACESTATE"


class TraceTrust:
    def __init__(self, clients: ClientAddressResolver) -> None:
        self._clients = clients

    def forget_strangers(self, environ: MutableMapping[str, Any]) -> None:
        """Removes the trace headers of an untrusted peer, so that they are neither read nor forwarded."""
        if TRACEPARENT in environ and not self._trusts(environ):
            del environ[TRACEPARENT]
            environ.pop(TRACESTATE, None)

    def traces(self, environ: MutableMapping[str, Any]) -> bool:
        """Whether a trusted caller records the trace of this request. On the hot path."""
        header = environ.get(TRACEPARENT)
        return header is not None and traces.is_sampled(header) and self._trusts(environ)

    def names(self, environ: MutableMapping[str, Any]) -> bool:
        """Whether a trusted caller names the trace of this request."""
        return TRACEPARENT in environ and self._trusts(environ)

    def _trusts(self, environ: MutableMapping[str, Any]) -> bool:
        return self._clients.trusts_peer(environ)
