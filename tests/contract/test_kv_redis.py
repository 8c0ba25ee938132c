"""What callers see when a real Redis is stopped, frozen, cut off, demoted, loading, full or failed over."""

import logging
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import REGISTRY

from bff.breaker import Breaker, BreakerState
from bff.errors import StoreBusy, StoreRefuses, StoreTimeout, StoreUnavailable
from bff.kv import Batch, KeyValue
from bff.kv.redis import RedisStore
from bff.kv.redis_executor import PATIENCE
from tests.contract.backends import PATIENT, RedisBackend, eventually
from tests.contract.test_kv import Inbox, processes, together
from tests.peers import certificates, lateness, process
from tests.peers import redis as redis_peer
from tests.peers.redis import CLUSTERED, RedisCluster, RedisServer, Watched

PASSWORD = "correct-horse-battery"
TIMEOUT = 0.25
RECOVERY = 2.0
OPERATIONS = {
    "get", "set", "delete", "set_if_absent", "compare_and_set", "batch",
    "index_count", "index_range", "publish", "subscribe", "ping",
    "log_append", "log_open", "log_take", "log_acknowledge", "log_trim", "log_length", "window_hit",
}  # fmt: skip


STATUSES = ("ok", "error", "timeout", "busy", "full", "read_only")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(redis_peer.debian(), tmp_path, password=PASSWORD) as started:
        yield started


@pytest.fixture
def breaker() -> Breaker:
    return Breaker("redis")


@pytest.fixture
def store(server: RedisServer, breaker: Breaker) -> Iterator[RedisStore]:
    """One that a busy machine does not make nervous."""
    with closing(patient(server.url, breaker=breaker)) as made:
        yield made


@pytest.fixture
def hasty(server: RedisServer, breaker: Breaker) -> Iterator[RedisStore]:
    """One with the time limits of production, and a connection."""
    with closing(RedisStore(server.url, timeout=TIMEOUT, breaker=breaker)) as made:
        assert eventually(lambda: works(made))
        yield made


def patient(url: str, **options: Any) -> RedisStore:
    return RedisStore(url, timeout=PATIENT, **options)


def works(store: KeyValue) -> bool:
    try:
        store.set("probe", b"v")
        return store.get("probe") == b"v"
    except StoreUnavailable:
        return False


def timed(call: Callable[[], Any]) -> tuple[StoreUnavailable, float]:
    """The error that the call must end with, and the seconds that took, without what this machine lost meanwhile."""
    with lateness.measured() as taken, pytest.raises(StoreUnavailable) as caught:
        call()
    return caught.value, taken.seconds


def operations(status: str) -> dict[str, float]:
    """How often each operation ended so, by the process's metrics."""
    return {
        sample.labels["operation"]: sample.value
        for metric in REGISTRY.collect()
        if metric.name == "bff_redis_operations"
        for sample in metric.samples
        if sample.name == "bff_redis_operations_total" and sample.labels["status"] == status
    }


def grown(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def chain(error: BaseException | None) -> str:
    """The error and all that led to it, as a log would show them."""
    texts = []
    while error is not None:
        texts.append(f"{type(error).__name__}: {error} {error!r} {error.args}")
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


class TestStopped:
    def test_fails_at_once_opens_the_breaker_and_recovers(
        self, store: RedisStore, server: RedisServer, breaker: Breaker
    ) -> None:
        assert works(store)
        server.stop()
        for _ in range(5):
            error, seconds = timed(lambda: store.get("k"))
            assert not isinstance(error, StoreTimeout)
            assert seconds < TIMEOUT
        assert breaker.state is BreakerState.OPEN
        seconds = sum(timed(lambda: store.set("k", b"v"))[1] for _ in range(20))
        assert seconds < TIMEOUT, "an open breaker asks nobody"
        server.start()
        assert eventually(lambda: works(store), RECOVERY)
        assert str(breaker.state) == "closed"

    def test_a_host_that_does_not_accept_connections(self) -> None:
        """A full backlog: the kernel drops the connection request, as a firewall would."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(deaf.getsockname())
            store = RedisStore(f"redis://127.0.0.1:{deaf.getsockname()[1]}", timeout=PATIENT, connect_timeout=TIMEOUT)
            error, seconds = timed(store.ping)
            for filler in fillers:
                filler.close()
        assert isinstance(error, StoreTimeout)
        assert seconds < 2 * TIMEOUT

    def test_sentinels_that_are_all_gone(self) -> None:
        hosts = ",".join(f"127.0.0.1:{process.free_port()}" for _ in range(3))
        with closing(RedisStore(f"redis+sentinel://{hosts}/main")) as store:
            error, seconds = timed(store.ping)
        assert "MasterNotFoundError" in str(error)
        assert seconds < TIMEOUT


class TestFrozen:
    def test_times_out_and_recovers(self, hasty: RedisStore, server: RedisServer, breaker: Breaker) -> None:
        server.pause()
        for call in (lambda: hasty.get("k"), lambda: hasty.set("k", b"v"), lambda: hasty.execute(Batch().get("k"))):
            with lateness.measured() as taken, pytest.raises(StoreTimeout):
                call()
            assert taken.seconds + taken.lost >= TIMEOUT * 0.9
            assert taken.seconds < 2 * TIMEOUT, "less what this machine was late"
        timed(hasty.ping)
        timed(hasty.ping)
        assert breaker.state is BreakerState.OPEN
        server.resume()
        assert eventually(lambda: works(hasty), RECOVERY)

    def test_a_new_connection_is_bounded_as_well(self, server: RedisServer) -> None:
        server.pause()
        error, seconds = timed(RedisStore(server.url).ping)
        assert isinstance(error, StoreTimeout)
        assert seconds < 2 * TIMEOUT

    def test_callers_that_wait_for_a_connection_go_when_the_breaker_opens(self, server: RedisServer) -> None:
        store = RedisStore(server.url, timeout=TIMEOUT, pool_size=2)
        server.pause()
        with ThreadPoolExecutor(12) as pool:
            errors = [future.result()[0] for future in [pool.submit(timed, store.ping) for _ in range(12)]]
        timeouts = [error for error in errors if isinstance(error, StoreTimeout)]
        assert len(timeouts) in (5, 6), "five open the breaker, and two are under way at once"
        assert not [error for error in errors if isinstance(error, StoreBusy)]
        server.resume()
        assert eventually(lambda: works(store), RECOVERY)
        store.close()

    def test_other_greenlets_go_on(self, server: RedisServer) -> None:
        backend = RedisBackend(server)
        server.pause()
        (result,) = processes(backend, [("frozen", "k", 1)])
        server.resume()
        backend.close()
        assert result["error"] == "StoreTimeout"
        assert result["ticks"] >= 5


def busy(store: RedisStore) -> bool:
    try:
        store.get("k")
    except StoreBusy:
        return True
    except StoreTimeout:
        pass
    return False


def test_a_listener_that_is_back_closes_the_breaker(store: RedisStore, server: RedisServer, breaker: Breaker) -> None:
    """Whoever hears of its return asks the store at once."""
    asked: list[tuple[bool, BreakerState]] = []
    store.subscribe("c", lambda _message: None, lambda connected: asked.append((connected, breaker.state)))
    assert eventually(lambda: asked[-1:] == [(True, BreakerState.CLOSED)])
    server.stop()
    assert eventually(lambda: len(asked) == 2)
    breaker.broken()
    breaker._probe_at = float("inf")  # no probe of another's closes it
    server.start()
    assert eventually(lambda: asked[2:] == [(True, BreakerState.CLOSED)], 10)


class TestBurst:
    """More callers at once than connections are no outage of Redis."""

    def test_they_wait_for_their_turn(self, server: RedisServer) -> None:
        store = RedisStore(server.url, timeout=PATIENT, pool_size=2)
        store.set("k", b"v")
        before = operations("busy")
        with ThreadPoolExecutor(60) as pool:
            values = list(pool.map(lambda _number: store.get("k"), range(600)))
        assert values == [b"v"] * 600
        assert grown(before, operations("busy")) == {}
        store.close()

    def test_waiting_has_a_limit_and_a_name_of_its_own(
        self, server: RedisServer, breaker: Breaker, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = RedisStore(server.url, timeout=PATIENT, pool_size=1, pool_wait=0.01, breaker=breaker)
        assert works(store)
        before = operations("busy")
        server.pause()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(store.get, "k")
            assert eventually(lambda: busy(store))
            server.resume()
            first.result()
        assert grown(before, operations("busy"))["get"] >= 1
        assert breaker.state is BreakerState.CLOSED, "Redis has done nothing wrong"
        (line,) = [record for record in caplog.records if record.message == "store_failed"]
        assert line.__dict__["reason"] == "busy"
        store.close()


class TestFull:
    """At maxmemory with noeviction, as docs/events.md recommends."""

    @pytest.fixture
    def full(self, store: RedisStore, server: RedisServer) -> Iterator[RedisStore]:
        store.set("k", b"v")
        store.execute(Batch().index_add("i", "m", 1.0).index_add("i", "n", 2.0))
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.command("CONFIG", "SET", "maxmemory", "1")
        yield store
        server.command("CONFIG", "SET", "maxmemory", "0")

    def test_reads_go_on(self, full: RedisStore) -> None:
        assert full.get("k") == b"v"
        assert full.execute(Batch().get("k").index_score("i", "m").get("none")) == [b"v", 1.0, None]
        assert full.index_count("i", 0, 9) == 2
        assert full.index_range("i", 0, 9, 9) == [("m", 1.0), ("n", 2.0)]
        assert full.log_length("l") == 0

    def test_writes_fail_with_their_reason(
        self, full: RedisStore, breaker: Breaker, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = operations("full")
        writes: dict[str, Callable[[], Any]] = {
            "set": lambda: full.set("k", b"other"),
            "set_if_absent": lambda: full.set_if_absent("new", b""),
            "compare_and_set": lambda: full.compare_and_set("k", b"v", b"other"),
            "batch": lambda: full.execute(Batch().get("k").set("k", b"other")),
            "log_append": lambda: full.log_append("l", [b"x"], 10),
            "window_hit": lambda: full.window_hit("w", 1, 1.0),
            "ping": full.ping,
        }
        for write in writes.values():
            with pytest.raises(StoreRefuses) as caught:
                write()
            assert caught.value.reason == "full"
        assert grown(before, operations("full")) == dict.fromkeys(writes, 1)
        assert breaker.state is BreakerState.CLOSED
        (line,) = [record for record in caplog.records if record.message == "store_failed"]
        assert (line.__dict__["reason"], line.__dict__["error"]) == ("full", "OutOfMemoryError")
        assert str(full._url.hosts[0][1]) in line.__dict__["store"]
        assert full.get("k") == b"v"

    def test_what_makes_room_is_taken(self, full: RedisStore) -> None:
        assert full.delete("k")
        full.publish("c", "m")


class TestReadOnly:
    @pytest.fixture
    def replica(self, store: RedisStore, server: RedisServer) -> Iterator[RedisStore]:
        store.set("k", b"v")
        server.command("REPLICAOF", "127.0.0.1", str(process.free_port()))
        yield store
        server.command("REPLICAOF", "NO", "ONE")

    def test_reads_go_on_and_writes_say_why(self, replica: RedisStore) -> None:
        assert replica.get("k") == b"v"
        assert replica.execute(Batch().get("k").get("other")) == [b"v", None]
        before, batch = operations("read_only"), Batch().set("k", b"").get("k")
        for write in (lambda: replica.set("k", b""), replica.ping, lambda: replica.execute(batch)):
            with pytest.raises(StoreRefuses) as caught:
                write()
            assert caught.value.reason == "read_only"
        assert grown(before, operations("read_only")) == {"set": 1, "ping": 1, "batch": 1}

    def test_a_server_that_cannot_persist(self, store: RedisStore, server: RedisServer) -> None:
        store.set("k", b"v")
        server.command("CONFIG", "SET", "min-replicas-to-write", "3")
        with pytest.raises(StoreRefuses):
            store.set("k", b"w")
        assert store.get("k") == b"v"
        server.command("CONFIG", "SET", "min-replicas-to-write", "0")
        store.set("k", b"w")


class TestBrokenConnections:
    def test_idle_ones_that_the_server_cut_are_replaced_unnoticed(
        self, store: RedisStore, server: RedisServer, breaker: Breaker
    ) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: store.ping(), range(20)))
        before = operations("error")
        server.command("CLIENT", "KILL", "TYPE", "normal")
        store.set("k", b"v")
        assert store.get("k") == b"v"
        assert operations("error") == before

    def test_a_read_is_repeated_once_and_a_write_is_not(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.set("k", b"v")
        sent: list[object] = []
        original: Any = redis.Connection.send_packed_command

        def break_once(self: Any, command: object, check_health: bool = True) -> None:
            sent.append(command)
            if len(sent) == 1:
                self.disconnect()
                raise redis.ConnectionError("reset by peer")
            original(self, command, check_health)

        monkeypatch.setattr(redis.Connection, "send_packed_command", break_once)
        assert store.get("k") == b"v"
        sent.clear()
        assert store.execute(Batch().get("k").get("k")) == [b"v", b"v"]
        for write in (lambda: store.set("k", b"w"), lambda: store.execute(Batch().get("k").delete("k"))):
            sent.clear()
            timed(write)
            assert len(sent) == 1
        sent.clear()
        assert store.get("k") == b"v"

    def test_a_write_cut_off_on_its_way_is_an_error(self, store: RedisStore, server: RedisServer) -> None:
        store.get("k")  # not a ping, which is a SET itself: the next SET that Redis lists must be the one below
        server.command("CLIENT", "PAUSE", 5000, "WRITE")
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(timed, lambda: store.set("k", b"v"))
            assert eventually(lambda: "cmd=set" in connections(server))
            server.command("CLIENT", "KILL", "TYPE", "normal")
            error, _ = pending.result(PATIENT)
        server.command("CLIENT", "UNPAUSE")
        assert not isinstance(error, StoreTimeout)
        assert store.get("k") is None


class TestRefusals:
    def test_a_replica_is_left_for_the_master(self, store: RedisStore, server: RedisServer, breaker: Breaker) -> None:
        store.set("k", b"v")
        assert "cmd=set" in connections(server)
        server.command("REPLICAOF", "127.0.0.1", process.free_port())
        error, _ = timed(lambda: store.set("k", b"w"))
        assert isinstance(error, StoreRefuses)
        assert error.reason == "read_only"
        assert eventually(lambda: "cmd=set" not in connections(server)), "the next call must resolve the name anew"
        server.command("CONFIG", "SET", "replica-serve-stale-data", "no")
        error, _ = timed(lambda: store.get("k"))
        assert "MasterDownError" in str(error)
        assert eventually(lambda: "cmd=get" not in connections(server))
        server.command("REPLICAOF", "NO", "ONE")
        assert works(store)
        assert breaker.state is BreakerState.CLOSED, "it answered all the time"

    def test_a_server_that_is_still_loading(self, tmp_path: Path) -> None:
        options = ["--enable-debug-command", "local", "--loading-process-events-interval-bytes", "1024"]
        with RedisServer(redis_peer.debian(), tmp_path, options=options) as server:
            store = patient(server.url)
            store.set("k", b"v")
            server.command("DEBUG", "POPULATE", 2000)
            server.command("CONFIG", "SET", "key-load-delay", 500)
            with ThreadPoolExecutor(1) as pool:
                reload = pool.submit(server.command, "DEBUG", "RELOAD")
                assert eventually(lambda: "BusyLoadingError" in refusal(store))
                reload.result(30)
            assert eventually(lambda: works(store), RECOVERY)
            store.close()

    def test_no_room_left(self, store: RedisStore, server: RedisServer, breaker: Breaker) -> None:
        server.command("CONFIG", "SET", "maxmemory", 1)
        for call in (
            lambda: store.set("k", b"a-secret-value"),
            lambda: store.execute(Batch().set("k", b"a-secret-value").get("k")),
        ):
            with pytest.raises(StoreUnavailable) as caught:
                call()
            text = chain(caught.value)
            assert "OutOfMemoryError" in text
            assert "a-secret-value" not in text
        assert store.get("k") is None
        assert breaker.state is BreakerState.CLOSED


def connections(server: RedisServer) -> str:
    """One line for each, the one that asks included."""
    return bytes(server.command("CLIENT", "LIST", "TYPE", "normal")).decode()


def refusal(store: RedisStore) -> str:
    try:
        store.get("k")
    except StoreUnavailable as err:
        return str(err)
    return ""


class TestSubscriber:
    def test_returns_after_a_restart(self, store: RedisStore, server: RedisServer) -> None:
        inbox = Inbox()
        store.subscribe("c", inbox.message, inbox.state)
        assert eventually(lambda: inbox.states == [True])
        server.kill()
        assert eventually(lambda: inbox.states == [True, False], 1)
        server.start()
        assert eventually(lambda: inbox.states == [True, False, True], RECOVERY)
        assert eventually(lambda: published(store, "again"))
        assert eventually(lambda: "again" in inbox.messages)

    def test_notices_a_peer_that_only_went_silent(self, store: RedisStore, server: RedisServer) -> None:
        inbox = Inbox()
        store.subscribe("c", inbox.message, inbox.state)
        assert eventually(lambda: inbox.states == [True])
        server.pause()
        assert eventually(lambda: inbox.states == [True, False], 3)
        server.resume()
        assert eventually(lambda: inbox.states == [True, False, True], RECOVERY)

    def test_stays_while_nothing_happens(self, store: RedisStore) -> None:
        """Longer than the silence after which a lost peer is given up."""
        inbox = Inbox()
        store.subscribe("c", inbox.message, inbox.state)
        assert eventually(lambda: inbox.states == [True])
        with lateness.measured() as late:
            eventually(lambda: len(inbox.states) > 1, 2.5)
        assert inbox.states == [True] or late.worst > PATIENCE / 2, "unless Redis itself had no processor for so long"
        assert eventually(lambda: inbox.states[-1])
        store.publish("c", "still here")
        assert eventually(lambda: inbox.messages == ["still here"])

    def test_may_begin_before_redis_does(self, store: RedisStore, server: RedisServer) -> None:
        server.stop()
        inbox = Inbox()
        store.subscribe("c", inbox.message, inbox.state)
        before = operations("error").get("subscribe", 0)
        assert eventually(lambda: operations("error").get("subscribe", 0) > before)
        assert inbox.states == []
        server.start()
        assert eventually(lambda: inbox.states == [True], RECOVERY)


def published(store: RedisStore, message: str) -> bool:
    try:
        store.publish("c", message)
    except StoreUnavailable:
        return False
    return True


class TestMetrics:
    def test_every_operation_is_counted_and_timed(self, store: RedisStore) -> None:
        before = operations("ok")
        inbox = Inbox()
        store.set("k", b"v")
        store.get("k")
        store.set_if_absent("k", b"v")
        store.compare_and_set("k", b"v", b"w")
        store.delete("k")
        store.execute(Batch().get("k"))
        store.index_count("i", 0, 1)
        store.index_range("i", 0, 1, 1)
        store.publish("c", "m")
        store.log_append("l", [b"v"], 1)
        store.log_open("l", "r")
        store.log_acknowledge("l", [entry.id for entry in store.log_read("l", "r", 1) or []])
        store.log_trim("l", 1)
        store.log_length("l")
        store.window_hit("w", 1, 1)
        store.ping()
        store.subscribe("c", inbox.message, inbox.state)
        assert eventually(lambda: inbox.states == [True])
        assert grown(before, operations("ok")) == dict.fromkeys(OPERATIONS, 1)
        for operation in OPERATIONS:
            labels = {"operation": operation}
            counted = sum(operations(status).get(operation, 0) for status in STATUSES)
            assert REGISTRY.get_sample_value("bff_redis_latency_seconds_count", labels) == counted

    def test_failures_have_a_status_of_their_own(self, hasty: RedisStore, server: RedisServer) -> None:
        timeouts, errors = operations("timeout"), operations("error")
        server.pause()
        timed(lambda: hasty.get("k"))
        server.resume()
        assert eventually(lambda: works(hasty))
        server.stop()
        timed(lambda: hasty.delete("k"))
        assert grown(timeouts, operations("timeout"))["get"] == 1
        assert grown(errors, operations("error"))["delete"] == 1


class TestSecrets:
    def test_the_password_is_in_no_text(
        self, store: RedisStore, server: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        inbox = Inbox()
        store.subscribe("c", inbox.message, inbox.state)
        assert eventually(lambda: inbox.states == [True])
        server.stop()
        assert eventually(lambda: inbox.states == [True, False])
        error, _ = timed(lambda: store.get("k"))
        texts = [repr(store), str(store), caplog.text, chain(error)]
        assert PASSWORD not in "".join(texts)
        assert caplog.records
        assert repr(store) == f"RedisStore('redis://127.0.0.1:{server.port}/0')"

    def test_a_wrong_password(self, server: RedisServer) -> None:
        store = patient(server.url.replace(PASSWORD, "not-the-password"))
        error, _ = timed(store.ping)
        text = chain(error)
        assert "AuthenticationError" in text
        assert "not-the-password" not in text

    def test_a_user_of_its_own(self, server: RedisServer) -> None:
        server.command("ACL", "SETUSER", "bff", "on", ">p@ss/w:rd", "~bff:*", "&bff:*", "+@all")
        store = patient(f"redis://bff:p%40ss%2Fw%3Ard@127.0.0.1:{server.port}")
        assert works(store)
        store.execute(Batch().index_add("i", "m", 1, ttl=10).publish("c", "m"))
        store.close()
        elsewhere = patient(f"redis://bff:p%40ss%2Fw%3Ard@127.0.0.1:{server.port}", namespace="other:")
        error, _ = timed(lambda: elsewhere.set("k", b"v"))
        assert "NoPermissionError" in str(error)
        elsewhere.close()


class TestPlaces:
    def test_namespaces_and_databases_are_apart(self, server: RedisServer) -> None:
        urls = [server.url, server.url, re.sub("/0$", "/1", server.url)]
        stores = [patient(url, namespace=name) for url, name in zip(urls, ["a:", "b:", "a:"], strict=True)]
        stores[0].set("k", b"v")
        assert [store.get("k") for store in stores] == [b"v", None, None]
        for store in stores:
            store.close()

    def test_unix_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "redis.sock"
        options: list[str | Path] = ["--unixsocket", path, "--unixsocketperm", "700"]
        with RedisServer(redis_peer.debian(), tmp_path, password=PASSWORD, options=options):
            for url in (f"unix://:{PASSWORD}@{path}?db=2", f"unix://{path}?password={PASSWORD}"):
                store = patient(url)
                assert eventually(partial(works, store)), "Redis binds its port before this socket"
                assert repr(store) == f"RedisStore('unix://{path}')"
                store.close()

    def test_tls(self, tmp_path: Path) -> None:
        files = certificates.make(tmp_path)
        other = tmp_path / "other"
        other.mkdir()
        wrong = certificates.make(other)
        with RedisServer(redis_peer.debian(), tmp_path, password=PASSWORD, tls=files) as server:
            trusting = patient(f"{server.url}?ssl_ca_certs={files.ca}")
            inbox = Inbox()
            trusting.subscribe("c", inbox.message, inbox.state)
            assert works(trusting)
            assert eventually(lambda: inbox.states == [True])
            trusting.publish("c", "sealed")
            assert eventually(lambda: inbox.messages == ["sealed"])
            trusting.close()
            for url in (server.url, f"{server.url}?ssl_ca_certs={wrong.ca}"):
                error, _ = timed(patient(url).ping)
                assert "certificate verify failed" in chain(error)

    def test_tls_checks_the_name(self, tmp_path: Path) -> None:
        files = certificates.make(tmp_path, "redis.example")
        with RedisServer(redis_peer.debian(), tmp_path, tls=files) as server:
            url = f"{server.url}?ssl_ca_certs={files.ca}"
            error, _ = timed(patient(url).ping)
            assert "IP address mismatch" in chain(error)
            unchecked = patient(f"{url}&ssl_check_hostname=false")
            assert works(unchecked)
            unchecked.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Watched]:
    with redis_peer.watched(redis_peer.debian(), tmp_path, PASSWORD) as started:
        yield started


def failover(watching: RedisServer) -> bool:
    """Refused until the sentinel knows a replica well enough."""
    try:
        watching.command("SENTINEL FAILOVER", "main")
    except redis.ResponseError:
        return False
    return True


class TestSentinel:
    def test_follows_a_switch_while_the_former_master_lives(self, fleet: Watched) -> None:
        """What is written to the former master is lost, so the store must not wait until that one is demoted."""
        dead = process.free_port()
        url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{dead},127.0.0.1:{fleet.watching.port}/main/0"
        store, silent = patient(url), patient(url)
        inbox = Inbox()
        store.subscribe("c", inbox.message, inbox.state)
        store.set("k", b"before")
        assert eventually(lambda: fleet.replica.command("EXISTS", "bff:k:k") == 1)  # copying takes its time
        assert works(silent)
        assert eventually(lambda: inbox.states == [True])
        assert eventually(lambda: failover(fleet.watching), 10)
        assert eventually(lambda: fleet.replica.command("ROLE")[0] == b"master", 10)
        fleet.replica.command("DEL", "bff:k:probe")
        assert eventually(lambda: works(silent) and fleet.replica.command("EXISTS", "bff:k:probe") == 1, 5)
        assert store.get("k") == b"before"
        assert eventually(lambda: inbox.states == [True, False, True], 5)
        assert published(store, "after")
        assert eventually(lambda: inbox.messages == ["after"])
        store.close()
        silent.close()

    def test_many_threads_find_the_master_at_once(self, fleet: Watched) -> None:
        """Past sentinels that are gone: each thread asks every one that it has to."""
        hosts = ",".join(
            f"127.0.0.1:{port}" for port in (process.free_port(), process.free_port(), fleet.watching.port)
        )

        def find() -> None:
            with closing(patient(f"redis+sentinel://:{PASSWORD}@{hosts}/main")) as store:
                together(8, lambda _: store.ping())

        for _ in range(10):
            find()

    def test_follows_after_the_master_died(self, fleet: Watched) -> None:
        store = patient(f"redis+sentinel://:{PASSWORD}@127.0.0.1:{fleet.watching.port}/main")
        inbox = Inbox()
        store.subscribe("c", inbox.message, inbox.state)
        assert works(store)
        assert eventually(lambda: inbox.states == [True])
        assert eventually(fleet.reached, 10)
        fleet.master.kill()
        assert eventually(lambda: works(store), 10)
        assert eventually(lambda: inbox.states == [True, False, True], 5)
        store.close()

    def test_reads_nothing_of_a_replica_that_the_sentinel_still_names(self, fleet: Watched) -> None:
        """It may hold less than the master, and a session that is not there is one that has ended."""
        fleet.master.command("REPLICAOF", "127.0.0.1", str(process.free_port()))
        with closing(patient(f"redis+sentinel://:{PASSWORD}@127.0.0.1:{fleet.watching.port}/main")) as store:
            error, _ = timed(lambda: store.get("k"))
        assert "No master any more" in chain(error)

    def test_a_service_that_no_sentinel_knows(self, fleet: Watched) -> None:
        store = patient(f"redis+sentinel://:{PASSWORD}@127.0.0.1:{fleet.watching.port}/unknown")
        error, _ = timed(store.ping)
        assert "MasterNotFoundError" in str(error)
        store.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    options = ["--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"]
    with RedisCluster(redis_peer.debian(), tmp_path, replicated=True, password=PASSWORD, options=options) as started:
        yield started


class TestCluster:
    """What every store does is shown by the contract suite, on a cluster as well."""

    def test_a_slot_that_moves_costs_nothing(self, tmp_path: Path) -> None:
        with RedisCluster(redis_peer.debian(), tmp_path) as cluster, closing(patient(cluster.url)) as store:
            inbox = Inbox()
            store.subscribe("c", inbox.message, inbox.state)
            assert eventually(lambda: inbox.states == [True])
            store.set("k", b"before")
            assert cluster.master.command("EXISTS", "{bff}:k:k") == 1
            cluster.move("{bff}:")
            assert store.compare_and_set("k", b"before", b"after")
            assert store.execute(Batch().get("k").set("other", b"v").get("other")) == [b"after", None, b"v"]
            assert cluster.guide.command("EXISTS", "{bff}:k:k") == 1
            assert eventually(lambda: published(store, "still here") and "still here" in inbox.messages)

    def test_while_a_slot_moves_both_nodes_are_asked(self, tmp_path: Path) -> None:
        with RedisCluster(redis_peer.debian(), tmp_path) as cluster, closing(patient(cluster.url)) as store:
            for key in ("moved", "stays"):
                store.set(key, key.encode())
            store.execute(Batch().index_add("index", "member", 1.0))
            slot = cluster.begin_move("{bff}:")
            cluster.move_keys(["{bff}:k:moved"])
            assert [store.get(key) for key in ("moved", "stays", "neither")] == [b"moved", b"stays", None]
            mixed = Batch().get("moved").get("stays").get("neither").index_score("index", "member")
            assert store.execute(mixed) == [b"moved", b"stays", None, 1.0]
            assert store.compare_and_set("moved", b"moved", b"changed"), "by a script that the node does not know yet"
            assert store.execute(Batch().set("moved", b"again").get("moved")) == [None, b"again"], "a transaction"
            store.set("new", b"n")
            assert (store.get("new"), store.delete("new"), store.get("new")) == (b"n", True, None)
            cluster.move_keys(cluster.keys_left(slot))
            cluster.end_move(slot)
            assert store.execute(mixed) == [b"again", b"stays", None, 1.0]

    def test_what_concerns_both_sides_waits_for_the_move(self, tmp_path: Path) -> None:
        with RedisCluster(redis_peer.debian(), tmp_path) as cluster, closing(patient(cluster.url)) as store:
            for key in ("moved", "stays"):
                store.set(key, key.encode())
            slot = cluster.begin_move("{bff}:")
            cluster.move_keys(["{bff}:k:moved"])
            both = Batch().set("moved", b"1").set("stays", b"1")
            error, _ = timed(lambda: store.execute(both))
            assert "TryAgainError" in str(error)
            assert [store.get(key) for key in ("moved", "stays")] == [b"moved", b"stays"], "nothing was done"
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(store.execute, both)
                cluster.move_keys(["{bff}:k:stays"])
                cluster.end_move(slot)
                asked.result()
            assert [store.get(key) for key in ("moved", "stays")] == [b"1", b"1"]

    def test_many_threads_find_the_master_at_once(self, tmp_path: Path) -> None:
        with RedisCluster(redis_peer.debian(), tmp_path) as cluster:
            for _ in range(20):
                with closing(patient(cluster.url)) as store:
                    together(32, lambda _: store.ping())

    def test_follows_a_replica_that_takes_over(self, cluster: RedisCluster) -> None:
        dead = process.free_port()
        store = patient(f"redis+cluster://:{PASSWORD}@127.0.0.1:{dead},127.0.0.1:{cluster.guide.port}")
        inbox = Inbox()
        store.subscribe("c", inbox.message, inbox.state)
        store.set("k", b"before")
        assert eventually(lambda: inbox.states == [True])
        assert eventually(lambda: replicated(cluster))
        cluster.replica.command("CLUSTER", "FAILOVER")
        assert eventually(lambda: cluster.replica.command("ROLE")[0] == b"master", 10)
        assert store.get("k") == b"before"
        assert works(store)
        assert eventually(lambda: inbox.states == [True, False, True], 5)
        assert published(store, "after")
        assert eventually(lambda: inbox.messages == ["after"])
        store.close()

    def test_follows_after_the_master_died_and_the_node_that_was_named(self, cluster: RedisCluster) -> None:
        store = patient(cluster.url)
        inbox = Inbox()
        store.subscribe("c", inbox.message, inbox.state)
        store.set("k", b"v")
        assert eventually(lambda: inbox.states == [True])
        assert eventually(lambda: replicated(cluster))
        cluster.guide.kill()
        cluster.master.kill()
        cluster.replica.command("CLUSTER", "FAILOVER", "TAKEOVER")
        assert eventually(lambda: works(store), 10)
        assert store.get("k") == b"v"
        assert eventually(lambda: inbox.states == [True, False, True], 5)
        store.close()

    def test_a_cluster_that_nobody_can_rely_on(self, tmp_path: Path, server: RedisServer) -> None:
        """One without slots, and a server that is in no cluster."""
        with RedisServer(redis_peer.debian(), tmp_path, options=CLUSTERED) as lonely:
            for place in (f"127.0.0.1:{lonely.port}", f":{PASSWORD}@127.0.0.1:{server.port}"):
                store = RedisStore(f"redis+cluster://{place}")
                error, seconds = timed(store.ping)
                assert "MasterNotFoundError" in str(error)
                assert seconds < TIMEOUT
                store.close()

    def test_tls(self, tmp_path: Path) -> None:
        files = certificates.make(tmp_path)
        options = ["--tls-cluster", "yes"]
        with RedisCluster(redis_peer.debian(), tmp_path, tls=files, options=options) as cluster:
            store = patient(f"{cluster.url}?ssl_ca_certs={files.ca}")
            assert works(store)
            store.close()
            with closing(patient(cluster.url)) as distrusting:
                error, _ = timed(distrusting.ping)
            assert "certificate verify failed" in chain(error)


def replicated(cluster: RedisCluster) -> bool:
    return b"{bff}:k:k" in cluster.replica.command("KEYS", "*")
