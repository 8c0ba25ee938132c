"""Events to Kafka: CloudEvents in structured mode (its Kafka Protocol Binding, section 3.3), one topic for each kind.

The producer is idempotent and may leave no gap, so a broker writes what it gets once and in order, however often the
library repeats itself. When it gives up on a message all the same, the producer is at its end; `reset` puts a new one
in its place, and the outbox sends everything again from there on. librdkafka does its work in threads of its own, and
nothing here waits for them: a gevent worker goes on meanwhile.
"""

import logging
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from bff.events.carrier import Outcome, Settled
from bff.events.envelope import Event
from bff.observability import metrics

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds after which a message that no broker acknowledged has failed."""
CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
_NEVER = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD)


class Kafka:
    """bff.events.carrier.Carrier. Connects on first use, so never before a fork."""

    def __init__(self, servers: Sequence[str], prefix: str, patience: float = PATIENCE) -> None:
        """servers: host:port. prefix: of the topics' names."""
        self._prefix = prefix
        self._options = {
            "bootstrap.servers": ",".join(servers),
            "client.id": "bff",
            "acks": "all",
            "enable.idempotence": True,
            "enable.gapless.guarantee": True,
            "message.timeout.ms": int(patience * 1000),
            "linger.ms": 5,
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 1000,
            "log.connection.close": False,
        }
        self._producer: Producer | None = None

    def send(self, event: Event, settled: Settled, *, again: bool) -> None:
        topic = f"{self._prefix}.{event.topic}"
        metrics.kafka_message(topic, "retried" if again else "queued")

        def reported(error: KafkaError | None, _message: object) -> None:
            settled(_outcome(topic, error))

        try:
            self._made().produce(
                topic,
                event.body,
                event.key or None,
                on_delivery=reported,
                headers={"content-type": CONTENT_TYPE.encode()},
            )
        except KafkaException as err:
            settled(_outcome(topic, err.args[0]))
        except BufferError:
            settled(_outcome(topic, KafkaError(KafkaError._QUEUE_FULL)))

    def poll(self) -> None:
        if self._producer is not None:
            self._producer.poll(0)

    def reset(self) -> None:
        """What is in flight may still arrive; it has the same ids as what is sent again."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.poll(0)
            self._producer = None

    def close(self) -> None:
        self.reset()

    def _made(self) -> Producer:
        if self._producer is None:
            self._producer = Producer({**self._options, "error_cb": _failed, "logger": log})
        return self._producer


def _outcome(topic: str, error: KafkaError | None) -> Outcome:
    if error is None:
        metrics.kafka_message(topic, "delivered")
        return Outcome.DELIVERED
    metrics.kafka_message(topic, "failed")
    return Outcome.REFUSED if error.code() in _NEVER else Outcome.FAILED


def _failed(error: Any) -> None:
    """What the library says of its connections, and of its own end."""
    log.warning("kafka_error", extra={"kafka_error": error.name(), "fatal": error.fatal()})
