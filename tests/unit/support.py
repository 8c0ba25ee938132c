"""What several unit tests need: time that they move themselves, and numbers read from the metrics registry."""

from prometheus_client import REGISTRY


class Clock:
    """Unix seconds, standing still until a test moves them."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def counted(metric: str, **labels: str) -> float:
    """A sample's value in this process; 0 when it was never recorded."""
    return REGISTRY.get_sample_value(metric, labels) or 0.0
