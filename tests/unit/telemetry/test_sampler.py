"""The operator's sampler chooses, the caller's word counts, and of a flood no more than a few traces are recorded."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from bff.observability.otlp.sampler import Bounded, TokenBucket, named
from bff.settings.model import SAMPLERS
from tests.clock import Clock

TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736


def parent(*, sampled: bool, remote: bool = True) -> Context:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    state = TraceState([("vendor", "x")])
    return set_span_in_context(NonRecordingSpan(SpanContext(TRACE, 1, remote, flags, state)), Context())


def sampled(sampler: Bounded, context: Context | None, kind: SpanKind = SpanKind.SERVER) -> bool:
    return sampler.should_sample(context, TRACE, "a span", kind, {"a": "b"}).decision is Decision.RECORD_AND_SAMPLE


def bounded(name: str = "parentbased_always_on", rate: float = 1e6, ratio: float = 1.0) -> Bounded:
    return Bounded(named(name, ratio), TokenBucket(rate, Clock(0)))


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_name_is_known(name: str) -> None:
    assert named(name, 0.5).get_description() in bounded(name, ratio=0.5).get_description()


@pytest.mark.parametrize(
    ("name", "root", "of_sampled", "of_unsampled"),
    [
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("parentbased_always_on", True, True, False),
        ("parentbased_always_off", False, True, False),
    ],
)
def test_the_operators_sampler_decides(name: str, root: bool, of_sampled: bool, of_unsampled: bool) -> None:
    contexts = Context(), parent(sampled=True), parent(sampled=False)
    assert [sampled(bounded(name), each) for each in contexts] == [root, of_sampled, of_unsampled]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", SpanKind)
def test_what_was_decided_holds_within_the_process(name: str, kind: SpanKind) -> None:
    """Whatever the sampler would say about the child, and however full the bucket is."""
    sampler = bounded(name, rate=0)
    assert sampled(sampler, parent(sampled=True, remote=False), kind)
    assert not sampled(sampler, parent(sampled=False, remote=False), kind)


def test_a_call_begins_no_trace() -> None:
    assert not sampled(bounded("always_on"), Context(), SpanKind.CLIENT)
    assert sampled(bounded("always_on"), Context(), SpanKind.INTERNAL)
    assert sampled(bounded("always_on"), parent(sampled=True), SpanKind.CLIENT)


def test_a_recorded_span_keeps_its_attributes_and_state() -> None:
    result = bounded().should_sample(parent(sampled=True), TRACE, "a span", SpanKind.SERVER, {"a": "b"})
    assert result.attributes == {"a": "b"}
    assert result.trace_state == TraceState([("vendor", "x")])
    dropped = bounded().should_sample(parent(sampled=False), TRACE, "a span", SpanKind.SERVER, {"a": "b"})
    assert dropped.attributes == {}


@given(
    rate=st.floats(0, 50),
    steps=st.lists(st.floats(0, 3), max_size=60),
)
def test_never_more_than_the_rate(rate: float, steps: list[float]) -> None:
    """In any stretch of time no more than its seconds times the rate, and one quiet second's worth."""
    clock = Clock(0)
    bucket = TokenBucket(rate, clock)
    taken: list[float] = []
    for step in steps:
        clock.now += step
        taken += [clock() for _ in range(60) if bucket.take()]
    for first, last in itertools.combinations(range(len(taken)), 2):
        seconds = taken[last] - taken[first]
        assert last - first + 1 <= max(1, rate) + rate * seconds + 1e-6
    assert rate > 0 or not taken


def test_after_a_flood_traces_are_recorded_again() -> None:
    clock = Clock(0)
    sampler = Bounded(named("always_on", 1.0), TokenBucket(5, clock))
    assert [sampled(sampler, parent(sampled=True)) for _ in range(7)] == [True] * 5 + [False] * 2
    clock.now += 0.4
    assert [sampled(sampler, parent(sampled=True)) for _ in range(3)] == [True, True, False]


def test_who_is_not_wanted_anyway_takes_nobodys_place() -> None:
    sampler = bounded("parentbased_always_on", rate=1)
    assert not any(sampled(sampler, parent(sampled=False)) for _ in range(5))
    assert sampled(sampler, parent(sampled=True))
