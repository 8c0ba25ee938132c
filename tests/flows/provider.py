"""An OpenID Provider for tests, as a WSGI app: correct until a test changes what it says.

It checks what a relying party must get right (client authentication, PKCE, redirect_uri, one use per code) and
records every call, so a test can look at both sides of a conversation.
"""

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from joserfc.jwk import Key, OctKey
from werkzeug.exceptions import HTTPException, abort
from werkzeug.wrappers import Request, Response

from tests.flows.later_grants import LaterGrants
from tests.flows.registration import Registration
from tests.flows.tokens import Sign, base64url, compact

Answer = Callable[[], Response]
REMOVED = object()
"""As a claim's value: the claim is absent."""

ACCESS_TOKEN_LIFE = 600
CODE_LIFE = 60
ALICE = {"sub": "alice", "name": "Alice Example", "email": "alice@example.com", "roles": ["user"]}


@dataclass
class Call:
    """One request to an endpoint, as it came."""

    endpoint: str
    form: dict[str, str]


class OpenIdProvider:
    def __init__(self, issuer: str, key: Key, clock: Callable[[], float]) -> None:
        self.issuer = issuer
        self.clock = clock
        self.client = Registration()
        self.keys: list[Key] = [key]
        self.metadata: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.token_response: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.authorization_response: dict[str, str | None] = {}
        self.answers: dict[str, Answer] = {}
        self.sign: Sign = self.signed
        self.user: dict[str, Any] = {**ALICE}
        self.revoked: list[str] = []
        self.issued: list[str] = []
        self.introspected: dict[str, dict[str, Any]] = {}
        self.calls: list[Call] = []
        self.later_grants = LaterGrants(self)
        self._grants: dict[str, dict[str, str]] = {}
        self._pushed: dict[str, dict[str, str]] = {}

    @property
    def origin(self) -> str:
        parts = urlsplit(self.issuer)
        return f"{parts.scheme}://{parts.netloc}"

    # What tests say to it.

    def break_endpoint(self, endpoint: str, answer: Answer) -> None:
        """Answer so instead; the answer may raise what the network would."""
        self.answers[endpoint] = answer

    def repair(self) -> None:
        self.answers.clear()

    def offer_par(self, *, required: bool = False) -> None:
        self.metadata |= {
            "pushed_authorization_request_endpoint": f"{self.issuer}/par",
            "require_pushed_authorization_requests": required,
        }

    def count(self, endpoint: str) -> int:
        return sum(call.endpoint == endpoint for call in self.calls)

    def last(self, endpoint: str) -> Call:
        return next(call for call in reversed(self.calls) if call.endpoint == endpoint)

    def signed(self, header: dict[str, Any], claims: Any) -> str:
        return compact(header, json.dumps(claims).encode(), self.keys[-1])

    def hs256(self, header: dict[str, Any], claims: Any) -> str:
        """What a forger makes who knows the client secret."""
        return compact({**header, "alg": "HS256"}, json.dumps(claims).encode(), OctKey.import_key(self.client.secret))

    # What the relying party calls.

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        endpoint = request.path.removeprefix(urlsplit(self.issuer).path).strip("/")
        endpoint = {".well-known/openid-configuration": "discovery"}.get(endpoint, endpoint)
        self.calls.append(Call(endpoint, request.values.to_dict()))
        try:
            response = self.answers[endpoint]() if endpoint in self.answers else self._view(endpoint)(request)
        except HTTPException as err:
            return err(environ, start_response)
        return response(environ, start_response)

    def _view(self, endpoint: str) -> Callable[[Request], Response]:
        views = {
            "discovery": self._discovery,
            "jwks": self._jwks,
            "authorize": self._authorize,
            "par": self._par,
            "token": self._token,
            "userinfo": self._userinfo,
            "revoke": self._revoke,
            "introspect": self._introspect,
            "logout": self._logout,
        }
        return views.get(endpoint) or abort(404)

    def _discovery(self, _request: Request) -> Response:
        endpoints = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "jwks_uri": "jwks",
            "userinfo_endpoint": "userinfo",
            "revocation_endpoint": "revoke",
            "introspection_endpoint": "introspect",
            "end_session_endpoint": "logout",
        }
        document = {
            "issuer": self.issuer,
            **{name: f"{self.issuer}/{path}" for name, path in endpoints.items()},
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }
        return reply({name: value for name, value in document.items() if value is not REMOVED})

    def _jwks(self, _request: Request) -> Response:
        return reply({"keys": [key.as_dict(private=False) for key in self.keys]})

    def _authorize(self, request: Request) -> Response:
        given = request.args.to_dict()
        if "request_uri" in given:
            given = self._pushed.pop(given["request_uri"])
        elif self.metadata.get("require_pushed_authorization_requests"):
            abort(400)
        if given["client_id"] != self.client.client_id or given["response_type"] != "code":
            abort(400)
        if given["code_challenge_method"] != "S256" or "openid" not in given["scope"].split():
            abort(400)
        code = secrets.token_urlsafe(16)
        self._grants[code] = {**given, "at": str(self.clock())}
        answer: dict[str, str | None] = {"code": code, "state": given["state"], "iss": self.issuer}
        answer |= self.authorization_response
        query = urlencode({name: value for name, value in answer.items() if value is not None})
        return Response(status=302, headers={"Location": f"{given['redirect_uri']}?{query}"})

    def _par(self, request: Request) -> Response:
        self._authenticated(request)
        request_uri = f"urn:ietf:params:oauth:request_uri:{secrets.token_urlsafe(8)}"
        self._pushed[request_uri] = request.form.to_dict() | {"client_id": self.client.client_id}
        return reply({"request_uri": request_uri, "expires_in": 60}, 201)

    def _token(self, request: Request) -> Response:
        self._authenticated(request)
        form = request.form
        if form["grant_type"] != "authorization_code":
            return self.later_grants.answer(form)
        grant = self._grants.pop(form["code"], None)
        if grant is None or form["redirect_uri"] != grant["redirect_uri"] or form["grant_type"] != "authorization_code":
            return reply({"error": "invalid_grant"}, 400)
        challenge = base64url(hashlib.sha256(form["code_verifier"].encode()).digest())
        if challenge != grant["code_challenge"] or self.clock() > float(grant["at"]) + CODE_LIFE:
            return reply({"error": "invalid_grant"}, 400)
        tokens = self.tokens(grant["nonce"])
        self.later_grants.begin_family(tokens.get("refresh_token"))
        return reply(tokens)

    def tokens(self, nonce: str | None) -> dict[str, Any]:
        access_token, refresh_token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        answer = {
            "access_token": access_token,
            "refresh_token": refresh_token,
            "id_token": self._id_token(nonce, access_token),
            "token_type": "Bearer",
            "expires_in": ACCESS_TOKEN_LIFE,
            "scope": "openid profile email",
            **self.token_response,
        }
        self.issued += [value for name, value in answer.items() if name.endswith("_token") and isinstance(value, str)]
        return {name: value for name, value in answer.items() if value is not REMOVED}

    def _id_token(self, nonce: str | None, access_token: str) -> str:
        now = int(self.clock())
        half = hashlib.sha256(access_token.encode()).digest()[:16]  # OpenID Connect Core section 3.1.3.6
        claims = {
            "iss": self.issuer,
            "aud": self.client.client_id,
            "iat": now,
            "exp": now + 300,
            "auth_time": now,
            "nonce": REMOVED if nonce is None else nonce,
            "at_hash": base64url(half),
            **self.user,
            **self.claims,
        }
        header = {"alg": self.keys[-1].get("alg") or "RS256", "kid": self.keys[-1].kid, **self.header}
        return self.sign(
            {name: value for name, value in header.items() if value is not REMOVED},
            {name: value for name, value in claims.items() if value is not REMOVED},
        )

    def _userinfo(self, request: Request) -> Response:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.issued:
            abort(401)
        return reply(self.user | self.userinfo)

    def _revoke(self, request: Request) -> Response:
        self._authenticated(request)
        self.revoked.append(request.form["token"])
        self.later_grants.revoke(request.form["token"])
        return Response(status=200)

    def _introspect(self, request: Request) -> Response:
        """RFC 7662: what a test says of a token, and nothing of one that it does not mention."""
        self._authenticated(request)
        return reply(self.introspected.get(request.form["token"], {"active": False}))

    def _logout(self, _request: Request) -> Response:
        return Response("Logged out.")

    def _authenticated(self, request: Request) -> None:
        if not self.client.proved_by(request, self.issuer, self.clock()):
            abort(reply({"error": "invalid_client"}, 401))


def reply(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content), status=status, content_type="application/json")


def html(status: int = 200) -> Answer:
    """What a proxy in front of a provider says on a bad day."""
    return lambda: Response("<!doctype html><title>Welcome</title>", status=status, content_type="text/html")


def raising(error: Exception) -> Answer:
    """The network fails so."""

    def answer() -> Response:
        raise error

    return answer
