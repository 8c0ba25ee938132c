"""A client that has a share of the worker: a call for which there is no place is refused, and tells nothing of the
service."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from werkzeug.wrappers import Response as WsgiResponse

from bff.bulkhead import Bulkhead
from bff.dev.in_process import WsgiTransport
from bff.errors import UpstreamError
from bff.http import HttpClient, Response
from bff.lib.deadline import ends_by, left
from bff.pdp.model import Cause, NoDecision
from tests.clock import Clock
from tests.flows.counters import Counters

URL = "http://127.0.0.1:8000/"
REJECTED = "bff_bulkhead_rejections_total"


class Slow:
    """Answers each request when told to, and counts them."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.calls = 0
        self.go = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.calls += 1
        self.asked.release()
        assert self.go.wait(10)
        return WsgiResponse("{}")(environ, start_response)


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(slow: Slow, clock: Clock) -> HttpClient:
    transport, share = WsgiTransport({"http://127.0.0.1:8000": slow}), Bulkhead("idp_busy", 2)
    return HttpClient("idp_busy", timeout=5, whole=True, adapter=transport, clock=clock, bulkhead=share)


@contextmanager
def held(client: HttpClient, slow: Slow, calls: int = 2) -> Iterator[list["Future[Response]"]]:
    with ThreadPoolExecutor(calls) as pool:
        futures = [pool.submit(client.get, URL, target="token") for _ in range(calls)]
        try:
            for _ in range(calls):
                assert slow.asked.acquire(timeout=10)
            yield futures
        finally:
            slow.go.set()


def test_more_than_its_share_is_refused(client: HttpClient, slow: Slow) -> None:
    counters = Counters()
    with held(client, slow) as futures:
        for _ in range(24):
            with pytest.raises(UpstreamError) as refused:
                client.get(URL, target="token")
            assert (refused.value.outcome, refused.value.connected) == ("busy", False)
        assert slow.calls == 2
    assert [future.result().status for future in futures] == [200, 200]
    assert counters.gained(REJECTED) == {"idp_busy": 24}
    assert client.get(URL, target="token").status == 200, "places are left, and no circuit has opened"


def test_a_place_is_left_by_a_call_that_failed(client: HttpClient, slow: Slow) -> None:
    for _ in range(10):
        with pytest.raises(UpstreamError, match="could not be made"):
            client.get("http://127.0.0.9/", target=f"other-{_}")
    slow.go.set()
    assert client.get(URL, target="token").status == 200


def test_a_request_whose_time_is_over_asks_nothing(client: HttpClient, slow: Slow, clock: Clock) -> None:
    for _ in range(10):
        with ends_by(clock()), pytest.raises(UpstreamError) as refused:
            client.get(URL, target="token")
        assert refused.value.outcome == "timeout"
    assert slow.calls == 0
    slow.go.set()
    assert client.get(URL, target="token").status == 200, "no circuit has heard of it"


def test_an_inner_deadline_is_never_later(clock: Clock) -> None:
    with ends_by(clock() + 5):
        with ends_by(clock() + 60):
            assert left(clock()) == 5
        with ends_by(clock() + 1):
            assert left(clock()) == 1
        assert left(clock() + 7) == 0
    assert left(clock()) == float("inf")


def test_a_deadline_is_of_one_thread(clock: Clock) -> None:
    """Work that a request hands to the background has all the time of its own."""
    with ThreadPoolExecutor(1) as pool, ends_by(clock()):
        assert pool.submit(left, clock()).result() == float("inf")


def test_requests_can_make_a_policy_decision_point_busy_so_that_is_no_outage() -> None:
    assert NoDecision("busy").cause is Cause.MISTAKE
