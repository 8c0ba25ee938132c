"""Two Redis servers, one the master by a Sentinel's word: switched by command, or because the master was killed."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import redis

from tests.peers import process
from tests.peers.redis import RedisServer, debian

NAME = "main"
PATIENCE = 30
OPTIONS = ("--repl-diskless-sync-delay", "0")
WATCH = """sentinel monitor main 127.0.0.1 {port} 1
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 5000
"""


class Sentinel:
    """A context manager. Nothing is persisted: a server that was killed comes back as a replica."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = ExitStack()

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self._watching.port}/{NAME}/0"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            first = stack.enter_context(RedisServer(debian(), self._folder, options=OPTIONS))
            options = [*OPTIONS, "--replicaof", f"127.0.0.1 {first.port}"]
            self._servers = [first, stack.enter_context(RedisServer(debian(), self._folder, options=options))]
            # The sentinel asks for the replicas when it starts and then not for ten seconds.
            _wait(lambda: first.command("ROLE")[2] != [])
            config = self._folder / "sentinel.conf"
            config.write_text(WATCH.format(port=first.port))
            self._watching = stack.enter_context(
                RedisServer(debian(), self._folder, options=["--sentinel"], config=config)
            )
            self._running = stack.pop_all()
        _wait(self.has_replica)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def master(self) -> RedisServer:
        """The one that Sentinel names."""
        _, port = self._watching.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return next(server for server in self._servers if server.port == int(port))

    def has_replica(self) -> bool:
        """Whether there is one that could take over."""
        replicas = self._watching.command("SENTINEL", "REPLICAS", NAME)
        return any(replica[b"master-link-status"] == b"ok" for replica in replicas)

    def switch(self, listeners: int) -> None:
        """A planned failover: both servers live. listeners: how many of the BFF there are, which follow it."""
        former = self.master()
        _wait(self._switched)
        _wait(lambda: self._followed(former, listeners))

    def lose_master(self, listeners: int) -> None:
        """An unplanned one: the master is killed, and comes back when all follow another one."""
        former = self.master()
        former.kill()
        _wait(lambda: self._followed(former, listeners))
        # Sentinel would make it one after ten seconds. Until then it would be a master with an old copy of the data.
        former.start("--replicaof", f"127.0.0.1 {self.master().port}")

    def _switched(self) -> bool:
        """Refused until the sentinel knows a replica well enough."""
        try:
            self._watching.command("SENTINEL FAILOVER", NAME)
        except redis.ResponseError:
            return False
        return True

    def _followed(self, former: RedisServer, listeners: int) -> bool:
        """Whether another one leads, and every listener listens there."""
        master = self.master()
        if master is former or master.command("ROLE")[0] != b"master":
            return False
        clients: list[dict[str, str]] = master.command("CLIENT LIST", "TYPE", "pubsub")
        return [client["name"] for client in clients].count("bff") >= listeners


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(process.POLL)
