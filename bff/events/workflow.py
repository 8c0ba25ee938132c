"""The parts of events, put together: where they are kept, who delivers them, and who carries them."""

from collections.abc import Callable
from dataclasses import dataclass

from bff.crypto import Keyring
from bff.events.audit import Audit
from bff.events.caep import SecurityEventTokens
from bff.events.carrier import Carrier
from bff.events.delivery import Delivery, Derive
from bff.events.losses import Losses
from bff.events.outbox import Outbox
from bff.kv import KeyValue
from bff.settings import EventSettings, Settings
from bff.signing import SigningKeys


@dataclass(frozen=True)
class EventWorkflow:
    """audit: for whoever has something to tell. flush, deliver: the periodic jobs."""

    audit: Audit
    outbox: Outbox
    delivery: Delivery

    def close(self) -> None:
        """What waits is written, and what is under way gets a moment."""
        self.outbox.close()
        self.delivery.close()


def event_workflow(
    settings: Settings,
    kv: KeyValue,
    keys: Keyring,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    wait: Callable[[float], None],
) -> EventWorkflow:
    """monotonic: seconds that only go forward. wait: until a carrier has more to say."""
    losses = Losses(monotonic)
    outbox = Outbox(kv, keys.sealer("outbox"), settings.base_url, settings.events.outbox_limit, clock, losses)
    carrier = _carrier(settings.events)
    max_age = settings.events.outbox_max_age
    delivery = Delivery(kv, outbox, carrier, _derived(settings, clock), max_age, losses, monotonic, wait)
    return EventWorkflow(Audit(outbox, keys.mac("audit-user")), outbox, delivery)


def _carrier(settings: EventSettings) -> Carrier:
    """Kafka where there are brokers, else the log. Imported here, so that nobody needs the library without them."""
    if settings.kafka.servers:
        from bff.events.kafka import Kafka

        return Kafka(settings.kafka)
    from bff.events.written import Written

    return Written()


def _derived(settings: Settings, clock: Callable[[], float]) -> Derive:
    """Security Event Tokens need somebody to receive them, and a key that we publish: that of the first provider to
    which the BFF proves with one who it is."""
    signing = (provider for provider in settings.providers if provider.auth_method == "private_key_jwt")
    key = next((provider.client_key for provider in signing), None)
    if key is None or not settings.events.kafka.servers:
        return lambda _event: ()
    return SecurityEventTokens(SigningKeys(key), settings.base_url, clock).of
