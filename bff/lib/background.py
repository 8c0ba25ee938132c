"""Background executor: work that a request starts and does not wait for, in a few threads that start on demand.

The work keeps the request's correlation id and trace. Its exceptions are logged, since no caller waits for them.
"""

import contextvars
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger(__name__)

THREADS = 4


class Background:
    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._changing = threading.Lock()
        self._closed = False

    def __call__(self, work: Callable[[], None]) -> None:
        """Runs the work soon; drops it when this process is about to end."""
        with self._changing:
            if self._closed:
                return
            if self._pool is None:  # created after the fork, since threads do not survive one
                self._pool = ThreadPoolExecutor(THREADS, "background")
            self._pool.submit(contextvars.copy_context().run, _logged, work)

    def close(self) -> None:
        """Waits for work that has begun, and drops the rest."""
        with self._changing:
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _logged(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        log.exception("background_work_failed")
