"""gunicorn's threaded worker, made to leave when it is told to.

As it comes, a worker that was asked to stop waits for idle keep-alive connections until `graceful_timeout` is over, and
a reverse proxy always holds some. Nobody waits for an answer on an idle connection, so they can be closed at once.
"""

from gunicorn.workers.gthread import ThreadWorker


class Worker(ThreadWorker):
    def murder_keepalived(self) -> None:
        """Called by gunicorn's loop after every event."""
        if not self.alive:
            for connection in self.keepalived_conns:
                connection.timeout = 0
        super().murder_keepalived()
