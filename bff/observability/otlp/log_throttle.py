"""What OpenTelemetry's own loggers say, told as one line now and then.

A collector that is away has each export of each worker complain, some with a stack; a client that sends broken headers
has the SDK quote them. So a logger is heard once a minute, with how often it spoke since. Only exporters are quoted:
what they say is about the collector, and the operator needs it.
"""

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

QUIET = 60.0
"""Seconds between two lines about the same logger."""

_QUOTED = "opentelemetry.exporter"
_LONGEST = 300


class LogThrottle(logging.Handler):
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._changing = threading.Lock()
        self._heard: dict[str, tuple[float, int]] = {}  # when a logger was told about, and how often it spoke since

    def emit(self, record: logging.LogRecord) -> None:
        told, unheard = self._note(record.name)
        if not told:
            return
        facts: dict[str, object] = {"library": record.name, "unheard": unheard}
        if record.name.startswith(_QUOTED):
            facts["detail"] = record.getMessage()[:_LONGEST]
        log.log(record.levelno, "telemetry_trouble", extra=facts)

    def _note(self, name: str) -> tuple[bool, int]:
        """(whether to tell about it, how often it was not told about)."""
        with self._changing:
            at, unheard = self._heard.get(name, (float("-inf"), 0))
            if self._clock() - at < QUIET:
                self._heard[name] = at, unheard + 1
                return False, 0
            self._heard[name] = self._clock(), 0
            return True, unheard


def silence() -> None:
    """From now on the libraries speak through this module alone."""
    logger = logging.getLogger("opentelemetry")
    logger.handlers[:] = [LogThrottle()]
    logger.propagate = False
