"""A slot is one process's while it lives: nothing is lost or counted twice when it ends, wherever it is interrupted."""

import contextlib
import fcntl
import mmap
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.observability.multiprocess import folder as shared_folder
from bff.observability.multiprocess import growing, values
from bff.observability.multiprocess.files import entry, header
from bff.observability.multiprocess.slots import Slot, held
from bff.server import metrics_folder
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
LIVE = [gauge("livesum", LABELS), gauge("livemax", OTHER)]


@pytest.fixture(autouse=True)
def _no_process_stays() -> Iterator[None]:
    yield
    Process.close_all()


@pytest.fixture
def scrapers() -> Iterator[Scrapers]:
    with Scrapers() as found:
        yield found


def some_processes(folder: Path, places: list[Place], count: int = 3) -> list[Process]:
    """All at once."""
    processes = [Process(folder, ours=True) for _ in range(count)]
    for number, process in enumerate(processes, 1):
        for step, place in enumerate(places, 1):
            process.set(place, float(number * step), timestamp=float(number))
    return processes


def in_a_child(work: Callable[[], object]) -> int:
    """A process that does this and then waits until it is killed; its pid once it waits."""
    done, finished = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            work()
            os.write(finished, b".")
            signal.pause()
        os._exit(1)
    os.close(finished)
    assert os.read(done, 1) == b"."
    os.close(done)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_what_ended_processes_counted_stays_and_takes_no_more_files(tmp_path: Path) -> None:
    processes = some_processes(tmp_path, [*BELONG_TO_ALL, *LIVE])
    before = scraped(tmp_path)
    assert difference(before, expected(processes)) == {}
    for process in processes:
        process.close()
    after = scraped(tmp_path)
    assert difference(after, expected(processes)) == {}
    assert {series[0] for series in before.keys() - after.keys()} == {"g_livesum", "g_livemax"}
    names = {path.name for path in tmp_path.glob("*.db")}
    processes += some_processes(tmp_path, [*BELONG_TO_ALL, *LIVE])
    assert difference(scraped(tmp_path), expected(processes)) == {}
    assert {path.name for path in tmp_path.glob("*.db")} == names


def test_living_processes_are_left_alone(tmp_path: Path) -> None:
    processes = some_processes(tmp_path, [*BELONG_TO_ALL, *LIVE], count=3)
    first, dead, last = processes
    dead.close()
    successor = Process(tmp_path, ours=True)
    assert successor.owner == dead.owner
    for process in (first, last, successor):
        for place in (counter(LABELS), *LIVE):
            process.add(place, 5)
    assert difference(scraped(tmp_path), expected([*processes, successor])) == {}


def test_a_successors_live_gauges_begin_anew(tmp_path: Path, scrapers: Scrapers) -> None:
    collector = scrapers.new(tmp_path)
    for value in (3.0, 5.0):
        process = Process(tmp_path, ours=True)
        assert LIVE[0].name not in {name for name, _ in samples(collector.collect())}
        process.set(LIVE[0], value)
        assert samples(collector.collect())[LIVE[0].name, frozenset(LABELS.items())] == value
        process.close()


@examples(200)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1e6)), min_size=2, max_size=12))
def test_no_total_goes_back_by_its_last_bit(counted: list[tuple[int, float]]) -> None:
    """Sums of these depend on their order, and a slot's processes add in another order than the scrape."""
    with tempfile.TemporaryDirectory() as name, Scrapers() as scrapers:
        folder, where = Path(name), counter({})
        processes = [Process(folder, ours=True) for _ in range(4)]
        collector = scrapers.new(folder)
        seen: Samples = {}
        for which, value in counted:
            processes[which].close()
            processes.append(Process(folder, ours=True))
            processes[which], processes[-1] = processes[-1], processes[which]
            processes[which].add(where, value)
            now = samples(collector.collect())
            assert decreased(seen, now) == {}
            seen = now
        assert difference(seen, expected(processes)) == {}
        for process in processes:
            process.close()


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    pid = in_a_child(lambda: values.__dict__.setdefault("_kept_by_test", Slot(tmp_path)))
    assert held(tmp_path) == {"slot0": pid}
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # as soon as it is a zombie
    assert held(tmp_path) == {}
    os.waitpid(pid, 0)


def test_a_stopped_process_keeps_its_slot(tmp_path: Path) -> None:
    """It may go on at any time; then there is one slot more for as long as there is one process more."""
    process = Process(tmp_path, ours=True)
    pid = in_a_child(lambda: values.__dict__.setdefault("_kept_by_test", Slot(tmp_path)))
    try:
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)
        assert held(tmp_path) == {"slot0": os.getpid(), "slot1": pid}
        successor = Process(tmp_path, ours=True)
        assert successor.owner == "slot2"
        successor.close()
    finally:
        kill(pid)
    assert Process(tmp_path, ours=True).owner == "slot1"
    process.close()


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """As in a process that is started with PROMETHEUS_MULTIPROC_DIR, before it has counted anything."""
    monkeypatch.setenv(values.FOLDER, str(tmp_path))
    monkeypatch.setattr(values, "_process", values._Process())
    yield tmp_path
    values._process.close()


def a_value(path: str = "/a") -> values.SharedValue:
    return values.SharedValue("counter", "c", "c_total", ["path"], [path], "Help.")


def test_a_child_does_not_keep_its_parents_slot(shared: Path) -> None:
    """It has inherited the file on which the lock is, and its parent may die first."""
    reading, writing = os.pipe()

    def parent() -> None:
        a_value().inc(1)
        os.write(writing, b"%d" % in_a_child(lambda: a_value().inc(1)))

    pid = in_a_child(parent)
    child = int(os.read(reading, 20))
    try:
        assert held(shared) == {"slot0": pid, "slot1": child}
        kill(pid)
        assert held(shared) == {"slot1": child}
    finally:
        os.kill(child, signal.SIGKILL)


def test_nor_does_a_program_that_was_started(shared: Path) -> None:
    reading, writing = os.pipe()

    def parent() -> None:
        a_value().inc(1)
        program = subprocess.Popen(["sleep", "60"])
        os.write(writing, b"%d" % program.pid)

    pid = in_a_child(parent)
    program = int(os.read(reading, 20))
    kill(pid)
    try:
        assert Path(f"/proc/{program}").exists()
        assert held(shared) == {}
    finally:
        os.kill(program, signal.SIGKILL)


def test_a_lock_that_outlives_its_process_is_a_slot_that_is_not_used(shared: Path) -> None:
    """Such as one that a library's own fork has inherited: nothing is written by two."""
    a_value().inc(1)
    kept = os.dup(values._process._slot._fd) if values._process._slot else -1
    values._process.close()
    successor = Process(shared, ours=True)
    assert successor.owner == "slot1"
    successor.add(counter(LABELS), 2)
    os.close(kept)
    assert scraped(shared) == {("c_total", frozenset(LABELS.items())): 3}
    assert Process(shared, ours=True).owner == "slot0"
    successor.close()


def test_looking_takes_no_slot(tmp_path: Path) -> None:
    for _ in range(2):
        Process(tmp_path, ours=True).close()
        assert held(tmp_path) == {}
    assert [path.name for path in tmp_path.glob("slot*")] == ["slot0"]


def test_what_is_no_slot_is_not_held(tmp_path: Path) -> None:
    (tmp_path / "slot8").mkdir()
    (tmp_path / "slot9").symlink_to("nowhere")
    os.mkfifo(tmp_path / "slot7")
    with (tmp_path / "slot6").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # and it does not say by which process
        assert held(tmp_path) == {}
    with pytest.raises(FileNotFoundError):
        held(tmp_path / "gone")


class _Map(mmap.mmap):
    """Memory in which each store is a step of its own."""

    def __setitem__(self, where: Any, content: Any) -> None:
        super().__setitem__(where, content)


# What a process does on its way to a slot, its files and a key; it is killed before it or after it.
STEPS = ((os, "open"), (os, "pwrite"), (os, "posix_fallocate"), (mmap, "mmap"), (Path, "unlink"), (growing, "entry"),
         (growing, "header"), (_Map, "__setitem__"))  # fmt: skip


class _Crash:
    """Ends the process, as SIGKILL does, at the n-th step."""

    def __init__(self, number: int, *, late: bool) -> None:
        self.left = number
        self.late = late

    def install(self) -> None:
        mmap.mmap = _Map  # type: ignore[misc]
        for module, name in STEPS:
            setattr(module, name, self._wrapped(getattr(module, name)))

    def _wrapped(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.late:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args, **options)
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return step


def _killed(work: Callable[[], object], crash: _Crash) -> bool:
    """Whether work, in a process of its own, came to the crash."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            crash.install()
            work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def _count_new_keys(folder: Path) -> None:
    """Enough for a file to grow."""
    process = Process(folder, ours=True)
    for place in (*LIVE, counter({"path": "x" * 70_000}), *histogram(OTHER)):
        process.add(place, 0)


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_crash_at_any_step_changes_no_total(tmp_path: Path, scrapers: Scrapers, late: bool) -> None:
    steps, killed = 0, True
    while killed:
        steps += 1
        folder = tmp_path / str(steps)
        folder.mkdir()
        processes = some_processes(folder, [*BELONG_TO_ALL, *LIVE], count=2)
        worker = scrapers.new(folder)
        processes[0].close()
        before = samples(worker.collect())
        killed = _killed(lambda folder=folder: _count_new_keys(folder), _Crash(steps, late=late))  # type: ignore[misc]
        for found in (samples(worker.collect()), scraped(folder)):
            assert difference(before, {series: found[series] for series in before}) == {}
            assert set(found.values()) - set(before.values()) <= {0}
        processes += some_processes(folder, [*BELONG_TO_ALL, *LIVE], count=1)
        assert processes[-1].owner == processes[0].owner
        wanted = expected(processes)
        for found in (samples(worker.collect()), scraped(folder)):
            assert difference(wanted, {series: found[series] for series in wanted}) == {}
        for process in processes:
            process.close()
    assert steps > 30


@pytest.mark.parametrize("torn", range(60))
def test_a_key_that_was_being_written_is_written_anew(tmp_path: Path, torn: int) -> None:
    """Behind what the header says there may be any part of one."""
    processes = some_processes(tmp_path, [counter(LABELS)], count=1)
    processes[0].close()
    path = processes[0].path("counter")
    content = path.read_bytes()
    used = int.from_bytes(content[:4], "little")
    half = entry(counter(OTHER).key.encode(), 99.0)[:torn]
    path.write_bytes(header(used) + content[8:used] + half + content[used + torn :])
    assert scraped(tmp_path) == expected(processes)
    processes += [Process(tmp_path, ours=True)]
    for place in (counter(LABELS), counter(OTHER)):
        processes[1].add(place, 3)
    assert scraped(tmp_path) == expected(processes)


@contextlib.contextmanager
def stopped_process(folder: Path) -> Iterator[None]:
    """Holds the lock and does not go on, as a worker under a debugger."""
    descriptor = os.open(folder / shared_folder.LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


def test_a_lock_that_a_child_has_inherited_ends_with_its_block(tmp_path: Path) -> None:
    with shared_folder.locked(tmp_path, exclusive=True):
        pid = in_a_child(lambda: None)
    try:
        with shared_folder.locked(tmp_path, exclusive=True):  # TimeoutError, if it did not
            os.kill(pid, 0)
    finally:
        kill(pid)


def test_a_process_that_was_stopped_with_the_lock_holds_up_no_other(
    tmp_path: Path, scrapers: Scrapers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that could not share its values would lose all that it counts."""
    processes = some_processes(tmp_path, BELONG_TO_ALL)
    collector = scrapers.new(tmp_path)
    assert difference(samples(collector.collect()), expected(processes)) == {}
    monkeypatch.setattr(shared_folder, "PATIENCE", 0.01)
    with stopped_process(tmp_path):
        for _ in range(3):
            processes += some_processes(tmp_path, BELONG_TO_ALL, count=1)
            assert difference(samples(collector.collect()), expected(processes)) == {}
    assert caplog.records == []
    assert difference(samples(collector.collect()), expected(processes)) == {}


def test_recycled_workers_leave_nothing_open(tmp_path: Path, scrapers: Scrapers) -> None:
    collector = scrapers.new(tmp_path)

    def recycle(times: int) -> None:
        for _ in range(times):
            process = Process(tmp_path, ours=True)
            for place in (counter(LABELS), *histogram(LABELS), gauge("livesum", LABELS), gauge("max", LABELS)):
                process.add(place, 1)
            process.close()
            collector.text(openmetrics=True, more=())

    recycle(10)
    files, descriptors = sorted(path.name for path in tmp_path.iterdir()), len(os.listdir("/proc/self/fd"))
    recycle(200)
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert collector.file_count == 3
    assert samples(collector.collect())["c_total", frozenset(LABELS.items())] == 210
    assert every_way(collector)


def test_once_the_folder_was_emptied_the_number_is_anothers(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A fresh start, while a worker of the former one still goes on."""
    a_value().inc(1)
    metrics_folder.configured(shared, upgrading=False)
    assert [path.name for path in shared.iterdir()] == [shared_folder.LOCK]
    successor = Process(shared, ours=True)
    assert successor.owner == "slot0"
    successor.add(counter(LABELS), 3)
    values.SharedValue("histogram", "h", "h_sum", [], [], "Help.").inc(5)
    a_value("/b").inc(1)
    assert scraped(shared) == expected([successor])
    assert [record.message for record in caplog.records] == ["metrics_not_shared"]
