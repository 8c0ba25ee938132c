"""What a test reads: the counters."""

from collections.abc import Iterable

from prometheus_client import REGISTRY, Metric

Samples = dict[tuple[str, tuple[str, ...]], float]


class Counters:
    """What the counters gained since `start`."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self._before = _samples(REGISTRY.collect())

    def gained(self, name: str) -> dict[str, float]:
        """By label values, joined by blanks; children that did not move are left out."""
        assert name in REGISTRY._names_to_collectors, f"no such metric: {name}"
        now = _samples(REGISTRY.restricted_registry([name]).collect())
        gains = {" ".join(key[1]): count - self._before.get(key, 0.0) for key, count in now.items()}
        return {labels: gain for labels, gain in gains.items() if gain}

    def total(self, name: str) -> float:
        return sum(self.gained(name).values())


def _samples(families: Iterable[Metric]) -> Samples:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }
