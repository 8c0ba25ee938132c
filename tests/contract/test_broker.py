"""Whether a Kafka broker is there: a real one, one that hangs, one behind TLS, and others that are none."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from bff.events.broker import Brokers, KafkaUnavailable
from bff.settings import KafkaSettings
from tests.peers import certificates, process
from tests.peers import kafka as kafka_peer

TIMEOUT = 2.0
Serve = Callable[[Callable[[socket.socket], object]], str]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka_peer.Kafka]:
    with kafka_peer.Kafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that does this with one connection; its address."""
    started = []

    def start(talk: Callable[[socket.socket], object]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))

        def once() -> None:
            with closing(listener), closing(listener.accept()[0]) as connection:
                talk(connection)

        started.append(threading.Thread(target=once))
        started[-1].start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for thread in started:
        thread.join()


def there(*servers: str, protocol: str = "plaintext", ca_file: Path | None = None) -> bool:
    try:
        Brokers(KafkaSettings(servers, protocol=protocol, ca_file=ca_file), TIMEOUT).check()
    except KafkaUnavailable:
        return False
    return True


def nobody() -> str:
    return f"127.0.0.1:{process.free_port()}"


def test_a_broker_that_answers_is_there(broker: kafka_peer.Kafka) -> None:
    brokers = Brokers(KafkaSettings((broker.address,)), TIMEOUT)
    brokers.check()
    brokers.check()


def test_one_of_several_is_enough(broker: kafka_peer.Kafka) -> None:
    assert there(nobody(), "no.such.host.invalid:9092", broker.address)


def test_one_that_hangs_is_not_there_until_it_goes_on(broker: kafka_peer.Kafka) -> None:
    broker.freeze()
    try:
        assert not there(broker.address)
    finally:
        broker.thaw()
    assert there(broker.address)


def test_without_any_that_listens_none_is_there() -> None:
    assert not there(nobody(), "no.such.host.invalid:9092")


@pytest.mark.parametrize(
    "answer", [b"", b"\x00\x00", b"HTTP/1.1 400 Bad Request\r\n\r\n", (10).to_bytes(4, "big") + (99).to_bytes(4, "big")]
)
def test_something_else_that_listens_is_no_broker(serve: Serve, answer: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(answer)

    assert not there(serve(talk))


@pytest.mark.parametrize("trusted", [True, False])
def test_behind_tls_only_one_that_is_vouched_for(broker: kafka_peer.Kafka, tmp_path: Path, trusted: bool) -> None:
    (tmp_path / "others").mkdir()
    files, others = certificates.make(tmp_path), certificates.make(tmp_path / "others")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    ca = files.ca if trusted else others.ca
    with behind_tls(broker, context) as address:
        assert there(address, protocol="ssl", ca_file=ca) == trusted


@contextmanager
def behind_tls(broker: kafka_peer.Kafka, context: ssl.SSLContext) -> Iterator[str]:
    """A relay that ends TLS; its address, which it also writes over the broker's own in what that answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

        def talk(accepted: socket.socket) -> None:
            plain = socket.create_connection(("127.0.0.1", broker.port))
            with plain, suppress(OSError), context.wrap_socket(accepted, server_side=True) as secured:
                threading.Thread(target=carry, args=(plain, secured), daemon=True).start()
                carry(secured, plain)

        def carry(source: socket.socket, target: socket.socket) -> None:
            with suppress(OSError):
                while some := source.recv(100_000):
                    target.sendall(some.replace(broker.port.to_bytes(4, "big"), port.to_bytes(4, "big")))

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{port}"
        listener.shutdown(socket.SHUT_RDWR)
