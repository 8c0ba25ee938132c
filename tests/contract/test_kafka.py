"""Delivery to a broker that is frozen and restarted: every event arrives, and in order, whatever happens to it."""

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer

from bff.events import kafka as kafka_module
from bff.events import relay as delivery_module
from bff.events.caep import SecurityEventTokens
from bff.events.drops import DroppedEvents
from bff.events.envelope import CloudEvent, enveloped
from bff.events.kafka import CONTENT_TYPE, KafkaPublisher
from bff.events.model import EventType
from bff.events.outbox import LOGS, Outbox
from bff.events.publisher import Outcome
from bff.events.relay import OutboxRelay
from bff.keys.signing import SigningKeys, generated
from bff.kv.sqlite import SqliteStore
from bff.settings import KafkaSettings
from tests.contract.backends import eventually
from tests.peers import certificates, lateness
from tests.peers import kafka as kafka_peer
from tests.unit.events.support import LOGIN, SOURCE, sealer, valid
from tests.unit.support import counted

IMPATIENT = 0.5
API_VERSIONS = (18).to_bytes(2, "big")
"""The first request of Kafka's protocol."""
ROOT = Path(__file__).parents[2]
TOPICS = ["t.audit", "t.auth", "t.sessions", "t.security"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kafka")


@pytest.fixture
def broker(folder: Path) -> Iterator[kafka_peer.Kafka]:
    with kafka_peer.Kafka(folder) as server:
        yield server


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "TURN", 0.2)


class Rig:
    """An outbox, and who delivers from it."""

    def __init__(self, folder: Path, broker: kafka_peer.Kafka, patience: float) -> None:
        self.kv = SqliteStore(folder / "store.sqlite")
        self.box = Outbox(self.kv, sealer(), SOURCE, 10_000, time.time, DroppedEvents())
        self.publisher = KafkaPublisher(KafkaSettings((broker.address,), "t"), patience)
        self.relay = OutboxRelay(self.kv, self.box, self.publisher, lambda _event: (), 3600, DroppedEvents())
        self.broker = broker
        self._numbers = iter(range(1_000_000))

    def happened(self, times: int, session: str = "s1") -> None:
        for _ in range(times):
            self.box.emit(EventType.LOGIN_SUCCEEDED, {"session": session, "idp": str(next(self._numbers))})

    def delivered(self) -> bool:
        """Whether the outbox becomes empty, with what was sampled of strangers' events."""
        self.box.flush()
        deadline = time.monotonic() + 30
        while self._waiting() and time.monotonic() < deadline:
            self.relay.run()
        return not self._waiting()

    def _waiting(self) -> int:
        return sum(self.kv.log_length(log) for log in LOGS)

    def arrived(self) -> list[int]:
        """The numbers of the events that the broker has, each once, as they came first."""
        messages = self.broker.messages(TOPICS, quiet=0.5)
        by_id = {str(each.event["id"]): int(each.event["data"]["idp"]) for each in messages}
        return list(by_id.values())

    def close(self) -> None:
        self.relay.close()
        self.kv.close()


@pytest.fixture
def rig(tmp_path: Path, broker: kafka_peer.Kafka) -> Iterator[Rig]:
    made = Rig(tmp_path, broker, patience=30)
    yield made
    made.close()


def test_what_a_consumer_reads(rig: Rig, broker: kafka_peer.Kafka) -> None:
    before = [counted("bff_kafka_messages_total", topic="t.auth", status=each) for each in ("queued", "delivered")]
    rig.happened(3)
    rig.box.emit(EventType.RETURN_URL_REFUSED, {})
    rig.box.emit(EventType.SESSION_ENDED, {**LOGIN, "user": "u1", "reason": "ключ"})
    assert rig.delivered()
    messages = broker.messages(TOPICS)
    for each in messages:
        valid(each.event)
        assert each.headers == {"content-type": CONTENT_TYPE.encode()}
    told = sorted((each.topic, each.key, each.event["type"]) for each in messages)
    assert told == [
        ("t.auth", "s1", "auth.login.succeeded"),
        ("t.auth", "s1", "auth.login.succeeded"),
        ("t.auth", "s1", "auth.login.succeeded"),
        ("t.security", "", "security.return_url.refused"),
        ("t.sessions", "s1", "session.ended"),
    ]
    after = [counted("bff_kafka_messages_total", topic="t.auth", status=each) for each in ("queued", "delivered")]
    assert after == [number + 3 for number in before]


def test_security_event_tokens_travel_beside_their_events(rig: Rig, broker: kafka_peer.Kafka) -> None:
    keys = SigningKeys(json.dumps(generated("ES256", 0).private()))
    rig.relay._derive = SecurityEventTokens(keys, SOURCE, time.time).of
    rig.box.emit(EventType.SESSION_ENDED, {**LOGIN, "user": "u1", "reason": "logout"})
    assert rig.delivered()
    told = [(each.topic, each.key, each.event["datacontenttype"]) for each in broker.messages(TOPICS)]
    assert told == [("t.sessions", "s1", "application/json"), ("t.sessions", "s1", "application/secevent+jwt")]


def freeze(broker: kafka_peer.Kafka) -> None:
    broker.freeze()


def thaw(broker: kafka_peer.Kafka) -> None:
    broker.thaw()


def stop(broker: kafka_peer.Kafka) -> None:
    broker.stop()


def start(broker: kafka_peer.Kafka) -> None:
    broker.start()


@pytest.mark.parametrize(("leave", "come_back"), [(freeze, thaw), (stop, start)], ids=["frozen", "restarted"])
@pytest.mark.parametrize("patience", [30.0, IMPATIENT], ids=["patient", "given up"])
def test_nothing_is_lost_and_order_is_kept(
    tmp_path: Path,
    broker: kafka_peer.Kafka,
    leave: Callable[[kafka_peer.Kafka], None],
    come_back: Callable[[kafka_peer.Kafka], None],
    patience: float,
) -> None:
    """given up: the producer's own patience ends during the outage, so that a new one has to take its place."""
    rig = Rig(tmp_path, broker, patience)
    failed = counted("bff_kafka_messages_total", topic="t.auth", status="failed")
    try:
        rig.happened(20)
        assert rig.delivered()
        leave(broker)
        rig.happened(20)
        rig.relay.run()
        if patience == IMPATIENT:
            assert eventually(lambda: _failed(rig) > failed, 20)
        rig.happened(20)
        rig.relay.run()
        come_back(broker)
        rig.happened(20)
        assert rig.delivered()
        assert rig.arrived() == list(range(80))
    finally:
        rig.close()


def _failed(rig: Rig) -> float:
    rig.relay.run()
    return counted("bff_kafka_messages_total", topic="t.auth", status="failed")


def test_a_worker_that_is_killed_leaves_everything_to_the_next(tmp_path: Path, broker: kafka_peer.Kafka) -> None:
    first, second = Rig(tmp_path, broker, 30), Rig(tmp_path, broker, 30)
    try:
        first.happened(10)
        broker.freeze()
        first.relay.run()  # they are on their way, and it does nothing more
        second.kv.delete("lock:event-delivery")  # its lease ran out
        broker.thaw()
        assert second.delivered()
        assert second.arrived() == list(range(10))
    finally:
        first.close()
        second.close()


def test_a_message_that_is_too_large_is_refused_for_ever(broker: kafka_peer.Kafka) -> None:
    publisher, outcomes = KafkaPublisher(KafkaSettings((broker.address,), "t")), list[Outcome]()
    event = enveloped(EventType.LOGOUT, LOGIN, source="s" * 2_000_000, now=0, correlation_id="", traceparent=None)
    publisher.send(event, outcomes.append, again=False)
    assert outcomes == [Outcome.REFUSED]
    publisher.close()


def test_a_producer_at_its_end_fails_everything_and_is_replaced(
    broker: kafka_peer.Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another broker says that it was fenced."""
    made: list[Producer] = []

    def producer(options: dict[str, Any]) -> Producer:
        made.append(Producer(options))
        return made[-1]

    monkeypatch.setattr(kafka_module, "Producer", producer)
    publisher, outcomes = KafkaPublisher(KafkaSettings((broker.address,), "t")), list[Outcome]()
    event = enveloped(EventType.LOGOUT, LOGIN, source=SOURCE, now=0, correlation_id="", traceparent=None)
    broker.freeze()
    publisher.send(event, outcomes.append, again=False)
    publisher.send(event, outcomes.append, again=False)
    publisher._error(KafkaError(KafkaError.PRODUCER_FENCED, fatal=True))
    publisher.poll()
    assert outcomes == [Outcome.FAILED, Outcome.FAILED]
    broker.thaw()
    publisher.reset()
    publisher.send(event, outcomes.append, again=True)
    assert eventually(lambda: _polled(publisher, outcomes)[2:] == [Outcome.DELIVERED], 10)
    assert len(made) == 2
    publisher.close()


def _polled(publisher: KafkaPublisher, outcomes: list[Outcome]) -> list[Outcome]:
    publisher.poll()
    return outcomes


@pytest.mark.parametrize(("frozen", "left", "ticks"), [(False, 0, 2), (True, 100, 50)], ids=["well", "frozen"])
def test_other_greenlets_go_on(broker: kafka_peer.Kafka, tmp_path: Path, frozen: bool, left: int, ticks: int) -> None:
    """ticks: as often as another one runs at least, while this one is soon done or waits for seconds."""
    if frozen:
        broker.freeze()
    command = [sys.executable, "-m", "tests.contract.greenlets", broker.address, str(tmp_path)]
    answer = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60).stdout)
    assert answer["left"] == left
    assert answer["ticks"] > ticks
    assert answer["pause"] < 0.5, "as long as a busy machine may take, and shorter than any wait of the library"


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "strange"])
def test_over_tls_only_to_whom_the_authority_vouches_for(tmp_path: Path, trusted: bool) -> None:
    """As far as a server gets that knows TLS and no more of Kafka: it is asked, or the connection fails."""
    (tmp_path / "others").mkdir()
    files, others = certificates.make(tmp_path), certificates.make(tmp_path / "others")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    event = enveloped(EventType.LOGOUT, LOGIN, source=SOURCE, now=0, correlation_id="", traceparent=None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        ca = (files if trusted else others).ca
        publisher = KafkaPublisher(KafkaSettings((address,), "t", "sasl_ssl", ca, "SCRAM-SHA-256", "bff", "hidden"))
        publisher.send(event, lambda _outcome: None, again=False)
        try:
            with context.wrap_socket(server.accept()[0], server_side=True) as connection:
                asked = connection.recv(100)
            assert asked[4:6] == API_VERSIONS
            assert trusted
        except OSError:
            assert not trusted
        finally:
            publisher.close()


def test_giving_up_what_is_under_way_takes_no_time(broker: kafka_peer.Kafka) -> None:
    """A worker that ends, or a greenlet's turn, waits for no broker."""
    publisher = KafkaPublisher(KafkaSettings((broker.address,), "t"))
    event: CloudEvent = enveloped(EventType.LOGOUT, LOGIN, source=SOURCE, now=0, correlation_id="", traceparent=None)
    broker.freeze()
    with lateness.measured() as taken:
        for _ in range(100):
            publisher.send(event, lambda _outcome: None, again=False)
            publisher.poll()
        publisher.close()
    assert taken.seconds < 1
