"""An OpenID Provider for many people, in this process: single sign-on, and one grant for a person and a client.

As oidc-provider and Keycloak have it, a revocation of any token, and a second use of a refresh token, end the grant:
every token and every code of this person (RFC 7009 section 2.1, RFC 9700 section 4.14.2). What ended it is remembered.
"""

import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

from joserfc.jwk import Key
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from tests.flows.provider import CODE_LIFE, OpenIdProvider, reply
from tests.flows.tokens import base64url

PERSON, LOGIN = "person", "login"
"""Cookies at the provider: the person who sits at this browser, and the provider's session."""
Reason = Literal["client", "administrator", "reuse"]


@dataclass(frozen=True)
class Code:
    person: str
    grant: int
    sid: str
    nonce: str
    challenge: str
    at: float


@dataclass
class Refresh:
    """A refresh token. replaced_at: Unix seconds, 0 while it is good."""

    person: str
    grant: int
    sid: str
    replaced_at: float = 0


@dataclass(frozen=True)
class GrantEnd:
    """at: Unix seconds. replaced_at: when the token that was used twice had been replaced."""

    at: float
    reason: Reason
    replaced_at: float = 0


class SingleSignOn(OpenIdProvider):
    def __init__(self, issuer: str, key: Key, clock: Any, *, access_token_ttl: int) -> None:
        super().__init__(issuer, key, clock)
        self._ttl = access_token_ttl
        self._lock = threading.Lock()
        self._grant_of: dict[str, int] = {}
        self._codes: dict[str, Code] = {}
        self._refreshes: dict[str, Refresh] = {}
        self._roles: dict[str, int] = {}
        self._ends: dict[str, list[GrantEnd]] = {}
        self._issued_at: dict[str, float] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        try:
            return super().__call__(environ, start_response)
        finally:
            self.calls.clear()  # nobody counts them, and there are many

    # What tests say to it, and ask.

    def change_role(self, person: str) -> None:
        """From the next token on."""
        with self._lock:
            self._roles[person] = self._roles.get(person, 0) + 1

    def role(self, person: str) -> str:
        return f"role-{self._roles.get(person, 0)}"

    def revoke_grant(self, person: str) -> None:
        """An administrator does, and tells nobody."""
        with self._lock:
            self._end(person, "administrator")

    def ends(self, person: str) -> list[GrantEnd]:
        """Of this person's grants, in order."""
        with self._lock:
            return list(self._ends.get(person, ()))

    def issued_at(self, sid: str) -> float:
        """When tokens were last issued in this session of the provider; Unix seconds."""
        return self._issued_at.get(sid, 0.0)

    # What browsers and the relying party ask.

    def _authorize(self, request: Request) -> Response:
        given, person = request.args, request.cookies[PERSON]
        sid = request.cookies.get(LOGIN) or secrets.token_urlsafe(9)
        code = secrets.token_urlsafe(16)
        with self._lock:
            grant = self._grant_of.setdefault(person, secrets.randbits(60))
            self._codes[code] = Code(person, grant, sid, given["nonce"], given["code_challenge"], self.clock())
        query = urlencode({"code": code, "state": given["state"], "iss": self.issuer})
        response = Response(status=302, headers={"Location": f"{given['redirect_uri']}?{query}"})
        response.set_cookie(LOGIN, sid)
        return response

    def _token(self, request: Request) -> Response:
        self._authenticated(request)
        with self._lock:
            if request.form["grant_type"] == "refresh_token":
                issued = self._refreshed(request.form["refresh_token"])
            else:
                issued = self._exchanged(request.form["code"], request.form["code_verifier"])
        return reply(issued) if issued else reply({"error": "invalid_grant"}, 400)

    def _exchanged(self, secret: str, verifier: str) -> dict[str, Any] | None:
        code = self._codes.pop(secret, None)
        if code is None or self._grant_of.get(code.person) != code.grant or self.clock() > code.at + CODE_LIFE:
            return None
        if base64url(hashlib.sha256(verifier.encode()).digest()) != code.challenge:
            return None
        return self._issue(Refresh(code.person, code.grant, code.sid), code.nonce)

    def _refreshed(self, secret: str) -> dict[str, Any] | None:
        token = self._refreshes.get(secret)
        if token is None or self._grant_of.get(token.person) != token.grant:
            return None
        if token.replaced_at:
            self._end(token.person, "reuse", token.replaced_at)
            return None
        token.replaced_at = self.clock()
        return self._issue(Refresh(token.person, token.grant, token.sid), None)

    def _issue(self, token: Refresh, nonce: str | None) -> dict[str, Any]:
        access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._refreshes[refresh] = token
        self._issued_at[token.sid] = now = self.clock()
        claims = {
            "iss": self.issuer, "aud": self.client.client_id, "sub": token.person, "sid": token.sid,
            "iat": int(now), "exp": int(now) + 300, "auth_time": int(now), "name": token.person,
            "roles": ["user", self.role(token.person)],
            "at_hash": base64url(hashlib.sha256(access.encode()).digest()[:16]),
            **({"nonce": nonce} if nonce else {}),
        }  # fmt: skip
        key = self.keys[-1]
        id_token = self.signed({"alg": key.get("alg") or "RS256", "kid": key.kid}, claims)
        return {
            "access_token": access,
            "refresh_token": refresh,
            "id_token": id_token,
            "token_type": "Bearer",
            "expires_in": self._ttl,
        }

    def _revoke(self, request: Request) -> Response:
        self._authenticated(request)
        with self._lock:
            token = self._refreshes.get(request.form["token"])
            if token is not None and self._grant_of.get(token.person) == token.grant:
                self._end(token.person, "client")
        return Response(status=200)

    def _end(self, person: str, reason: Reason, replaced_at: float = 0) -> None:
        if self._grant_of.pop(person, None) is not None:
            self._ends.setdefault(person, []).append(GrantEnd(self.clock(), reason, replaced_at))


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept

    def log_request(self, *_: object) -> None:
        return


@contextmanager
def served(provider: SingleSignOn) -> Iterator[None]:
    """At the host and port of its issuer."""
    parts = urlsplit(provider.issuer)
    server = make_server(parts.hostname or "", parts.port or 0, provider, threaded=True, request_handler=_Handler)
    server.daemon_threads = True  # type: ignore[attr-defined] # of kept connections, which do not end by themselves
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
