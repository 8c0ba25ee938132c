# mypy: allow-subclassing-any
# The line above: Authlib ships no types, so each of its classes is Any to mypy.
"""Registry of the embedded provider: its users, and its one client, this BFF."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2.rfc6749 import ClientMixin

from bff.crypto import equal

BASIC = "client_secret_basic"
CALLBACK_PATH = "/auth/callback"
GRANT_TYPES = ("authorization_code", "refresh_token")


@dataclass(frozen=True)
class DemoUser:
    sub: str
    name: str
    email: str
    roles: tuple[str, ...]


USERS = {
    user.sub: user
    for user in (
        DemoUser("alice", "Alice Adams", "alice@example.test", ("admin", "staff")),
        DemoUser("bob", "Bob Brown", "bob@example.test", ("staff",)),
    )
}


def claims(sub: str, scope: str) -> dict[str, Any]:
    """The claims of these scopes (OpenID Connect Core section 5.4; `roles` is this provider's own)."""
    user = USERS[sub]
    by_scope: dict[str, dict[str, Any]] = {
        "openid": {"sub": user.sub},
        "profile": {"name": user.name, "preferred_username": user.sub},
        "email": {"email": user.email, "email_verified": True},
        "roles": {"roles": list(user.roles)},
    }
    return {name: value for asked in scope.split() for name, value in by_scope.get(asked, {}).items()}


@dataclass(frozen=True)
class RegisteredClient(ClientMixin):
    client_id: str
    secret: str = field(repr=False)
    origin: str
    scope: str
    client_metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def redirect_uri(self) -> str:
        return self.origin + CALLBACK_PATH

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """Unknown scopes are ignored (OpenID Connect Core section 3.1.2.1); None means refused: without `openid`."""
        allowed = [name for name in (scope or "").split() if name in self.scope.split()]
        return " ".join(allowed) if "openid" in allowed else None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self.redirect_uri

    def check_client_secret(self, client_secret: str) -> bool:
        return equal(client_secret, self.secret)

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return method == BASIC

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in GRANT_TYPES
