"""Connection draining: SIGTERM is announced to load balancers first, and obeyed when they had the time to go elsewhere.

The announcement is a page of memory that the master shares with its workers: workers that start meanwhile know it too,
and a signal handler may write it, which may neither log nor wait.
"""

import mmap
import signal
from collections.abc import Callable
from typing import Any

_page = mmap.mmap(-1, 1)


def begun() -> bool:
    """Whether this instance leaves, with all of its workers."""
    return _page[0] != 0


def begin() -> None:
    _page[0] = 1


def install(master: Any, delay: float, is_shared: Callable[[], bool]) -> None:
    """For gunicorn's master, once it has its own signal handlers.

    delay: seconds between the announcement and the stop; a second SIGTERM ends them. is_shared: whether another master
    listens on the same sockets, so that clients have nowhere else to go, nor need to (SIGUSR2).
    """

    def obey(_signal: int, frame: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        master.signal(signal.SIGTERM, frame)

    def announce(signum: int, frame: Any) -> None:
        if begun() or is_shared():
            obey(signum, frame)
            return
        begin()
        if delay:
            signal.setitimer(signal.ITIMER_REAL, delay)
        else:
            obey(signum, frame)

    signal.signal(signal.SIGALRM, obey)
    signal.signal(signal.SIGTERM, announce)
