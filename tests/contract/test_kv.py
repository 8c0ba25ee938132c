"""What every store must do, said once and run against each: SQLite, Redis 7.0, Redis 8.2."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from typing import Any

import pytest

from bff.kv import Batch, KeyValue
from bff.kv.lock import Lock
from bff.kv.paging import pages
from tests.contract.backends import Backend, eventually
from tests.contract.worker import increment
from tests.flows.store import WatchedStore

ROOT = Path(__file__).parents[2]
SOON = 0.01  # seconds, for the few lives that really end
STRETCH = 10_000


def members(kv: KeyValue, index: str) -> list[tuple[str, float]]:
    return kv.index_range(index, -inf, inf, 1000)


def add(kv: KeyValue, index: str, scores: dict[str, float]) -> None:
    batch = Batch()
    for member, score in scores.items():
        batch.index_add(index, member, score)
    kv.execute(batch)


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run work(0) to work(count - 1) in as many threads, all let go at the same moment."""
    gate = threading.Barrier(count)

    def run(number: int) -> Any:
        gate.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def processes(backend: Backend, commands: Sequence[tuple[str, str, int]]) -> list[Any]:
    """Run worker.py once for each (action, key, times), all at the same time."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.contract.worker", backend.address, action, key, str(times)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for action, key, times in commands
    ]
    outputs = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0] * len(started)
    return [json.loads(output) for output in outputs]


class TestValues:
    def test_absent(self, kv: KeyValue) -> None:
        assert kv.get("k") is None
        assert kv.delete("k") is False

    @pytest.mark.parametrize("value", [b"", b"\0", bytes(range(256)), b"x" * 1_000_000], ids=["", "nul", "all", "1MB"])
    def test_any_bytes(self, kv: KeyValue, value: bytes) -> None:
        kv.set("k", value)
        assert kv.get("k") == value
        assert kv.compare_and_set("k", value, None)

    @pytest.mark.parametrize("key", ["with space", "two\nlines", "nul\0nul", "ключ/鍵", "a" * 2000, "%s ? :x", ""])
    def test_any_key(self, kv: KeyValue, key: str) -> None:
        kv.set(key, b"v")
        assert kv.get(key) == b"v"
        assert kv.get(key + "x") is None
        assert kv.delete(key) is True

    def test_a_key_that_is_no_text_harms_nothing(self, kv: KeyValue) -> None:
        with pytest.raises(UnicodeEncodeError):
            kv.execute(Batch().set("k", b"v").set("\ud800", b"v"))
        assert kv.get("k") is None

    def test_overwrite(self, kv: KeyValue) -> None:
        kv.set("k", b"1")
        kv.set("k", b"2")
        assert kv.get("k") == b"2"

    def test_delete(self, kv: KeyValue) -> None:
        kv.set("k", b"v")
        assert kv.delete("k") is True
        assert kv.get("k") is None
        assert kv.delete("k") is False

    def test_set_if_absent(self, kv: KeyValue) -> None:
        assert kv.set_if_absent("k", b"1") is True
        assert kv.set_if_absent("k", b"2") is False
        assert kv.get("k") == b"1"

    def test_compare_and_set(self, kv: KeyValue) -> None:
        assert kv.compare_and_set("k", b"1", b"2") is False
        assert kv.get("k") is None
        kv.set("k", b"1")
        assert kv.compare_and_set("k", b"2", b"3") is False
        assert kv.compare_and_set("k", b"1", b"2") is True
        assert kv.get("k") == b"2"
        assert kv.compare_and_set("k", b"1", None) is False
        assert kv.compare_and_set("k", b"2", None) is True
        assert kv.get("k") is None

    def test_compare_and_set_tells_absent_from_empty(self, kv: KeyValue) -> None:
        assert kv.compare_and_set("k", b"", b"v") is False
        kv.set("k", b"")
        assert kv.compare_and_set("k", b"", b"v") is True

    def test_instances_share_the_data(self, kv: KeyValue, backend: Backend) -> None:
        other = backend.open()
        kv.set("k", b"v")
        assert other.delete("k")
        assert kv.get("k") is None

    def test_ping_and_a_closed_store(self, kv: KeyValue) -> None:
        kv.ping()
        kv.close()
        kv.close()

    def test_repr_names_the_place(self, kv: KeyValue) -> None:
        assert repr(kv).startswith(type(kv).__name__)


class TestLife:
    def test_ends(self, kv: KeyValue, backend: Backend) -> None:
        kv.set("k", b"v", ttl=100)
        backend.advance(99)
        assert kv.get("k") == b"v"
        backend.advance(1)
        assert kv.get("k") is None
        assert kv.delete("k") is False

    def test_fractions_of_a_second_count(self, kv: KeyValue) -> None:
        kv.set("k", b"v", ttl=SOON)
        assert eventually(lambda: kv.get("k") is None, 0.9)

    @pytest.mark.parametrize("ttl", [0, -5, 1e-9])
    def test_that_is_over_before_it_began(self, kv: KeyValue, ttl: float) -> None:
        kv.set("k", b"v", ttl=ttl)
        assert eventually(lambda: kv.get("k") is None, 0.9)

    def test_none_is_for_ever(self, kv: KeyValue, backend: Backend) -> None:
        kv.set("k", b"1", ttl=100)
        kv.set("k", b"2")
        backend.advance(1000)
        assert kv.get("k") == b"2"

    def test_set_if_absent(self, kv: KeyValue, backend: Backend) -> None:
        assert kv.set_if_absent("k", b"1", ttl=100)
        backend.advance(50)
        assert not kv.set_if_absent("k", b"2", ttl=100)
        backend.advance(50)
        assert kv.set_if_absent("k", b"3", ttl=100)
        backend.advance(99)
        assert kv.get("k") == b"3"
        backend.advance(1)
        assert kv.get("k") is None

    def test_compare_and_set_keeps_the_remaining_life(self, kv: KeyValue, backend: Backend) -> None:
        kv.set("k", b"1", ttl=100)
        backend.advance(60)
        assert kv.compare_and_set("k", b"1", b"2")
        backend.advance(39)
        assert kv.get("k") == b"2"
        backend.advance(1)
        assert kv.get("k") is None

    def test_compare_and_set_gives_a_new_life(self, kv: KeyValue, backend: Backend) -> None:
        kv.set("k", b"1", ttl=100)
        backend.advance(60)
        assert kv.compare_and_set("k", b"1", b"1", ttl=100)
        backend.advance(99)
        assert kv.get("k") == b"1"
        backend.advance(1)
        assert not kv.compare_and_set("k", b"1", b"2")


class TestBatch:
    def test_results_in_order(self, kv: KeyValue) -> None:
        kv.set("old", b"1")
        add(kv, "i", {"a": 1.5})
        batch = (
            Batch()
            .get("old")
            .set("new", b"2", ttl=100)
            .index_add("i", "b", 2.5, ttl=100)
            .get("new")
            .delete("old")
            .delete("old")
            .get("old")
            .index_score("i", "a")
            .index_score("i", "b")
            .index_score("i", "z")
            .index_remove("i", "a")
            .index_remove("i", "a")
            .publish("c", "m")
        )
        expected = [b"1", None, None, b"2", True, False, None, 1.5, 2.5, None, True, False, None]
        assert kv.execute(batch) == expected
        assert [type(result) for result in kv.execute(Batch().delete("new").index_remove("i", "b"))] == [bool, bool]

    def test_reads_alone(self, kv: KeyValue) -> None:
        kv.set("k", b"v")
        add(kv, "i", {"m": 0.0})
        assert kv.execute(Batch().get("k")) == [b"v"]
        assert kv.execute(Batch().index_score("i", "m").get("k").get("x")) == [0.0, b"v", None]

    def test_nothing_to_do(self, kv: KeyValue) -> None:
        assert kv.execute(Batch()) == []

    def test_can_be_run_again(self, kv: KeyValue) -> None:
        batch = Batch().set("k", b"v").get("k")
        assert kv.execute(batch) == kv.execute(batch) == [None, b"v"]

    def test_is_seen_whole_or_not_at_all(self, kv: KeyValue, backend: Backend) -> None:
        other = backend.open()
        done = threading.Event()
        torn: list[Any] = []
        kv.execute(Batch().set("left", b"first").set("right", b"first"))

        def read() -> None:
            while not done.is_set():
                left, right = other.execute(Batch().get("left").get("right"))
                if left != right:
                    torn.append((left[:2], right[:2]))

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            try:
                for number in range(40):  # too large for one read of the server's: it could run the first half alone
                    value = str(number).encode() * 100_000
                    kv.execute(Batch().set("left", value).set("right", value))
            finally:
                done.set()
        assert [reader.result(10) for reader in readers] == [None, None]
        assert torn == []


class TestIndex:
    def test_range_and_count(self, kv: KeyValue) -> None:
        add(kv, "i", {"c": 3, "a": 1, "d": 4, "b": 2})
        assert members(kv, "i") == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
        assert kv.index_range("i", 2, 3, 10) == [("b", 2), ("c", 3)], "both ends count"
        assert kv.index_count("i", 2, 3) == 2
        assert kv.index_count("i", 3.5, inf) == 1
        assert kv.index_count("i", -inf, 0) == 0
        assert kv.index_count("i", 3, 2) == 0
        assert kv.index_range("i", 3, 2, 10) == []

    def test_unknown(self, kv: KeyValue) -> None:
        assert kv.index_count("i", -inf, inf) == 0
        assert members(kv, "i") == []

    def test_limit(self, kv: KeyValue) -> None:
        add(kv, "i", {str(number): number for number in range(10)})
        assert kv.index_range("i", 5, inf, 2) == [("5", 5), ("6", 6)]
        assert kv.index_range("i", 5, inf, 0) == []

    def test_from_the_highest(self, kv: KeyValue) -> None:
        add(kv, "i", {"a": 1, "b": 2, "c": 2, "d": 3, "e": inf})
        assert kv.index_range("i", 1, 3, 9, descending=True) == [("d", 3), ("c", 2), ("b", 2), ("a", 1)]
        assert kv.index_range("i", -inf, inf, 2, descending=True) == [("e", inf), ("d", 3)]
        assert kv.index_range("i", 3, 1, 9, descending=True) == []

    def test_offset(self, kv: KeyValue) -> None:
        add(kv, "i", {"a": 1, "b": 2, "c": 2, "d": 3})
        assert kv.index_range("i", 2, inf, 2, offset=1) == [("c", 2), ("d", 3)]
        assert kv.index_range("i", -inf, 2, 2, offset=1, descending=True) == [("b", 2), ("a", 1)]
        assert kv.index_range("i", -inf, inf, 9, offset=4) == []

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
    def test_paging_finds_each_once_also_among_equals(self, kv: KeyValue, size: int, descending: bool) -> None:
        add(kv, "i", {f"m{number}": number // 4 for number in range(21)})
        found = list(pages(kv, "i", size=size, descending=descending))
        expected = sorted(members(kv, "i"), key=lambda pair: (pair[1], pair[0]), reverse=descending)
        assert [pair for page in found for pair in page] == expected
        assert all(len(page) == size for page in found[:-1])
        assert list(pages(kv, "unknown", size=size)) == []

    def test_paging_goes_on_when_what_it_saw_is_removed(self, kv: KeyValue) -> None:
        add(kv, "i", {f"m{number}": number for number in range(9)})
        found = []
        for page in pages(kv, "i", size=2):
            found += [member for member, _ in page]
            kv.execute(Batch().index_remove("i", page[0][0]))
        assert found == [f"m{number}" for number in range(9)]

    def test_ties_are_in_the_order_of_the_members_bytes(self, kv: KeyValue) -> None:
        add(kv, "i", dict.fromkeys(["b", "é", "a", "Z", "aa", "鍵"], 7.0))
        assert [member for member, _ in members(kv, "i")] == ["Z", "a", "aa", "b", "é", "鍵"]

    def test_scores_keep_their_precision(self, kv: KeyValue) -> None:
        scores = {"now": 1732273141.123456, "third": 1 / 3, "huge": 1e300, "tiny": 5e-324, "below": -2.5}
        add(kv, "i", scores)
        assert dict(members(kv, "i")) == scores
        assert kv.index_count("i", 1732273141.123456, 1732273141.123456) == 1

    def test_infinite_scores(self, kv: KeyValue) -> None:
        add(kv, "i", {"first": -inf, "middle": 0, "last": inf})
        assert members(kv, "i") == [("first", -inf), ("middle", 0), ("last", inf)]
        assert kv.index_count("i", inf, inf) == 1

    def test_move(self, kv: KeyValue) -> None:
        add(kv, "i", {"a": 1, "b": 2})
        add(kv, "i", {"a": 3})
        assert members(kv, "i") == [("b", 2), ("a", 3)]

    def test_only_present_moves_but_never_adds(self, kv: KeyValue) -> None:
        add(kv, "i", {"a": 1})
        kv.execute(Batch().index_add("i", "a", 5, only_present=True).index_add("i", "b", 6, only_present=True))
        assert members(kv, "i") == [("a", 5)]

    def test_remove(self, kv: KeyValue) -> None:
        add(kv, "i", {"a": 1, "b": 2})
        assert kv.execute(Batch().index_remove("i", "a").index_remove("x", "a")) == [True, False]
        assert members(kv, "i") == [("b", 2)]

    def test_is_apart_from_other_indexes_and_from_values(self, kv: KeyValue) -> None:
        add(kv, "i", {"a": 1})
        add(kv, "j", {"a": 2})
        kv.set("i", b"v")
        assert members(kv, "i") == [("a", 1)]
        assert kv.get("i") == b"v"
        assert kv.delete("j") is False

    def test_life_is_the_whole_indexs(self, kv: KeyValue, backend: Backend) -> None:
        add(kv, "i", {"a": 1})
        kv.execute(Batch().index_add("i", "b", 2, ttl=100))
        backend.advance(99)
        assert kv.index_count("i", -inf, inf) == 2
        backend.advance(1)
        assert kv.index_count("i", -inf, inf) == 0
        assert members(kv, "i") == []
        assert kv.execute(Batch().index_score("i", "a").index_remove("i", "a")) == [None, False]

    def test_life_only_ever_grows(self, kv: KeyValue, backend: Backend) -> None:
        kv.execute(Batch().index_add("i", "a", 1, ttl=100))
        backend.advance(50)
        kv.execute(Batch().index_add("i", "b", 2, ttl=10).index_add("i", "c", 3))
        backend.advance(49)
        assert kv.index_count("i", -inf, inf) == 3
        kv.execute(Batch().index_add("i", "d", 4, ttl=100))
        backend.advance(99)
        assert kv.index_count("i", -inf, inf) == 4
        backend.advance(1)
        assert kv.index_count("i", -inf, inf) == 0

    def test_the_dead_do_not_come_back(self, kv: KeyValue, backend: Backend) -> None:
        kv.execute(Batch().index_add("i", "old", 1, ttl=100))
        backend.advance(100)
        kv.execute(Batch().index_add("i", "old", 2, only_present=True).index_add("i", "new", 3))
        assert members(kv, "i") == [("new", 3)]
        backend.advance(1000)
        assert members(kv, "i") == [("new", 3)], "the new index has no life of its own"

    def test_an_emptied_index_takes_its_life_along(self, kv: KeyValue, backend: Backend) -> None:
        kv.execute(Batch().index_add("i", "a", 1, ttl=100).index_remove("i", "a").index_add("i", "b", 2))
        kv.execute(Batch().index_add("j", "a", 1, only_present=True, ttl=100).index_add("j", "b", 2))
        backend.advance(1000)
        assert members(kv, "i") == members(kv, "j") == [("b", 2)]


class TestConcurrency:
    def test_one_of_64_threads_takes_the_value(self, kv: KeyValue, backend: Backend) -> None:
        stores = [kv, backend.open()]
        kv.set("k", b"v")
        results = together(64, lambda number: stores[number % 2].compare_and_set("k", b"v", None))
        assert results.count(True) == 1
        assert results.count(False) == 63

    def test_one_of_many_threads_sets_what_was_absent(self, kv: KeyValue) -> None:
        results = together(32, lambda number: kv.set_if_absent("k", str(number).encode(), ttl=100))
        assert results.count(True) == 1
        assert kv.get("k") == str(results.index(True)).encode()

    def test_compare_and_set_loses_no_increment(self, kv: KeyValue) -> None:
        kv.set("k", b"0")
        together(8, lambda _: increment(kv, "k", 25))
        assert kv.get("k") == b"200"

    def test_across_processes(self, kv: KeyValue, backend: Backend) -> None:
        kv.set("count", b"0")
        for number in range(50):
            kv.set(f"once{number}", str(number).encode())
        results = processes(
            backend, [("increment", "count", 50), ("increment", "count", 50)] + [("take", "once", 50)] * 2
        )
        assert kv.get("count") == b"100"
        taken = [value for share in results[2:] for value in share]
        assert sorted(taken, key=int) == [str(number) for number in range(50)]

    def test_survives_a_fork(self, backend: Backend) -> None:
        assert processes(backend, [("fork", "k", 50)]) == [
            {"parent": True, "child": {"read": True, "connected anew": True}, "written": True}
        ]

    def test_under_gevent(self, backend: Backend) -> None:
        assert processes(backend, [("greenlets", "k", 40)]) == [{"connected": True, "total": 120, "delivered": True}]


class Inbox:
    """The two callbacks of a subscription, and what they were told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.states: list[bool] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def state(self, connected: bool) -> None:
        self.states.append(connected)


class TestMessages:
    def test_reach_every_instance_in_order(self, kv: KeyValue, backend: Backend) -> None:
        inboxes = [Inbox(), Inbox()]
        for store, inbox in zip([kv, backend.open()], inboxes, strict=True):
            store.subscribe("c", inbox.message, inbox.state)
        assert eventually(lambda: all(inbox.states == [True] for inbox in inboxes))
        sent = [f"message {number} ключ" for number in range(100)]
        for text in sent:
            kv.publish("c", text)
        assert eventually(lambda: all(len(inbox.messages) == 100 for inbox in inboxes))
        assert inboxes[0].messages == inboxes[1].messages == sent

    def test_of_other_channels_and_of_before_do_not_arrive(self, kv: KeyValue, backend: Backend) -> None:
        inbox = Inbox()
        kv.publish("c", "before")
        backend.open().subscribe("c", inbox.message, inbox.state)
        assert eventually(lambda: inbox.states == [True])
        kv.publish("d", "elsewhere")
        kv.execute(Batch().set("k", b"v").publish("c", "batch").publish("d", "elsewhere"))
        kv.publish("c", "last")
        assert eventually(lambda: "last" in inbox.messages)
        assert inbox.messages == ["batch", "last"]

    def test_survive_a_callback_that_fails(
        self, kv: KeyValue, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        received: list[str] = []

        def on_state(connected: bool) -> None:
            raise RuntimeError("state")

        def on_message(text: str) -> None:
            received.append(text)
            raise RuntimeError("message")

        backend.open().subscribe("c", on_message, on_state)

        def published() -> bool:
            kv.publish("c", "m")
            return len(received) >= 3

        assert eventually(published)
        assert {record.message for record in caplog.records} == {"kv_subscription_callback_failed"}

    def test_stop_when_closed(self, kv: KeyValue, backend: Backend) -> None:
        before = set(threading.enumerate())
        inbox, staying = Inbox(), Inbox()
        subscription = kv.subscribe("c", inbox.message, inbox.state)
        backend.open().subscribe("c", staying.message, staying.state)
        assert eventually(lambda: inbox.states == [True] == staying.states)
        subscription.close()
        subscription.close()
        kv.publish("c", "too late")
        assert eventually(lambda: staying.messages == ["too late"])
        assert (inbox.messages, inbox.states) == ([], [True])
        backend.close()
        assert set(threading.enumerate()) <= before

    def test_a_subscription_may_close_itself(self, kv: KeyValue, backend: Backend) -> None:
        closed = threading.Event()
        states: list[bool] = []

        def on_message(_: str) -> None:
            subscription.close()
            closed.set()

        subscription = backend.open().subscribe("c", on_message, states.append)
        assert eventually(lambda: states == [True])
        kv.publish("c", "stop")
        assert closed.wait(5)


class TestLock:
    def test_has_one_owner(self, kv: KeyValue, backend: Backend) -> None:
        mine, yours = Lock(kv, "l", 100), Lock(backend.open(), "l", 100)
        assert mine.acquire()
        assert not yours.acquire()
        assert not yours.renew()
        assert not yours.release()
        assert mine.release()
        assert yours.acquire()

    def test_one_of_many_acquires(self, kv: KeyValue) -> None:
        assert together(16, lambda _: Lock(kv, "l", 100).acquire()).count(True) == 1

    def test_names_are_apart(self, kv: KeyValue) -> None:
        assert Lock(kv, "l", 100).acquire()
        assert Lock(kv, "m", 100).acquire()

    def test_renewal_starts_the_life_anew(self, kv: KeyValue, backend: Backend) -> None:
        mine, yours = Lock(kv, "l", 100), Lock(kv, "l", 100)
        assert mine.acquire()
        backend.advance(99)
        assert mine.renew()
        backend.advance(99)
        assert not yours.acquire()
        backend.advance(1)
        assert yours.acquire()

    def test_a_late_owner_harms_nobody(self, kv: KeyValue, backend: Backend) -> None:
        mine, yours = Lock(kv, "l", 100), Lock(kv, "l", 100)
        assert mine.acquire()
        backend.advance(100)
        assert not mine.renew()
        assert yours.acquire()
        assert not mine.release()
        assert not mine.renew()
        assert yours.renew()
        assert yours.release()

    def test_kept_for_as_long_as_the_work_goes_on(self, kv: KeyValue, backend: Backend) -> None:
        """The work takes several lives of the lock, and nobody else gets it meanwhile."""
        patient = Stretched(kv)
        mine, yours = Lock(patient, "l", SOON), Lock(backend.open(), "l", 100)
        assert mine.acquire()
        with mine.renewing():
            for _ in range(5):
                backend.advance(SOON * STRETCH * 0.6)
                assert patient.renewed()
                assert not yours.acquire()
        assert yours.acquire()

    def test_kept_until_the_work_fails(self, kv: KeyValue) -> None:
        mine, yours = Lock(kv, "l", 100), Lock(kv, "l", 100)
        assert mine.acquire()
        with pytest.raises(ZeroDivisionError), mine.renewing():
            raise ZeroDivisionError
        assert yours.acquire()

    def test_keeping_one_that_was_lost_takes_it_from_nobody(self, kv: KeyValue, backend: Backend) -> None:
        mine, yours = Lock(kv, "l", SOON), Lock(backend.open(), "l", 100)
        assert mine.acquire()
        with mine.renewing():
            kv.delete("lock:l")  # as after its life, had this process been stopped
            assert yours.acquire()
            assert eventually(lambda: "kv-lock" not in {thread.name for thread in threading.enumerate()})
        assert yours.renew()
        assert yours.release()

    def test_a_store_that_fails_meanwhile_costs_the_lock_at_worst(self, kv: KeyValue, backend: Backend) -> None:
        failing = WatchedStore(kv)
        mine, yours = Lock(failing, "l", SOON), Lock(backend.open(), "l", 100)
        assert mine.acquire()
        with mine.renewing():
            failing.down = True
            assert eventually(yours.acquire)  # its life ran out
        assert yours.renew()

    def test_a_store_that_is_back_in_time_costs_nothing(self, kv: KeyValue, backend: Backend) -> None:
        failing = Stretched(kv)
        mine, yours = Lock(failing, "l", SOON), Lock(backend.open(), "l", 100)
        assert mine.acquire()
        with mine.renewing():
            failing.calls_left = 0
            assert eventually(lambda: failing.down)
            failing.calls_left, failing.down = None, False
            backend.advance(SOON * STRETCH * 0.6)
            assert failing.renewed()
            backend.advance(SOON * STRETCH * 0.6)
            assert not yours.acquire()


class Stretched(WatchedStore):
    """Whatever lives there lives longer than was asked for: a lock is renewed soon, and its life still ends only when
    the test says so."""

    def set_if_absent(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        return super().set_if_absent(key, value, ttl and ttl * STRETCH)

    def compare_and_set(self, key: str, expected: bytes, value: bytes | None, ttl: float | None = None) -> bool:
        return super().compare_and_set(key, expected, value, ttl and ttl * STRETCH)

    def renewed(self) -> bool:
        """Whether a renewal that begins after now succeeds soon."""
        self.forget()
        return eventually(lambda: len(self.writes) >= 2)  # the first one may have been under way
