"""Whose trace a request belongs to: the caller's, where the caller is a proxy that is trusted, else one of its own.

A browser may send any traceparent (W3C Trace Context), and so join its requests to a trace of somebody else's, or have
all of them recorded. A trusted proxy that traces begins a trace for each request; what one that does not trace lets
through is bounded by the sampler (bff/observability/otlp/sampler.py).
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
        """Of a request from somebody who is not trusted, what it says about its trace is not read, nor passed on."""
        if TRACEPARENT in environ and not self._trusts(environ):
            del environ[TRACEPARENT]
            environ.pop(TRACESTATE, None)

    def traces(self, environ: MutableMapping[str, Any]) -> bool:
        """Whether a trusted caller records the trace that this request belongs to. Asked on the hot path."""
        header = environ.get(TRACEPARENT)
        return header is not None and traces.is_sampled(header) and self._trusts(environ)

    def names(self, environ: MutableMapping[str, Any]) -> bool:
        """Whether a trusted caller says which trace this request belongs to."""
        return TRACEPARENT in environ and self._trusts(environ)

    def _trusts(self, environ: MutableMapping[str, Any]) -> bool:
        return self._clients.trusts_peer(environ)
