"""Connection draining: the master announces SIGTERM to load balancers first, and stops when they had time to leave.

The announcement is a page of memory that the master shares with its workers. Workers that start meanwhile see it too. A
signal handler may write it, although such a handler may neither log nor wait.
"""

import mmap
import signal
from collections.abc import Callable
from typing import Any

_page = mmap.mmap(-1, 1)


def begun() -> bool:
    """Whether this instance is stopping, with all of its workers."""
    return _page[0] != 0


def begin() -> None:
    _page[0] = 1


def install(master: Any, delay: float, is_shared: Callable[[], bool]) -> None:
    """Call in gunicorn's master once it has its own signal handlers.

    delay: seconds between the announcement and the stop; a second SIGTERM ends them. is_shared: whether another master
    listens on the same sockets (SIGUSR2). Then clients need no other instance, and the master stops at once.
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
