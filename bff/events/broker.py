"""Health check of Kafka: a short-lived client of the library requests the cluster's description.

The answer comes as a future: a call that waits for it in C would block a gevent worker meanwhile.
"""

import time
from collections.abc import Callable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from bff.errors import BFFError
from bff.events.kafka import connection
from bff.settings import KafkaSettings

TIMEOUT = 2.0
"""Seconds in which one of the brokers must answer."""
_LOOK = 0.02


class KafkaUnavailable(BFFError):
    """Events wait in the outbox meanwhile."""

    code = "kafka_unavailable"
    title = "No Kafka broker answers"


class Brokers:
    def __init__(
        self, settings: KafkaSettings, timeout: float = TIMEOUT, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._options = {**connection(settings), "client.id": "bff", "log_level": 0}
        self._timeout = timeout
        self._wait = wait

    def check(self) -> None:
        """Raises KafkaUnavailable."""
        client = AdminClient(self._options)
        try:
            answer = client.describe_cluster(request_timeout=self._timeout)
            while not answer.done():  # ends with its timeout at the latest
                self._wait(_LOOK)
            answer.result()
        except KafkaException as err:
            raise KafkaUnavailable from err
