"""Shared state in files: each master records its configuration in effect, and every scrape reads it.

Each master keeps a file of its own in the metrics folder, so that two masters that serve at once (SIGUSR2) both count.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bff.observability.process_metrics import alive

log = logging.getLogger(__name__)

_SUCCESSFUL = (
    "bff_config_last_reload_successful",
    "gauge",
    (),
    "Whether the last configuration that was read is in effect: 0 after a reload that was refused.",
)
_AT = (
    "bff_config_last_reload_success_timestamp_seconds",
    "gauge",
    (),
    "When a configuration was last put into effect, by a start or a reload, in Unix seconds.",
)
_INFO = ("bff_config_info", "gauge", ("hash",), "The configuration in effect; pods with the same one have one hash.")
FACTS = (_SUCCESSFUL, _AT, _INFO)


def note(folder: Path, config_hash: str, at: float, *, successful: bool) -> None:
    """Call in a master: record the configuration in effect, since when, and whether it is the last one read."""
    path = folder / f"configuration_{os.getpid()}.json"
    draft = path.with_suffix(".json.new")
    try:
        draft.write_text(json.dumps([config_hash, at, successful]))
        draft.rename(path)
    except OSError as err:
        log.warning("configuration_not_noted", extra={"error": err.strerror})


def forget(folder: Path) -> None:
    """Call in a master that ends: removes its record."""
    (folder / f"configuration_{os.getpid()}.json").unlink(missing_ok=True)


class Reloads(Collector):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        notes = list(_notes(self._folder))
        if not notes:
            return
        info = GaugeMetricFamily(_INFO[0], _INFO[-1], labels=_INFO[2])
        for config_hash in sorted({noted[0] for noted in notes}):
            info.add_metric([config_hash], 1)
        yield GaugeMetricFamily(_SUCCESSFUL[0], _SUCCESSFUL[-1], value=min(noted[2] for noted in notes))
        yield GaugeMetricFamily(_AT[0], _AT[-1], value=max(noted[1] for noted in notes))
        yield info


def _notes(folder: Path) -> Iterator[tuple[str, float, float]]:
    """(hash, at, successful) of each master that lives."""
    for path in folder.glob("configuration_*.json"):
        pid = path.stem.partition("_")[2]
        try:
            config_hash, at, successful = json.loads(path.read_bytes())
            noted = str(config_hash), float(at), float(successful)
        except (OSError, ValueError, TypeError):
            continue
        if pid.isascii() and pid.isdigit() and alive(int(pid)):
            yield noted
