"""Moving windows, as every store must keep them: so many in any stretch of time, and never one more."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.kv import Hit, KeyValue
from tests.contract.backends import Backend
from tests.contract.test_kv import processes, together
from tests.fuzz import examples

MINUTE = 60.0


def hit(kv: KeyValue, window: str = "w", limit: int = 3, period: float = MINUTE) -> Hit:
    return kv.window_hit(window, limit, period)


def counted(kv: KeyValue, times: int, window: str = "w", limit: int = 3) -> list[bool]:
    return [hit(kv, window, limit).counted for _ in range(times)]


def test_so_many_and_no_more(kv: KeyValue) -> None:
    assert counted(kv, 5) == [True, True, True, False, False]


def test_what_it_says(backend: Backend, kv: KeyValue) -> None:
    said = [hit(kv)]
    backend.advance(20)
    said += [hit(kv), hit(kv), hit(kv)]
    assert [(one.counted, one.hits) for one in said] == [(True, 1), (True, 2), (True, 3), (False, 3)]
    assert [one.retry_after for one in said] == pytest.approx([60, 40, 40, 40], abs=2)


def test_what_was_refused_is_not_counted(backend: Backend, kv: KeyValue) -> None:
    assert counted(kv, 3) == [True] * 3
    for _ in range(3):
        backend.advance(19)
        assert not hit(kv).counted
    backend.advance(4)
    assert counted(kv, 4) == [True, True, True, False]


def test_windows_are_apart_and_no_keys(kv: KeyValue) -> None:
    assert counted(kv, 4, "a") == [True, True, True, False]
    assert counted(kv, 4, "b") == [True, True, True, False]
    assert kv.get("a") is None
    kv.set("a", b"1")
    kv.log_append("a", [b"1"], 10)
    assert not hit(kv, "a").counted
    assert kv.delete("a")
    assert not hit(kv, "a").counted


def test_several_hits_are_counted_all_or_none(backend: Backend, kv: KeyValue) -> None:
    said = [kv.window_hit("w", 5, MINUTE, number) for number in (3, 3, 2, 1)]
    assert [(one.counted, one.hits) for one in said] == [(True, 3), (False, 3), (True, 5), (False, 5)]
    assert not kv.window_hit("w", 5, MINUTE, 6).counted
    backend.advance(61)
    assert not kv.window_hit("w", 5, MINUTE, 6).counted
    assert kv.window_hit("w", 5, MINUTE, 5).counted


@pytest.mark.parametrize(("before", "after", "more"), [(2, 5, 3), (5, 2, 0)])
def test_a_limit_that_changes(kv: KeyValue, before: int, after: int, more: int) -> None:
    assert sum(counted(kv, 10, limit=before)) == before
    assert sum(counted(kv, 10, limit=after)) == more
    assert hit(kv, limit=after).hits == max(before, after)


def test_a_window_that_nobody_asks_for_is_forgotten(backend: Backend, kv: KeyValue) -> None:
    for number in range(200):
        hit(kv, f"w{number}")
    backend.advance(61)
    assert all(hit(kv, f"w{number}").hits == 1 for number in range(200))


def test_threads_and_instances_share_it(backend: Backend) -> None:
    stores = [backend.open() for _ in range(4)]
    answers = together(8, lambda number: sum(counted(stores[number % 4], 20, limit=50)))
    assert sum(answers) == 50


def test_processes_share_it(backend: Backend) -> None:
    """Each asks 50 times for one of 30 places."""
    answers = processes(backend, [("window", "w", 50)] * 4)
    assert sum(answers) == 30


@dataclass
class Naive:
    """The times of all that was let through, and a look at each of them."""

    limit: int
    now: float = 0
    let_through: list[float] = field(default_factory=list)

    def hit(self) -> bool:
        recent = [at for at in self.let_through if self.now - at < MINUTE]
        if len(recent) < self.limit:
            self.let_through.append(self.now)
        return len(recent) < self.limit


# In steps of five seconds that end between two of the window's, so that the real milliseconds of a run decide nothing.
STEPS = st.lists(st.integers(0, 13), min_size=1, max_size=40)


def test_it_is_as_if_all_times_were_kept(backend: Backend) -> None:
    kv, names = backend.open(), iter(range(1_000_000))

    @settings(examples(50), derandomize=True, database=None)
    @given(STEPS, st.integers(1, 5))
    def same(steps: list[int], limit: int) -> None:
        window, naive = f"model{next(names)}", Naive(limit)
        for step in steps:
            naive.now += step * 5.01
            backend.advance(step * 5.01)
            assert hit(kv, window, limit).counted is naive.hit()
        for begin in naive.let_through:
            assert sum(begin <= at < begin + MINUTE for at in naive.let_through) <= limit

    same()
