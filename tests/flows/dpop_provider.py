"""An OpenID Provider that binds what it issues to the key of a DPoP proof (RFC 9449), and looks closely at proofs."""

import base64
import hashlib
import json
import secrets
import threading
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from werkzeug.exceptions import abort
from werkzeug.wrappers import Request, Response

from tests.flows.provider import OpenIdProvider
from tests.flows.tokens import base64url

PROOF_LIFE = 60


class DpopProvider(OpenIdProvider):
    """demands_nonce: in every proof. token_type: what answers say of their token. bound: thumbprints of keys by token.
    meeting: where requests without a nonce wait for one another."""

    demands_nonce = False
    token_type = "DPoP"
    meeting: threading.Barrier | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.bound: dict[str, str] = {}
        self.proofs: list[str] = []
        self.nonces = 0
        self._seen: set[str] = set()
        self.new_nonce()

    def new_nonce(self) -> None:
        self.nonce = secrets.token_urlsafe(8)

    def _token(self, request: Request) -> Response:
        form, key = request.form, self._proved(request)
        grant = self._grants.get(form.get("code", ""), {})
        if grant.get("dpop_jkt", key) != key or (grant and "dpop_jkt" not in grant):
            return self._refused("invalid_dpop_proof", 400)
        for name in ("refresh_token", "subject_token"):
            if name in form and self.bound.get(form[name]) != key:
                return self._refused("invalid_dpop_proof", 400)
        response = super()._token(request)
        content = response.get_json()
        if response.status_code == 200:
            content["token_type"] = self.token_type
            self.bound |= {content[name]: key for name in ("access_token", "refresh_token") if name in content}
        response.data = json.dumps(content)
        return response

    def _userinfo(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "DPoP" or self._proved(request, token) != self.bound.get(token):
            abort(401)
        request.environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        return super()._userinfo(Request(request.environ))

    def _proved(self, request: Request, token: str | None = None) -> str:
        """The thumbprint of the key that a proof shows (RFC 9449 section 4.3)."""
        headers = request.headers.getlist("DPoP")
        if len(headers) != 1:
            abort(self._refused("invalid_dpop_proof", 400))
        self.proofs += headers
        header = json.loads(_decoded(headers[0].split(".")[0]))
        if header["typ"] != "dpop+jwt" or header["alg"] != "ES256" or "d" in header["jwk"]:
            abort(self._refused("invalid_dpop_proof", 400))
        key = ECKey.import_key(header["jwk"])
        try:
            claims = jwt.decode(headers[0], key, algorithms=["ES256"]).claims
        except JoseError:
            abort(self._refused("invalid_dpop_proof", 400))
        self._nonce_checked(claims, request)
        expected = {"htm": request.method, "htu": request.base_url}
        if token is not None:
            expected["ath"] = base64url(hashlib.sha256(token.encode()).digest())
        wrong = {name for name in ("htm", "htu", "ath") if claims.get(name) != expected.get(name)}
        if wrong or abs(claims["iat"] - self.clock()) > PROOF_LIFE or claims["jti"] in self._seen:
            abort(self._refused("invalid_dpop_proof", 400))
        self._seen.add(claims["jti"])
        return str(key.thumbprint())

    def _nonce_checked(self, claims: dict[str, Any], request: Request) -> None:
        if not self.demands_nonce or claims.get("nonce") == self.nonce:
            return
        self.nonces += 1
        if self.meeting is not None and "nonce" not in claims:
            self.meeting.wait(10)
        abort(self._refused("use_dpop_nonce", 401 if request.path.endswith("userinfo") else 400))

    def _refused(self, error: str, status: int) -> Response:
        body = json.dumps({"error": error}) if status == 400 else ""
        response = Response(body, status=status, content_type="application/json", headers={"DPoP-Nonce": self.nonce})
        if status == 401:
            response.headers["WWW-Authenticate"] = f'DPoP error="{error}"'
        return response


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
