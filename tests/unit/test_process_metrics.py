"""What is found out about the processes of one master, here about this test and its children."""

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bff.observability import process_metrics
from bff.observability.multiprocess.folder import LOCK
from bff.observability.multiprocess.slots import Slot
from tests.unit.support import counted

BURNT = 0.3
TICKS = 0.05  # /proc tells it in hundredths, each process by itself


@contextmanager
def a_child(work: Callable[[], object] = signal.pause) -> Iterator[int]:
    """Its pid; killed in the end, unless it is gone."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        if process_metrics.alive(pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def burn() -> None:
    """CPU time, not time."""
    while time.process_time() < BURNT:
        sum(range(1000))


@contextmanager
def a_child_with_a_slot(folder: Path, work: Callable[[], object] = lambda: None) -> Iterator[int]:
    """It holds its slot until it is killed, and waits when the work is done."""

    def child() -> None:
        slot = Slot(folder)
        work()
        os.write(finished, slot.owner.encode())
        signal.pause()

    done, finished = os.pipe()
    with a_child(child) as pid:
        assert os.read(done, 20)
        yield pid
    os.close(done)
    os.close(finished)


@pytest.fixture
def own_slot(tmp_path: Path) -> Iterator[Slot]:
    with closing(Slot(tmp_path)) as slot:
        yield slot


def facts(folder: Path) -> dict[str, float]:
    return {
        sample.name: sample.value for metric in process_metrics.Processes(folder).collect() for sample in metric.samples
    }


def test_alive() -> None:
    assert process_metrics.alive(os.getpid())
    assert process_metrics.alive(1)  # perhaps another user's
    with a_child() as pid:
        assert process_metrics.alive(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert not process_metrics.alive(pid)
    assert not process_metrics.alive(10**30)


@pytest.mark.parametrize(
    ("said", "timed_out", "reason"),
    [
        ("max_requests", False, "max_requests"),
        ("stopped", True, "timeout"),
        (None, True, "timeout"),
        (None, False, "killed"),
    ],
)
def test_why_a_worker_left_is_counted_once(tmp_path: Path, said: str | None, timed_out: bool, reason: str) -> None:
    before = counted("bff_worker_restarts_total", reason=reason)

    def leave() -> None:
        if said:
            process_metrics.record_exit(tmp_path, said)

    with a_child(leave) as pid:
        os.waitpid(pid, 0)
    process_metrics.count_leaving(tmp_path, pid, timed_out=timed_out)
    assert counted("bff_worker_restarts_total", reason=reason) == before + 1
    assert list(tmp_path.iterdir()) == []


def test_a_worker_may_leave_when_its_folder_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    process_metrics.record_exit(tmp_path / "gone", "stopped")
    process_metrics.hand_over_cpu_account(tmp_path / "gone")
    process_metrics.count_leaving(tmp_path / "gone", os.getpid(), timed_out=False)
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, "leaving_not_noted"),
        (logging.WARNING, "cpu_seconds_not_noted"),
    ]


def test_processes_are_summed(tmp_path: Path, own_slot: Slot) -> None:
    with a_child() as without_a_slot:
        one = facts(tmp_path)
        with a_child_with_a_slot(tmp_path):
            both = facts(tmp_path)
        assert process_metrics.alive(without_a_slot)
    assert one["process_open_fds"] >= 3
    assert one["process_max_fds"] >= one["process_open_fds"]
    assert both["process_max_fds"] == 2 * one["process_max_fds"]
    assert both["process_resident_memory_bytes"] > one["process_resident_memory_bytes"] > 1e6
    assert both["process_start_time_seconds"] == one["process_start_time_seconds"]
    assert abs(one["process_start_time_seconds"] - time.time()) < 24 * 3600
    assert one["process_cpu_seconds_total"] <= both["process_cpu_seconds_total"]
    assert facts(tmp_path)["process_max_fds"] == one["process_max_fds"]


def test_cpu_seconds_of_ended_workers_stay(tmp_path: Path, own_slot: Slot) -> None:
    """Alive, a zombie, and waited for by its parent: its seconds are always there, and once only."""
    seen = [facts(tmp_path)["process_cpu_seconds_total"]]
    with a_child_with_a_slot(tmp_path, burn) as pid:
        seen.append(facts(tmp_path)["process_cpu_seconds_total"])
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now, in no account, but reported before
        seen.append(facts(tmp_path)["process_cpu_seconds_total"])
        os.waitpid(pid, 0)
        seen.append(facts(tmp_path)["process_cpu_seconds_total"])
    assert seen[1] >= seen[0] + BURNT - TICKS
    assert seen == sorted(seen)
    assert seen[-1] < seen[0] + 2 * BURNT


def test_cpu_seconds_of_a_master_that_was_replaced_stay(tmp_path: Path, own_slot: Slot) -> None:
    """SIGUSR2: for a while both live, and the old one is no child of the new one."""

    def leave() -> None:
        burn()
        process_metrics.hand_over_cpu_account(tmp_path)

    before = facts(tmp_path)["process_cpu_seconds_total"]
    with a_child_with_a_slot(tmp_path, leave):
        both = facts(tmp_path)["process_cpu_seconds_total"]
    (ended,) = json.loads((tmp_path / "cpu_seconds.json").read_text())[1].values()
    assert BURNT - TICKS <= ended <= both - before + TICKS < 2 * BURNT
    # Unlike an old master this one was a child of ours, so that the kernel added its seconds to ours, too.
    assert facts(tmp_path)["process_cpu_seconds_total"] >= both + BURNT - TICKS


@pytest.mark.parametrize("content", ["", "{}", "[1]", "[null, {}]", '[1, {"a": "b"}]', "[1, 2]"])
def test_an_account_that_cannot_be_read_begins_anew(tmp_path: Path, own_slot: Slot, content: str) -> None:
    (tmp_path / "cpu_seconds.json").write_text(content)
    assert facts(tmp_path)["process_cpu_seconds_total"] > 0


def test_without_a_folder_there_are_no_processes(tmp_path: Path) -> None:
    assert facts(tmp_path / "gone") == {}


def test_a_folder_that_cannot_be_locked(tmp_path: Path, own_slot: Slot) -> None:
    (tmp_path / LOCK).unlink()
    (tmp_path / LOCK).mkdir()
    assert facts(tmp_path)["process_cpu_seconds_total"] > 0


def test_build_info() -> None:
    (metric,) = process_metrics.BuildInfo("1.2.3").collect()
    assert [(sample.labels["version"], sample.value) for sample in metric.samples] == [("1.2.3", 1)]
