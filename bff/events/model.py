"""Declarations: the names of events, their fields, and the topics they go to.

An event names its cause and the session (by reference), never the person or the token. Its declaration here is
complete: `docs/events.md` and the JSON Schemas are generated from it, and a field without a declaration never leaves
the process.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

Data = Mapping[str, Any]
MARK = "[unserialisable]"
"""Replaces a value that its declaration does not allow, or that JSON cannot express."""
LONGEST = 1024
"""Characters of a text in an event; a longer one is cut off."""


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
    RATE_LIMITED = "rate_limited"
    SESSION_REVOKED = "session_revoked"


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
    SecurityEvent.RATE_LIMITED: Severity.WARNING,
    SecurityEvent.SESSION_REVOKED: Severity.INFO,
}


class Topic(StrEnum):
    """The part of a topic's name behind `KAFKA_TOPIC_PREFIX` and a dot."""

    AUDIT = "audit"
    AUTH = "auth"
    SESSIONS = "sessions"
    SECURITY = "security"


class EventType(StrEnum):
    """`type` of a CloudEvent. A name that was published once keeps its meaning."""

    AUTHZ_DECISION = "authz.decision"
    LOGIN_SUCCEEDED = "auth.login.succeeded"
    LOGIN_FAILED = "auth.login.failed"
    LOGOUT = "auth.logout"
    LOGOUT_EVERYWHERE = "auth.logout.everywhere"
    BACKCHANNEL_LOGOUT = "auth.logout.backchannel"
    FRONTCHANNEL_LOGOUT = "auth.logout.frontchannel"
    REFRESH_FAILED = "auth.refresh.failed"
    REFRESH_REJECTED = "auth.refresh.rejected"
    CLAIMS_CHANGED = "auth.claims.changed"
    SESSION_CREATED = "session.created"
    SESSION_ENDED = "session.ended"
    SESSION_REVOKED = "session.revoked"
    SESSION_BINDING = "security.session.binding"
    CSRF_VIOLATION = "security.csrf.violation"
    RETURN_URL_REFUSED = "security.return_url.refused"
    LOGIN_STATE_REUSED = "security.login_state.reused"
    ID_TOKEN_REJECTED = "security.id_token.rejected"  # noqa: S105 - an event's name
    LOGOUT_TOKEN_REJECTED = "security.logout_token.rejected"  # noqa: S105 - an event's name
    RATE_LIMITED = "security.rate_limit.exceeded"


OF_SECURITY: Mapping[SecurityEvent, EventType] = {event: EventType[event.name] for event in SecurityEvent}


@dataclass(frozen=True)
class Field:
    """One member of an event's `data`.

    type: string, boolean, number or array (of strings), as in JSON Schema. private: sent to a broker, which has
    selected readers, but not logged, since it may describe a person or a thing.
    """

    meaning: str
    type: str = "string"
    required: bool = True
    private: bool = False


class EventOrigin(StrEnum):
    """The party that causes an event. STRANGER: any client, without a credential, or any page through another user's
    browser."""

    SESSION = "a session or a token"
    PROVIDER = "a provider"
    OPERATOR = "an operator"
    STRANGER = "any client"


class Durability(StrEnum):
    """The delivery guarantee of an event.

    DURABLE: it is in the store before its response is sent. SOON: within a second, because another event has the same
    facts, or no client waits for it. SAMPLED: a few in each second, apart from all others.
    """

    DURABLE = "durable"
    SOON = "soon"
    SAMPLED = "sampled"


@dataclass(frozen=True)
class Declaration:
    """The fields of an event, and its guarantee.

    durable: whether it is DURABLE unless a stranger caused it. A stranger must neither make a worker write nor crowd
    out the events that an auditor needs.
    """

    topic: Topic
    origin: EventOrigin
    durable: bool
    meaning: str
    fields: Mapping[str, Field]
    nobody: tuple[str, str] | None = None
    """A field and the value of it that shows that no session was affected, so a stranger may have caused the event."""

    def durability(self, data: Data) -> Durability:
        """The only rule for every event, wherever it is emitted."""
        about_nobody = self.nobody is not None and data.get(self.nobody[0]) == self.nobody[1]
        if self.origin is EventOrigin.STRANGER or about_nobody:
            return Durability.SAMPLED
        return Durability.DURABLE if self.durable else Durability.SOON


_SESSION = Field("the session's reference, as in `X-Session-ID`")
_USER = Field("a keyed pseudonym of the user's id, the same in every event and worker")
_IDP = Field("the provider's alias")
_REASON = Field("the cause, in one word")
_SESSIONS = Field("how many sessions ended, in digits")
_REFUSAL = "the result that `bff_logins_total` counts"

EVENTS: Mapping[EventType, Declaration] = {
    EventType.AUTHZ_DECISION: Declaration(
        Topic.AUDIT,
        EventOrigin.SESSION,
        True,
        "The policy decided about a request, or no decision was possible.",
        {
            "decision": Field("allow, deny, no_mapping, or error for none"),
            "passed": Field("whether the request went on", "boolean"),
            "resource": Field("the type of the resource that was asked about"),
            "action": Field("the action on it"),
            "id": Field("the resource's id", private=True),
            "route": Field("the route's id, or the template of its path"),
            "user": _USER,
            "correlation_id": Field("the request's `X-Correlation-ID`"),
            "latency": Field("seconds until the decision", "number"),
            "reason": Field("the policy's own reason, or why there is no decision", private=True),
        },
    ),
    EventType.LOGIN_SUCCEEDED: Declaration(
        Topic.AUTH, EventOrigin.SESSION, True, "A user logged in.", {"session": _SESSION, "idp": _IDP}
    ),
    EventType.LOGIN_FAILED: Declaration(
        Topic.AUTH, EventOrigin.STRANGER, False, "A login ended without a session.", {"reason": Field(_REFUSAL)}
    ),
    EventType.LOGOUT: Declaration(Topic.AUTH, EventOrigin.SESSION, True, "A user logged out.", {"session": _SESSION}),
    EventType.LOGOUT_EVERYWHERE: Declaration(
        Topic.AUTH,
        EventOrigin.SESSION,
        True,
        "A user logged out everywhere.",
        {"session": _SESSION, "sessions": _SESSIONS},
    ),
    EventType.BACKCHANNEL_LOGOUT: Declaration(
        Topic.AUTH, EventOrigin.PROVIDER, True, "A logout token ended sessions.", {"idp": _IDP, "sessions": _SESSIONS}
    ),
    EventType.FRONTCHANNEL_LOGOUT: Declaration(
        Topic.AUTH,
        EventOrigin.PROVIDER,
        True,
        "The provider's logout page ended sessions, or named none.",
        {"idp": _IDP, "sessions": _SESSIONS},
        nobody=("sessions", "0"),
    ),
    EventType.REFRESH_FAILED: Declaration(
        Topic.AUTH,
        EventOrigin.SESSION,
        False,
        "A session's tokens could not be refreshed for now; the session continues.",
        {"session": _SESSION, "user": _USER, "reason": Field("as `bff_token_refresh_failed_total` counts it")},
    ),
    EventType.REFRESH_REJECTED: Declaration(
        Topic.AUTH,
        EventOrigin.SESSION,
        True,
        "The provider rejected a refresh token, and the session ended.",
        {"session": _SESSION},
    ),
    EventType.CLAIMS_CHANGED: Declaration(
        Topic.AUTH,
        EventOrigin.PROVIDER,
        False,
        "A refresh brought an ID token with other roles or permissions.",
        {
            "session": _SESSION,
            "user": _USER,
            "roles": Field("the new ones, if they changed", "array", required=False, private=True),
            "permissions": Field("likewise", "array", required=False, private=True),
        },
    ),
    EventType.SESSION_CREATED: Declaration(
        Topic.SESSIONS,
        EventOrigin.SESSION,
        False,
        "A session began. Written together with the login that made it.",
        {"session": _SESSION, "user": _USER, "idp": _IDP},
    ),
    EventType.SESSION_ENDED: Declaration(
        Topic.SESSIONS,
        EventOrigin.SESSION,
        True,
        "A session ended, once in the whole fleet.",
        {
            "session": _SESSION,
            "user": _USER,
            "idp": _IDP,
            "reason": Field("as `bff_sessions_destroyed_total` counts it"),
            "by": Field("user or operator, where the reason is revoked", required=False),
        },
    ),
    EventType.SESSION_REVOKED: Declaration(
        Topic.SESSIONS,
        EventOrigin.SESSION,
        True,
        "A session was revoked: by its user in their list of sessions, or by an operator with `python -m bff.admin`.",
        {"session": _SESSION, "by": Field("user or operator")},
    ),
    EventType.SESSION_BINDING: Declaration(
        Topic.SECURITY,
        EventOrigin.SESSION,
        True,
        "A session's cookie came from another browser or network.",
        {"session": _SESSION, "reason": Field("the difference: ip, user_agent, both")},
    ),
    EventType.CSRF_VIOLATION: Declaration(
        Topic.SECURITY,
        EventOrigin.STRANGER,
        False,
        "A request came from another site, or lacked a valid CSRF proof; any page can cause it.",
        {"session": _SESSION, "reason": _REASON},
    ),
    EventType.RETURN_URL_REFUSED: Declaration(
        Topic.SECURITY, EventOrigin.STRANGER, False, "A login named a return URL that is not allowed.", {}
    ),
    EventType.LOGIN_STATE_REUSED: Declaration(
        Topic.SECURITY, EventOrigin.STRANGER, False, "A login's state came a second time.", {"reason": Field(_REFUSAL)}
    ),
    EventType.ID_TOKEN_REJECTED: Declaration(
        Topic.SECURITY,
        EventOrigin.PROVIDER,
        True,
        "The provider sent an invalid ID token.",
        {"reason": Field(_REFUSAL)},
    ),
    EventType.LOGOUT_TOKEN_REJECTED: Declaration(
        Topic.SECURITY,
        EventOrigin.STRANGER,
        False,
        "A logout token was refused.",
        {"reason": Field("the status that `bff_token_validation_total` counts")},
    ),
    EventType.RATE_LIMITED: Declaration(
        Topic.SECURITY,
        EventOrigin.STRANGER,
        False,
        "A client exceeded a rate limit.",
        {"limit": Field("as `bff_rate_limit_hits_total` counts it")},
    ),
}


def schema(event_type: EventType) -> dict[str, Any]:
    """JSON Schema (2020-12) of an event's `data`."""
    fields = EVENTS[event_type].fields
    return {
        "type": "object",
        "properties": {name: {"anyOf": [_of_type(field), {"const": MARK}]} for name, field in fields.items()},
        "required": [name for name, field in fields.items() if field.required],
        "additionalProperties": False,
    }


def _of_type(field: Field) -> dict[str, Any]:
    if field.type == "array":
        return {"type": "array", "items": {"type": "string", "maxLength": LONGEST}}
    return {"type": field.type} | ({"maxLength": LONGEST} if field.type == "string" else {})


class EventSink(Protocol):
    def emit(self, event_type: EventType, data: Data) -> None:
        """Accept one event. Never raises. For a durable event, waits until the store has accepted or failed to
        accept it."""
