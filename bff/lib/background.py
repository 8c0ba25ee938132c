"""Work that a request starts and does not wait for: a few threads of the worker, made when first needed.

A request that can go on without the result hands it over here, with its correlation id and trace. What goes wrong is
logged, since nobody is there to be told.
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
        """Do the work soon; not at all when this process is about to end."""
        with self._changing:
            if self._closed:
                return
            if self._pool is None:  # made after the fork, since threads do not survive one
                self._pool = ThreadPoolExecutor(THREADS, "background")
            self._pool.submit(contextvars.copy_context().run, _logged, work)

    def close(self) -> None:
        """Let what has begun come to its end."""
        with self._changing:
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _logged(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        log.exception("background_work_failed")
