"""Security events: counted, logged and handed to the sink, in one place. Decisions: handed to the sink."""

import logging

from bff.events.model import AUTHZ_DECISION, SEVERITY, Data, EventSink, SecurityEvent, Severity
from bff.observability import metrics

log = logging.getLogger("bff.security")
_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}


class Audit:
    def __init__(self, sink: EventSink) -> None:
        self._sink = sink

    def security(self, event: SecurityEvent, **facts: str) -> None:
        """facts: references and reasons, never a secret or a person."""
        severity = SEVERITY[event]
        metrics.security_event(event, severity)
        log.log(_LEVELS[severity], event.value, extra={"severity": severity.value, **facts})
        self._sink.emit(event.value, facts)

    def decision(self, facts: Data) -> None:
        """One for each request that the policy protects, so it costs little: no log line, no metric."""
        self._sink.emit(AUTHZ_DECISION, facts)
