"""What is found out about the processes of one master, here about this test and its children."""

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bff.observability import fleet
from bff.observability.multiprocess import manifest
from tests.unit.support import counted
from tests.unit.value_files import Process, counter, expected, scraped

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
        if fleet.alive(pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@contextmanager
def a_child_that_waits_after(work: Callable[[], object]) -> Iterator[int]:
    done, finished = os.pipe()

    def child() -> None:
        work()
        os.write(finished, b".")
        signal.pause()

    with a_child(child) as pid:
        assert os.read(done, 1)
        yield pid
    os.close(done)
    os.close(finished)


def burn() -> None:
    """CPU time, not time."""
    while time.process_time() < BURNT:
        sum(range(1000))


def with_files(folder: Path, *pids: int) -> list[Process]:
    processes = [Process(folder, pid, ours=True) for pid in pids]
    for process in processes:
        process.add(counter({}), 1)
        process.close()
    return processes


def facts(folder: Path) -> dict[str, float]:
    return {sample.name: sample.value for metric in fleet.Processes(folder).collect() for sample in metric.samples}


def test_alive() -> None:
    assert fleet.alive(os.getpid())
    assert fleet.alive(1)  # perhaps another user's
    with a_child() as pid:
        assert fleet.alive(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert not fleet.alive(pid)
    assert not fleet.alive(10**30)


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
            fleet.note_leaving(tmp_path, said)

    with a_child(leave) as pid:
        os.waitpid(pid, 0)
    process = with_files(tmp_path, pid)
    fleet.bury(tmp_path, pid, timed_out=timed_out)
    assert counted("bff_worker_restarts_total", reason=reason) == before + 1
    assert {path.name for path in tmp_path.iterdir()} == {"counter_archive-1.db", manifest.MANIFEST, manifest.LOCK}
    assert scraped(tmp_path) == expected(process)


def test_a_burial_that_fails_is_said_and_made_up_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that happens to the folder may end the master."""
    with a_child() as pid:
        pass
    process = with_files(tmp_path, pid)
    (tmp_path / manifest.LOCK).mkdir()
    fleet.bury(tmp_path, pid, timed_out=False)
    assert [record.message for record in caplog.records] == ["metrics_not_compacted"]
    (tmp_path / manifest.LOCK).rmdir()
    fleet.bury(tmp_path, pid, timed_out=False)
    assert scraped(tmp_path) == expected(process)


def test_a_worker_may_leave_when_its_folder_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fleet.note_leaving(tmp_path / "gone", "stopped")
    fleet.note_successor(tmp_path / "gone")
    fleet.bury(tmp_path / "gone", os.getpid(), timed_out=False)
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, "leaving_not_noted"),
        (logging.WARNING, "cpu_seconds_not_noted"),
        (logging.ERROR, "metrics_not_compacted"),
    ]


def test_processes_are_summed(tmp_path: Path) -> None:
    with a_child() as pid, a_child() as without_files:
        with_files(tmp_path, os.getpid())
        one = facts(tmp_path)
        with_files(tmp_path, pid)
        both = facts(tmp_path)
        assert fleet.alive(without_files)
    assert one["process_open_fds"] >= 3
    assert one["process_max_fds"] >= one["process_open_fds"]
    assert both["process_max_fds"] == 2 * one["process_max_fds"]
    assert both["process_resident_memory_bytes"] > one["process_resident_memory_bytes"] > 1e6
    assert both["process_start_time_seconds"] == one["process_start_time_seconds"]
    assert abs(one["process_start_time_seconds"] - time.time()) < 24 * 3600
    assert one["process_cpu_seconds_total"] <= both["process_cpu_seconds_total"]


def test_who_scrapes_buries_the_dead_that_nobody_else_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as workers whose master was killed."""
    with a_child() as pid:
        processes = with_files(tmp_path, os.getpid(), pid)
        facts(tmp_path)
        assert len(list(tmp_path.glob("*.db"))) == 2
    facts(tmp_path)
    assert {path.name for path in tmp_path.glob("*.db")} == {f"counter_{os.getpid()}.db", "counter_archive-1.db"}
    assert scraped(tmp_path) == expected(processes)
    assert not caplog.records


def test_cpu_seconds_of_ended_workers_stay(tmp_path: Path) -> None:
    """Alive, a zombie, and waited for by its parent: its seconds are always there, and once only."""
    with_files(tmp_path, os.getpid())
    seen = [facts(tmp_path)["process_cpu_seconds_total"]]
    with a_child_that_waits_after(burn) as pid:
        with_files(tmp_path, pid)
        seen.append(facts(tmp_path)["process_cpu_seconds_total"])
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
        seen.append(facts(tmp_path)["process_cpu_seconds_total"])
        (tmp_path / f"counter_{pid}.db").unlink()
        seen.append(facts(tmp_path)["process_cpu_seconds_total"])  # in nobody's account, but reported before
        os.waitpid(pid, 0)
        seen.append(facts(tmp_path)["process_cpu_seconds_total"])
    assert seen[1] >= seen[0] + BURNT - TICKS
    assert seen == sorted(seen)
    assert seen[-1] < seen[0] + 2 * BURNT


def test_cpu_seconds_of_a_master_that_was_replaced_stay(tmp_path: Path) -> None:
    """SIGUSR2: for a while both live, and the old one is no child of the new one."""

    def leave() -> None:
        burn()
        fleet.note_successor(tmp_path)

    with_files(tmp_path, os.getpid())
    before = facts(tmp_path)["process_cpu_seconds_total"]
    with a_child_that_waits_after(leave) as pid:
        with_files(tmp_path, pid)
        both = facts(tmp_path)["process_cpu_seconds_total"]
    (tmp_path / f"counter_{pid}.db").unlink()
    (ended,) = json.loads((tmp_path / "cpu_seconds.json").read_text())[1].values()
    assert BURNT - TICKS <= ended <= both - before + TICKS < 2 * BURNT
    # Unlike an old master this one was a child of ours, so that the kernel added its seconds to ours, too.
    assert facts(tmp_path)["process_cpu_seconds_total"] >= both + BURNT - TICKS


@pytest.mark.parametrize("content", ["", "{}", "[1]", "[null, {}]", '[1, {"a": "b"}]', "[1, 2]"])
def test_an_account_that_cannot_be_read_begins_anew(tmp_path: Path, content: str) -> None:
    with_files(tmp_path, os.getpid())
    (tmp_path / "cpu_seconds.json").write_text(content)
    assert facts(tmp_path)["process_cpu_seconds_total"] > 0


def test_without_a_folder_there_are_no_processes(tmp_path: Path) -> None:
    assert facts(tmp_path / "gone") == {}


def test_a_folder_that_cannot_be_locked(tmp_path: Path) -> None:
    with_files(tmp_path, os.getpid())
    (tmp_path / manifest.LOCK).mkdir()
    assert facts(tmp_path)["process_cpu_seconds_total"] > 0


def test_build_info() -> None:
    (metric,) = fleet.BuildInfo("1.2.3").collect()
    assert [(sample.labels["version"], sample.value) for sample in metric.samples] == [("1.2.3", 1)]
