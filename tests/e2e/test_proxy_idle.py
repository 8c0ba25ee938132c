"""Two gevent workers hold 200 streams open on which nothing happens, and go on with everything else."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.proxied import Site, running
from tests.peers import raw
from tests.peers.bff import Visitor

pytestmark = pytest.mark.e2e

STREAMS = 200
PAUSE = 3  # seconds between the two events of a stream
VERIFIED = 200
NOTICED_WITHIN = 2.0


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Site]:
    with running(folder, "gevent", workers=2) as started:
        yield started


@contextmanager
def streams_at_each_worker(site: Site, path: str) -> Iterator[list[socket.socket]]:
    """Whichever worker is awake takes what comes, so the other one sleeps meanwhile."""
    first, second = site.bff.workers()
    with ExitStack() as stack:
        found: list[socket.socket] = []
        for awake, asleep in ((first, second), (second, first)):
            os.kill(asleep, signal.SIGSTOP)
            try:
                streams = stack.enter_context(raw.event_streams([site.bff.port], path, STREAMS // 2))
            finally:
                os.kill(asleep, signal.SIGCONT)
            assert {site.bff.worker_of(stream) for stream in (streams[0], streams[-1])} == {awake}
            found += streams
        yield found


def test_idle_streams_stay_open_and_are_in_nobodys_way(site: Site) -> None:
    with Visitor(site.bff.base_url) as alice:
        assert alice.login().status_code == 302
        with streams_at_each_worker(site, f"/api/work/sse?count=2&every={PAUSE}") as streams:
            statuses = [alice.auth_verify().status_code for _ in range(VERIFIED)]
            assert statuses == [200] * VERIFIED
            assert all(raw.idle(stream) for stream in streams), "the events were over before the test was"
            for stream in streams:
                assert b"id: 2\n" in raw.next_event(stream)
            assert all(raw.idle(stream) for stream in streams)


def test_when_they_leave_the_service_knows(site: Site) -> None:
    site.work.forget()
    with streams_at_each_worker(site, "/api/work/sse?count=1"):
        assert [seen.gone for seen in site.work.seen()] == [0] * STREAMS
    left = time.time()
    seen = site.work.wait(lambda seen: all(each.gone for each in seen))
    assert max(each.gone for each in seen) - left < NOTICED_WITHIN


def test_nothing_of_this_was_unforeseen(site: Site) -> None:
    assert site.complaints() == []
