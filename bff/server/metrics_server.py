"""Supervised process: serves the metrics page on a port of its own (METRICS_BIND), beside the workers.

A scrape then waits for no busy worker and never uses the public port. gunicorn's master starts the supervisor
(`supervise`), a process that only restarts the server when it ends. Both end with their master. A thread in the master
would not do, since the master forks.

The master sends both its settings by a pipe. A server that read them again would get other ones after a file has
changed.
"""

import os
import pickle
import signal
import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

if TYPE_CHECKING:  # the supervisor stays as small as Python itself
    from bff.settings import Settings

RESTART_AFTER = 1.0


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 10  # seconds that a silent client may hold a thread

    def get_environ(self) -> dict[str, Any]:
        """Drop fields with an underscore in their names: X_Forwarded_For would become X-Forwarded-For, which a proxy
        then neither overwrites nor strips. The workers drop them as well (header_map)."""
        for name in {name for name in self.headers if "_" in name}:
            del self.headers[name]
        return super().get_environ()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parameter's name is http.server's
        """Logs nothing: the page itself counts scrapes."""


class Beside:
    """Holds the supervisor that this master started."""

    def __init__(self) -> None:
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._former: list[subprocess.Popen[bytes]] = []  # told to stop, and not waited for
        self._settings: Settings | None = None

    def run(self, settings: "Settings") -> None:
        """Serve with these settings; a supervisor that already serves with the same ones continues."""
        if settings == self._settings:
            return
        self.stop()
        self._settings = settings
        if settings.metrics.bind is not None:
            self._supervisor = _run(pickle.dumps(settings), "keep", str(os.getpid()))

    def stop(self) -> None:
        self._former = [process for process in self._former if process.poll() is None]
        if self._supervisor is not None:
            self._supervisor.terminate()
            self._former.append(self._supervisor)
        self._supervisor = self._settings = None


beside = Beside()


def supervise(master: int) -> None:
    """Run the server, and restart it until the master (a process id) has exited or SIGTERM arrives."""
    stopping = []
    settings = sys.stdin.buffer.read()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.append(True)
        if server is not None:
            server.terminate()  # at once, since another supervisor may already want its port

    server: subprocess.Popen[bytes] | None = None
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while not stopping and os.getppid() == master:
        if server is None or server.poll() is not None:
            server = _run(settings, "serve")
        time.sleep(RESTART_AFTER)
    if server is not None:
        server.terminate()
        server.wait()


def serve() -> None:
    """Answer scrapes until SIGTERM. Raises OSError while another master still holds the port."""
    from bff import services  # here, so that the supervisor stays as small as Python itself
    from bff.observability import logs
    from bff.observability.exposition import metrics_app
    from bff.web.client_address import ClientAddressResolver
    from bff.web.metrics import MetricsAccess
    from bff.web.untrusted import UntrustedForwarding

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    config: Settings = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - from the master that started this process
    logs.configure(config.log_level)
    if config.metrics.bind is None:
        return
    service = services.build(config)
    page = metrics_app(service.store.active, config.version, service.clock)
    host, port = config.metrics.bind
    clients = ClientAddressResolver.of_settings(config)
    guarded, untrusted = MetricsAccess(page, config.metrics, clients), UntrustedForwarding(clients)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        untrusted.note(environ)
        return guarded(environ, start_response)

    kind = _Server6 if ":" in host else _Server
    with make_server(host, port, app, server_class=kind, handler_class=_Handler) as server:
        server.serve_forever()


def _run(settings: bytes, *words: str) -> "subprocess.Popen[bytes]":
    """Start a subprocess. settings: pickled, for its standard input."""
    command = [sys.executable, "-m", "bff.server.metrics_server", *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - our own interpreter and module
    if process.stdin is not None:
        with suppress(BrokenPipeError), process.stdin as stdin:  # it ended at once; the supervisor restarts it
            stdin.write(settings)
    return process


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        supervise(int(sys.argv[2]))
    else:
        serve()
