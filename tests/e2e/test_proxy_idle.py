"""Two gevent workers hold 200 streams open on which nothing happens, and go on with everything else."""

import time
from collections.abc import Iterator
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


def test_idle_streams_stay_open_and_are_in_nobodys_way(site: Site) -> None:
    with Visitor(site.bff.base_url) as alice:
        assert alice.login().status_code == 302
        with raw.event_streams([site.bff.port], f"/api/work/sse?count=2&every={PAUSE}", STREAMS) as streams:
            used = {site.bff.worker_of(stream) for stream in streams[:20]}
            statuses = [alice.auth_verify().status_code for _ in range(VERIFIED)]
            assert statuses == [200] * VERIFIED
            assert all(raw.idle(stream) for stream in streams), "the events were over before the test was"
            for stream in streams:
                assert b"id: 2\n" in raw.next_event(stream)
            assert all(raw.idle(stream) for stream in streams)
    print(f"\n{STREAMS} streams, {len(used)} workers, {VERIFIED} verified meanwhile")


def test_when_they_leave_the_service_knows(site: Site) -> None:
    site.work.forget()
    with raw.event_streams([site.bff.port], "/api/work/sse?count=1", STREAMS):
        assert [seen.gone for seen in site.work.seen()] == [0] * STREAMS
    left = time.time()
    seen = site.work.wait(lambda seen: all(each.gone for each in seen))
    assert max(each.gone for each in seen) - left < NOTICED_WITHIN


def test_nothing_of_this_was_unforeseen(site: Site) -> None:
    assert site.complaints() == []
