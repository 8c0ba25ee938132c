"""How the test provider knows the BFF, and whether a request proved to come from it."""

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet
from werkzeug.wrappers import Request

from bff.settings.model import MTLS_METHODS

SECRET = "a secret: with + / % and ümlaut"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass
class Registration:
    client_id: str = "bff"
    method: str = "client_secret_basic"
    secret: str = field(default=SECRET, repr=False)
    public_key: Key | KeySet | None = None
    certificate: str | None = None
    _assertions: set[str] = field(default_factory=set)

    def proved_by(self, request: Request, issuer: str, now: float) -> bool:
        if self.method == "client_secret_basic":
            return self._basic(request)
        if self.method == "client_secret_post":
            return self._post(request)
        if self.method in MTLS_METHODS:
            return self._tls(request)
        return self._private_key_jwt(request, issuer, now)

    def _basic(self, request: Request) -> bool:
        """RFC 6749 section 2.3.1: both halves form-encoded, and one method only."""
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        client_id, _, secret = base64.b64decode(encoded).decode().partition(":")
        right = (unquote_plus(client_id), unquote_plus(secret)) == (self.client_id, self.secret)
        return scheme == "Basic" and right and not {"client_secret", "client_assertion"} & set(request.form)

    def _post(self, request: Request) -> bool:
        given = (request.form.get("client_id"), request.form.get("client_secret"))
        return given == (self.client_id, self.secret) and "Authorization" not in request.headers

    def _tls(self, request: Request) -> bool:
        """RFC 8705 section 2: the certificate of the connection, a client_id in the form, and no other proof."""
        shown = request.environ.get("SSL_CLIENT_CERT")
        alone = not {"client_secret", "client_assertion"} & set(request.form) and "Authorization" not in request.headers
        return shown is not None and shown == self.certificate and request.form["client_id"] == self.client_id and alone

    def _private_key_jwt(self, request: Request, issuer: str, now: float) -> bool:
        """RFC 7523 section 3, with the issuer as the only audience and every assertion good once."""
        if request.form.get("client_assertion_type") != ASSERTION_TYPE or "client_secret" in request.form:
            return False
        if self.public_key is None:
            return False
        try:
            claims = jwt.decode(
                request.form["client_assertion"], self.public_key, algorithms=["ES256", "RS256", "Ed25519"]
            ).claims
        except JoseError:
            return False
        fresh = claims["jti"] not in self._assertions
        self._assertions.add(claims["jti"])
        named = claims["iss"] == claims["sub"] == self.client_id == request.form["client_id"]
        return fresh and named and claims["aud"] == issuer and claims["iat"] <= now < claims["exp"] <= now + 60
