"""Idempotent producer: sends CloudEvents to Kafka in structured mode (its Kafka Protocol Binding, section 3.3).

There is one topic for each kind. The producer is idempotent and gapless, so a broker writes each message once and in
order, however often the library retries. The library must never drop a single message, because it would continue with
the next one. Instead, the whole producer is discarded with all of its messages, and `reset` replaces it. librdkafka
works in threads of its own, and no call here waits for them, so a gevent worker continues meanwhile.
"""

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from bff.events.envelope import CloudEvent
from bff.events.publisher import Outcome, Settled
from bff.observability import metrics
from bff.settings import KafkaSettings

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds after which a producer is discarded if no broker has acknowledged its oldest message."""
CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
_NEVER = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD)


class _Unsettled(NamedTuple):
    """since: when it was sent, on the monotonic clock."""

    topic: str
    settled: Settled
    since: float


class KafkaPublisher:
    """bff.events.publisher.EventPublisher. Connects on first use, so never before a fork."""

    def __init__(
        self,
        settings: KafkaSettings,
        patience: float = PATIENCE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefix = settings.topic_prefix
        self._options = {
            **connection(settings),
            "client.id": "bff",
            "acks": "all",
            "enable.idempotence": True,
            "enable.gapless.guarantee": True,
            "message.timeout.ms": 0,  # never
            "linger.ms": 5,
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 1000,
            "log_level": 2,  # connection errors reach error_cb as well
        }
        self._patience = patience
        self._monotonic = monotonic
        self._producer: Producer | None = None
        self._unsettled: dict[int, _Unsettled] = {}
        self._numbers = itertools.count()
        self._end: KafkaError | None = None
        self._told = ""

    def send(self, event: CloudEvent, settled: Settled, *, again: bool) -> None:
        topic, number = f"{self._prefix}.{event.topic}", next(self._numbers)
        metrics.kafka_message(topic, "retried" if again else "queued")
        self._unsettled[number] = _Unsettled(topic, settled, self._monotonic())
        try:
            self._made().produce(
                topic,
                event.body,
                event.key or None,
                on_delivery=lambda error, _message: self._settle(number, error),
                headers={"content-type": CONTENT_TYPE.encode()},
            )
        except KafkaException as err:
            self._settle(number, err.args[0])
        except BufferError:
            self._settle(number, KafkaError(KafkaError._QUEUE_FULL))

    def poll(self) -> None:
        """Poll the producer, and settle all messages when it has failed for good: a failed producer reports none of
        them."""
        if self._producer is None:
            return
        try:
            self._producer.poll(0)
        except KafkaException as err:
            self._error(err.args[0])
        oldest = next(iter(self._unsettled.values()), None)
        if oldest is not None and self._monotonic() - oldest.since >= self._patience:
            self._end = self._end or KafkaError(KafkaError._MSG_TIMED_OUT)
        if self._end is not None:
            for number in list(self._unsettled):
                self._settle(number, self._end)

    def reset(self) -> None:
        """Discard the producer. Messages in flight may still arrive; they have the same ids as those sent again."""
        self._unsettled.clear()
        if self._producer is not None:
            self._producer.purge()
            self._producer = None
        self._end = None

    def close(self) -> None:
        self.reset()

    def _made(self) -> Producer:
        if self._producer is None:
            self._producer = Producer({**self._options, "error_cb": self._error, "logger": log})
        return self._producer

    def _settle(self, number: int, error: KafkaError | None) -> None:
        message = self._unsettled.pop(number, None)
        if message is None:  # settled or discarded meanwhile
            return
        if error is None:
            self._told = ""
        message.settled(_outcome(message.topic, error))

    def _error(self, error: KafkaError) -> None:
        """Callback for errors of the library: repeated ones of its connections, and a fatal one of the producer."""
        if error.name() != self._told:
            self._told = error.name()
            log.warning("kafka_error", extra={"kafka_error": error.name(), "fatal": error.fatal()})
        if error.fatal():
            self._end = error


def connection(settings: KafkaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.servers),
        "security.protocol": settings.protocol,
    }
    if settings.ca_file is not None:
        options["ssl.ca.location"] = str(settings.ca_file)
    if settings.protocol.startswith("sasl_"):
        options["sasl.mechanisms"] = settings.mechanism
        options["sasl.username"] = settings.username
        options["sasl.password"] = settings.sasl_password
    return options


def _outcome(topic: str, error: KafkaError | None) -> Outcome:
    if error is None:
        metrics.kafka_message(topic, "delivered")
        return Outcome.DELIVERED
    metrics.kafka_message(topic, "failed")
    return Outcome.REFUSED if error.code() in _NEVER else Outcome.FAILED
