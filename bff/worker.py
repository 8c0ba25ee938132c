"""gunicorn's threaded worker, made to leave when it is told to, and to stay with a connection that is busy.

As it comes, a worker that was asked to stop waits for idle keep-alive connections until `graceful_timeout` is over, and
a reverse proxy always holds some. Nobody waits for an answer on an idle connection, so they can be closed at once.

As it comes, too, a connection goes back to the main thread after each answer, and to another thread for the next
request: two hand-overs and a wake-up through a pipe, which cost more than a verify. A reverse proxy soon sends its next
request on the same connection, so the thread looks for it a moment longer, unless somebody else waits for a thread.
"""

import select
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

LINGER_MS = 1
"""How long a thread with nothing else to do stays with a connection after an answer."""


class Threads(ThreadPoolExecutor):
    @property
    def wanted(self) -> bool:
        """Whether work waits for a thread."""
        return self._work_queue.qsize() > 0


class Worker(ThreadWorker):
    tpool: Threads

    def get_thread_pool(self) -> Threads:
        return Threads(max_workers=self.cfg.threads)

    def handle(self, conn: Any) -> Any:
        """Answer the connection's requests for as long as one follows upon the other; in a thread of the pool."""
        keep = super().handle(conn)
        while keep is True and self.alive and not self.tpool.wanted and _readable(conn.sock):
            keep = super().handle(conn)
        return keep

    def murder_keepalived(self) -> None:
        """Called by gunicorn's loop after every event."""
        if not self.alive:
            for connection in self.keepalived_conns:
                connection.timeout = 0
        super().murder_keepalived()


def _readable(sock: Any) -> bool:
    """Whether something arrives within LINGER_MS."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(LINGER_MS))
