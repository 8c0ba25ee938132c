"""gunicorn's threaded worker, made to leave when told to, to stay with a busy connection, and to forget no request.

As it comes, a worker that was asked to stop waits for idle keep-alive connections until `graceful_timeout` is over, and
a reverse proxy always holds some. Nobody waits for an answer on an idle connection, so they can be closed at once.

As it comes, too, a connection goes back to the main thread after each answer, and to another thread for the next
request: two hand-overs and a wake-up through a pipe, which cost more than a verify. A reverse proxy soon sends its next
request on the same connection, so the thread looks for it a moment longer, unless somebody else waits for a thread.

As it comes, last, a request that was read together with the end of an unread body before it is left in the buffer, and
its client without an answer until the connection is closed: the main thread waits for what has arrived already.
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
        while keep is True and self.alive and (_buffered(conn) or self._stays(conn)):
            keep = super().handle(conn)
        return keep

    def _stays(self, conn: Any) -> bool:
        return not self.tpool.wanted and _readable(conn.sock)

    def murder_keepalived(self) -> None:
        """Called by gunicorn's loop after every event."""
        if not self.alive:
            for connection in self.keepalived_conns:
                connection.timeout = 0
        super().murder_keepalived()


def _buffered(conn: Any) -> bool:
    """Whether the next request, or its beginning, was read already, behind a body that nobody wanted."""
    return bool(conn.parser.unreader.buf.getbuffer().nbytes)


def _readable(sock: Any) -> bool:
    """Whether something arrives within LINGER_MS."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(LINGER_MS))
