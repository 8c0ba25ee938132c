"""What the test provider issues after a login: refreshed, exchanged and a client's own tokens.

It rotates refresh tokens, and takes a second use of one for theft: then the whole family is revoked.
"""

import itertools
import json
import secrets
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from tests.flows.provider import OpenIdProvider

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
Form = MultiDict[str, str]


class LaterGrants:
    def __init__(self, provider: "OpenIdProvider") -> None:
        self.rotates = True
        self.response: dict[str, Any] = {}
        """Members that the answer to a refresh has besides, or instead."""
        self._provider = provider
        self._families: dict[str, int] = {}  # of every refresh token that ever was
        self._current: dict[int, str] = {}  # the only one of each family that still works
        self._numbers = itertools.count()

    def begin_family(self, refresh_token: object) -> None:
        if isinstance(refresh_token, str):
            self._join(next(self._numbers), refresh_token)

    def end_families(self) -> None:
        """Somebody at the provider revoked every grant."""
        self._current.clear()

    def revoke(self, token: str) -> None:
        self._current.pop(self._families.get(token, -1), None)

    def alive(self, refresh_token: str) -> bool:
        return refresh_token in self._current.values()

    def answer(self, form: Form) -> Response:
        answers = {"refresh_token": self._refresh, EXCHANGE: self._exchange, "client_credentials": self._client}
        status, content = answers[form["grant_type"]](form)
        body = {name: value for name, value in content.items() if value is not None}
        return Response(json.dumps(body), status=status, content_type="application/json")

    def _refresh(self, form: Form) -> tuple[int, dict[str, Any]]:
        family = self._families.get(form["refresh_token"], -1)
        if self._current.get(family) != form["refresh_token"]:
            self._current.pop(family, None)  # reuse: whoever holds the current one has to log in again
            return 400, {"error": "invalid_grant"}
        content = self._provider.tokens(None)
        if self.rotates:
            self._join(family, content["refresh_token"])
        else:
            content["refresh_token"] = None
        return 200, content | self.response

    def _exchange(self, form: Form) -> tuple[int, dict[str, Any]]:
        if form["subject_token"] not in self._provider.issued:
            return 400, {"error": "invalid_grant"}
        if "unknown" in form.get("audience", "") + form.get("resource", ""):
            return 400, {"error": "invalid_target"}
        return 200, self._issued(form) | {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}

    def _client(self, form: Form) -> tuple[int, dict[str, Any]]:
        return 200, self._issued(form)

    def _issued(self, form: Form) -> dict[str, Any]:
        token = secrets.token_urlsafe(24)
        self._provider.issued.append(token)
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": 600,
            "scope": form.get("scope"),
            **self.response,
        }

    def _join(self, family: int, refresh_token: str) -> None:
        self._families[refresh_token] = family
        self._current[family] = refresh_token
