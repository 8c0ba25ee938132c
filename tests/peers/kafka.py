"""A broker that speaks Kafka's protocol: noida-db, which tests may freeze, stop and start again.

Real Kafka is not to be had as a package. This one differs in two things: when it ends it forgets its producers, so that
an idempotent one has to begin anew; and it acknowledges before it writes to its disk, so that it may not be killed.
"""

import importlib.util
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from tests.peers import install, process

PATIENCE = 30.0
POLL = 0.1


class Message(NamedTuple):
    topic: str
    partition: int
    key: str
    event: dict[str, Any]
    headers: dict[str, bytes]


class Kafka:
    """A broker on a port that it keeps over restarts; a context manager that leaves no process behind."""

    def __init__(self, folder: Path) -> None:
        self.port = process.free_port()
        self.log = folder / f"kafka-{self.port}.log"
        self._folder = folder / f"kafka-{self.port}"
        self._running = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        command: list[str | Path] = [
            _program(),
            "start",
            "--only",
            "kafka",
            "--kafka-port",
            str(self.port),
            "--data-dir",
            self._folder,
        ]
        running = process.running(command, port=self.port, log=self.log)
        self._process = self._running.enter_context(running)

    def stop(self) -> None:
        """`start` brings it back on the same port with what it had, but without its producers."""
        self.thaw()  # a frozen process cannot end
        self._running.close()
        self._process = None

    def freeze(self) -> None:
        """Connections are still accepted by the kernel, but nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def messages(self, topics: Sequence[str], quiet: float = 1.0) -> list[Message]:
        """Everything in these topics from the beginning, until nothing more has come for `quiet` seconds."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "a-test", "enable.auto.commit": False})
        try:
            consumer.assign(_partitions(consumer, topics))
            return _read(consumer, quiet)
        finally:
            consumer.close()

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _partitions(consumer: Consumer, topics: Sequence[str]) -> list[TopicPartition]:
    known = consumer.list_topics(timeout=PATIENCE).topics
    return [
        TopicPartition(topic, number, OFFSET_BEGINNING)
        for topic in topics
        if topic in known
        for number in known[topic].partitions
    ]


def _read(consumer: Consumer, quiet: float) -> list[Message]:
    found: list[Message] = []
    last = time.monotonic()
    while time.monotonic() - last < quiet:
        message = consumer.poll(POLL)
        if message is None or message.error():
            continue
        last = time.monotonic()
        headers: Any = message.headers() or []
        key: Any = message.key() or b""
        value = message.value() or b"{}"
        found.append(
            Message(message.topic() or "", message.partition() or 0, key.decode(), json.loads(value), dict(headers))
        )
    return found


def _program() -> Path:
    spec = importlib.util.find_spec("noida_db")
    if spec is None or spec.origin is None:
        install.unavailable("a broker for Kafka", "install it with: pip install -r requirements-dev.txt")
    return Path(spec.origin).parent / "noida-db"
