"""Folding dead processes' files into archives loses nothing and counts nothing twice, wherever it is interrupted."""

import contextlib
import fcntl
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.observability.multiprocess import archive, manifest
from tests.fuzz import examples
from tests.unit.value_files import (
    Place,
    Process,
    Samples,
    Scrapers,
    counter,
    decreased,
    difference,
    every_way,
    expected,
    gauge,
    histogram,
    nobody,
    samples,
    scraped,
    summary,
)

LABELS = {"path": "/a"}
OTHER = {"path": "/b"}
BELONG_TO_ALL = [
    counter(LABELS), *histogram(LABELS), *summary(OTHER), gauge("sum", LABELS), gauge("max", LABELS),
    gauge("mostrecent", LABELS), gauge("all", LABELS),
]  # fmt: skip


@pytest.fixture
def scrapers() -> Iterator[Scrapers]:
    with Scrapers() as found:
        yield found


def everybody(_: int) -> bool:
    return True


def some_processes(folder: Path, places: list[Place], count: int = 3) -> list[Process]:
    processes = [Process(folder, 100 + number, ours=True) for number in range(count)]
    for number, process in enumerate(processes, 1):
        for step, place in enumerate(places, 1):
            process.set(place, float(number * step), timestamp=float(number))
        process.close()
    return processes


def test_dead_processes_cost_nothing_and_still_count(tmp_path: Path) -> None:
    processes = some_processes(tmp_path, [*BELONG_TO_ALL, gauge("livesum", LABELS)])
    before = scraped(tmp_path)
    assert difference(before, expected(processes)) == {}
    taken = archive.compact(tmp_path, everybody, nobody)
    after = scraped(tmp_path)
    assert difference(after, expected(processes, gone={process.pid for process in processes})) == {}
    assert {series[0] for series in before.keys() - after.keys()} == {"g_livesum"}
    kinds = {"counter", "histogram", "summary", "gauge_sum", "gauge_max", "gauge_mostrecent"}
    assert taken == len(processes) * (len(kinds) + 1)
    alone = {path.name for path in tmp_path.glob("*.db")}
    assert alone == {f"{kind}_archive-1.db" for kind in kinds} | {
        f"gauge_all_{process.pid}.db" for process in processes
    }


def test_living_processes_are_left_alone(tmp_path: Path) -> None:
    places = [*BELONG_TO_ALL, gauge("livesum", LABELS)]
    dead, alive = some_processes(tmp_path, places, count=2)
    archive.compact(tmp_path, lambda pid: pid == dead.pid, nobody)
    assert all(alive.path(place.kind).exists() for place in places)
    alive.add(counter(LABELS), 5)
    assert difference(scraped(tmp_path), expected([dead, alive], gone={dead.pid})) == {}


@examples(200)
@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=12), st.integers(1, 4))
def test_no_total_goes_back_by_its_last_bit(values: list[float], at_once: int) -> None:
    """Sums of these depend on their order; the archive sums a few at a time, in another order than the scrape."""
    with tempfile.TemporaryDirectory() as name, Scrapers() as scrapers:
        folder, where = Path(name), counter({})
        processes = [Process(folder, 100 + number, ours=True) for number in range(len(values))]
        for process, value in zip(processes, values, strict=True):
            process.set(where, value)
            process.close()
        collector = scrapers.new(folder)
        seen = samples(collector.collect())
        for end in range(at_once, len(values) + at_once, at_once):
            archive.compact(folder, range(100, 100 + end).__contains__, nobody)
            now = samples(collector.collect())
            assert decreased(seen, now) == {}
            seen = now
        assert difference(seen, expected(processes)) == {}


def test_a_name_and_inode_that_come_again_count_again(tmp_path: Path) -> None:
    """Both are used anew by the system: the pid after a while, the inode on many file systems at once."""
    process = some_processes(tmp_path, [counter(LABELS)], count=1)[0]
    archive.compact(tmp_path, everybody, nobody)
    successor = Process(tmp_path, process.pid, ours=True)
    successor.add(counter(LABELS), 10)
    inode = successor.path("counter").stat().st_ino
    assert manifest.read(tmp_path).counts(manifest.Found("counter_100.db", _name(successor, tmp_path), inode))
    assert (process.path("counter").name, inode) not in manifest.read(tmp_path).taken
    archive.compact(tmp_path, lambda _: False, nobody)
    assert difference(scraped(tmp_path), expected([process, successor])) == {}
    assert not manifest.read(tmp_path).taken


def _name(process: Process, folder: Path) -> Any:
    return next(found.name for found in manifest.files(folder) if found.name.pid == process.pid)


# Whatever changes the folder, one call each; a crash comes before it, or after it, or in the middle of writing.
MUTATIONS = ("write_bytes", "rename", "unlink")


class _Crash:
    """Ends the process, as SIGKILL does, at the n-th change of the folder."""

    def __init__(self, number: int, *, late: bool) -> None:
        self.left = number
        self.late = late

    def install(self) -> None:
        for name in MUTATIONS:
            setattr(Path, name, self._wrapped(name, getattr(Path, name)))

    def _wrapped(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def mutate(path: Path, *args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.late:
                if name == "write_bytes":
                    original(path, args[0][: len(args[0]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(path, *args, **options)
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return mutate


def _killed(work: Callable[[], object], crash: _Crash) -> bool:
    """Whether work, in a process of its own, came to the crash."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            crash.install()
            work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("former", [False, True], ids=["first", "again"])
def test_a_crash_at_any_step_changes_no_total(tmp_path: Path, scrapers: Scrapers, late: bool, former: bool) -> None:
    steps = 0
    while True:
        steps += 1
        folder = tmp_path / str(steps)
        folder.mkdir()
        places = [*BELONG_TO_ALL, gauge("livesum", LABELS)]
        processes = some_processes(folder, places)
        if former:
            archive.compact(folder, lambda pid: pid == 100, nobody)
        worker = scrapers.new(folder)
        before = samples(worker.collect())
        killed = _killed(partial(archive.compact, folder, everybody, nobody), _Crash(steps, late=late))
        _same_but_for_live_gauges(before, samples(worker.collect()))
        _same_but_for_live_gauges(before, scraped(folder))
        archive.compact(folder, everybody, nobody)
        after = scraped(folder)
        assert difference(after, expected(processes, gone={process.pid for process in processes})) == {}
        assert difference(after, samples(worker.collect())) == {}
        assert all(found.generation or found.name.mode == "all" for found in manifest.files(folder))
        if not killed:
            break
    assert steps > 15  # three archives and more, two manifests, and each file that goes


def _same_but_for_live_gauges(before: Samples, after: Samples) -> None:
    """These end while the compaction runs."""
    live = {series for series in before if series[0] == "g_livesum"}
    assert difference(before, after).keys() <= live


def test_without_space_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = some_processes(tmp_path, BELONG_TO_ALL)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    original = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        original(path, content[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            archive.compact(tmp_path, everybody, nobody)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != manifest.LOCK}
    assert left == before
    archive.compact(tmp_path, everybody, nobody)
    assert difference(scraped(tmp_path), expected(processes)) == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"generation": "x"}', b"\xff", b"[" * 100_000])
def test_without_a_readable_manifest_the_newest_archives_count(tmp_path: Path, content: bytes) -> None:
    processes = some_processes(tmp_path, BELONG_TO_ALL)
    for pid in (100, 101):
        archive.compact(tmp_path, pid.__eq__, nobody)
    (tmp_path / manifest.MANIFEST).write_bytes(content)
    assert difference(scraped(tmp_path), expected(processes)) == {}
    archive.compact(tmp_path, everybody, nobody)
    assert difference(scraped(tmp_path), expected(processes)) == {}
    assert manifest.read(tmp_path).generation == 3


@contextlib.contextmanager
def stopped_process(folder: Path) -> Iterator[None]:
    """Somebody holds the lock and does not go on, as a worker under a debugger."""
    descriptor = os.open(folder / manifest.LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


def test_nobody_waits_for_ever(
    tmp_path: Path, scrapers: Scrapers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processes = some_processes(tmp_path, BELONG_TO_ALL)
    collector = scrapers.new(tmp_path)
    before = samples(collector.collect())
    monkeypatch.setattr(manifest, "PATIENCE", 0.01)
    with stopped_process(tmp_path):
        with pytest.raises(TimeoutError):
            archive.compact(tmp_path, everybody, nobody)
        for _ in range(3):
            assert samples(collector.collect()) == before
    assert [record.message for record in caplog.records] == ["metrics_folder_unusable"]
    archive.compact(tmp_path, everybody, nobody)
    assert difference(samples(collector.collect()), expected(processes)) == {}


def test_recycled_workers_leave_nothing_open(tmp_path: Path, scrapers: Scrapers) -> None:
    collector = scrapers.new(tmp_path)

    def recycle(times: range) -> None:
        for pid in times:
            process = Process(tmp_path, pid, ours=True)
            for place in (counter(LABELS), *histogram(LABELS), gauge("livesum", LABELS), gauge("max", LABELS)):
                process.add(place, 1)
            process.close()
            collector.text(openmetrics=True, more=())
            archive.compact(tmp_path, everybody, nobody)
        collector.text(openmetrics=True, more=())

    recycle(range(100, 110))
    files, descriptors = sorted(path.name[:12] for path in tmp_path.iterdir()), len(os.listdir("/proc/self/fd"))
    recycle(range(110, 310))
    assert sorted(path.name[:12] for path in tmp_path.iterdir()) == files
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert collector.file_count == 3
    assert samples(collector.collect())["c_total", frozenset(LABELS.items())] == 210
    assert every_way(collector)
