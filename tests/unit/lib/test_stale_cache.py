"""A fetched value: refreshed by one thread, served stale, never hammered for."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from bff.errors import ProviderUnavailable
from bff.lib.deadline import ends_by
from bff.lib.stale_cache import RETRY_AFTER, SPACING, StaleIfErrorCache
from tests.clock import Clock

LIFE = 100.0


class Source:
    """Counts how often it is asked; fails when told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.down = False
        self.gate: threading.Event | None = None
        self.entered = threading.Event()

    def __call__(self) -> int:
        self.asked += 1
        number = self.asked
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.down:
            raise ProviderUnavailable
        return number


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(source: Source, clock: Clock) -> StaleIfErrorCache[int]:
    return StaleIfErrorCache(ProviderUnavailable, source, LIFE, clock, lambda work: work())


def test_it_is_fetched_when_first_needed_and_then_kept(
    kept: StaleIfErrorCache[int], source: Source, clock: Clock
) -> None:
    assert source.asked == 0
    for seconds in (0, 50, 49.9):
        clock.now += seconds
        assert kept.get() == 1
    clock.now += 0.1
    assert kept.get() == 2


def test_without_a_good_copy_it_says_so(kept: StaleIfErrorCache[int], source: Source) -> None:
    source.down = True
    with pytest.raises(ProviderUnavailable):
        kept.get()


def test_a_stale_copy_serves_while_fetching_fails(kept: StaleIfErrorCache[int], source: Source, clock: Clock) -> None:
    kept.get()
    clock.now += 1000 * LIFE
    source.down = True
    assert kept.get() == 1


def test_failures_are_not_hammered(kept: StaleIfErrorCache[int], source: Source, clock: Clock) -> None:
    kept.get()
    clock.now += LIFE
    source.down = True
    for seconds, asked in ((0, 2), (RETRY_AFTER - 0.1, 2), (0.1, 3), (0, 3), (RETRY_AFTER, 4)):
        clock.now += seconds
        assert kept.get() == 1
        assert source.asked == asked


def test_it_recovers_however_often_it_is_asked_for_meanwhile(
    kept: StaleIfErrorCache[int], source: Source, clock: Clock
) -> None:
    """Impatient callers must not put off the next try."""
    source.down = True
    for _ in range(10):
        with pytest.raises(ProviderUnavailable):
            kept.get()
        clock.now += RETRY_AFTER / 4
    assert source.asked == 3
    source.down = False
    clock.now += RETRY_AFTER
    assert kept.get() == 4


def test_it_is_renewed_at_once(kept: StaleIfErrorCache[int]) -> None:
    assert [kept.get(), kept.refetch(), kept.get(), kept.refetch()] == [1, 2, 2, 3]


def test_renewing_gives_the_old_copy_when_there_is_no_newer(kept: StaleIfErrorCache[int], source: Source) -> None:
    kept.get()
    source.down = True
    assert kept.refetch() == 1
    assert kept.landed() == 1
    assert source.asked == 2


def test_refresh_fetches_at_once(kept: StaleIfErrorCache[int], source: Source) -> None:
    kept.get()
    kept.refresh()
    assert kept.get() == 2


def test_a_refresh_that_fails_says_so_and_keeps_the_copy(kept: StaleIfErrorCache[int], source: Source) -> None:
    kept.get()
    source.down = True
    with pytest.raises(ProviderUnavailable):
        kept.refresh()
    assert kept.get() == 1


def test_renewed_ahead_nobody_waits_for_it(kept: StaleIfErrorCache[int], source: Source, clock: Clock) -> None:
    kept.refresh_if_due(ahead=30)
    assert (kept.get(), source.asked) == (1, 1), "there was none"
    for seconds, asked in ((0, 1), (LIFE - 30.1, 1), (0.1, 2), (1, 2), (LIFE - 31, 3)):
        clock.now += seconds
        kept.refresh_if_due(ahead=30)
        assert source.asked == asked
        assert (kept.get(), source.asked) == (asked, asked)


def test_renewing_ahead_keeps_the_copy_and_is_tried_again(
    kept: StaleIfErrorCache[int], source: Source, clock: Clock
) -> None:
    kept.get()
    clock.now += LIFE - 10
    source.down = True
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            kept.refresh_if_due(ahead=30)
        assert kept.get() == 1
    assert source.asked == 3
    source.down = False
    kept.refresh_if_due(ahead=30)
    assert kept.get() == 4


def test_while_it_is_renewed_ahead_the_old_copy_serves(
    kept: StaleIfErrorCache[int], source: Source, clock: Clock
) -> None:
    kept.get()
    clock.now += LIFE - 10
    source.gate = threading.Event()
    source.entered.clear()
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(kept.refresh_if_due, 30)
        assert source.entered.wait(10)
        assert kept.get() == 1
        source.gate.set()
        renewing.result(10)
    assert kept.get() == 2


def test_many_at_first_fetch_once(kept: StaleIfErrorCache[int], source: Source) -> None:
    source.gate = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        values = [pool.submit(kept.get) for _ in range(8)]
        assert source.entered.wait(10)
        source.gate.set()
        assert {value.result(10) for value in values} == {1}
    assert source.asked == 1


def test_many_at_first_fail_with_one_fetch(kept: StaleIfErrorCache[int], source: Source) -> None:
    source.gate, source.down = threading.Event(), True
    with ThreadPoolExecutor(8) as pool:
        values = [pool.submit(kept.get) for _ in range(8)]
        assert source.entered.wait(10)
        source.gate.set()
        assert all(isinstance(value.exception(10), ProviderUnavailable) for value in values)
    assert source.asked == 1


@pytest.mark.parametrize("down", [True, False])
def test_callers_that_waited_go_on_one_after_the_other(source: Source, clock: Clock, down: bool) -> None:
    """Released at the same moment, they would hold up a gevent worker's next auth check until all are answered."""
    source.gate, source.down = threading.Event(), down
    going_on, most, pauses = 0, 0, []
    changing = threading.Lock()

    def wait(seconds: float) -> None:
        nonlocal going_on, most
        with changing:
            going_on += 1
            most = max(most, going_on)
        time.sleep(seconds)
        with changing:
            going_on -= 1
            pauses.append(seconds)

    kept = StaleIfErrorCache(ProviderUnavailable, source, LIFE, clock, lambda work: work(), wait=wait)
    with ThreadPoolExecutor(8) as pool:
        values = [pool.submit(kept.get) for _ in range(8)]
        assert source.entered.wait(10)
        source.gate.set()
        assert all((value.exception(10) is not None) is down for value in values)
    assert (most, set(pauses)) == (1, {SPACING})


def test_nobody_waits_for_a_slow_refresh(source: Source, clock: Clock) -> None:
    """Neither those who find that one is under way, nor the one who finds that the copy is old."""
    jobs: list[Callable[[], None]] = []
    kept = StaleIfErrorCache(ProviderUnavailable, source, LIFE, clock, jobs.append)
    kept.get()
    clock.now += LIFE
    assert [kept.get(), kept.get(), source.asked, len(jobs)] == [1, 1, 1, 1]
    jobs.pop()()
    assert kept.get() == 2


def test_a_refresh_that_was_lost_is_begun_again(source: Source, clock: Clock) -> None:
    """The worker had no thread for it, or was about to leave."""
    jobs: list[Callable[[], None]] = []
    kept = StaleIfErrorCache(ProviderUnavailable, source, LIFE, clock, jobs.append)
    kept.get()
    clock.now += LIFE
    for seconds, begun in ((0, 1), (RETRY_AFTER - 0.1, 1), (0.1, 2)):
        clock.now += seconds
        assert kept.get() == 1
        assert len(jobs) == begun


@contextmanager
def hanging(kept: StaleIfErrorCache[int], source: Source) -> Iterator[None]:
    """While one thread fetches from a source that does not answer."""
    source.gate = threading.Event()
    source.entered.clear()
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(kept.refresh)
        assert source.entered.wait(10)
        yield
        source.gate.set()
        fetching.exception(10)


def test_without_a_copy_the_others_wait_for_one_fetch_but_not_long(source: Source, clock: Clock) -> None:
    kept = StaleIfErrorCache(ProviderUnavailable, source, LIFE, clock, lambda work: work(), patience=0.01)
    with hanging(kept, source):
        for ask in (kept.get, kept.refetch, kept.landed) * 3:
            with pytest.raises(ProviderUnavailable):
                ask()
    assert source.asked == 1
    assert kept.get() == 1


def test_waiting_ends_with_the_time_that_a_request_has(source: Source, clock: Clock) -> None:
    kept = StaleIfErrorCache(ProviderUnavailable, source, LIFE, clock, lambda work: work(), patience=3600)
    with hanging(kept, source), ends_by(clock()), pytest.raises(ProviderUnavailable):
        kept.get()


def test_with_a_copy_no_fetch_that_hangs_keeps_it_from_serving(source: Source, clock: Clock) -> None:
    kept = StaleIfErrorCache(ProviderUnavailable, source, LIFE, clock, lambda work: work(), patience=0.01)
    kept.get()
    with hanging(kept, source):
        clock.now += 1000 * LIFE
        assert [kept.get(), kept.refetch(), kept.landed()] == [1, 1, 1]
    assert source.asked == 2


def test_a_queue_does_not_repeat_what_failed(kept: StaleIfErrorCache[int], source: Source, clock: Clock) -> None:
    """Each of those who waited would otherwise hold its successors for as long as a fetch may take."""
    source.down = True
    for _ in range(5):
        with pytest.raises(ProviderUnavailable):
            kept.get()
    assert source.asked == 1
    clock.now += RETRY_AFTER
    with pytest.raises(ProviderUnavailable):
        kept.get()
    assert source.asked == 2


def test_a_caller_in_want_of_a_newer_copy_gets_one_fetched_after_it_asked(
    kept: StaleIfErrorCache[int], source: Source
) -> None:
    """The fetch that was under way may have been answered before the provider published its new key."""
    kept.get()
    with ThreadPoolExecutor(1) as pool, hanging(kept, source):
        asking = pool.submit(kept.refetch)
        assert source.gate is not None
        source.gate.set()
        assert asking.result(10) == 3
