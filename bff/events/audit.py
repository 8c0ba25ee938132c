"""Audit trail: records each event once, as a metric, a log line and an event, by references and pseudonyms only."""

import functools
import logging

from bff.crypto import Mac
from bff.events.model import OF_SECURITY, SEVERITY, Data, EventSink, EventType, SecurityEvent, Severity
from bff.observability import metrics

log = logging.getLogger("bff.security")
_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}
_REMEMBERED = 4096
_PSEUDONYM = 24
"""Characters: too few to look like a credential, enough that no two people share one."""


class Audit:
    def __init__(self, sink: EventSink, users: Mac) -> None:
        """users: makes pseudonyms."""
        self._sink = sink
        self.pseudonym = functools.lru_cache(maxsize=_REMEMBERED)(lambda user: users.sign(user)[:_PSEUDONYM])

    def security(self, event: SecurityEvent, **facts: str) -> None:
        """facts: references and reasons, never a secret or a person."""
        severity = SEVERITY[event]
        metrics.security_event(event, severity)
        log.log(_LEVELS[severity], event.value, extra={"severity": severity.value, **facts})
        self._sink.emit(OF_SECURITY[event], facts)

    def record(self, event: EventType, user: str, **facts: object) -> None:
        """Emit an event that is no security event; its caller counts and logs it. user: their id, emitted as a
        pseudonym."""
        self._sink.emit(event, {**facts, "user": self.pseudonym(user)})

    def decision(self, facts: Data) -> None:
        """Emit a decision. There is one for each protected request, so it has no log line and no metric."""
        self._sink.emit(EventType.AUTHZ_DECISION, facts)
