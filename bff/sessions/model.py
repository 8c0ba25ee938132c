"""The hot half of a session: user, times and client. It answers verify; tokens.py has the cold half."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from bff.crypto import digest
from bff.sessions.binding import Binding


class EndReason(StrEnum):
    """The reason of a session's end: the label values of bff_sessions_destroyed_total."""

    LOGOUT = "logout"
    LOGOUT_EVERYWHERE = "logout_everywhere"
    BACKCHANNEL = "backchannel"
    IDLE_TIMEOUT = "idle_timeout"
    ABSOLUTE_TIMEOUT = "absolute_timeout"
    REFRESH_REJECTED = "refresh_rejected"
    REVOKED = "revoked"
    REPLACED = "replaced"
    STORE_RESET = "store_reset"


@dataclass(frozen=True)
class User:
    """id: the X-User-ID of applications. sub: the provider's own name for the user."""

    id: str
    sub: str
    name: str = ""
    email: str = ""
    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "User(...)"  # a log must not name a user by accident


@dataclass(frozen=True, slots=True)
class Session:
    """The hot record, with its expiry. device: for people, see `device_of`.

    key: the session's name in the store, the SHA-256 of the cookie. Times are Unix seconds; expires_at is the sooner of
    idle and absolute end and moves with use, ends_at is the absolute end and never moves.
    """

    key: str = field(repr=False)
    user: User
    idp: str
    auth_time: int
    created_at: float
    ends_at: float
    binding: Binding = field(repr=False)
    sid: str = field(repr=False)
    expires_at: float
    device: str = ""

    @property
    def reference(self) -> str:
        """The public name of the session: it opens nothing and is no key in the store."""
        return reference_of(self.key)

    def expired(self, now: float) -> EndReason | None:
        """The end that came first, idle or absolute, even if noticed late; None before both."""
        if now < self.expires_at:
            return None
        return EndReason.IDLE_TIMEOUT if self.expires_at < self.ends_at else EndReason.ABSOLUTE_TIMEOUT


def reference_of(key: str) -> str:
    """`Session.reference` of the session with this key."""
    return digest(key)[:24]


def session_to_bytes(session: Session) -> bytes:
    """Serialises everything but the key (the record's name) and expires_at (in the index)."""
    record = {
        "user": asdict(session.user),
        "idp": session.idp,
        "auth_time": session.auth_time,
        "created_at": session.created_at,
        "ends_at": session.ends_at,
        "binding": [session.binding.network, session.binding.agent],
        "sid": session.sid,
        "device": session.device,
    }
    return json.dumps(record, separators=(",", ":")).encode()


def session_from_bytes(raw: bytes, *, key: str, expires_at: float) -> Session:
    record: dict[str, Any] = json.loads(raw)
    user = record["user"]
    permissions = tuple(user.get("permissions", ()))  # missing in older records
    return Session(
        key=key,
        user=User(user["id"], user["sub"], user["name"], user["email"], tuple(user["roles"]), permissions),
        idp=record["idp"],
        auth_time=record["auth_time"],
        created_at=record["created_at"],
        ends_at=record["ends_at"],
        binding=Binding(*record["binding"]),
        sid=record["sid"],
        expires_at=min(expires_at, record["ends_at"]),
        device=record.get("device", ""),  # likewise
    )
