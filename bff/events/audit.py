"""What happened is told here, once: counted, logged and handed to the sink, by references and pseudonyms only."""

import functools
import logging

from bff.crypto import Mac
from bff.events.model import OF_SECURITY, SEVERITY, Data, EventSink, EventType, SecurityEvent, Severity
from bff.observability import metrics

log = logging.getLogger("bff.security")
_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}
_REMEMBERED = 4096
_PSEUDONYM = 24
"""Characters: too few for anybody to take it for a credential, enough that no two people share one."""


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
        """What is no security event: it is counted and logged where it happens. user: their id; a pseudonym is told."""
        self._sink.emit(event, {**facts, "user": self.pseudonym(user)})

    def decision(self, facts: Data) -> None:
        """One for each request that the policy protects, so it costs little: no log line, no metric."""
        self._sink.emit(EventType.AUTHZ_DECISION, facts)
