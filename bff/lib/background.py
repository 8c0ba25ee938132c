"""Background thread pool: runs work that a request starts and does not wait for, in a few threads of the worker.

The work runs with the request's correlation id and trace. Errors are logged, because no caller waits for the result.
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
        """Runs the work soon in a background thread; drops it after `close`."""
        with self._changing:
            if self._closed:
                return
            if self._pool is None:  # created after the fork, because threads do not survive one
                self._pool = ThreadPoolExecutor(THREADS, "background")
            self._pool.submit(contextvars.copy_context().run, _logged, work)

    def close(self) -> None:
        """Waits for running work and drops queued work."""
        with self._changing:
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _logged(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        log.exception("background_work_failed")
