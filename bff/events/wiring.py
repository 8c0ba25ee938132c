"""Wiring of the event services: the outbox, the relay that delivers from it, and the publisher."""

from collections.abc import Callable
from dataclasses import dataclass

from bff.crypto import Keyring
from bff.events.audit import Audit
from bff.events.caep import SecurityEventTokens
from bff.events.drops import DroppedEvents
from bff.events.outbox import Outbox
from bff.events.publisher import EventPublisher
from bff.events.relay import Derive, OutboxRelay
from bff.keys.signing import SigningKeys
from bff.kv import KeyValue
from bff.settings import EventSettings, Settings


@dataclass(frozen=True)
class EventServices:
    """audit: the interface for all code that emits events. flush, deliver: the periodic jobs."""

    audit: Audit
    outbox: Outbox
    relay: OutboxRelay

    def close(self) -> None:
        """Write the waiting events, and wait a moment for those in flight."""
        self.outbox.close()
        self.relay.close()


def build_events(
    settings: Settings,
    kv: KeyValue,
    keys: Keyring,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    wait: Callable[[float], None],
) -> EventServices:
    """monotonic: seconds that never decrease. wait: sleeps between two polls of a carrier."""
    drops = DroppedEvents(monotonic)
    outbox = Outbox(kv, keys.sealer("outbox"), settings.base_url, settings.events.outbox_limit, clock, drops)
    publisher = _publisher(settings.events)
    max_age = settings.events.outbox_max_age
    relay = OutboxRelay(kv, outbox, publisher, _derived(settings, clock), max_age, drops, monotonic, wait)
    return EventServices(Audit(outbox, keys.mac("audit-user")), outbox, relay)


def _publisher(settings: EventSettings) -> EventPublisher:
    """Kafka where there are brokers, else the log. The import is here, so that an installation without brokers needs
    no library."""
    if settings.kafka.servers:
        from bff.events.kafka import KafkaPublisher

        return KafkaPublisher(settings.kafka)
    from bff.events.log_publisher import LogPublisher

    return LogPublisher()


def _derived(settings: Settings, clock: Callable[[], float]) -> Derive:
    """Security Event Tokens need a broker to reach receivers, and a key that we publish: that of the first provider
    with private_key_jwt authentication."""
    signing = (provider for provider in settings.providers if provider.auth_method == "private_key_jwt")
    key = next((provider.client_key for provider in signing), None)
    if key is None or not settings.events.kafka.servers:
        return lambda _event: ()
    return SecurityEventTokens(SigningKeys(key), settings.base_url, clock).of
