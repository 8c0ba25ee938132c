"""A process's own values: exact over threads and forks, go on after a predecessor's, and survive a full disk."""

import contextlib
import gc
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client import Counter as ClientCounter
from prometheus_client import Histogram as ClientHistogram
from prometheus_client import values as client_values
from prometheus_client.metrics import MetricWrapperBase

from bff.observability.fast_metrics import Counter, Histogram
from bff.observability.multiprocess import folder as shared_folder
from bff.observability.multiprocess import values
from bff.observability.multiprocess.files import header
from tests.fuzz import examples
from tests.unit.value_files import Scrapers, samples, scraped


class Metrics:
    """A program's metrics, declared while values are shared."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.counter = Counter("c", "Help.", ["path"], registry=registry)
        self.histogram = Histogram("h", "Help.", ["path"], buckets=(1, 10), registry=registry)
        self.live = Gauge("g_live", "Help.", multiprocess_mode="livesum", registry=registry)
        self.latest = Gauge("g_latest", "Help.", multiprocess_mode="mostrecent", registry=registry)
        self.registry = registry

    def count(self, path: str = "/a", amount: float = 1) -> None:
        self.counter.labels(path).inc(amount)
        self.histogram.labels(path).observe(amount)
        self.live.set(1)
        self.latest.set(amount)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """As in a process that is started with PROMETHEUS_MULTIPROC_DIR."""
    monkeypatch.setenv(values.FOLDER, str(tmp_path))
    monkeypatch.setattr(values, "_process", values._Process())
    monkeypatch.setattr(client_values, "ValueClass", client_values.ValueClass)
    assert values.install()
    yield tmp_path
    values._process.close()


def as_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on this is a process that started after the former one's end."""
    values._process.close()
    monkeypatch.setattr(values, "_process", values._Process())


@pytest.fixture
def scrapers() -> Iterator[Scrapers]:
    with Scrapers() as found:
        yield found


def test_gevents_locks_are_not_taken_for_an_addition() -> None:
    script = """
from gevent import monkey; monkey.patch_all()
import threading
from bff.observability.multiprocess import values
print(type(values._process.adding) is type(monkey.get_original("_thread", "allocate_lock")()))
print(type(values._process.lock) is type(threading.Lock()))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "True"]


def counted(folder: Path, path: str = "/a") -> float:
    return scraped(folder).get(("c_total", frozenset({("path", path)})), 0)


def in_child(work: Callable[[], Any]) -> Any:
    """What work returns in a forked process; it must be JSON."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException), os.fdopen(writing, "w") as answer:
            os.close(reading)
            json.dump(work(), answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        content = answer.read()
    os.waitpid(pid, 0)
    return json.loads(content)


def open_files(folder: str = "") -> list[str]:
    gc.collect()
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sorted(Path(name).name for name in found if name.startswith(folder) and name.endswith((".db", ".bin")))


def test_every_type_counts(folder: Path) -> None:
    metrics = Metrics()
    metrics.count(amount=5)
    metrics.count(amount=0.5)
    labels = frozenset({("path", "/a")})
    assert scraped(folder) == {
        ("c_total", labels): 5.5,
        ("h_bucket", labels | {("le", "1.0")}): 1,
        ("h_bucket", labels | {("le", "10.0")}): 2,
        ("h_bucket", labels | {("le", "+Inf")}): 2,
        ("h_count", labels): 2,
        ("h_sum", labels): 5.5,
        ("g_live", frozenset()): 1,
        ("g_latest", frozenset()): 0.5,
    }
    assert metrics.registry.get_sample_value("c_total", {"path": "/a"}) == 5.5


def test_without_a_folder_values_are_a_process_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(values.FOLDER, raising=False)
    former = client_values.ValueClass
    assert not values.install()
    assert client_values.ValueClass is former


def test_two_metrics_of_one_name_share_their_values(folder: Path) -> None:
    Metrics().count()
    Metrics().count()
    assert counted(folder) == 2


def test_threads_lose_no_count(folder: Path) -> None:
    metrics = Metrics()
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for step in range(2000):
            metrics.counter.labels("/a").inc()
            metrics.counter.labels(f"/{number}/{step % 50}").inc()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert counted(folder) <= 16_000  # keys are being appended
    for thread in threads:
        thread.join()
    assert counted(folder) == 16_000
    assert sum(value for (name, _), value in scraped(folder).items() if name == "c_total") == 32_000


def test_a_file_grows_and_earlier_values_stay_where_they_are(folder: Path) -> None:
    metrics = Metrics()
    first = metrics.counter.labels("/a")
    first.inc()
    size = next(folder.glob("counter_*.db")).stat().st_size
    for number in range(2000):
        metrics.counter.labels(f"/{number}").inc()
    first.inc()
    assert next(folder.glob("counter_*.db")).stat().st_size > size
    assert counted(folder) == 2
    assert len([name for name, _ in scraped(folder) if name == "c_total"]) == 2001


def test_a_child_begins_at_zero_in_files_of_its_own(folder: Path) -> None:
    metrics = Metrics()
    metrics.count()
    child = metrics.counter.labels("/a")

    def value() -> float:
        return metrics.registry.get_sample_value("c_total", {"path": "/a"}) or 0

    def work() -> list[float]:
        before = value()
        child.inc(10)

        def grandchild() -> float:
            child.inc(100)
            return value()

        return [before, value(), in_child(grandchild), value()]

    assert in_child(work) == [0, 10, 100, 10]
    assert value() == 1
    assert counted(folder) == 111
    assert len(list(folder.glob("counter_*.db"))) == 3


def test_a_child_keeps_no_file_of_its_parent_open(folder: Path) -> None:
    metrics = Metrics()
    metrics.count()
    metrics.histogram.labels("/a").observe(1, {"trace_id": "a" * 32})
    assert any("_slot0." in name for name in open_files(str(folder)))
    inherited = in_child(lambda: [name for name in open_files(str(folder)) if "_slot0." in name])
    assert inherited == []


def test_a_fork_while_another_thread_counts(folder: Path) -> None:
    """The lock may be held by a thread that the child does not have."""
    metrics = Metrics()
    ours, theirs = metrics.counter.labels("/a"), metrics.counter.labels("/child")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            ours.inc()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(20):
            assert in_child(theirs.inc) is None
    finally:
        stop.set()
        thread.join()
    assert counted(folder, "/child") == 20


def test_a_successor_goes_on(folder: Path, scrapers: Scrapers, monkeypatch: pytest.MonkeyPatch) -> None:
    Metrics().count(amount=5)
    collector = scrapers.new(folder)
    before = samples(collector.collect())
    as_another_process(monkeypatch)
    successor = Metrics()
    after = samples(collector.collect())
    ended = {series for series in before if before[series] != after.get(series)}
    assert ended == {("g_live", frozenset())}, "a live gauge ended with its process, and nothing else did"
    successor.counter.labels("/b").inc()
    successor.counter.labels("/a").inc(2)
    assert counted(folder) == 7
    assert counted(folder, "/b") == 1
    assert samples(collector.collect()) == scraped(folder)


def test_a_process_sees_its_own_values(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports by OTLP read them, in each process: they are added up there, and would count a predecessor's twice."""
    Metrics().count(amount=5)
    as_another_process(monkeypatch)
    metrics = Metrics()

    def own() -> list[float | None]:
        names = "c_total", "h_sum", "h_count"
        return [metrics.registry.get_sample_value(name, {"path": "/a"}) for name in names]

    metrics.counter.labels("/a"), metrics.histogram.labels("/a")
    assert own() == [0, 0, 0]
    metrics.count(amount=2)
    assert own() == [2, 2, 1]
    metrics.counter.labels("/a").reset()
    assert own() == [0, 2, 1]
    assert counted(folder) == 5


@pytest.mark.parametrize(("mode", "total"), [("sum", 3 + 4), ("max", 4), ("min", 2), ("mostrecent", 2), ("all", 2)])
def test_gauges_that_do_not_end_with_their_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: Any, total: float
) -> None:
    """Each process sees its own value; a scrape combines them as if each had a file. The label of `all` is the slot."""
    for own in (4, 3) if mode in ("sum", "max") else (3, 2):
        registry = CollectorRegistry()
        gauge = Gauge("g", "Help.", multiprocess_mode=mode, registry=registry)
        gauge.set(9 if mode == "min" else 1)
        if mode != "mostrecent":
            gauge.inc(3)
            gauge.dec(3)
        assert registry.get_sample_value("g") == (9 if mode == "min" else 1)
        gauge.set(own)
        assert registry.get_sample_value("g") == own
        as_another_process(monkeypatch)
    assert list(scraped(folder).values()) == [total]
    assert [dict(labels).get("pid") for _, labels in scraped(folder)] == ["slot0" if mode == "all" else None]


@pytest.mark.parametrize(("mode", "left"), [("max", -5), ("min", 5), ("all", 5)])
def test_a_gauge_begins_at_zero_also_beside_a_former_value(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: Any, left: float
) -> None:
    Gauge("g", "Help.", multiprocess_mode=mode, registry=CollectorRegistry()).set(left)
    assert list(scraped(folder).values()) == [left]
    as_another_process(monkeypatch)
    Gauge("g", "Help.", multiprocess_mode=mode, registry=CollectorRegistry())
    assert list(scraped(folder).values()) == [0]


def test_a_gauge_that_was_removed_goes_on_with_what_its_predecessor_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        gauge = Gauge("g", "Help.", ["a"], multiprocess_mode="sum", registry=CollectorRegistry())
        gauge.labels("x").set(5)
        with pytest.warns(UserWarning, match="multi-process"):
            gauge.remove("x")
        gauge.labels("x").set(7)
        as_another_process(monkeypatch)
    assert list(scraped(folder).values()) == [14]


def test_a_scrape_sees_no_gap_while_a_predecessor_s_file_is_taken_up(
    folder: Path, scrapers: Scrapers, monkeypatch: pytest.MonkeyPatch
) -> None:
    Metrics().count(amount=5)
    collector = scrapers.new(folder)
    stop = threading.Event()
    seen: list[float] = []

    def scrape() -> None:
        while not stop.is_set():
            seen.append(samples(collector.collect())["c_total", frozenset({("path", "/a")})])

    thread = threading.Thread(target=scrape)
    thread.start()
    for _ in range(50):
        as_another_process(monkeypatch)
        Metrics()
    stop.set()
    thread.join()
    assert set(seen) == {5}


@pytest.mark.parametrize("garbage", [b"\xff" * 100, header(5000) + b"\xff" * 100, header(-1), b"\0" * 3, b""])
def test_a_predecessor_s_broken_file_is_mended(folder: Path, garbage: bytes) -> None:
    (folder / "counter_slot0.db").write_bytes(garbage)
    metrics = Metrics()
    metrics.count()
    assert counted(folder) == 1


def test_a_predecessor_s_file_of_odd_size_is_taken_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Metrics().count()
    with next(folder.glob("counter_*.db")).open("ab") as file:
        file.write(b"\xff" * 101)
    as_another_process(monkeypatch)
    Metrics().count()
    assert counted(folder) == 2


def critical(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "CRITICAL"]


def count_a_lot() -> float:
    """Metrics that do not fit into the smallest file; what one of them holds."""
    metrics = Metrics()
    for number in range(2000):
        metrics.count(f"/{number}")
        metrics.count("/a")
    return metrics.registry.get_sample_value("c_total", {"path": "/a"}) or 0


def test_a_folder_that_cannot_be_written_to(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.rmdir()
    folder.write_text("not a folder")
    before = open_files()
    assert count_a_lot() == 2000
    assert critical(caplog) == ["metrics_not_shared"]
    assert open_files() == before


def test_a_full_disk_at_the_start(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = open_files()
    assert count_a_lot() == 2000
    assert open_files() == before
    assert critical(caplog) == ["metrics_not_shared"]
    assert counted(folder) == 0


def test_a_limit_that_is_reached_later(folder: Path) -> None:
    """The kernel refuses to let the file grow: what fitted is still shared, the rest still counts."""

    def work() -> list[float]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        return [count_a_lot()]

    assert in_child(work) == [2000]
    shared = {path: value for (name, path), value in scraped(folder).items() if name == "c_total"}
    assert 100 < len(shared) < 2000
    assert shared[frozenset({("path", "/a")})] == 2000
    assert set(shared.values()) == {1, 2000}


def test_a_real_full_disk(
    tmp_path: Path,
    folder: Path,
    scrapers: Scrapers,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file system of 512 kB. Without reserved space the process would get SIGBUS."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        with (tmp_path / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            for _ in range(50):
                ballast.write(bytes(4096))
        assert count_a_lot() == 2000
        assert critical(caplog) == ["metrics_not_shared"]
        with (tmp_path / "ballast").open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
            while ballast.write(bytes(512)):
                pass
        collector = scrapers.new(folder)
        before = samples(collector.collect())["c_total", frozenset({("path", "/a")})]
        as_another_process(monkeypatch)
        Metrics().count()  # a successor needs no more space
        assert samples(collector.collect()) == scraped(tmp_path)
        assert samples(collector.collect())["c_total", frozenset({("path", "/a")})] == before + 1
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_lock_that_somebody_keeps(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The start of a process waits once, not once for each value, and its values are shared all the same."""
    monkeypatch.setattr(shared_folder, "PATIENCE", 0.01)
    with shared_folder.locked(folder, exclusive=True):
        start = time.monotonic()
        assert count_a_lot() == 2000
        assert time.monotonic() - start < 5
    assert critical(caplog) == []
    assert counted(folder) == 2000


def test_every_metric_type_has_a_value_class(folder: Path) -> None:
    """Whatever prometheus_client asks of it."""
    metrics = Metrics()
    metrics.counter.labels("/a").reset()
    metrics.live.set_to_current_time()
    with metrics.live.track_inprogress():
        pass
    with metrics.histogram.labels("/a").time():
        pass
    metrics.counter.labels("/a").inc(1, {"trace_id": "a" * 32})
    assert isinstance(metrics.counter, MetricWrapperBase)
    assert list(metrics.registry.collect())


BOUNDS = (0.5, 1, 2.5)


@pytest.mark.parametrize("shared", [True, False])
@given(observed=st.lists(st.sampled_from([*BOUNDS, 0, 3]) | st.floats(0, 4), max_size=20))
@examples(50)
def test_the_quick_ones_count_as_the_clients_own(shared: bool, tmp_path_factory: Any, observed: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if shared:
            patch.setenv(values.FOLDER, str(tmp_path_factory.mktemp("values")))
            patch.setattr(values, "_process", values._Process())
            patch.setattr(client_values, "ValueClass", values.SharedValue)
        quick = Counter("c", "x", ["a"], registry=None), Histogram("h", "x", ["a"], buckets=BOUNDS, registry=None)
        plain = (
            ClientCounter("c", "x", ["a"], registry=None),
            ClientHistogram("h", "x", ["a"], buckets=BOUNDS, registry=None),
        )
        for name, (counter, histogram) in (("q", quick), ("p", plain)):
            for amount in observed:
                counter.labels(name).inc(amount)
                histogram.labels(name).observe(amount)
        for one, other in zip(quick, plain, strict=True):
            assert _values(one.labels("q")) == _values(other.labels("p"))
        if shared:
            values._process.close()


def _values(child: Any) -> list[tuple[str, float]]:
    return [(each.name + str(each.labels), each.value) for each in child._child_samples() if "created" not in each.name]


def test_a_quick_one_refuses_what_the_client_refuses(folder: Path) -> None:
    counter = Counter("c", "x", ["a"], registry=CollectorRegistry())
    with pytest.raises(ValueError, match="non-negative"):
        counter.labels("x").inc(-1)
    with pytest.raises(ValueError, match="label values"):
        counter.inc()
