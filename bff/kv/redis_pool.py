"""Connection pools for Redis: to one server, to the master by the sentinels, or to the node of a cluster that has the
slot of all our keys."""

import copy
import threading
from collections.abc import Sequence
from typing import Any

import redis
import redis.sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from bff.kv.redis_url import CLUSTER, RedisUrl

untyped: Any = redis.sentinel  # its functions carry no types

Address = tuple[str, int]

# Seconds between two questions of a pool to the sentinels, or the cluster, for the current master.
MASTER_CHECK_INTERVAL = 1.0
LEAST = 0.05
"""Seconds between two questions that failures cause."""
NO = ("false", "no", "0")


def one_slot(namespace: str) -> str:
    """The namespace with a hash tag, which puts all its keys into one slot of a cluster: bff: becomes {bff}:."""
    return f"{{{namespace.removesuffix(':')}}}:"


def make(url: RedisUrl, namespace: str, *, timeout: float, connect_timeout: float, size: int) -> redis.ConnectionPool:
    """Creates a pool without a connection; times in seconds."""
    limits = {
        "socket_timeout": timeout,
        "socket_connect_timeout": connect_timeout,
        "retry": Retry(NoBackoff(), 0),  # off: redis-py would retry ten times, with pauses
        "health_check_interval": 0,
        "protocol": 2,
        "driver_info": None,  # saves two CLIENT SETINFO round trips
    }
    # A name for operators. Setting it is also the round trip that a connection needs before it may rest in the pool:
    # TLS 1.3 session tickets arrive with the reply, else redis-py mistakes them for an unread answer.
    options: dict[str, Any] = {"client_name": "bff"} | dict(url.options)
    sentinel_login = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    options |= {"username": url.username, "password": url.password, "db": url.db, "max_connections": size} | limits
    patience = connect_timeout + timeout
    if url.scheme == "redis+sentinel":
        options["redis_connect_func"] = _connect_to_master
        return MasterPool(url.service, Sentinels(url.hosts, sentinel_login | limits), options, patience)
    if url.scheme == "unix":
        return redis.ConnectionPool(redis.UnixDomainSocketConnection, path=url.path, **options)
    tls = url.scheme.startswith("rediss")
    if tls:
        options["ssl_check_hostname"] = options.get("ssl_check_hostname", "true").lower() not in NO
    if url.scheme in CLUSTER:
        options["ssl"] = tls
        asking = options | {"max_connections": 2 * size}  # enough for all calls under way, and listeners beside them
        return MasterPool(namespace, ClusterDiscovery(url.hosts, asking), options, patience)
    options["host"], options["port"] = url.hosts[0]
    return redis.ConnectionPool(redis.SSLConnection if tls else redis.Connection, **options)


def _connect_to_master(connection: Any) -> None:
    """Raises ConnectionError where a replica answers. A former master that is back may hold less than the sessions that
    are alive, or nothing while it copies the new master, and would have live sessions taken for ended ones."""
    connection.on_connect()
    connection.send_command("ROLE")
    try:
        role = connection.read_response()[0]
    except redis.exceptions.ResponseError:  # this user may not ask
        return
    if role != b"master":
        raise redis.ConnectionError("No master any more")


def close(pool: redis.ConnectionPool) -> None:
    """Closes idle connections; calls under way keep theirs."""
    pool.disconnect(inuse_connections=False)
    if isinstance(pool, MasterPool):
        pool.stop()
        pool.sentinel_manager.close()


def one_connection(pool: Any, address: Address) -> Any:
    """A client of the cluster node that a redirection named, with a connection of its own; the caller closes it."""
    nodes: ClusterDiscovery = pool.sentinel_manager
    host = address[0] or pool.master_address[0]
    return redis.Redis(host=host, port=address[1], **(nodes.options | {"max_connections": 1}))


class Sentinels(redis.sentinel.Sentinel):
    def __init__(self, hosts: Sequence[tuple[str, int]], options: dict[str, Any]) -> None:
        untyped.Sentinel.__init__(self, hosts, sentinel_kwargs=options)

    def discover_master(self, service_name: str) -> Any:
        """Asks the sentinels over a copy of their list. redis-py moves the one that answered to the front of the list
        while other threads iterate over it, so that these ask one twice and another never."""
        walker: Any = copy.copy(self)
        walker.sentinels = list(self.sentinels)
        address = untyped.Sentinel.discover_master(walker, service_name)
        self.sentinels = walker.sentinels
        return address


class ClusterDiscovery:
    """Finds the master of a key in a cluster, with the interface of a sentinel client.

    Every node knows it, so other nodes are asked when the configured ones are gone. A node that has lost the rest of
    the cluster reports that, and its answer is ignored.
    """

    def __init__(self, hosts: Sequence[Address], options: dict[str, Any]) -> None:
        self.options = options
        self._named = self._known = tuple(hosts)
        self._clients: dict[Address, Any] = {}

    def discover_master(self, key: str) -> Address:
        """Raises MasterNotFoundError."""
        slot, failure = key_slot(key.encode()), None
        for node in self._known:
            try:
                ranges = self._asked(node)
            except redis.RedisError as err:
                failure = err
                continue
            everybody = [_address(each, node) for _, _, *nodes in ranges for each in nodes]
            self._known = tuple(dict.fromkeys([node, *everybody, *self._named]))
            for first, last, master, *_ in ranges:
                if first <= slot <= last:
                    return _address(master, node)
        raise redis.sentinel.MasterNotFoundError("No node of the cluster knows the master of our keys") from failure

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _asked(self, node: Address) -> list[list[Any]]:
        """The node's ranges of slots: first and last slot, master, replicas. Empty from a node without a cluster."""
        client = self._clients.get(node)
        if client is None:  # kept, since a collected client would close its connections, even those in use
            client = self._clients.setdefault(node, redis.Redis(host=node[0], port=node[1], **self.options))
        questions = client.pipeline(transaction=False).execute_command("CLUSTER INFO").execute_command("CLUSTER SLOTS")
        info, ranges = questions.execute()
        return ranges if info["cluster_state"] == "ok" else []


def _address(node: list[Any], asked: Address) -> Address:
    """A node's address. A node may not know its own name; then it is the address of the question."""
    host, port = node[:2]
    return (host.decode() if host else asked[0]), port


class MasterPool(redis.sentinel.SentinelConnectionPool):
    """Pool that follows the master. After a failover the sentinels leave a live former master as it was for some ten
    seconds: connections to it still work, but writes are lost there and messages from elsewhere do not arrive. redis-py
    asks for the master only when it connects, and in the calling thread: sentinels that hang would slow requests. Here
    a thread of its own asks, every second and after each failure, and all others use its last answer."""

    def __init__(
        self, service: str, sentinels: Sentinels | ClusterDiscovery, options: dict[str, Any], patience: float
    ) -> None:
        """patience: seconds that a call waits for the first answer."""
        untyped.SentinelConnectionPool.__init__(self, service, sentinels, **options)
        self._patience = patience
        self._failure: redis.RedisError | None = None
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped, self._tried, self._doubts = threading.Event(), threading.Event(), threading.Event()
        proxy: Any = self.proxy
        self._ask = proxy.get_master_address  # drops idle connections to a former master
        proxy.get_master_address = self._known_address  # called by a new connection

    def moved(self, connection: redis.Connection) -> bool:
        """Whether the connection leads to a former master."""
        return bool((connection.host, connection.port) != self.master_address)

    def doubt(self) -> None:
        """Asks again soon: the master does not answer, or is a former one."""
        self._doubts.set()

    def take(self, address: Address) -> None:
        """Takes the master from a cluster node's redirection."""
        self.proxy.master_address = (address[0] or (self.master_address or address)[0], address[1])
        self.disconnect(inuse_connections=False)

    def stop(self) -> None:
        """Stops the thread; returns at the latest when a question under way has timed out."""
        self._stopped.set()
        self._doubts.set()
        if self._thread is not None:
            self._thread.join(self._patience)

    def _known_address(self) -> Address:
        """Raises MasterNotFoundError."""
        self._follow()
        if self.master_address is None:
            self._tried.wait(self._patience)
        address: Address | None = self.master_address
        if address is None:
            raise redis.sentinel.MasterNotFoundError("No sentinel or node has named the master yet") from self._failure
        return address

    def _follow(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_asking, name="kv-master", daemon=True)
                self._thread.start()

    def _keep_asking(self) -> None:
        while not self._stopped.is_set():
            try:
                self._ask()
                self._failure = None
            except redis.RedisError as err:  # without sentinels the known master is the best guess
                self._failure = err
            self._tried.set()
            self._doubts.wait(MASTER_CHECK_INTERVAL)
            self._doubts.clear()
            self._stopped.wait(LEAST)
