"""Start a real server on a free port, wait until it answers, and end it, whatever happens in between.

What a test leaves behind is found by `survivors` even when its parent is gone: each server has a group of its own,
and whatever this process starts, however deep, inherits a mark in its environment.
"""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NoReturn

POLL = 0.02
MARK = "STARTED_BY_TEST_PROCESS"
os.environ[MARK] = str(os.getpid())
_groups: set[int] = set()
_shared: set[int] = set()  # those of them that outlive a module


def _end(*_: object) -> NoReturn:
    """Who ends the test run politely gets what Ctrl-C gives: every server is ended, too. Asking twice disturbs nothing.

    In a terminal, Ctrl-C reaches every process of the run, and pytest-xdist asks its workers once more.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


for _number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(_number, _end)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on, and that no other test process on this machine was given.

    It is below those that Linux gives to connections (32768 and above), one of which might have it before the server.
    """
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            if _reserve(port):
                return port


def _reserve(port: int) -> bool:
    """The kernel gives a port away again before a server binds it, so its number is held as a name until we end."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0tests-of-the-bff-{port}")
    except OSError:
        name.close()
        return False
    name.detach()
    return True


def wait_for_port(
    port: int, host: str = "127.0.0.1", *, process: "subprocess.Popen[bytes]", seconds: float = 30
) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode} before it listened on {port}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((host, port)) == 0:
                return
        time.sleep(POLL)
    raise RuntimeError(f"{process.args!r} did not listen on {host}:{port} within {seconds} s")


def stop(process: "subprocess.Popen[bytes]", grace: float = 10) -> None:
    """End the process and whatever it started: first asked, then forced."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def shared() -> Iterator[None]:
    """What starts within is not left behind by the module that started it."""
    before = set(_groups)
    yield
    _shared.update(_groups - before)


def left_behind() -> dict[int, str]:
    """Survivors but for what is shared by modules."""
    found = {}
    for pid, command in survivors().items():
        with suppress(ProcessLookupError):
            if os.getpgid(pid) not in _shared:
                found[pid] = command
    return found


def survivors() -> dict[int, str]:
    """Command line by pid of every living process that this test process started and that has not ended."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        with suppress(OSError):  # it ended while we looked, or it is not ours
            command = (folder / "cmdline").read_bytes()  # empty for a zombie
            if command and pid != os.getpid() and (os.getpgid(pid) in _groups or _marked(folder)):
                found[pid] = command.replace(b"\0", b" ").decode().strip()
    return found


def _marked(folder: Path) -> bool:
    return f"{MARK}={os.getpid()}".encode() in (folder / "environ").read_bytes().split(b"\0")


def marked() -> dict[str, str]:
    """What an environment must hold for `survivors` to find a process that gets nothing else of this one's."""
    return {MARK: os.environ[MARK]}


def start(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    output: IO[bytes] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    """A process in a group of its own, for `stop`; all that it says goes to output, or nowhere.

    Not in a session of its own: Linux shares processors out among sessions first (autogroup in sched(7)), so that a
    thread that wakes where its session did little lately may wait for a quarter of a second, while others compute.
    """
    process = subprocess.Popen(
        [str(part) for part in command],
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=output or subprocess.DEVNULL,
        stderr=subprocess.STDOUT if output else subprocess.DEVNULL,
        process_group=0,
    )
    _groups.add(process.pid)
    return process


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    port: int,
    host: str = "127.0.0.1",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A server process in a group of its own, listening on port; its output goes to `log`, or nowhere.

    env: added to this process's environment. Raises RuntimeError, with the log's end, when it does not listen.
    """
    output = log.open("ab") if log else None
    process = start(command, env={**os.environ, **(env or {})}, cwd=cwd, output=output)
    try:
        try:
            wait_for_port(port, host, process=process)
        except RuntimeError as err:
            tail = log.read_text(errors="replace")[-2000:] if log else ""
            raise RuntimeError(f"{err}\n{tail}") from err
        yield process
    finally:
        stop(process)
        if output:
            output.close()
