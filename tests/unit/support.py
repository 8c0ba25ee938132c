"""What several unit tests need: time that they move themselves, and numbers read from the metrics registry."""

from prometheus_client import REGISTRY

from bff.events.model import Data, EventType


class NoEvents:
    """An EventSink that keeps nothing; events are logged and counted all the same."""

    def emit(self, event_type: EventType, data: Data) -> None:
        return


def counted(metric: str, **labels: str) -> float:
    """A sample's value in this process; 0 when it was never recorded."""
    return REGISTRY.get_sample_value(metric, labels) or 0.0
