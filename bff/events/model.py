"""The names of security events, and where events go.

An event names what happened and to which session (by reference), never who the person is or what the token was.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class SecurityEvent(StrEnum):
    """event_type values of bff_security_events_total."""

    LOGIN_SUCCEEDED = "login_succeeded"
    LOGIN_FAILED = "login_failed"
    LOGOUT = "logout"
    LOGOUT_EVERYWHERE = "logout_everywhere"
    BACKCHANNEL_LOGOUT = "backchannel_logout"
    FRONTCHANNEL_LOGOUT = "frontchannel_logout"
    LOGOUT_TOKEN_REJECTED = "logout_token_rejected"  # noqa: S105 - an event's name
    SESSION_BINDING = "session_binding"
    CSRF_VIOLATION = "csrf_violation"
    RETURN_URL_REFUSED = "return_url_refused"
    LOGIN_STATE_REUSED = "login_state_reused"
    REFRESH_REJECTED = "refresh_rejected"
    ID_TOKEN_REJECTED = "id_token_rejected"  # noqa: S105 - an event's name


SEVERITY: Mapping[SecurityEvent, Severity] = {
    SecurityEvent.LOGIN_SUCCEEDED: Severity.INFO,
    SecurityEvent.LOGIN_FAILED: Severity.WARNING,
    SecurityEvent.LOGOUT: Severity.INFO,
    SecurityEvent.LOGOUT_EVERYWHERE: Severity.INFO,
    SecurityEvent.BACKCHANNEL_LOGOUT: Severity.INFO,
    SecurityEvent.FRONTCHANNEL_LOGOUT: Severity.INFO,
    SecurityEvent.LOGOUT_TOKEN_REJECTED: Severity.WARNING,
    SecurityEvent.SESSION_BINDING: Severity.CRITICAL,
    SecurityEvent.CSRF_VIOLATION: Severity.WARNING,
    SecurityEvent.RETURN_URL_REFUSED: Severity.WARNING,
    SecurityEvent.LOGIN_STATE_REUSED: Severity.CRITICAL,
    SecurityEvent.REFRESH_REJECTED: Severity.WARNING,
    SecurityEvent.ID_TOKEN_REJECTED: Severity.CRITICAL,
}


AUTHZ_DECISION = "authz.decision"
"""One for every request that the policy protects. It names the resource, but its user by a keyed pseudonym only."""

Data = Mapping[str, str | float]


class EventSink(Protocol):
    def emit(self, event_type: str, data: Data) -> None:
        """Take one event. Never raises and never waits."""


class NullSink:
    """Where events go until a deployment says otherwise; they are logged and counted all the same."""

    def emit(self, event_type: str, data: Data) -> None:
        return
