"""Security Event Tokens (RFC 8417): session events for other systems' risk engines (CAEP 1.0), signed with our keys.

Each token is made from one of our own events at its delivery. It is sent beside it, as the data of a CloudEvent. The
subject is complex (RFC 9493, OpenID Shared Signals Framework 1.0): the session by its reference and the user by a keyed
pseudonym, both opaque. `iss_sub` would name the person.
"""

from collections.abc import Callable, Mapping
from typing import Any

from bff.events.envelope import SPECVERSION, CloudEvent, parsed
from bff.events.model import EventType, Topic
from bff.keys.signing import SigningKeys

URI = "https://schemas.openid.net/secevent/caep/event-type/"
TYPE = "secevent+jwt"
MEDIA_TYPE = f"application/{TYPE}"
EVENT_TYPES: Mapping[str, str] = {
    EventType.SESSION_CREATED: URI + "session-established",
    EventType.SESSION_ENDED: URI + "session-revoked",
    EventType.CLAIMS_CHANGED: URI + "token-claims-change",
}
_USERS_DOING = frozenset({"logout", "logout_everywhere", "replaced"})
_POLICYS_DOING = frozenset({"idle_timeout", "absolute_timeout"})


class SecurityEventTokens:
    def __init__(self, keys: SigningKeys, issuer: str, clock: Callable[[], float]) -> None:
        """issuer: BFF_BASE_URL; its `/.well-known/jwks.json` publishes the keys."""
        self._keys = keys
        self._issuer = issuer
        self._clock = clock

    def of(self, event: CloudEvent) -> list[CloudEvent]:
        """The CAEP event that corresponds to this event, if there is one."""
        content = event.content
        uri = EVENT_TYPES.get(content["type"])
        if uri is None:
            return []
        more = {name: content[name] for name in ("subject", "correlationid", "traceparent") if name in content}
        told = {
            "specversion": SPECVERSION,
            "id": f"{content['id']}-set",
            "source": content["source"],
            "type": uri,
            "time": content["time"],
            "datacontenttype": MEDIA_TYPE,
            "data": self._token(uri, content),
        }
        return [CloudEvent(Topic.SESSIONS, event.key, told | more)]

    def _token(self, uri: str, content: Mapping[str, Any]) -> str:
        """Repeated deliveries have the same `jti`, so that a receiver recognises them (RFC 8417 section 2.2)."""
        now, data = self._clock(), content["data"]
        happened = int(parsed(content["time"]))
        claims = {
            "iss": self._issuer,
            "jti": content["id"],
            "iat": int(now),
            "toe": happened,
            "sub_id": {"format": "complex", "session": _opaque(data["session"]), "user": _opaque(data["user"])},
            "events": {uri: {"event_timestamp": happened, **_payload(uri, data)}},
        }
        if "correlationid" in content:
            claims["txn"] = content["correlationid"]
        return self._keys.current(now).sign(claims, typ=TYPE)


def _opaque(name: str) -> dict[str, str]:
    return {"format": "opaque", "id": name}


def _payload(uri: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The members that CAEP 1.0 requires of the event (section 3), and the common ones of section 2."""
    if uri == EVENT_TYPES[EventType.CLAIMS_CHANGED]:
        return {"claims": {name: data[name] for name in ("roles", "permissions") if name in data}}
    if uri == EVENT_TYPES[EventType.SESSION_CREATED]:
        return {"initiating_entity": "user"}
    return {"initiating_entity": _initiator(data["reason"], data.get("by")), "reason_admin": {"en": data["reason"]}}


def _initiator(reason: str, by: str | None) -> str:
    if by == "operator":
        return "admin"
    if by == "user" or reason in _USERS_DOING:
        return "user"
    return "policy" if reason in _POLICYS_DOING else "system"
