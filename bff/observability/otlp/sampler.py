"""Sampler with a token bucket: records the traces that the operator's sampler chooses, up to a rate.

The caller that begins a trace decides whether it is sampled (W3C Trace Context). A client that sets the flag on every
request would have all of them recorded. So each worker samples a limited number of traces a second, new or continued,
and the rest go unsampled. The decision holds for all spans of this process in the trace.
"""

import threading
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

_BY_NAME: Mapping[str, Callable[[float], Sampler]] = {
    "always_on": lambda _: sampling.ALWAYS_ON,
    "always_off": lambda _: sampling.ALWAYS_OFF,
    "traceidratio": sampling.TraceIdRatioBased,
    "parentbased_always_on": lambda _: sampling.DEFAULT_ON,
    "parentbased_always_off": lambda _: sampling.DEFAULT_OFF,
    "parentbased_traceidratio": sampling.ParentBasedTraceIdRatio,
}


def named(name: str, ratio: float) -> Sampler:
    """The sampler that OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG name."""
    return _BY_NAME[name](ratio)


class TokenBucket:
    """`rate` tokens a second, and at most as many in a burst."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        """clock: seconds that only go forward."""
        self._rate = rate
        self._most = max(1.0, rate) if rate else 0.0
        self._left = self._most
        self._clock = clock
        self._at = clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class Bounded(Sampler):
    def __init__(self, wanted: Sampler, bucket: TokenBucket) -> None:
        self._wanted = wanted
        self._follows = isinstance(wanted, sampling.ParentBased)
        self._bucket = bucket

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """The signature is the SDK's. A call to another service begins no trace: calls in the background, or for an
        untraced request, would fill the collector with traces of one span."""
        parent = get_current_span(parent_context).get_span_context()
        if parent.is_valid and not parent.is_remote:
            sampled = parent.trace_flags.sampled
        elif not parent.is_valid and kind is SpanKind.CLIENT:
            sampled = False
        elif parent.is_valid and self._follows:
            sampled = parent.trace_flags.sampled and self._bucket.take()
        else:
            wanted = self._wanted.should_sample(parent_context, trace_id, name, kind)
            sampled = wanted.decision.is_sampled() and self._bucket.take()
        state = parent.trace_state if parent.is_valid else None
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state) if sampled else _dropped(state)

    def get_description(self) -> str:
        return f"Bounded{{{self._wanted.get_description()}}}"


def _dropped(state: TraceState | None) -> SamplingResult:
    return SamplingResult(Decision.DROP, None, state)
